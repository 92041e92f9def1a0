"""Announcer, follower and catalogue against the real tracker, as a process."""

import hashlib
from contextlib import ExitStack

import pytest

from peer.messages import Seen, Supersede
from peer.share.rows import Row
from shoal.manifest import NOTHING_CID
from shoal.wire import peer_id
from tests.support.patience import until
from tests.support.peer_core import PeerCore

pytestmark = pytest.mark.real

ANNA, BEN = "5" * 64, "6" * 64


def row(path: str, content: str, owner: str, rev: int = 1, kind: str = "own") -> Row:
    cid = NOTHING_CID if kind == "nothing" else hashlib.sha256(content.encode()).hexdigest()
    size, sha1 = (0, "") if kind == "nothing" else (7, cid[:40])
    return Row(path, cid, kind, size, rev, sha1, revs={peer_id(owner): rev})


@pytest.fixture
def peers(cluster):
    tracker = cluster.tracker("--refresh", "0.4", "--ttl", "1.5")
    url = tracker.url.rstrip("/")
    with ExitStack() as stack:
        anna = stack.enter_context(PeerCore(ANNA, url, name="anna"))
        ben = stack.enter_context(PeerCore(BEN, url, name="ben"))
        yield tracker, anna, ben
        ben.announcer.stop()
        anna.announcer.stop()


def agreed(peer: PeerCore) -> bool:
    return not peer.announcer._talk.busy and peer.announcer._failures == 0


def test_what_one_has_the_other_sees(peers):
    _tracker, anna, ben = peers
    many = [row(f"dir{n % 7}/file {n}", str(n), ANNA) for n in range(2500)]
    anna.put(*many[:1200])
    until(lambda: ben.sees("dir0/file 0"), 20, "ben sees the first file")
    anna.put(*many[1200:])
    until(lambda: all(ben.sees(row.path) for row in many), 20, "ben sees all files")
    until(lambda: agreed(anna), 10, "the digest is agreed")
    found = ben.catalogue.entries("dir0/file 0")[0]
    assert [(owner.name, owner.rev) for owner in found.owners] == [("anna", 1)]
    assert ben.catalogue.totals() == (2500, 7 * 2500)
    assert [peer.name for peer in ben.catalogue.peers()] == sorted(
        ("anna", "ben"), key=lambda name: anna.id if name == "anna" else ben.id
    )
    anna.put(Row(**{f: getattr(many[0], f) for f in ("path", "cid", "size", "mtime", "sha1")}, kind="gone"))
    until(lambda: not ben.sees("dir0/file 0") or not ben.catalogue.settled, 20, "gone or unknown")


def test_the_tracker_restarts(peers):
    tracker, anna, ben = peers
    anna.put(row("a", "1", ANNA), row("b", "2", ANNA))
    ben.put(row("a", "3", BEN, 5))
    until(lambda: anna.sees("a~anna") and ben.sees("b"), 20, "they see each other")
    tracker.kill()
    until(lambda: not anna.trackers.connected and not ben.trackers.connected, 10, "lost")
    assert anna.sees("a~anna") and ben.sees("b")
    anna.put(row("c", "4", ANNA))
    tracker.restart()
    until(lambda: ben.sees("c"), 20, "ben sees what came meanwhile")
    assert anna.sees("a~anna") and ben.sees("b"), "nothing vanished meanwhile"
    until(lambda: ben.catalogue.settled and anna.catalogue.settled, 20, "settled")
    assert {path for path, _ in anna.catalogue.walk()} == {"a", "a~anna", "b", "c"}
    assert {path for path, _ in ben.catalogue.walk()} == {"a", "a~anna", "b", "c"}


def test_who_leaves_takes_along_what_nobody_else_has(peers):
    _tracker, anna, ben = peers
    anna.put(row("a", "1", ANNA))
    until(lambda: ben.sees("a") and ben.catalogue.settled, 20, "ben sees it")
    anna.announcer.stop()
    until(lambda: not ben.sees("a"), 20, "it went with anna")


def test_a_copy_gives_way(peers):
    _tracker, anna, ben = peers
    first, second = row("a", "1", ANNA, 1), row("a", "2", ANNA, 2)
    anna.put(first)
    ben.put(row("a", "1", ANNA, 1, "copy"))
    until(lambda: ben.catalogue.settled and ben.sees("a"), 20, "ben sees it")
    until(lambda: len(ben.catalogue.entries("a")[0].holders) == 2, 20, "both have it")
    first.kind = "gone"
    anna.put(first, second)
    until(lambda: [e.cid for e in ben.catalogue.entries("a")] == [second.cid], 20, "the newer one alone is shown")
    assert ben.duties == []
    ben.put(row("a", "2", ANNA, 2, "copy"))
    assert ben.duties == [Supersede("a", first.cid)]


def test_a_withdrawn_path_takes_copies_along(peers):
    _tracker, anna, ben = peers
    first = row("a", "1", ANNA, 1)
    anna.put(first)
    ben.put(row("a", "1", ANNA, 1, "copy"))
    until(lambda: ben.catalogue.settled and len(ben.catalogue.entries("a")[0].holders) == 2, 20, "both have it")
    first.kind = "gone"
    anna.put(first, row("a", "", ANNA, 2, "nothing"))
    until(lambda: not ben.sees("a"), 20, "it is withdrawn")
    until(lambda: ben.duties == [Supersede("a", first.cid, {anna.id: 2})], 5, "the copy may go")


def test_an_owner_hears_of_a_higher_rev_of_its_own(peers):
    _tracker, anna, ben = peers
    ben.put(row("a", "1", ANNA, 9, "copy"))
    until(lambda: anna.catalogue.settled and anna.sees("a"), 20, "anna sees her old version")
    anna.put(row("a", "2", ANNA, 3))
    assert set(anna.duties) == {Seen("a", 9)}
