"""Fetching ahead, over a swarm and a scanner in memory that tests change."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from peer.messages import Kept
from peer.swarm.pending import Done, Pending
from peer.warm.jobs import MOST, PATIENCE, Job, Jobs
from peer.warm.line import SMALL, Failure, Line, Tally, Wanted
from peer.warm.warm import LARGE, UNKEPT, Run, Warm
from shoal.errors import Busy, Gone, Unreachable
from shoal.names import safe_path
from shoal.wire import Entry
from tests.support.patience import until


def wanted(number: int, size: int | None = 1000) -> Wanted:
    return Wanted(f"f{number}", safe_path(f"f{number}"), Entry(f"{number:064x}", size, 0))


def big(number: int) -> Wanted:
    return wanted(number, 3 << 20)


# What comes next.


def test_small_files_go_before_a_large_one_that_must_wait() -> None:
    line = Line(iter([big(0), wanted(1), big(2), wanted(3)]))
    assert [line.next(False), line.next(False), line.next(False)] == [wanted(1), wanted(3), None]
    assert not line.over
    assert [line.next(True), line.next(True), line.next(True)] == [big(0), big(2), None]
    assert line.over


def test_no_more_of_a_walk_is_held_than_there_is_use_for() -> None:
    taken = itertools.count()
    line = Line(big(next(taken)) for _ in range(10**9))
    assert line.next(False) is None
    assert next(taken) <= 1001


def test_rate_and_time_left() -> None:
    tally = Tally(files_total=4, bytes_total=4000, counted=True)
    assert tally.rate(0.0) == 0.0 and tally.left(0.0) is None
    tally.read(1000, 0.0)
    tally.read(1000, 2.0)
    assert (tally.rate(2.0), tally.left(2.0)) == (500.0, 4.0)
    tally.fail("x", "gone", 1000)
    assert tally.left(2.0) == 2.0 and tally.bytes == 3000
    assert tally.rate(100.0) == 0.0, "of what was fetched long ago nothing is left"


# Fetching.


class FakeReader:
    def __init__(self, ground: "Ground", file: Wanted) -> None:
        self._ground, self._file = ground, file
        self.cid, self.size = file.entry.cid or "9" * 64, file.size or 5000
        self.open = True

    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        ground, file = self._ground, self._file
        assert self.open
        pending = Pending(offset, size, done)
        ground.reads.append((file.shown, offset))

        def end() -> None:
            error = ground.errors.get(file.shown)
            if error is None and offset + size == self.size and file.shown not in ground.unkept:
                ground.keeping.add(self.cid)
                threading.Thread(target=ground.keep, args=(file, self.cid)).start()
            done((bytes(size),), error)

        if file.shown in ground.stuck:
            ground.pending.append(pending)
            return pending
        end()
        return None

    def close(self) -> None:
        if self.open:
            self.open = False
            self._ground.opened.remove(self)


class Ground:
    """`errors` by path; `stuck`: reads that never end; `unkept`: files that nobody keeps; `silent`: kept, not said."""

    def __init__(self) -> None:
        self.errors: dict[str, BaseException] = {}
        self.stuck: set[str] = set()
        self.unkept: set[str] = set()
        self.silent: set[str] = set()
        self.refused: dict[str, str] = {}
        self.here: set[str] = set()
        self.keeping: set[str] = set()
        self.reads: list[tuple[str, int]] = []
        self.opened: list[FakeReader] = []
        self.most_large = 0
        self.pending: list[Pending] = []
        self.busy = False
        self.warm = Warm(self._open, self._state, self.keeping.__contains__, lambda: self.busy)

    def _open(self, file: Wanted) -> FakeReader:
        reader = FakeReader(self, file)
        self.opened.append(reader)
        self.most_large = max(self.most_large, sum(reader.size > SMALL for reader in list(self.opened)))
        return reader

    def _state(self, path: str, entry: Entry) -> str:
        return "here" if path in self.here else "remote"

    def keep(self, file: Wanted, cid: str) -> None:
        why = self.refused.get(file.shown, "")
        if not why:
            self.here.add(file.path)
        if file.shown not in self.silent:
            self.warm.kept(Kept(file.path, cid, "" if why else "local", why))
        self.keeping.discard(cid)

    def run(self, *files: Wanted, seconds: float = 20) -> Run:
        run = self.warm.start(lambda: iter(files))
        assert run.done.wait(seconds), vars(run.tally)
        return run


@pytest.fixture
def ground() -> Iterator[Ground]:
    made = Ground()
    try:
        yield made
    finally:
        made.warm.close()
        assert not made.opened


def test_all_files_are_fetched_to_their_end_and_kept(ground: Ground) -> None:
    files = [wanted(n) if n % 10 else big(n) for n in range(500)]
    tally = ground.run(*files).tally
    assert (tally.files, tally.files_total, tally.failed, tally.here) == (500, 500, 0, 0)
    assert tally.bytes == tally.bytes_total == sum(file.size for file in files)
    assert ground.here == {file.path for file in files}
    assert ground.most_large <= LARGE


def test_what_is_here_and_links_are_not_fetched(ground: Ground) -> None:
    ground.here.add("f1")
    link = Wanted("l", safe_path("l"), Entry("a" * 64, 0, 0, link="f1"))
    tally = ground.run(wanted(1), link).tally
    assert ground.reads == [] and tally.here == tally.files == 2


def test_what_fails_is_named_and_the_others_go_on(ground: Ground) -> None:
    ground.errors = {"f3": Unreachable("nobody alive has it"), "f5": ZeroDivisionError("a bug")}
    ground.refused = {"f7": "no space left on the share's disk"}
    tally = ground.run(*(wanted(n) for n in range(10))).tally
    assert tally.files == 10 and tally.bytes == tally.bytes_total
    assert sorted(tally.failures, key=lambda failure: failure.path) == [
        Failure("f3", "nobody alive has it"),
        Failure("f5", "an error inside the peer: ZeroDivisionError('a bug')"),
        Failure("f7", "not kept: no space left on the share's disk"),
    ]


def test_what_is_read_and_kept_by_nobody_is_a_failure(ground: Ground) -> None:
    ground.unkept = {"f1"}
    tally = ground.run(wanted(0), wanted(1)).tally
    assert tally.failures == [Failure("f1", "not kept: there is no room for it")]


def test_an_answer_of_the_scanner_that_was_missed_is_found_in_the_index(ground: Ground) -> None:
    ground.silent = {"f1"}
    assert not ground.run(wanted(0), wanted(1)).tally.failed


def test_one_of_unknown_size_is_kept_under_the_cid_that_it_turns_out_to_have(ground: Ground) -> None:
    file = Wanted("old", safe_path("old"), Entry("", None, 0, sha1="1" * 40))
    tally = ground.run(file).tally
    assert (tally.failed, tally.bytes, tally.bytes_total) == (0, 5000, 5000)


def test_what_turns_out_to_be_so_large_before_all_are_counted_counts_as_well(ground: Ground) -> None:
    file = Wanted("old", safe_path("old"), Entry("", None, 0, sha1="1" * 40))
    runs: list[Run] = []
    numbers = itertools.count()

    def files(number: int) -> Iterator[Wanted]:
        yield file
        if number:  # the first list is read, the second one is counted
            until(lambda: runs and runs[0].tally.bytes, 10, "the file is read")

    runs.append(ground.warm.start(lambda: files(next(numbers))))
    assert runs[0].done.wait(20)
    assert (runs[0].tally.bytes, runs[0].tally.bytes_total) == (5000, 5000)


def test_cancelled_it_ends_although_a_read_is_stuck(ground: Ground) -> None:
    ground.stuck = {"f0", "f1"}
    run = ground.warm.start(lambda: iter([wanted(0), big(1), *(wanted(n) for n in range(2, 100_000))]))
    until(lambda: len(ground.pending) == 2, 10, "both are stuck")
    run.cancel()
    assert run.done.wait(10)
    assert all(pending.forgotten for pending in ground.pending)
    read = len(ground.reads)
    time.sleep(0.3)
    assert len(ground.reads) == read, "nothing is fetched any more"


def test_no_more_than_so_many_wait_to_be_kept(ground: Ground) -> None:
    """Small files are in memory until the scanner has them."""
    release = threading.Event()
    keep = ground.keep

    def late(file: Wanted, cid: str) -> None:
        release.wait(20)
        keep(file, cid)

    ground.keep = late  # type: ignore[method-assign]
    run = ground.warm.start(lambda: (wanted(n) for n in range(2 * UNKEPT)))
    until(lambda: len(ground.reads) >= UNKEPT, 10, "as many are read as may be")
    time.sleep(0.3)
    assert len(ground.reads) <= UNKEPT + 8
    release.set()
    assert run.done.wait(20) and not run.tally.failed


def test_who_reads_goes_first_but_does_not_stop_it_for_ever(ground: Ground) -> None:
    ground.busy = True
    run = ground.warm.start(lambda: iter([big(0)]))
    until(lambda: run._counting and run._open, 10, "it has begun")
    time.sleep(0.3)
    assert not ground.opened, "nothing is open, so nothing is fetched ahead"
    until(lambda: ground.reads, 10, "it goes on all the same")
    ground.busy = False
    assert run.done.wait(10)
    assert [offset for _, offset in ground.reads] == [0, 1 << 20, 2 << 20]


def test_runs_take_turns(ground: Ground) -> None:
    ground.busy = True  # so that both are there before anything is fetched
    ended: list[str] = []
    long = ground.warm.start(lambda: (wanted(n) for n in range(2000)), lambda run: ended.append("long"))
    short = ground.warm.start(lambda: iter([wanted(9000)]), lambda run: ended.append("short"))
    ground.busy = False
    assert long.done.wait(30) and short.done.wait(30)
    until(lambda: len(ended) == 2, 5, "both are told")
    assert ended == ["short", "long"]


def test_its_threads_end(ground: Ground) -> None:
    ground.run(wanted(1))
    ground.warm.close()
    until(lambda: not ground.warm._threads, 5, "its threads ended")


# Jobs.


class Count(Job):
    def __init__(self) -> None:
        self.cancelled = 0

    def progress(self, after: int) -> dict[str, Any]:
        return {"done": False, "after": after}

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def jobs() -> Iterator[tuple[Jobs, Callable[[float], None]]]:
    now = [0.0]

    def passes(seconds: float) -> None:
        now[0] += seconds

    made = Jobs(lambda: now[0])
    yield made, passes
    made.close()


def test_a_job_that_nobody_asks_after_ends(jobs: tuple[Jobs, Callable[[float], None]]) -> None:
    made, passes = jobs
    asked, left = Count(), Count()
    name, other = made.add(asked), made.add(left)
    passes(PATIENCE - 1)
    assert made.progress(name, 3) == {"job": name, "done": False, "after": 3}
    passes(2)
    made.sweep()
    assert (asked.cancelled, left.cancelled) == (0, 1)
    with pytest.raises(Gone):
        made.progress(other, 0)
    made.cancel(name)
    made.cancel(name)
    assert asked.cancelled == 1


def test_too_many_jobs_are_refused(jobs: tuple[Jobs, Callable[[float], None]]) -> None:
    made, _ = jobs
    for _ in range(MOST):
        made.check_room()
        made.add(Count())
    with pytest.raises(Busy):
        made.check_room()


def test_at_the_end_all_jobs_end() -> None:
    made, job = Jobs(), Count()
    made.add(job)
    made.close()
    assert job.cancelled == 1
