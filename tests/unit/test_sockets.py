"""The connections made to holders: caps, who waits, who has to go. The holders are real ones on loopback."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from peer.swarm import sockets
from peer.swarm.config import SwarmConfig
from peer.swarm.connection import Connection
from peer.swarm.source import HttpSource, HttpSources, by_cid
from shoal.errors import Busy, RemoteError, Unreachable
from shoal.manifest import MIB
from tests.support.patience import until, within
from tests.support.swarm_in_memory import QUICK, Faults, Holder, serving

DATA = random.Random(3).randbytes(MIB)
PATIENT = replace(QUICK, stall_timeout=5.0, max_sockets=4)


class Ground:
    """Holders that serve, and the sources of them; `most` is the highest number of connections ever open at once."""

    def __init__(self, stack: contextlib.ExitStack, config: SwarmConfig, count: int) -> None:
        self.holders = [stack.enter_context(serving(Holder(f"h{n}"))) for n in range(count)]
        self.cid = {holder.add(DATA).cid for holder in self.holders}.pop()
        self.sources = HttpSources(config)
        stack.callback(self.sources.close)

    def source(self, number: int) -> HttpSource:
        return self.sources.of(self.holders[number].row)

    def get(self, number: int, first: int = 0, end: int = 1000) -> bytes:
        with self.source(number).get(by_cid(self.cid), first, end, MIB) as body:
            return body.read()

    def gets(self, numbers: list[int], seconds: float = 20.0) -> list[bytes | BaseException]:
        """Each in a thread, at once."""
        found: dict[int, bytes | BaseException] = {}

        def run(place: int, number: int) -> None:
            try:
                found[place] = self.get(number)
            except RemoteError as error:
                found[place] = error

        threads = [threading.Thread(target=run, args=pair) for pair in enumerate(numbers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds)
        return [found[place] for place in range(len(numbers))]


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sockets were open after each connect."""
    counts: list[int] = []
    lock, alive = threading.Lock(), 0
    connect, close = Connection._connect, Connection.close

    def counting(self: Connection) -> None:
        nonlocal alive
        connect(self)
        with lock:
            alive += 1
            counts.append(alive)

    def closing(self: Connection) -> None:
        nonlocal alive
        with lock:
            alive -= self._sock is not None
        close(self)

    monkeypatch.setattr(Connection, "_connect", counting)
    monkeypatch.setattr(Connection, "close", closing)
    return counts


def test_never_more_than_the_cap_and_all_are_served(stack: contextlib.ExitStack, opened: list[int]) -> None:
    ground = Ground(stack, PATIENT, 20)
    assert ground.gets(list(range(20)) * 5) == [DATA[:1000]] * 100
    assert max(opened) <= 4
    assert ground.sources.figures()[0] <= 4
    assert ground.sources.figures()[1] == 0


def test_an_idle_one_of_another_holder_gives_way_the_longest_idle_first(stack: contextlib.ExitStack) -> None:
    ground = Ground(stack, PATIENT, 5)
    for number in range(5):
        ground.get(number)
    ground.get(1)
    connections = [len(holder.connections) for holder in ground.holders]  # type: ignore[attr-defined]
    assert connections == [1, 1, 1, 1, 1], "the first one's was closed, and no other"
    ground.get(0)
    assert len(ground.holders[0].connections) == 2  # type: ignore[attr-defined]


def test_no_more_to_one_holder_than_its_part(stack: contextlib.ExitStack, opened: list[int]) -> None:
    ground = Ground(stack, replace(PATIENT, max_sockets=100), 1)
    ground.holders[0].faults = Faults(slow=0.02)
    assert ground.gets([0] * 40) == [DATA[:1000]] * 40
    assert max(opened) <= sockets.PER_HOLDER


def test_stuck_holders_do_not_keep_anybody_from_a_good_one(stack: contextlib.ExitStack) -> None:
    ground = Ground(stack, replace(PATIENT, stall_timeout=20.0), 9)
    for holder in ground.holders[:-1]:
        holder.faults = Faults(stall_at=10)
    stuck: list[BaseException] = []

    def wait(number: int) -> None:
        try:
            ground.get(number)
        except RemoteError as error:
            stuck.append(error)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: ground.sources.figures() == (4, 4), 5, "all are in use, and some wait")
    began = time.monotonic()
    assert within(15, ground.get, 8) == DATA[:1000]
    assert time.monotonic() - began < 10, "each batch has its second, not its twenty"
    assert all(isinstance(error, Unreachable) for error in stuck)
    ground.sources.close()
    for thread in threads:
        thread.join(5)


def test_a_stuck_one_is_left_alone_while_nobody_needs_its_socket(stack: contextlib.ExitStack) -> None:
    ground = Ground(stack, replace(PATIENT, stall_timeout=20.0), 2)
    ground.holders[0].faults = Faults(slow=1.5)
    slow: list[bytes] = []
    thread = threading.Thread(target=lambda: slow.append(ground.get(0)))
    thread.start()
    ground.get(1)
    thread.join(10)
    assert slow == [DATA[:1000]]


def test_whoever_finds_none_free_is_told_busy_in_time(stack: contextlib.ExitStack) -> None:
    ground = Ground(stack, replace(QUICK, max_sockets=1), 2)
    with ground.source(0).get(by_cid(ground.cid), 0, 1000, MIB), pytest.raises(Busy):
        within(3, ground.get, 1)
    assert ground.get(1) == DATA[:1000]


def test_closing_ends_those_who_wait(stack: contextlib.ExitStack) -> None:
    ground = Ground(stack, replace(PATIENT, max_sockets=1, stall_timeout=20.0), 2)
    ended = threading.Event()

    def wait() -> None:
        with contextlib.suppress(Unreachable):
            ground.get(1)
        ended.set()

    with ground.source(0).get(by_cid(ground.cid), 0, 1000, MIB):
        threading.Thread(target=wait).start()
        until(lambda: ground.sources.figures()[1] == 1, 5, "it waits")
        ground.sources.close()
        assert ended.wait(2)


# -- the down-limit ----------------------------------------------------------------------------------------------------


def test_a_low_limit_is_kept_and_is_no_stall_of_the_holder(stack: contextlib.ExitStack) -> None:
    """A limit at which four readers get less than a holder must give: nobody is blamed, and all get their bytes."""
    config = replace(QUICK, down_limit=40_000, max_sockets=8, lowest_speed=16 << 10)
    ground = Ground(stack, config, 1)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(ground.get(0, 0, 30_000))) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    passed = time.monotonic() - began
    assert found == [DATA[:30_000]] * 4
    assert passed >= 0.7 * 120_000 / 40_000, "also what came along with the head is counted"


def test_closing_ends_one_who_waits_for_the_limit(stack: contextlib.ExitStack) -> None:
    ground = Ground(stack, replace(QUICK, down_limit=100), 1)
    ended = threading.Event()

    def wait() -> None:
        with contextlib.suppress(Unreachable):
            ground.get(0, 0, MIB)
        ended.set()

    threading.Thread(target=wait).start()
    until(lambda: ground.sources.limiter.waiting, 5, "it waits")
    ground.sources.close()
    assert ended.wait(1)


def test_a_limit_that_is_lifted_is_lifted_for_who_is_under_way(stack: contextlib.ExitStack) -> None:
    ground = Ground(stack, replace(QUICK, down_limit=20_000), 1)
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(ground.get(0, 0, MIB)))
    thread.start()
    until(lambda: ground.sources.limiter.waiting, 5, "it waits")
    ground.sources.limiter.limit(0)
    thread.join(5)
    assert found == [DATA]
