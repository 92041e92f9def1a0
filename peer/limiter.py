"""A limit in bytes a second on what many threads move: `Shares` with a lock, and somebody who waits for his turn."""

import threading
import time
from collections.abc import Callable

from peer.shares import Shares, Ticket


class Limiter:
    """A limit that can be changed at any time; 0: none.

    Threading: any thread. A lock guards the shares; nobody waits with it held. Who is next waits by the clock, the
    others until they are.
    """

    def __init__(self, rate: int = 0) -> None:
        self._lock = threading.Lock()
        self._shares = Shares(rate, time.monotonic())
        self._waiting: dict[Ticket, threading.Condition] = {}

    @property
    def rate(self) -> int:
        """Bytes a second; 0: no limit."""
        return self._shares.rate

    @property
    def waiting(self) -> int:
        """How many threads wait for their turn."""
        return len(self._waiting)

    def limit(self, rate: int) -> None:
        """From now on this rate, also for those who wait."""
        with self._lock:
            self._shares.set_rate(rate, time.monotonic())
        self.wake()

    def wake(self) -> None:
        """Whoever waits looks again whether it was given up."""
        with self._lock:
            for condition in self._waiting.values():
                condition.notify()

    def take(self, asker: str, want: int, given_up: Callable[[], bool] = lambda: False) -> int:
        """Waits for the asker's turn: how many bytes may be moved then, at most `want`; 0 once it was given up."""
        if not self._shares.rate:
            return want
        with self._lock:
            ticket = self._shares.ask(asker, want, time.monotonic())
            self._waiting[ticket] = threading.Condition(self._lock)
            try:
                self._wait(ticket, given_up)
            finally:
                del self._waiting[ticket]
                if not ticket.granted:
                    self._shares.withdraw(ticket)
                self._notify(self._shares.first)
        return ticket.size if ticket.granted else 0

    def small(self, asker: str, size: int) -> None:
        """Counts a small answer; it waits only if the asker has had more than its share of them."""
        if not self._shares.rate:
            return
        with self._lock:
            if self._shares.small(asker, size, time.monotonic()):
                return
        while size > 0:
            size -= self.take(asker, size)

    def give_back(self, asker: str, size: int) -> None:
        """So many of the bytes that `take` allowed were not moved."""
        with self._lock:
            self._shares.give_back(asker, size)
            self._notify(self._shares.first)

    def _wait(self, ticket: Ticket, given_up: Callable[[], bool]) -> None:
        while True:
            granted, pause = self._shares.advance(time.monotonic())
            for other in granted:
                self._notify(other)
            if ticket.granted or given_up():
                return
            self._waiting[ticket].wait(pause if self._shares.first is ticket else None)

    def _notify(self, ticket: Ticket | None) -> None:
        if ticket is not None and ticket in self._waiting:
            self._waiting[ticket].notify()
