"""Who is believed among those who say that they read, too: a listed peer at its address, and nobody else."""

import http.client
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from peer import bitmap
from peer.layout import Layout
from peer.messages import Heard
from peer.swarm import Swarm
from peer.swarm.commons import Others
from peer.swarm.source import HttpSources, Sources
from shoal.manifest import KIB, manifest_of
from shoal.names import safe_path
from shoal.wire import PeerRow
from tests.support.patience import until, within
from tests.support.share_fixture import Share
from tests.support.share_fixture import serving as serving_share
from tests.support.swarm_in_memory import QUICK, Holder, MemorySources, entry_of, serving

PIECE = 256 * KIB
DATA = random.Random(7).randbytes(8 * PIECE + 3)
MANIFEST = manifest_of(DATA)
CID, COUNT = MANIFEST.cid, MANIFEST.count
PATH = safe_path("model.bin")
ME, BEN, CARL, NOBODY = ("e" * 64, "b" * 64, "c" * 64, "0" * 64)
ALL = bitmap.to_wire(bitmap.span(0, COUNT), COUNT)


class Ground:
    """A swarm that reads off an owner, and the peers that its tracker lists; `found` are the ids it looked up."""

    def __init__(self, local: Path, rows: list[PeerRow], listed: list[PeerRow], sources: Sources) -> None:
        layout = Layout(local)
        layout.make()
        self.found: list[str] = []
        self.listed = {row.id: row for row in listed}
        others = Others(ME, self._find)
        self.swarm = Swarm(QUICK, layout, lambda path, entry, ask: rows, lambda message: True, sources, others=others)

    def _find(self, id: str) -> PeerRow | None:
        self.found.append(id)
        return self.listed.get(id)

    def known(self) -> dict[str, int | None]:
        """Which pieces the plan thinks that each holder has; None: all."""
        opened = self.swarm._uses[CID].content._opened  # type: ignore[attr-defined]
        return {holding.id: holding.pieces for holding in opened.plan.holdings.values()}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def in_memory(tmp_path: Path, stack: ExitStack, *unlisted: str) -> tuple[Ground, dict[str, Holder]]:
    """A file open of which the first piece was read; all of it has the owner, nothing have Ben, Carl and the others."""
    holders = {id: Holder(id) for id in ("owner", BEN, CARL, *unlisted)}
    for id, holder in holders.items():
        holder.add(DATA, None if id == "owner" else set())
    listed = [holders[id].row for id in (BEN, CARL)]
    ground = Ground(tmp_path, [holders["owner"].row], listed, MemorySources(list(holders.values())))
    stack.callback(ground.swarm.close)
    reader = stack.enter_context(ground.swarm.open(PATH, entry_of(MANIFEST)))
    within(10, reader.read, 0, 10)
    return ground, holders


def says(id: str, address: str = "", cid: str = CID) -> Heard:
    """Somebody at this address, its own if none is given, says that it is that peer, has all and wants all."""
    return Heard(cid, id, address or f"{id}.test", (0, COUNT), 0, ALL)


def test_a_listed_peer_is_heard_and_asked(tmp_path: Path, stack: ExitStack) -> None:
    ground, holders = in_memory(tmp_path, stack)
    ground.swarm.heard(says(BEN))
    assert BEN in ground.known()
    until(lambda: holders[BEN].requests, 10, "Ben is asked")
    assert holders[BEN].requests[0].target == f"/v1/content/{CID}/pieces"


ELSEWHERE = {
    "another": "liar.test",
    "none": "",
    "Carl's": f"{CARL}.test",
    "with a port": f"{BEN}.test:1",
    "longer": f"{BEN}.test.",
}


@pytest.mark.parametrize("address", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_who_claims_anothers_id_from_another_address_changes_nothing(
    tmp_path: Path, stack: ExitStack, address: str
) -> None:
    ground, _ = in_memory(tmp_path, stack)
    before = ground.known()
    ground.swarm.heard(Heard(CID, BEN, address, (0, COUNT), 0, ALL))
    assert ground.known() == before
    ground.swarm.heard(Heard(CID, BEN, f"{BEN}.test", (0, COUNT), 0, b"\x80"))
    told = ground.known()[BEN]
    ground.swarm.heard(Heard(CID, BEN, address, (0, COUNT), 0, ALL))
    assert told in (0, 1), "he may have been asked meanwhile"
    assert ground.known()[BEN] in (0, 1), "what he has is what he says himself"


def test_who_is_not_listed_or_tells_of_something_else_changes_nothing(tmp_path: Path, stack: ExitStack) -> None:
    ground, holders = in_memory(tmp_path, stack, NOBODY)
    before = ground.known()
    ground.swarm.heard(says(NOBODY))
    ground.swarm.heard(says(BEN, cid="d" * 64))
    ground.swarm.heard(says(ME))
    assert ground.known() == before
    ground.swarm.heard(says(CARL))
    until(lambda: holders[CARL].requests, 10, "Carl is asked")
    assert not holders[NOBODY].requests
    assert not holders[BEN].requests


def test_of_the_readers_named_in_an_answer_only_those_that_are_listed_are_asked(
    tmp_path: Path, stack: ExitStack
) -> None:
    ground, holders = in_memory(tmp_path, stack, NOBODY)
    ground.listed[ME] = PeerRow(ME, "me", f"http://{ME}.test:1")
    ground.listed["1" * 64] = PeerRow("1" * 64, "not reachable", "")
    ground.listed["2" * 64] = PeerRow("2" * 64, "of the first protocol", "http://seed.test:1", seed=True)
    ids = [NOBODY, ME, "1" * 64, "2" * 64, BEN]
    holders["owner"].says[b"shoal-readers"] = " ".join(ids).encode()
    with ground.swarm.open(PATH, entry_of(MANIFEST)) as reader:
        assert within(10, reader.read, len(DATA) - 10, 10) == DATA[-10:]
    until(lambda: holders[BEN].requests, 10, "Ben is asked")
    assert set(ground.known()) == {"owner", BEN}
    assert NOBODY in ground.found, "it was named"
    assert not holders[NOBODY].requests


# -- the same over sockets ---------------------------------------------------------------------------------------------


def ask(port: int, source: str, *fields: tuple[str, str]) -> bool:
    """Asks for the first bytes from that address; whether they came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    with closing(connection):
        connection.request("GET", f"/v1/content/{CID}", headers=dict([*fields, ("Range", "bytes=0-9")]))
        return connection.getresponse().read() == DATA[:10]


def test_readers_that_nobody_lists_are_named_by_a_real_server_and_never_contacted(
    tmp_path: Path, stack: ExitStack
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    share = Share(tmp_path / "a")
    manifest = share.add("f", DATA)
    port, _ = stack.enter_context(serving_share(share))
    ben = stack.enter_context(serving(Holder(BEN)))
    ben.add(DATA, set())
    trap = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    where = f"http://127.0.0.1:{trap.getsockname()[1]}/"
    for id in (BEN, ME, NOBODY):
        assert ask(port, "127.0.0.1", ("Shoal-Peer", id), ("Shoal-Readers", where), ("Shoal-Url", where))
    rows = [PeerRow("a" * 64, "anna", f"http://127.0.0.1:{port}")]
    ground = Ground(tmp_path / "b", rows, [ben.row], HttpSources(QUICK))
    stack.callback(ground.swarm.close)
    with ground.swarm.open(PATH, entry_of(manifest)) as reader:
        assert b"".join(within(10, reader.read, at, PIECE) for at in range(0, len(DATA), PIECE)) == DATA
        until(lambda: ben.requests, 10, "who is listed is asked")
    assert NOBODY in ground.found, "the server named it"
    trap.settimeout(0)
    with pytest.raises(BlockingIOError):
        trap.accept()


def test_what_a_real_server_hears_from_another_address_changes_nothing(tmp_path: Path, stack: ExitStack) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    share, mine = Share(tmp_path / "a"), Share(tmp_path / "b")
    entry = entry_of(share.add("f", DATA))
    port, _ = stack.enter_context(serving_share(share))
    my_port, my_server = stack.enter_context(serving_share(mine))
    ben = stack.enter_context(serving(Holder(BEN)))
    ben.add(DATA, set())
    rows = [PeerRow("a" * 64, "anna", f"http://127.0.0.1:{port}")]
    ground = Ground(tmp_path / "b", rows, [ben.row], HttpSources(QUICK))
    stack.callback(ground.swarm.close)
    reader = stack.enter_context(ground.swarm.open(PATH, entry))
    within(10, reader.read, 0, 10)
    until(lambda: ask(my_port, "127.0.0.1"), 10, "the first piece is on disk")
    before = ground.known()
    fields = ("Shoal-Peer", BEN), ("Shoal-Want", "0-9"), ("Shoal-Have", "0 /4A=")
    assert ask(my_port, "127.0.0.2", *fields)
    within(10, my_server.askers.flush, ground.swarm.heard)
    assert ground.known() == before
    assert not ben.requests
    assert ask(my_port, "127.0.0.1", *fields)
    within(10, my_server.askers.flush, ground.swarm.heard)
    assert BEN in ground.known()
