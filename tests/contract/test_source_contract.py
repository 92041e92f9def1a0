"""What every source of bytes must do: the one over HTTP, and the one in memory that other tests trust."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator

import pytest

from peer.swarm.knowledge import fetch_pieces
from peer.swarm.source import HttpSources, Source, Sources, by_cid, by_path
from shoal.errors import Busy, Gone, Misbehaved, Refused, RemoteError, Unreachable
from shoal.manifest import MIB
from shoal.names import safe_path
from tests.support.patience import until, within
from tests.support.swarm_in_memory import QUICK, Faults, Holder, MemorySources, serving

DATA = random.Random(3).randbytes(MIB)


class Case:
    def __init__(self, holder: Holder, sources: Sources) -> None:
        self.holder, self.sources = holder, sources
        self.cid = holder.add(DATA).cid

    @property
    def source(self) -> Source:
        return self.sources.of(self.holder.row)

    def range(self, first: int, end: int) -> bytes:
        with self.source.get(by_cid(self.cid), first, end, MIB) as body:
            return body.read()


@pytest.fixture(params=["memory", "http"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    holder = Holder("a")
    with serving(holder) if request.param == "http" else contextlib.nullcontext():
        sources: Sources = HttpSources(QUICK) if request.param == "http" else MemorySources([holder])
        yield Case(holder, sources)
        sources.close()


def test_a_range_and_the_whole_are_the_bytes(case: Case) -> None:
    assert case.range(10, 300_000) == DATA[10:300_000]
    assert case.range(0, MIB) == DATA
    assert case.range(MIB - 1, MIB) == DATA[-1:]
    assert [(r.first, r.end) for r in case.holder.requests] == [(10, 300_000), (None, None), (MIB - 1, MIB)]


def test_readinto_gives_at_least_a_byte_and_never_more_than_asked(case: Case) -> None:
    view = memoryview(bytearray(70_000))
    got = bytearray()
    with case.source.get(by_cid(case.cid), 5, 200_005, MIB) as body:
        while len(got) < 200_000:
            count = body.readinto(view)
            assert 1 <= count <= len(view)
            got += view[:count]
        with pytest.raises(Misbehaved):
            body.readinto(view)
    assert got == DATA[5:200_005]


def test_manifest_and_pieces(case: Case) -> None:
    manifest = case.holder.files[case.cid][0]
    with case.source.get(f"{by_cid(case.cid)}/manifest") as body:
        assert body.size == len(manifest.encode())
        assert body.read() == manifest.encode()
    case.holder.only[case.cid] = {0, 3}
    case.holder.says[b"shoal-want"] = b"1-3"
    pieces, fields = fetch_pieces(case.source, case.cid, manifest.count, b"Shoal-Peer: x\r\n")
    assert pieces == 0b1001
    assert fields[b"shoal-want"] == b"1-3"
    assert case.holder.requests[-1].say.lower() == b"shoal-peer: x\r\n"


def test_a_name_is_quoted(case: Case) -> None:
    case.holder.names["a b/ü%20?.txt"] = b"hello"
    with case.source.get(by_path(safe_path("a b/ü%20?.txt"))) as body:
        assert body.read() == b"hello"


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(status=404), Gone),
        (Faults(status=410), Gone),
        (Faults(status=416), Gone),
        (Faults(status=503), Busy),
        (Faults(status=429), Busy),
        (Faults(status=403), Refused),
        (Faults(status=302), Misbehaved),
        (Faults(status=500), Misbehaved),
        (Faults(compressed=True), Misbehaved),
        (Faults(unsized=True), Misbehaved),
        (Faults(more=1), Misbehaved),
        (Faults(shifted=True), Misbehaved),
        (Faults(whole_always=True), Misbehaved),
        (Faults(dead=True), Unreachable),
        (Faults(slow=9), Unreachable),
        (Faults(stall_at=70_000), Unreachable),
        (Faults(stall_at=0), Unreachable),
        (Faults(cut_at=70_000), Unreachable),
        (Faults(trickle=0.01), Unreachable),
    ],
    ids=str,
)
def test_each_fault_is_its_error_and_soon(case: Case, faults: Faults, error: type[RemoteError]) -> None:
    case.holder.faults = faults
    with pytest.raises(error) as caught:
        within(3, case.range, 100, 300_100)
    assert type(caught.value) is error
    assert len(case.holder.requests) <= 1, "nobody is asked twice, or led elsewhere"
    case.holder.faults = Faults()
    assert case.range(100, 300_100) == DATA[100:300_100]


def test_a_content_that_it_has_not_is_gone(case: Case) -> None:
    with pytest.raises(Gone):
        case.source.get(by_cid("0" * 64))


def test_closing_ends_a_request_under_way(case: Case) -> None:
    case.holder.faults = Faults(stall_at=10)
    ended: list[float] = []

    def ask() -> None:
        with contextlib.suppress(Unreachable):
            case.range(0, MIB)
        ended.append(time.monotonic())

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: case.holder.requests, 2, "asked")
    case.sources.close()
    thread.join(2)
    assert ended
    with pytest.raises(Unreachable):
        case.source.get(by_cid(case.cid))


# -- what only the real one has ----------------------------------------------------------------------------------------


@pytest.fixture
def http() -> Iterator[Case]:
    holder = Holder("a")
    with serving(holder):
        sources = HttpSources(QUICK)
        yield Case(holder, sources)
        sources.close()


def test_connections_are_kept_and_used_again(http: Case) -> None:
    for _ in range(20):
        http.range(0, MIB)
        http.range(7, 9)
    assert len(http.holder.connections) == 1  # type: ignore[attr-defined]


def test_an_unread_body_costs_its_connection_and_no_more(http: Case) -> None:
    with http.source.get(by_cid(http.cid), 0, 500_000, MIB) as body:
        body.readinto(memoryview(bytearray(10)))
    assert http.range(3, 5) == DATA[3:5]
    assert len(http.holder.connections) == 2  # type: ignore[attr-defined]


def test_a_kept_connection_that_the_holder_closed_is_made_anew_without_an_error(http: Case) -> None:
    first, others = http.holder, Holder("b")
    http.range(0, 10)
    first.faults = Faults(cut_at=5, once=True)
    with pytest.raises(Unreachable):
        http.range(0, 10)
    assert others.requests == []
    http.range(0, 10)
    first.faults = Faults(dead=True)
    connections = len(first.connections)  # type: ignore[attr-defined]
    with pytest.raises(Unreachable):
        http.range(0, 10)
    assert len(first.connections) == connections + 1, "tried once more, on a new connection"  # type: ignore[attr-defined]


def test_idle_connections_are_let_go(http: Case) -> None:
    http.range(0, 10)
    now = time.monotonic()
    assert http.sources.sweep(now)
    assert not http.sources.sweep(now + QUICK.idle_timeout + 1)
    assert http.range(0, 10) == DATA[:10]


def test_no_more_than_its_connections_at_a_time(http: Case) -> None:
    http.holder.faults = Faults(slow=0.05)
    threads = [threading.Thread(target=http.range, args=(0, 1000)) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(http.holder.requests) == 30
    assert len(http.holder.connections) <= 8  # type: ignore[attr-defined]
