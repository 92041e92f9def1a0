"""What is asked for, and when: the plan for one reader."""

import math

from peer import bitmap
from peer.swarm.plan import (
    DEFER,
    FEW_RUNS,
    KIB,
    LITTLE,
    PATIENCE,
    PER_HOLDER,
    RUN,
    RUN_TIME,
    RUNS,
    SILENT,
    URGENT,
    Plan,
    Wait,
)
from peer.swarm.window import MIB, Window
from tests.support.planning import COUNT, PIECE, SIZE, all_runs, at_rate, fast, new_plan, reading


def test_nothing_is_fetched_that_nobody_wants() -> None:
    assert all_runs(new_plan("a")) == []
    plan = new_plan("a")
    reading(plan, (20 * MIB, 4096))
    assert all_runs(plan) == []


def test_the_blocked_piece_comes_first_and_alone_after_a_jump() -> None:
    plan = new_plan("a", "b")
    reading(plan, (0, MIB), (MIB, MIB))
    reading(plan, (50 * MIB, 4096))
    plan.waits.append(Wait(200, 201))
    run = plan.next(1.0)
    assert run is not None
    assert (run.first, run.end) == (200, 201)


def test_the_blocked_run_goes_on_into_the_window() -> None:
    plan = new_plan("a")
    reading(plan, (0, MIB))
    plan.waits.append(Wait(0, 4))
    run = plan.next(1.0)
    assert run is not None
    assert (run.first, run.end) == (0, LITTLE // PIECE)
    again = fast(new_plan("a"), "a")
    reading(again, (0, MIB))
    again.waits.append(Wait(0, 4))
    run = again.next(1.0)
    assert run is not None
    assert (run.first, run.end) == (0, 3 * MIB // PIECE)


def test_what_is_here_or_under_way_is_not_asked_again() -> None:
    plan = new_plan("a", "b", here=bitmap.of_flags(bytes([0, 1] * (COUNT // 2))))
    reading(plan, *((offset, MIB) for offset in range(0, 16 * MIB, MIB)))
    runs = all_runs(plan)
    pieces = [n for run in runs for n in range(run.first, run.end)]
    assert len(pieces) == len(set(pieces))
    assert all(n % 2 == 0 for n in pieces)


def test_runs_are_bounded_each_and_together() -> None:
    plan = fast(new_plan("a"), "a")
    reading(plan, *((offset, MIB) for offset in range(0, 5 * MIB, MIB)))
    assert [(run.end - run.first) * PIECE for run in all_runs(plan)] == [RUN] * PER_HOLDER
    plan = new_plan(*"abcdefghijkl")
    for holder in "abc":
        at_rate(plan, holder, 16 * MIB)
    reading(plan, *((offset, MIB) for offset in range(0, 5 * MIB, MIB)))
    runs = all_runs(plan)
    assert len(runs) == RUNS
    assert {(run.end - run.first) * PIECE for run in runs} == {int(16 * MIB * RUN_TIME), LITTLE}
    assert max(holding.active for holding in plan.holdings.values()) <= PER_HOLDER
    plan.waits += [Wait(n, n + 1) for n in range(200, 256)]
    more = all_runs(plan)
    assert len(runs) + len(more) <= RUNS * URGENT
    assert all(run.first >= 200 for run in more)
    assert max(holding.active for holding in plan.holdings.values()) <= PER_HOLDER * URGENT
    plan = new_plan(*"abcdefghijklmnop")
    plan.waits += [Wait(n, n + 1) for n in range(0, COUNT, 4)]
    assert len(all_runs(plan)) == RUNS * URGENT


def test_many_runs_are_under_way_only_if_they_come_soon() -> None:
    """Else the piece that a reader waits for next shares its line with too many others."""
    for rate, most in ((512 * KIB, RUNS), (128 * KIB, FEW_RUNS)):
        plan = new_plan(*"abcdefghijkl")
        for holder in plan.holdings:
            at_rate(plan, holder, rate)
        reading(plan, *((offset, MIB) for offset in range(0, 5 * MIB, MIB)))
        assert len(all_runs(plan)) == most
        plan.waits.append(Wait(200, 201))
        run = plan.next(1.0)
        assert run is not None and run.first == 200  # who waits is served all the same


def test_holders_take_turns() -> None:
    plan = new_plan("a", "b", "c")
    seen = []
    for number in range(0, 12, 2):
        plan.waits = [Wait(number, number + 1)]
        run = plan.next(1.0)
        assert run is not None
        seen.append(run.holder)
        plan.arrived(number)
        plan.ended(run, 1.0)
    assert seen == ["a", "b", "c"] * 2


def test_a_run_that_fails_leaves_its_pieces_open() -> None:
    plan = new_plan("a", "b")
    reading(plan, (0, MIB))
    plan.waits.append(Wait(0, 1))
    run = plan.next(1.0)
    assert run is not None
    plan.arrived(0)
    plan.ended(run, 1.0)
    again = plan.next(1.0)
    assert again is not None
    assert (again.holder, again.first) == ("b", 4)  # 1 to 3 are behind the reader's position
    plan.waits.append(Wait(1, 4))
    blocked = plan.next(1.0)
    assert blocked is not None
    assert (blocked.first, blocked.end) == (1, 4)


def test_a_short_run_ahead_waits_until_it_is_worth_it() -> None:
    plan = Plan(4 * SIZE, PIECE, 0, lambda id: 0.0)
    plan.hold("a", None)
    window = Window(4 * SIZE)
    plan.windows.append(window)
    for offset in range(0, 8 * MIB, MIB):
        window.read(offset, MIB)
    for number in range(window.end // PIECE):
        plan.arrived(number)
    window.read(8 * MIB, PIECE)
    assert plan.next(1.0) is None
    window.read(8 * MIB + PIECE, RUN)
    assert plan.next(1.0) is not None


def test_the_benched_are_not_asked_and_partial_holders_for_what_they_have() -> None:
    plan = new_plan("a", "b", not_before={"a": 5.0})
    plan.hold("b", bitmap.of_flags(bytes([1, 0] * (COUNT // 2))))
    plan.waits.append(Wait(0, 4))
    runs = all_runs(plan, 1.0)
    assert [(run.holder, run.first, run.end) for run in runs] == [("b", 0, 1), ("b", 2, 3)]
    assert [(run.holder, run.first) for run in all_runs(plan, 1.4)] == []
    for run in runs:
        plan.ended(run, 1.4)
    plan.waits = [Wait(1, 2), Wait(3, 4)]
    assert [(run.holder, run.first) for run in all_runs(plan, 5.0)] == [("a", 1), ("a", 3)]


def test_outlook() -> None:
    not_before = {"a": 0.0}
    plan = new_plan("a", not_before=not_before)
    wait = Wait(0, 1, 1.0)
    assert plan.outlook(wait, 1.0) == 1.0 + DEFER
    not_before["a"] = 1.0 + PATIENCE / 2
    assert plan.outlook(wait, 1.0) == not_before["a"], "its penalty ends soon: worth waiting"
    not_before["a"] = 1.0 + 2 * PATIENCE
    assert plan.outlook(wait, 1.0) is None
    not_before["a"] = 0.0
    plan.waits.append(wait)
    assert plan.next(1.0) is not None
    assert plan.outlook(wait, 1.1) == 1.0 + SILENT, "then it is late"
    plan.arrived(0)
    assert plan.outlook(wait, 1.0) == math.inf
    assert new_plan().outlook(wait, 1.0) is None


def test_what_was_lost_is_wanted_again() -> None:
    plan = new_plan("a", here=bitmap.span(0, COUNT))
    assert plan.missing == 0
    reading(plan, (0, MIB), (MIB, MIB))
    assert plan.next(1.0) is None
    plan.lost(COUNT - 1)
    plan.lost(12)
    assert plan.missing == 2
    plan.waits.append(Wait(12, 13))
    run = plan.next(1.0)
    assert run is not None
    assert run.first == 12


def test_holders_that_left_are_forgotten_when_their_runs_are_over() -> None:
    plan = new_plan("a", "b")
    plan.waits.append(Wait(0, 1))
    run = plan.next(1.0)
    assert run is not None
    plan.keep_only(set())
    assert set(plan.holdings) == {"a"}
    plan.ended(run, 1.0)
    plan.keep_only(set())
    assert plan.next(1.0) is None
