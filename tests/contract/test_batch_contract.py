"""Several contents in one answer: what the data server gives, and the holder in memory that other tests trust."""

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peer.swarm import batch
from peer.swarm.source import HttpSources, Source, Sources
from shoal.errors import Gone, Refused
from shoal.manifest import KIB, MIB, manifest_of
from shoal.wire import PeerRow
from tests.support.share_fixture import Share
from tests.support.share_fixture import serving as serving_share
from tests.support.swarm_in_memory import QUICK, Holder, MemorySources, serving

UNKNOWN = "0" * 64
CHANCE = random.Random(5)


class Case:
    """A holder; `give` puts a content there, and tells its cid."""

    def __init__(self, source: Source, give: Callable[[bytes], str]) -> None:
        self.source, self.give = source, give

    def ask(self, *wanted: tuple[str, int]) -> list[bytes | None]:
        answers = list(batch.fetch(self.source, wanted))
        assert [number for number, _ in answers] == list(range(len(wanted)))
        return [data for _, data in answers]


@pytest.fixture(params=["memory", "http", "data server"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with contextlib.ExitStack() as stack:
        holder = Holder("a")
        sources: Sources = MemorySources([holder])
        give = lambda data: holder.add(data).cid  # noqa: E731
        row = holder.row
        if request.param != "memory":
            sources = HttpSources(QUICK)
        if request.param == "http":
            row = stack.enter_context(serving(holder)).row
        if request.param == "data server":
            share = Share(tmp_path)
            give = lambda data: share.add(manifest_of(data).cid, data).cid  # noqa: E731
            port, _ = stack.enter_context(serving_share(share))
            row = PeerRow("a", "name-a", f"http://127.0.0.1:{port}")
        stack.callback(sources.close)
        yield Case(sources.of(row), give)


def test_they_come_in_the_order_asked_and_what_is_not_there_spoils_nothing(case: Case) -> None:
    files = [CHANCE.randbytes(size) for size in (10_000, 1, 0, 70_000)]
    cids = [case.give(data) for data in files]
    wanted = [(cids[3], 70_000), (UNKNOWN, 5), (cids[0], 10_000), (cids[2], 0), (UNKNOWN, 0), (cids[1], 1)]
    assert case.ask(*wanted) == [files[3], None, files[0], files[2], None, files[1]]
    assert case.ask((UNKNOWN, 7)) == [None]


def test_one_that_is_asked_for_twice_comes_twice(case: Case) -> None:
    cid = case.give(b"again")
    assert case.ask((cid, 5), (cid, 5)) == [b"again", b"again"]


def test_a_piece_is_given_and_a_byte_more_is_not(case: Case) -> None:
    piece, more = bytes(256 * KIB), bytes(256 * KIB + 1)
    assert case.ask((case.give(more), len(more)), (case.give(piece), len(piece))) == [None, piece]


def test_at_most_4_mib_are_given_and_what_fits_after_that_is(case: Case) -> None:
    large = CHANCE.randbytes(250 * KIB)
    cid, small = case.give(large), case.give(b"small")
    got = case.ask(*[(cid, len(large))] * 20, (small, 5))
    assert got == [large] * 16 + [None] * 4 + [b"small"]
    assert 17 * len(large) > 4 * MIB


def test_so_many_can_be_asked_for_and_no_more(case: Case) -> None:
    files = [b"even", b"odd"] * (batch.MOST_FILES // 2)
    cids = [case.give(b"even"), case.give(b"odd")] * (batch.MOST_FILES // 2)
    assert case.ask(*[(cid, len(data)) for cid, data in zip(cids, files, strict=True)]) == files
    with pytest.raises(Refused):
        case.source.get(batch.PREFIX + ",".join([*cids, cids[0]]))


@pytest.mark.parametrize("asked", ["", "{},", ",{}", "{},,{}", "{};{}", "{}/manifest", "{}0", "A{}", "..", "{},../x"])
def test_what_is_no_list_of_ids_is_refused_whole(case: Case, asked: str) -> None:
    cid = case.give(b"here")
    with pytest.raises(Refused) as caught:
        case.source.get(batch.PREFIX + asked.replace("{}", cid))
    assert caught.value.status == 400
    assert case.ask((cid, 4)) == [b"here"], "and nothing is wrong afterwards"


def test_who_does_not_know_such_a_request_says_that_it_is_not_there() -> None:
    holder = Holder("a")
    holder.old = 404
    cid = holder.add(b"here").cid
    with pytest.raises(Gone):
        list(batch.fetch(MemorySources([holder]).of(holder.row), [(cid, 4)]))
