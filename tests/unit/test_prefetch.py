"""What is fetched ahead of a reader of small files: of which, when, how much; none of it kept before it is read."""

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peer.swarm.batch import table_of
from peer.swarm.source import Source
from peer.swarm.streaks import FIRST, SPARE, Next
from shoal.manifest import KIB
from shoal.names import SafePath
from shoal.wire import PeerRow
from tests.support.patience import until, within
from tests.support.small_folder import SmallFolder
from tests.support.swarm_in_memory import QUICK

NAMES = [f"d/{number:03}" for number in range(200)]
Make = Callable[..., SmallFolder]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a folder of 200 files of 10 KiB, or others."""
    made: list[SmallFolder] = []

    def make(names: list[str] = NAMES, size: int = 10 * KIB, **more: object) -> SmallFolder:
        made.append(SmallFolder(tmp_path / str(len(made)), names, size, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for folder in made:
        within(20, folder.close)


def test_who_reads_a_folder_has_it_fetched_once_in_few_requests(make: Make) -> None:
    folder = make()
    folder.right(*NAMES)
    assert {folder.asked(name) for name in NAMES} == {1}
    assert folder.requests <= FIRST + 12
    stats = folder.swarm.stats()
    assert stats.fetched_ahead == stats.used_ahead == (len(NAMES) - FIRST) * 10 * KIB
    assert sum(stats.fetched.values()) == len(NAMES) * 10 * KIB
    assert folder.swarm.ahead == 0


def test_two_are_no_reason_and_three_are_one_for_six(make: Make) -> None:
    folder = make()
    folder.right(*NAMES[: FIRST - 1])
    assert folder.ahead() == [] and folder.batches == []
    folder.right(NAMES[FIRST - 1])
    assert folder.ahead() == NAMES[FIRST : 3 * FIRST]
    assert folder.batches == [2 * FIRST]


def test_a_reader_who_does_not_wait_gets_the_same_bytes_and_nothing_twice(make: Make) -> None:
    folder = make()
    folder.right(*NAMES, wait=False)
    assert {folder.asked(name) for name in NAMES} <= {1, 2}
    assert sum(folder.asked(name) for name in NAMES) <= len(NAMES) + 3, "what is on its way is waited for"
    assert folder.requests < len(NAMES) / 2


def test_without_a_list_of_what_follows_each_is_one_request(make: Make) -> None:
    """That is what --no-prefetch makes of it."""
    folder = make(ahead=False)
    folder.right(*NAMES[:30])
    assert (folder.requests, folder.batches, folder.swarm.ahead) == (30, [], 0)
    assert folder.swarm.stats().fetched_ahead == 0


def test_it_stops_when_the_reader_goes_elsewhere(make: Make) -> None:
    folder = make()
    folder.right(*NAMES[:5])
    ahead = folder.ahead()
    for name in random.Random(1).sample(NAMES[50:], 20):
        folder.right(name)
    assert folder.ahead() == ahead, "no more was fetched"
    folder.right(*NAMES[5:30])
    assert folder.asked(NAMES[29]) == 1, "and it goes on when he comes back"
    assert folder.asked(NAMES[31]) == 1


def test_same_bytes_at_two_paths_are_fetched_once(make: Make) -> None:
    folder = make()
    for name in NAMES[6:9]:
        folder.entries[name], folder.files[name] = folder.entries[NAMES[5]], folder.files[NAMES[5]]
    folder.right(*NAMES[:20])
    assert folder.asked(NAMES[5]) == 1


def test_what_is_in_memory_and_not_kept_yet_is_not_fetched_again(make: Make) -> None:
    folder = make()
    folder.answers = False
    folder.right(NAMES[10], *NAMES[:20])
    assert folder.asked(NAMES[10]) == 1


# --- bounds


def everywhere(chance: random.Random) -> list[str]:
    """A reader who begins in many places, and goes on in none."""
    return [f"{folder:02}/{number:02}" for folder in chance.sample(range(60), 60) for number in range(FIRST)]


def test_what_is_fetched_and_never_read_is_a_bounded_share(make: Make) -> None:
    """At any moment: at most the spare, and a quarter of what was read; what was read ahead of it is no more credit."""
    names = [f"{folder:02}/{number:02}" for folder in range(63) for number in range(20)]
    folder = make(names, 50 * KIB)
    for name in [*names[-60:], *everywhere(random.Random(2))]:
        folder.right(name)
        assert folder.unread <= SPARE + folder.read_bytes // 4
    assert folder.unread > SPARE, "the test is one of it"
    assert sum(folder.swarm.stats().fetched.values()) <= SPARE + 1.25 * folder.read_bytes


def test_what_did_not_come_is_not_paid_for(make: Make) -> None:
    """Else a holder that lost some files would soon have the others not fetched ahead either."""
    folder = make(size=100 * KIB)
    folder.lie(lambda body: table_of([None] * folder.batches[-1]))
    folder.right(*NAMES[:60])
    assert sum(folder.batches) > 40 and folder.swarm.stats().fetched_ahead == 0
    folder.lie(lambda body: body)
    folder.right(*NAMES[60:160])
    assert folder.swarm.stats().used_ahead >= 50 * 100 * KIB


def test_memory_is_bounded_the_oldest_goes_first_and_what_went_is_read_all_the_same(make: Make) -> None:
    names = [f"{folder:02}/{number:02}" for folder in range(15) for number in range(20)]
    folder = make(names, 10 * KIB, config=replace(QUICK, ahead=200 * KIB))
    seen: list[str] = []
    for at in range(15):
        for number in range(FIRST):
            folder.right(f"{at:02}/{number:02}")
            assert folder.swarm.ahead == 10 * KIB * len(folder.ahead()) <= 200 * KIB
        seen += [name for name in folder.ahead() if name not in seen]
    assert len(seen) == 15 * 2 * FIRST, "and of each folder some were fetched"
    assert folder.ahead() == seen[-20:]
    folder.right(*seen[:10])


def test_while_much_waits_to_be_kept_nothing_is_fetched_ahead(make: Make) -> None:
    folder = make(config=replace(QUICK, memory=100 * KIB))
    folder.answers = False
    folder.right(*NAMES[:6])
    before = folder.swarm.stats().fetched_ahead
    assert before > 0 and folder.swarm._commons.keeper.crowded
    folder.right(*NAMES[6:40])
    assert folder.swarm.stats().fetched_ahead == before


def test_no_more_than_four_requests_are_under_way(make: Make) -> None:
    names = [f"{folder:02}/{number:02}" for folder in range(12) for number in range(20)]
    folder = make(names, 1 * KIB)
    prefetch = folder.swarm._prefetch
    assert prefetch is not None
    go_on, fetch = threading.Event(), prefetch._fetch_together

    def held(row: PeerRow, source: Source, left: list[Next]) -> None:
        assert go_on.wait(20)
        fetch(row, source, left)

    prefetch._fetch_together = held  # type: ignore[method-assign]
    folder.right(*[f"{folder:02}/{number:02}" for folder in range(12) for number in range(FIRST)], wait=False)
    until(lambda: not prefetch._working, 10, "all that is wished for is asked for")
    assert prefetch._flying == 4
    go_on.set()
    folder.settle()
    assert len(folder.ahead()) >= 4 * 2 * FIRST


# --- kept and told


def test_only_what_is_read_is_kept(make: Make) -> None:
    folder = make()
    folder.right(*NAMES[:20])
    wanted = {folder.entries[name].cid for name in NAMES[:20]}
    until(lambda: folder.kept >= wanted, 10, "they are kept")
    assert len(folder.ahead()) >= 10
    room = folder.swarm._commons.room
    for name in folder.ahead():
        cid = folder.entries[name].cid
        assert room.size("coming", cid) == room.size("copy", cid) == 0
        assert folder.swarm._commons.memory.get(cid, 0) is None
        assert folder.swarm.state(folder.entries[name]) == "remote"
    within(20, folder.close)
    assert folder.kept == wanted
    assert not list(folder.swarm._commons.layout.partial.iterdir())


def test_what_is_dropped_is_fetched_when_it_is_read(make: Make) -> None:
    folder = make()
    folder.right(*NAMES[:10])
    ahead = folder.ahead()
    assert folder.swarm.drop_ahead() == len(ahead) * 10 * KIB
    folder.right(*ahead)
    assert folder.asked(ahead[0]) == 2


def test_a_handle_has_the_bytes_whatever_becomes_of_them(make: Make) -> None:
    folder = make()
    folder.right(*NAMES[:3])
    with folder.swarm.open(SafePath(NAMES[3]), folder.entries[NAMES[3]]) as reader:
        folder.swarm.drop_ahead()
        folder.holders[0].faults.dead = True
        assert reader.read(0, 100) == folder.files[NAMES[3]][:100]


def test_the_end_does_not_wait_for_what_is_fetched_ahead(make: Make) -> None:
    folder = make(config=replace(QUICK, stall_timeout=60.0))
    folder.right(*NAMES[:2])
    folder.holders[0].faults.stall_at = 60_000
    folder.right(NAMES[2], wait=False)
    until(lambda: folder.batches, 10, "it is being fetched")
    within(10, folder.close)
