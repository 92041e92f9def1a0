"""The last copy is never given up: the tracker says yes, then nobody is served here, then another is asked itself."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peer.announcer import Answer
from peer.cache.room import Room
from peer.evict import Evictor, has_whole
from peer.messages import GaveUp, GiveUp
from peer.share.rows import IndexReader
from shoal.manifest import manifest_of
from shoal.wire import PeerRow
from tests.support.share_fixture import Share, serving

DATA = b"what is kept" * 1000


class Ground:
    """An evictor over a share with one copy, a tracker and a scanner that do as they are told."""

    def __init__(self, tmp: Path) -> None:
        tmp.mkdir()
        self.share = Share(tmp)
        self.cid = self.share.add("a/b", DATA, kind="copy").cid
        self.index = IndexReader(self.share.layout.index)
        self.room = Room(self.share.layout)
        self.answer: Answer = "yes"
        self.steps: list[str] = []
        self.deaf: set[str] = set()
        self.holders: list[PeerRow] = []
        self.evictor = Evictor(self.index, self.room, self, lambda cid: self.holders, self.send)

    def evict(self, cid: str, hide: Callable[[], bool]) -> Answer:
        self.steps.append("ask")
        if self.answer == "yes" and not hide():
            return "unsure"
        return self.answer

    def send(self, message: GiveUp) -> bool:
        self.steps.append(message.step)
        if message.step in self.deaf:
            return False
        self.evictor.answered(GaveUp(message.cid, message.step, 1))
        return True


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path / "me")
    yield ground
    ground.index.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[Share, PeerRow]]:
    """Another peer with the same content, behind a real data server."""
    (tmp_path / "other").mkdir()
    share = Share(tmp_path / "other")
    with serving(share) as (port, _):
        yield share, PeerRow("e" * 64, "other", f"http://127.0.0.1:{port}")


def test_it_goes_when_another_says_itself_that_it_has_all(ground: Ground, other: tuple[Share, PeerRow]) -> None:
    share, row = other
    share.add("x", DATA)
    ground.holders = [row]
    assert ground.evictor.give_up(ground.cid) == "evicted"
    assert ground.steps == ["ask", "hide", "take"]


def test_what_the_tracker_says_no_to_is_not_even_hidden(ground: Ground) -> None:
    ground.answer = "no"
    assert ground.evictor.give_up(ground.cid) == "last"
    ground.answer = "unsure"
    assert ground.evictor.give_up(ground.cid) == "later"
    assert "hide" not in ground.steps and "take" not in ground.steps


def test_it_stays_when_the_other_does_not_have_it_any_more(ground: Ground, other: tuple[Share, PeerRow]) -> None:
    ground.holders = [other[1]]
    assert ground.evictor.give_up(ground.cid) == "unsure"
    assert ground.steps == ["ask", "hide", "restore"]


@pytest.mark.parametrize("state", ["moving", "changed", "partial"])
def test_who_has_hidden_changed_or_only_parts_of_it_counts_as_nobody(
    ground: Ground, other: tuple[Share, PeerRow], state: str
) -> None:
    share, row = other
    manifest = share.add("x", DATA)
    file = share.layout.local / "x"
    if state == "moving":
        share.put("x", manifest, file.lstat(), state="moving")
    elif state == "changed":
        file.write_bytes(DATA[::-1])
    else:
        file.unlink()
    ground.holders = [row]
    assert ground.evictor.give_up(ground.cid) == "unsure"
    assert ground.steps[-1] == "restore"


def test_it_stays_when_the_other_is_dead_or_there_is_none(ground: Ground) -> None:
    for ground.holders in ([], [PeerRow("e" * 64, "other", "http://127.0.0.1:1")]):
        assert ground.evictor.give_up(ground.cid) == "unsure"
    assert "take" not in ground.steps


@pytest.mark.parametrize("deaf", ["hide", "take"])
def test_it_stays_when_the_scanner_is_not_there(ground: Ground, other: tuple[Share, PeerRow], deaf: str) -> None:
    share, row = other
    share.add("x", DATA)
    ground.holders, ground.deaf = [row], {deaf}
    assert ground.evictor.give_up(ground.cid) == ("later" if deaf == "hide" else "unsure")
    assert ground.steps[-1] == "restore"


def test_what_is_open_pinned_or_not_here_is_not_asked_for(ground: Ground) -> None:
    ground.room.opened(ground.cid)
    assert ground.evictor.give_up(ground.cid) == "open"
    ground.room.closed(ground.cid)
    ground.room.pin(ground.cid, True)
    assert ground.evictor.give_up(ground.cid) == "pinned"
    assert ground.evictor.give_up("f" * 64) == "absent"
    mine = ground.share.add("mine", b"mine")
    assert ground.evictor.give_up(mine.cid) == "own"
    assert ground.steps == []


def test_a_copy_of_ones_own_goes_without_asking(ground: Ground) -> None:
    ground.share.add("mine", DATA)
    ground.answer = "no"
    assert ground.evictor.give_up(ground.cid) == "evicted"
    assert ground.steps == ["hide", "take"]


def test_with_more_to_be_kept_so_many_must_have_it(ground: Ground, other: tuple[Share, PeerRow]) -> None:
    share, row = other
    share.add("x", DATA)
    ground.holders = [row]
    assert ground.evictor.give_up(ground.cid, others=2) == "unsure"
    ground.holders = [row, PeerRow("f" * 64, "third", row.url)]
    assert ground.evictor.give_up(ground.cid, others=2) == "evicted"


def test_two_who_ask_each_other_at_once_do_not_both_go(tmp_path: Path) -> None:
    """Even with trackers that say yes to both."""
    grounds = [Ground(tmp_path / name) for name in "ab"]
    both = threading.Barrier(2)
    outcomes: dict[int, str] = {}
    try:
        with serving(grounds[0].share) as (one, _), serving(grounds[1].share) as (two, _):
            for number, (ground, port) in enumerate(zip(grounds, (two, one), strict=True)):
                ground.holders = [PeerRow(f"{number}" * 64, "x", f"http://127.0.0.1:{port}")]
                _hides_for_real(ground, both)
            threads = [
                threading.Thread(target=lambda n=n: outcomes.update({n: grounds[n].evictor.give_up(grounds[n].cid)}))
                for n in (0, 1)
            ]  # type: ignore[misc]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
    finally:
        for ground in grounds:
            ground.index.close()
    assert sorted(outcomes.values()) == ["unsure", "unsure"]


def _hides_for_real(ground: Ground, both: threading.Barrier) -> None:
    """Hides the copy in its index, and goes on when the other one has, too."""

    def send(message: GiveUp) -> bool:
        if message.step == "hide":
            (row,) = ground.index.of(message.cid)
            manifest = manifest_of(DATA)
            ground.share.put(
                row.path, manifest, (ground.share.layout.local / row.path).lstat(), kind="copy", state="moving"
            )
            both.wait(10)
        if message.step == "restore":
            both.wait(10)  # so that neither is back before the other has asked
        ground.evictor.answered(GaveUp(message.cid, message.step, 1))
        return True

    ground.evictor._send = send


def test_a_peer_that_says_another_length_or_another_content_has_it_not(other: tuple[Share, PeerRow]) -> None:
    share, row = other
    manifest = share.add("x", DATA)
    assert has_whole(row, manifest.cid, len(DATA))
    assert not has_whole(row, manifest.cid, len(DATA) + 1)
    assert not has_whole(row, "f" * 64, len(DATA))
    assert not has_whole(PeerRow("e" * 64, "x", "http://169.254.169.254:80"), manifest.cid, len(DATA))
