"""Reads that wait: begun, and ended by another thread when their bytes are here, or cannot come.

No thread stands and waits for one. `Flight` is for contents that are fetched
whole by one task: the first read starts it, the others join.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from shoal.errors import Unreachable

T = TypeVar("T")
Done = Callable[[BaseException | None], None]
"""Told once how a read that had to wait ended, by any thread, with no lock held: None when its view is filled."""


class Pending:
    """A read that waits. `forget` it, and nothing more is fetched for it; `done` is called all the same."""

    __slots__ = ("_forgotten", "done", "offset", "view")

    def __init__(self, offset: int, view: memoryview, done: Done) -> None:
        self.offset, self.view, self.done = offset, view, done
        self._forgotten = False

    @property
    def forgotten(self) -> bool:
        """Whether nobody wants its bytes any more."""
        return self._forgotten

    def forget(self) -> None:
        """Nobody wants its bytes any more."""
        self._forgotten = True


class Flight(Generic[T]):
    """One task at a time, and the reads that wait for what it gives."""

    def __init__(
        self, start: Callable[[Callable[[], None]], bool], task: Callable[[], T], fill: Callable[[Pending, T], None]
    ) -> None:
        """`start` has something done by another thread, False when the program ends; `task` raises when it fails.

        `fill` gives a read that waited what the task gave.
        """
        self._start, self._task, self._fill = start, task, fill
        self._lock = threading.Lock()
        self._waiting: list[Pending] = []
        self._under_way = False

    @property
    def under_way(self) -> bool:
        """Whether the task is being done just now."""
        return self._under_way

    def join(self, pending: Pending) -> None:
        """The read is done when the task is, which is begun unless it is under way."""
        with self._lock:
            self._waiting.append(pending)
            if self._under_way:
                return
            self._under_way = True
        if not self._start(self._fly):
            self._land(lambda pending: None, Unreachable("the program ends"))

    def _fly(self) -> None:
        try:
            given = self._task()
        except BaseException as error:  # noqa: BLE001 - it is theirs who wait
            self._land(lambda pending: None, error)
        else:
            self._land(lambda pending: self._fill(pending, given), None)

    def _land(self, fill: Callable[[Pending], None], failure: BaseException | None) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._under_way = False
        for pending in waiting:
            error = failure
            try:
                fill(pending)
            except BaseException as failed:  # noqa: BLE001 - the same
                error = failed
            pending.done(error)
