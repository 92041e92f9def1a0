import math

from peer import bitmap
from peer.swarm.plan import DEFER, KIB, LITTLE, PATIENCE, PER_HOLDER, RUN, RUNS, SILENT, URGENT, Plan, Run, Wait
from peer.swarm.state import BROKEN
from peer.swarm.window import AHEAD, BEGUN, EARLY, MIB, SLACK, Window

PIECE = 256 * KIB
SIZE = 64 * MIB
COUNT = SIZE // PIECE


def new_plan(*holders: str, not_before: dict[str, float] | None = None, here: int = 0) -> Plan:
    plan = Plan(SIZE, PIECE, here, lambda id: (not_before or {}).get(id, 0.0))
    for holder in holders:
        plan.hold(holder, None)
    return plan


def at_rate(plan: Plan, holder: str, rate: int) -> None:
    """The holder is known to give so many bytes a second, until 1.0."""
    pace = plan.holdings[holder].pace
    pace.begin(0.0)
    pace.came(rate, 1.0)
    pace.end(1.0)


def fast(plan: Plan, *holders: str) -> Plan:
    for holder in holders:
        at_rate(plan, holder, 100 * MIB)
    return plan


def reading(plan: Plan, *reads: tuple[int, int]) -> Window:
    window = Window(SIZE)
    plan.windows.append(window)
    for offset, size in reads:
        window.read(offset, size)
    return window


def all_runs(plan: Plan, now: float = 1.0) -> list[Run]:
    runs = []
    while (run := plan.next(now)) is not None:
        runs.append(run)
    return runs


def test_a_window_grows_with_the_streak_up_to_its_limit() -> None:
    window = Window(1 << 30)
    reaches = []
    for offset in range(0, 128 * MIB, MIB):
        window.read(offset, MIB)
        reaches.append(window.ahead)
    assert reaches[0] == 2 * MIB
    assert reaches == sorted(reaches)
    assert reaches[-1] == AHEAD


def test_a_jump_closes_the_window_and_neighbours_do_not() -> None:
    window = Window(1 << 30)
    window.read(0, MIB)
    window.read(2 * MIB, MIB)  # the kernel's read-ahead came in another order
    window.read(MIB, MIB)
    assert (window.position, window.streak) == (3 * MIB, 2 * MIB)
    window.read(3 * MIB + SLACK + 1, 4096)
    assert window.ahead == 0
    window.read(window.position, 4096)
    assert window.ahead == 2 * 4096


def test_a_read_at_the_end_reaches_no_further() -> None:
    window = Window(SIZE)
    window.read(SIZE - 10, 4096)
    window.read(SIZE - 10, 4096)
    assert window.end == SIZE


def test_who_reads_from_the_start_reaches_further_in_a_swarm_soon() -> None:
    window = Window(1 << 30)
    window.read(0, BEGUN - 1)
    assert window.far == window.end, "perhaps it looks at the head only"
    window.read(BEGUN - 1, 1)
    assert (window.end, window.far) == (3 * MIB, EARLY)
    for offset in range(MIB, 8 * MIB, MIB):
        window.read(offset, MIB)
    assert window.far == window.end + 8 * window.streak
    window.read(512 * MIB, MIB)
    window.read(513 * MIB, MIB)
    assert window.far == window.end, "it did not begin at the start"


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
    plan = fast(new_plan(*"abcdefghijkl"), *"abc")
    reading(plan, *((offset, MIB) for offset in range(0, 5 * MIB, MIB)))
    runs = all_runs(plan)
    assert len(runs) == RUNS
    assert all((run.end - run.first) * PIECE <= RUN for run in runs)
    assert max(holding.active for holding in plan.holdings.values()) <= PER_HOLDER
    plan.waits += [Wait(n, n + 1) for n in range(200, 256)]
    more = all_runs(plan)
    assert len(runs) + len(more) <= RUNS * URGENT
    assert all(run.first >= 200 for run in more)
    assert max(holding.active for holding in plan.holdings.values()) <= PER_HOLDER * URGENT
    plan = new_plan(*"abcdefghijklmnop")
    plan.waits += [Wait(n, n + 1) for n in range(0, COUNT, 4)]
    assert len(all_runs(plan)) == RUNS * URGENT


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
    window.read(8 * MIB + PIECE, 4 * MIB)
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


def test_a_slow_holder_is_asked_only_for_what_no_faster_one_has() -> None:
    plan = new_plan("fast")
    plan.hold("fast", bitmap.span(0, COUNT - 2))
    plan.hold("crawls", None)
    at_rate(plan, "crawls", MIB // 10)
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


def late_plan(pieces: int = COUNT) -> tuple[Plan, Run]:
    """A reader waits for piece 0, which "silent" was asked for at 1.0; "other" has it too."""
    plan = Plan(pieces * PIECE, PIECE, 0, lambda id: 0.0)
    plan.hold("silent", None)
    plan.waits.append(Wait(0, 1, 1.0))
    run = plan.next(1.0)
    assert run is not None
    plan.hold("other", None)
    return plan, run


def test_a_piece_that_is_late_is_asked_of_a_second_holder_and_the_first_run_is_cancelled() -> None:
    plan, run = late_plan()
    assert plan.next(1.0 + SILENT / 2) is None
    second = plan.next(1.0 + SILENT)
    assert second is not None
    assert (second.holder, second.first, second.end) == ("other", 0, 1)
    assert plan.next(1.0 + 2 * SILENT) is None, "of a second, not of a third"
    assert plan.came(second, 0, 2.1) == [run]
    assert run.cancelled
    plan.ended(second, 2.1)
    plan.ended(run, 2.1)
    assert not plan.runs
    assert not plan.lacks(0, 1)


def test_a_run_that_crawls_is_late_too_and_one_that_gets_on_is_not() -> None:
    plan, run = late_plan()
    run.heard, run.bytes = 1.9, 10_000
    assert plan.next(2.0) is not None
    plan, run = late_plan()
    run.heard, run.bytes = 1.9, 200 * KIB
    assert plan.next(2.0) is None


def test_no_more_is_asked_for_twice_than_a_part_of_the_file() -> None:
    plan = Plan(40 * PIECE, PIECE, 0, lambda id: 0.0)
    now, twice = 1.0, 0
    for number in range(40):
        plan.hold(f"silent{number}", None)
        plan.waits = [Wait(number, number + 1, now)]
        first = plan.next(now)
        assert first is not None
        plan.hold("other", None)
        now += SILENT
        second = plan.next(now)
        if second is not None:
            twice += 1
            assert second.holder != first.holder
            plan.came(second, number, now)
            plan.ended(second, now)
        plan.came(first, number, now)
        plan.ended(first, now)
    assert twice == 2  # of 40
    assert plan.twice <= plan.size // 20


def test_what_did_not_come_a_second_time_does_not_count() -> None:
    plan, run = late_plan(4)
    second = plan.next(2.0)
    assert second is not None
    assert plan.twice == PIECE
    plan.came(second, 0, 2.1)
    plan.ended(second, 2.1)
    run.bytes = 1000
    plan.ended(run, 3.5)
    assert plan.twice == 1000


def crawling(bytes: int) -> tuple[Plan, Run]:
    """A reader waits for piece 0; of the run for four pieces that "crawls" gives came so many bytes by 2.0."""
    plan = Plan(SIZE, PIECE, 0, lambda id: 0.0)
    plan.hold("crawls", None)
    plan.waits.append(Wait(0, 4, 1.0))
    run = plan.next(1.0)
    assert run is not None
    assert run.end == 4
    run.heard, run.bytes = 1.9, bytes
    plan.hold("fast", None)
    at_rate(plan, "fast", 100 * MIB)
    return plan, run


def test_one_that_crawls_loses_its_run_to_one_that_is_known_to_be_faster() -> None:
    plan, run = crawling(20_000)
    second = plan.next(2.0)
    assert second is not None
    assert (second.holder, second.first, second.end, second.instead) == ("fast", 0, 4, run)
    assert run.cancelled
    assert plan.twice == 20_000
    assert plan.holdings["crawls"].pace.rate(2.0) == 20_000, "or it would be taken for one that is not known"
    plan.ended(run, 2.0)
    assert plan.next(2.0) is None


def test_one_that_crawls_is_given_up_though_one_of_its_pieces_was_asked_for_twice() -> None:
    plan = Plan(4 * PIECE, PIECE, 0, lambda id: 0.0)
    plan.hold("crawls", None)
    plan.waits.append(Wait(0, 4, 1.0))
    run = plan.next(1.0)
    assert run is not None
    run.heard, run.bytes = 1.9, 20_000
    plan.hold("other", None)
    plan.waits[:] = [Wait(2, 4, 2.0)]
    second = plan.next(2.0)
    assert second is not None
    assert (second.first, plan.twice) == (2, PIECE), "all that may be asked for twice of so small a file"
    plan.came(second, 2, 2.01)
    plan.ended(second, 2.01)
    run.heard = 2.9
    third = plan.next(3.0)
    assert third is not None
    assert (third.first, third.instead) == (3, run), "as piece 2 does not come twice if it ends now"
    plan.ended(run, 3.0)
    assert plan.twice == 20_000


def test_one_that_is_beaten_loses_the_rest_of_its_run() -> None:
    plan, run = crawling(20_000)
    plan.holdings["fast"].pace = type(plan.holdings["fast"].pace)()  # its rate is not known
    second = plan.next(2.0)
    assert second is not None
    assert (second.first, second.end, second.instead) == (0, 1, None)
    assert not run.cancelled
    run.heard, run.bytes = 2.05, 21_000
    assert plan.came(second, 0, 2.1) == [run]
    plan.waits[:] = [Wait(1, 2, 2.1)]
    third = plan.next(2.1)
    assert third is not None
    assert (third.holder, third.first) == ("fast", 1)


def test_one_byte_tells_no_rate() -> None:
    plan, _ = crawling(20_000)
    pace = plan.holdings["fast"].pace = type(plan.holdings["fast"].pace)()
    pace.begin(1.0)
    pace.came(1, 1.001)
    pace.end(1.001)
    second = plan.next(2.0)
    assert second is not None, "a file's last piece may be of one byte: who gave no other is not slow"
    assert second.holder == "fast"
    pace.begin(2.0)
    assert pace.rate(4.0) > 0, "one that gives no more than a byte in seconds is slow"


def test_what_comes_again_and_again_and_never_to_its_end_is_of_no_use() -> None:
    plan = Plan(PIECE, PIECE, 0, lambda id: 0.0)
    plan.hold("bad", None)
    plan.waits.append(Wait(0, 1, 1.0))
    now, heard = 1.0, []
    for _ in range(3 * BROKEN):
        run = plan.next(now)
        assert run is not None
        run.bytes, run.heard = 1000, now + 1.0
        heard.append(plan.heard(0, 1) == run.heard)
        plan.ended(run, now := now + 2.0)
    assert heard == [True] * BROKEN + [False] * 2 * BROKEN
    run = plan.next(now)
    assert run is not None
    run.bytes, run.heard = 1001, now
    assert plan.heard(0, 1) == now, "one byte more than ever"


def test_who_is_silent_is_not_asked_for_more() -> None:
    plan, run = late_plan()
    plan.keep_only({"silent"})
    plan.waits.append(Wait(8, 9, 1.0))
    assert plan.next(1.0 + SILENT) is None
    run.heard = 1.0 + SILENT
    more = plan.next(1.0 + SILENT)
    assert more is not None
    assert (more.holder, more.first) == ("silent", 8)


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
