"""Who is asked for what: the plan where several have a file, and several read it."""

import pytest

from peer import bitmap
from peer.swarm.plan import DEFER, LITTLE, Plan, Wait
from peer.swarm.window import MIB
from tests.support.planning import COUNT, PIECE, SIZE, all_runs, at_rate, new_plan, reading


def test_who_gives_faster_is_asked_first_for_what_a_reader_waits_for() -> None:
    plan = new_plan("slow", "fast", "new")
    at_rate(plan, "slow", MIB)
    at_rate(plan, "fast", 10 * MIB)
    plan.waits.append(Wait(200, 201))
    run = plan.next(1.0)
    assert run is not None
    assert run.holder == "fast"


def test_runs_are_as_long_as_their_holder_gives_in_a_moment_and_a_new_one_is_tried_with_little() -> None:
    plan = new_plan("slow", "fast", "new")
    at_rate(plan, "slow", 4 * MIB)
    at_rate(plan, "fast", 16 * MIB)
    reading(plan, *((offset, MIB) for offset in range(0, 5 * MIB, MIB)))
    lengths = {run.holder: (run.end - run.first) * PIECE for run in all_runs(plan)}
    assert lengths == {"slow": MIB, "fast": 4 * MIB, "new": LITTLE}


@pytest.mark.parametrize("known", [True, False])
def test_a_slow_holder_is_asked_only_for_what_no_faster_one_has(known: bool) -> None:
    """Nor one who may be faster, as far as known."""
    plan = new_plan("fast")
    plan.hold("fast", bitmap.span(0, COUNT - 2))
    plan.hold("crawls", None)
    at_rate(plan, "crawls", MIB // 32)
    if known:
        at_rate(plan, "fast", 10 * MIB)
    reading(plan, *((offset, MIB) for offset in range(0, 5 * MIB, MIB)))
    runs = all_runs(plan)
    assert {n for run in runs if run.holder == "crawls" for n in range(run.first, run.end)} <= {COUNT - 2, COUNT - 1}
    assert any(run.holder == "fast" for run in runs)


def test_a_rate_is_forgotten_so_that_who_was_slow_is_tried_again() -> None:
    plan = new_plan("a")
    at_rate(plan, "a", MIB)
    pace = plan.holdings["a"].pace
    assert pace.rate(1.0) > 0
    assert pace.rate(100.0) == 0


def test_who_lied_is_asked_when_nobody_else_has_it() -> None:
    plan = Plan(SIZE, PIECE, 0, lambda id: 0.0, lambda id: id == "liar")
    plan.hold("liar", None)
    plan.hold("other", bitmap.span(0, 4))
    plan.waits.append(Wait(0, 8))
    asked = {n: run.holder for run in all_runs(plan) for n in range(run.first, run.end)}
    assert asked == {n: "other" if n < 4 else "liar" for n in range(8)}


def crowd(me: str, *others: str) -> Plan:
    """A plan among readers of the whole file; nobody has anything but the owner."""
    plan = Plan(SIZE, PIECE, 0, lambda id: 0.0, me=me)
    plan.hold("owner", None)
    for other in others:
        plan.hold(other, 0)
        plan.news(other, 0, (0, COUNT), 1.0)
    reading(plan, *((offset, MIB) for offset in range(0, 5 * MIB, MIB)))
    return plan


def test_who_lied_waits_for_who_did_not_though_it_is_faster() -> None:
    plan = Plan(SIZE, PIECE, 0, lambda id: 0.0, doubted=lambda id: id == "liar")
    for holder in ("liar", "other"):
        plan.hold(holder, None)
    at_rate(plan, "liar", 100 * MIB)
    plan.waits.append(Wait(0, 1))
    assert [run.holder for run in all_runs(plan)] == ["other"]


def test_what_is_asked_of_a_holder_already_makes_it_later() -> None:
    plan = new_plan("a", "b")
    at_rate(plan, "a", 12 * MIB)
    at_rate(plan, "b", 10 * MIB)
    plan.waits += [Wait(0, 1), Wait(100, 101)]
    assert [run.holder for run in all_runs(plan)] == ["a", "b"]


def test_readers_that_give_soonest_are_asked_first() -> None:
    plan = crowd("me", "fast", "slow")
    for holder, rate in (("slow", 2 * MIB), ("fast", 8 * MIB)):
        plan.news(holder, bitmap.span(64, 128), (0, 0), 1.0)
        at_rate(plan, holder, rate)
    plan.holdings["fast"].turn = 1  # it was asked last
    assert next(run.holder for run in all_runs(plan) if run.holder != "owner") == "fast", (
        "though it is the other's turn"
    )


def test_what_no_reader_has_after_all_is_the_source_s_again() -> None:
    plan = crowd("anna", "ben")
    plan.news("ben", bitmap.span(0, COUNT), (0, COUNT), 1.0)
    plan.hold("ben", 0)  # it said so when it was asked
    assert {run.holder for run in all_runs(plan)} == {"owner"}


def test_readers_share_out_what_only_the_source_has() -> None:
    """Until all of it is with readers no two of them ask the source for one piece, and all of it is asked for."""
    asked: list[int] = []
    names = ("anna", "ben", "cleo")
    for me in names:
        plan = crowd(me, *(name for name in names if name != me))
        while run := plan.next(1.0):
            assert run.holder == "owner"
            for number in range(run.first, run.end):
                asked.append(number)
                plan.came(run, number, 1.0)
            plan.ended(run, 1.0)
    wanted = range(5 * MIB // PIECE, COUNT)
    assert sorted(asked) == list(wanted)


def test_another_reader_s_piece_is_waited_for_a_moment_and_then_asked_of_the_source() -> None:
    plan = crowd("anna", "ben")
    plan.waits.append(Wait(1, 2, 1.0))  # the second of two readers' pieces
    assert all(run.first != 1 for run in all_runs(plan, 1.0))
    assert plan.outlook(plan.waits[0], 1.0) == 1.0 + DEFER
    assert any(run.first == 1 for run in all_runs(plan, 1.0 + DEFER))


def test_what_a_reader_has_is_asked_of_it_and_not_of_the_source() -> None:
    plan = crowd("anna", "ben", "cleo")
    plan.news("ben", bitmap.span(0, COUNT), (0, 0), 1.0)
    assert {run.holder for run in all_runs(plan)} == {"ben"}


def test_the_rarest_come_first_beyond_what_is_wanted_soon() -> None:
    plan = crowd("anna", "ben", "cleo")
    common = bitmap.span(COUNT // 2, COUNT - 8)
    rare = bitmap.span(COUNT - 8, COUNT)
    plan.news("ben", common | rare, (0, COUNT), 1.0)
    plan.news("cleo", common, (0, COUNT), 1.0)
    first = next(run for run in all_runs(plan) if run.holder == "ben")
    assert rare >> first.first & 1
