"""A crowd that begins one file at once, in simulated time: what it costs the source, and the last of the crowd."""

import pytest

from peer.swarm import neighbours
from tests.support.simulated_swarm.crowd import Crowd

MIB = 1 << 20
RATE = 12e6


def test_a_crowd_costs_its_source_little_more_than_one_reader() -> None:
    """Without the source's choosing what it gave least often it gives twice the file, and the last waits as long."""
    outcome = Crowd(64 * MIB, [RATE] * 40, seed=1).play()
    assert not outcome.errors
    assert outcome.given < 1.7
    assert outcome.last < 1.7


def test_a_crowd_of_which_each_knows_a_few_does_not_fall_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each knows the first that it met, groups hear nothing of each other: the source gives it seven times."""
    monkeypatch.setattr(neighbours, "MOST", 8)
    outcome = Crowd(32 * MIB, [RATE] * 80, seed=1).play()
    assert not outcome.errors
    assert outcome.given < 3.5
    assert outcome.last < 3.5


def test_readers_on_mixed_lines_read_to_the_end_though_some_leave_and_others_come_late() -> None:
    outcome = Crowd(32 * MIB, [RATE / 2, RATE, 2 * RATE] * 10, seed=1, churn=True).play()
    assert not outcome.errors
    assert outcome.last < 1.5
