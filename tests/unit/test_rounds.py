"""The pace of a scrub: pure, so that time passes here as a test says."""

import itertools
import random

from peer.share.rounds import COST, RATE, Round, rest, wait

DAY = 86400.0


def read_all(sizes: list[int], every: float, now: float, speed: float = 100 << 20) -> tuple[list[float], Round]:
    """When each file was read, in seconds since the pass was due; files of at most one piece each."""
    round, total = Round(now), sum(sizes) + COST * len(sizes)
    at = []
    for size in sizes:
        while pause := wait(round, total, every, now):
            now += pause
        at.append(now - round.began)
        took = size / speed
        round.cost += size + COST
        round.files += 1
        now += took + rest(size + COST, took)
    round.ended = now
    return at, round


def test_a_pass_takes_its_time_and_is_even() -> None:
    sizes = [random.Random(7).randrange(1 << 20) for _ in range(3000)]
    at, _ = read_all(sizes, 30 * DAY, 1000.0)
    for tenth in range(1, 10):
        read = sum(size + COST for size, when in zip(sizes, at, strict=True) if when <= tenth * 3 * DAY)
        assert abs(read / (sum(sizes) + COST * len(sizes)) - tenth / 10) < 0.01


def test_who_is_late_catches_up_no_faster_than_the_rate() -> None:
    at, _ = read_all([1 << 20] * 2000, 1.0, 0.0)  # two thousand megabytes in a second: it cannot be
    assert all(later - earlier >= 0.99 * (1 << 20) / RATE for earlier, later in itertools.pairwise(at))


def test_many_empty_files_cost_as_well() -> None:
    at, _ = read_all([0] * 5000, 1.0, 0.0)
    assert at[-1] >= 0.99 * 4999 * COST / RATE


def test_the_next_pass_is_due_when_the_time_of_this_one_is_over() -> None:
    round = Round(100.0, ended=150.0, files=7)
    assert wait(round, 0, 1000.0, 151.0) == 949.0
    assert wait(round, 0, 1000.0, 1100.0) == 0.0
    assert round.next(1100.0, 1000.0) == Round(1100.0, last=150.0)
    # The peer was off for a year: one pass is made up for, not twelve.
    assert round.next(50_000.0, 1000.0).began == 50_000.0


def test_a_clock_that_was_set_back_does_not_stop_it_for_longer_than_a_pass() -> None:
    assert wait(Round(10_000.0), 10, 60.0, 0.0) == 60.0
