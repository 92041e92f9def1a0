from peer.swarm.bench import (
    DOUBTED,
    FIRST_FAST,
    FIRST_GONE,
    FIRST_LIE,
    FORGIVEN,
    LONGEST,
    LONGEST_GONE,
    LONGEST_LIE,
    MOST,
    Bench,
    verdict,
)
from peer.swarm.plan import PATIENCE
from shoal.errors import Busy, Gone, Lied, Misbehaved, Refused, Unreachable


def test_failures_in_a_row_cost_more_each_time_and_one_good_piece_forgives_them() -> None:
    bench, now, pauses = Bench(), 100.0, []
    for _ in range(8):
        bench.failed("a", "c", Unreachable("x"), now)
        pauses.append(round(bench.until("a", "other") - now, 6))
        now = bench.until("a", "other")
    assert pauses == sorted(pauses)
    assert pauses[0] == FIRST_FAST
    assert FIRST_FAST < PATIENCE, "a reader waits for a server that is started again"
    assert pauses[-1] == LONGEST
    bench.good("a")
    assert bench.until("a", "c") == 0
    bench.failed("a", "c", Unreachable("x"), now)
    assert bench.until("a", "c") - now < PATIENCE


def test_who_is_away_for_days_is_benched_no_longer_than_the_longest() -> None:
    bench, now = Bench(), 100.0
    for error, longest in ((Unreachable("x"), LONGEST), (Gone("x"), LONGEST_GONE), (Lied("x"), LONGEST_LIE)):
        for _ in range(3000):
            bench.failed("a", "c", error, now)
            now, before = bench.until("a", "c"), now
        assert now - before == longest


def test_failures_at_the_same_time_are_one() -> None:
    bench = Bench()
    for _ in range(5):
        bench.failed("a", "c", Unreachable("x"), 1.0)
    assert bench.until("a", "c") == 1.0 + FIRST_FAST


def test_a_failure_that_took_time_is_not_waited_for() -> None:
    bench = Bench()
    bench.failed("a", "c", Unreachable("x"), 1.0, slow=True)
    assert bench.until("a", "c") > 1.0 + PATIENCE
    assert bench.dead("a", 1.5)
    assert not bench.dead("a", 10.0)


def test_a_liar_is_benched_for_that_content_only_and_for_longer_each_time() -> None:
    bench = Bench()
    bench.failed("a", "c", Lied("x"), 1.0)
    assert bench.until("a", "c") == 1.0 + FIRST_LIE
    assert bench.until("a", "other") == 0
    assert not bench.dead("a", 1.0)
    bench.good("a")
    assert bench.until("a", "c") == 1.0 + FIRST_LIE, "what it gives of other contents does not excuse it"
    bench.failed("a", "c", Misbehaved("x"), 20.0)
    assert bench.until("a", "c") == 20.0 + 2 * FIRST_LIE
    late = bench.until("a", "c") + FORGIVEN
    bench.failed("a", "c", Lied("x"), late)
    assert bench.until("a", "c") == late + FIRST_LIE


def test_not_having_it_is_no_failure() -> None:
    bench = Bench()
    bench.failed("a", "c", Gone("x"), 1.0)
    assert bench.until("a", "c") == 1.0 + FIRST_GONE
    assert not bench.dead("a", 1.0)
    bench.failed("a", "c", Gone("x"), 4.0)
    assert bench.until("a", "c") == 4.0 + 2 * FIRST_GONE
    for _ in range(10):
        again = bench.until("a", "c")
        bench.failed("a", "c", Gone("x"), again)
    assert bench.until("a", "c") == again + LONGEST_GONE
    assert bench.until("a", "other") == 0
    bench.failed("a", "d", Busy("x"), 1.0)
    assert bench.until("a", "d") < 1.0 + PATIENCE


def test_the_tables_are_bounded() -> None:
    bench = Bench()
    for number in range(2 * MOST):
        bench.failed(f"h{number}", "c", Unreachable("x"), 1.0)
        bench.failed("a", f"c{number}", Lied("x"), 1.0)
    assert bench.until("h0", "c") == bench.until("a", "c0") == 0
    assert bench.until(f"h{2 * MOST - 1}", "c") > 0


def test_the_verdict_names_the_worst() -> None:
    dead, gone, lied, refused = Unreachable("d"), Gone("g"), Lied("l"), Refused("r", 403)
    assert type(verdict([])) is Unreachable
    assert type(verdict([dead, gone])) is Unreachable
    assert type(verdict([gone, gone])) is Gone
    assert type(verdict([dead, lied, gone])) is Lied
    assert type(verdict([Misbehaved("m"), dead])) is Misbehaved
    assert type(verdict([refused])) is Unreachable


def test_who_lied_twice_is_doubted_for_a_while_whatever_it_was_asked_for() -> None:
    bench = Bench()
    bench.failed("a", "c1", Lied("x"), 1.0)
    assert not bench.doubted("a", 2.0)
    bench.failed("a", "c2", Lied("x"), 2.0)
    assert bench.doubted("a", 3.0)
    assert bench.until("a", "c3") == 0.0, "it is asked, if nobody else has it"
    assert not bench.doubted("a", 2.0 + DOUBTED)
    assert not bench.doubted("b", 3.0)
    bench.failed("a", "c3", Lied("x"), 2.0 + DOUBTED + 2 * FORGIVEN)
    assert not bench.doubted("a", 2.0 + DOUBTED + 2 * FORGIVEN), "that was long ago"
