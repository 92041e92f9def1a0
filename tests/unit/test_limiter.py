"""The limit on bytes a second: the bucket by a clock of the test's, and threads that wait for their turn."""

import threading
import time

import pytest

from peer.limiter import Limiter
from peer.shares import BURST, SMALL, Shares
from tests.support.patience import until, within

MIB = 1 << 20


def test_without_a_limit_all_is_granted_at_once() -> None:
    shares = Shares(0, 0.0)
    tickets = [shares.ask("a", 100 * MIB, 0.0) for _ in range(5)]
    granted, pause = shares.advance(0.0)
    assert granted == tickets
    assert pause is None
    assert all(ticket.size == 100 * MIB for ticket in tickets)


def test_a_grant_is_a_part_of_a_second_and_the_next_waits_for_it() -> None:
    shares = Shares(MIB, 0.0)
    first, second = shares.ask("a", 4 * MIB, 0.0), shares.ask("a", 4 * MIB, 0.0)
    granted, pause = shares.advance(0.0)
    assert granted == [first]
    assert first.size == MIB // 32
    assert pause == pytest.approx(1 / 32)
    assert shares.advance(1 / 64)[0] == []
    assert shares.advance(1 / 32 + 1e-6)[0] == [second]


def test_a_pause_saves_up_a_burst_and_no_more() -> None:
    shares = Shares(MIB, 0.0)
    for _ in range(100):
        shares.ask("a", MIB, 1000.0)
    granted, _ = shares.advance(1000.0)
    assert sum(ticket.size for ticket in granted) <= MIB * BURST + shares.most


def test_a_low_rate_still_has_grants_that_come_soon() -> None:
    shares = Shares(5_000, 0.0)
    tickets = [shares.ask(f"a{n}", MIB, 0.0) for n in range(8)]
    now = 0.0
    while not all(ticket.granted for ticket in tickets):
        _, pause = shares.advance(now)
        now += pause or 0.0
    assert now < 2, "readers take longer for a stall"


def test_a_new_rate_holds_at_once_and_a_large_debt_is_forgiven() -> None:
    shares = Shares(1000 * MIB, 0.0)
    for _ in range(200):
        shares.ask("a", MIB, 0.0)
    shares.advance(0.0)
    shares.set_rate(10_000, 0.0)
    _, pause = shares.advance(0.0)
    assert pause is not None
    assert pause <= 1
    shares.set_rate(0, 0.0)
    granted, pause = shares.advance(0.0)
    assert granted
    assert pause is None


def test_small_requests_pass_those_that_wait_until_there_are_too_many() -> None:
    shares = Shares(100_000, 0.0)
    for _ in range(50):
        shares.ask("bulk", MIB, 0.0)
    shares.advance(0.0)
    passed = 0
    while shares.small("small", 4096, 0.0):
        passed += 4096
    assert SMALL <= passed <= SMALL + 2 * shares.most + 4096
    ticket = shares.ask("small", 4096, 0.0)
    assert not ticket.granted


def test_who_comes_back_is_not_owed_the_time_away() -> None:
    shares, now, got = Shares(100_000, 0.0), 0.0, {"a": 0, "b": 0}
    waiting = {asker: shares.ask(asker, MIB, 0.0) for asker in got}
    away = 0
    while now < 62:
        granted, pause = shares.advance(now)
        for ticket in granted:
            got[ticket.asker] += ticket.size
            waiting[ticket.asker] = shares.ask(ticket.asker, MIB, now)
        if "b" in waiting and 1 < now < 61:
            shares.withdraw(waiting.pop("b"))
        if "b" not in waiting and now >= 61:
            away = got["a"]
            waiting["b"] = shares.ask("b", MIB, now)
            before = got["b"]
        now += 0.0 if granted else pause or 0.01
    assert away > 5_000_000
    assert got["b"] - before <= got["a"] - away + 6 * shares.most


def test_memory_of_askers_is_bounded() -> None:
    shares = Shares(1_000_000, 0.0)
    for n in range(20_000):
        shares.ask(f"a{n}", 1000, n * 0.01)
        shares.advance(n * 0.01)
    assert len(shares._ends) < 2000


# -- threads -----------------------------------------------------------------------------------------------------------


def taker(limiter: Limiter, asker: str, got: dict[str, int], stop: threading.Event) -> threading.Thread:
    def run() -> None:
        while not stop.is_set():
            got[asker] = got.get(asker, 0) + limiter.take(asker, MIB, stop.is_set)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_threads_share_a_limit_that_changes_and_end_when_given_up() -> None:
    limiter, stop, got = Limiter(400_000), threading.Event(), dict[str, int]()
    threads = [taker(limiter, "modest", got, stop), *(taker(limiter, "greedy", got, stop) for _ in range(16))]
    began = time.monotonic()
    time.sleep(2)
    passed, slow = time.monotonic() - began, dict(got)
    assert 0.4 * 400_000 * passed <= sum(slow.values()) <= 1.3 * 400_000 * passed
    limiter.limit(8 * MIB)
    until(lambda: sum(got.values()) > 3 * MIB, 10, "it goes faster")
    limiter.limit(1024)
    time.sleep(0.1)
    stop.set()
    limiter.wake()
    for thread in threads:
        thread.join(2)
        assert not thread.is_alive()
    assert slow["greedy"] <= 1.5 * slow["modest"] + 4 * 400_000 / 32


def test_a_limit_that_is_lifted_lets_all_go_who_wait() -> None:
    limiter = Limiter(1024)
    threads = [threading.Thread(target=limiter.take, args=(f"a{n}", MIB)) for n in range(20)]
    for thread in threads:
        thread.start()
    until(lambda: limiter.waiting > 10, 5, "they wait")
    limiter.limit(0)
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert within(1, limiter.take, "a", MIB) == MIB


def test_what_is_given_back_is_there_for_the_next() -> None:
    limiter = Limiter(32 * 1024)
    began = time.monotonic()
    for _ in range(300):
        assert limiter.take("a", 1024) == 1024
        limiter.give_back("a", 1024)
    assert time.monotonic() - began < 5, "nearly nothing was used"
