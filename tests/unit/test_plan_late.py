"""What comes late, or crawls: what is asked of a second holder, and what that may cost."""

from peer.swarm.plan import KIB, SILENT, Plan, Run, Wait
from peer.swarm.state import BROKEN
from peer.swarm.window import MIB
from tests.support.planning import COUNT, PIECE, SIZE, at_rate


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
