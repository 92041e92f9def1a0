"""Calls that nobody waits for: gathered, in order, by one thread; the test says when its pauses end."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from peer.swarm import gathering
from peer.swarm.gathering import LONGEST, Gathering
from tests.support.patience import until, within

QUIET = 0.125


class Pauses(threading.Event):
    """The event that says the end, on which the thread also pauses: each pause ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.over = threading.Semaphore(0)
        self.now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout == QUIET
        self.begun.release()
        assert self.over.acquire(timeout=10)
        self.now += timeout
        return self.is_set()

    def end_one(self) -> None:
        """Waits for a pause, and ends it."""
        assert self.begun.acquire(timeout=10)
        self.over.release()


class Gathered:
    """A `Gathering` whose calls are noted, and whose clock stands still between pauses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, int]] = []
        self.pauses = Pauses()
        self.gathering = Gathering("gathered")
        self.gathering._closed = self.pauses
        monkeypatch.setattr(gathering, "QUIET", QUIET)
        monkeypatch.setattr(gathering, "time", SimpleNamespace(monotonic=lambda: self.pauses.now))

    def add(self, name: str) -> None:
        self.gathering.submit(self.make, name)

    def make(self, name: str) -> None:
        if name == "fails":
            raise ValueError(name)
        self.made.append((name, threading.get_ident()))

    @property
    def names(self) -> str:
        return "".join(name for name, _ in self.made)

    def has(self, names: str) -> None:
        until(lambda: self.names == names, 10, f"{names} were made")


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gathered]:
    gathered = Gathered(monkeypatch)
    yield gathered
    gathered.pauses.over.release(100)
    within(10, gathered.gathering.shutdown)


def test_they_begin_when_none_was_added_for_a_while_in_order_on_one_thread(gathered: Gathered) -> None:
    gathered.add("a")
    assert gathered.pauses.begun.acquire(timeout=10)
    gathered.add("b")
    gathered.add("c")
    gathered.pauses.over.release()  # in which two were added
    gathered.pauses.end_one()  # in which none was, and that is enough
    gathered.has("abc")
    assert len({thread for _, thread in gathered.made} | {threading.get_ident()}) == 2


def test_none_waits_long_though_more_and_more_come(gathered: Gathered) -> None:
    gathered.add("a")
    for _ in range(int(LONGEST / QUIET)):
        assert gathered.pauses.begun.acquire(timeout=10)
        assert gathered.names == ""
        gathered.add("b")
        gathered.pauses.over.release()
    gathered.has("a" + "b" * 8)
    assert gathered.pauses.now == LONGEST


def test_what_is_added_later_has_a_round_of_its_own(gathered: Gathered) -> None:
    for round, name in enumerate("abc", 1):
        gathered.add(name)
        gathered.pauses.end_one()
        gathered.has("abc"[:round])


def test_one_that_fails_is_logged_and_spoils_nothing(gathered: Gathered, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "fails", "b"):
        gathered.add(name)
    gathered.pauses.end_one()
    gathered.has("ab")
    assert "a call that nobody waits for failed" in caplog.text


def test_the_end_waits_for_the_call_under_way_and_no_other_is_made(gathered: Gathered) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(name: str) -> None:
        began.set()
        assert go_on.wait(10)
        gathered.make(name)

    gathered.gathering.submit(slow, "a")
    gathered.add("b")
    gathered.pauses.end_one()
    assert began.wait(10)
    ending = threading.Thread(target=gathered.gathering.shutdown)
    ending.start()
    until(gathered.pauses.is_set, 10, "it ends")
    assert ending.is_alive() and gathered.names == ""
    go_on.set()
    ending.join(10)
    assert not ending.is_alive() and gathered.names == "a"
    with pytest.raises(RuntimeError):
        gathered.add("c")


def test_the_end_does_not_wait_for_what_is_being_gathered(gathered: Gathered) -> None:
    gathered.add("a")
    assert gathered.pauses.begun.acquire(timeout=10)
    gathered.pauses.set()
    gathered.pauses.over.release()
    within(10, gathered.gathering.shutdown)
    assert gathered.names == ""


def test_one_that_was_never_used_has_no_thread() -> None:
    before = threading.active_count()
    unused = Gathering("unused")
    assert threading.active_count() == before
    within(10, unused.shutdown)
    with pytest.raises(RuntimeError):
        unused.submit(print, "a")
