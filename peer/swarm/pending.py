"""Reads that wait: begun, and ended by another thread when their bytes are here, or cannot come.

No thread stands and waits for one. `Flight` is for contents that are fetched
whole by one task: the first read starts it, the others join.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from shoal.errors import Unreachable

T = TypeVar("T")
Parts = Sequence[bytes | memoryview]
"""Bytes, one part after another. Those of a read may be others once its `Done` has returned."""
Done = Callable[[Parts, BaseException | None], None]
"""Told once how a read ended, by any thread, with no lock held: its bytes, or what went wrong. Never raises."""


class Pending:
    """A read that waits. `forget` it, and nothing more is fetched for it; `done` is called all the same."""

    __slots__ = ("_forgotten", "done", "offset", "size")

    def __init__(self, offset: int, size: int, done: Done) -> None:
        self.offset, self.size, self.done = offset, size, done
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
        self, start: Callable[[Callable[[], None]], bool], task: Callable[[], T], cut: Callable[[Pending, T], Parts]
    ) -> None:
        """`start` has something done by another thread, False when the program ends; `task` raises when it fails.

        `cut` gives a read that waited its bytes of what the task gave.
        """
        self._start, self._task, self._cut = start, task, cut
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
            self._land(lambda pending: (), Unreachable("the program ends"))

    def _fly(self) -> None:
        try:
            given = self._task()
        except BaseException as error:  # noqa: BLE001 - it is theirs who wait
            self._land(lambda pending: (), error)
        else:
            self._land(lambda pending: self._cut(pending, given), None)

    def _land(self, cut: Callable[[Pending], Parts], failure: BaseException | None) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._under_way = False
        for pending in waiting:
            parts: Parts = ()
            error = failure
            try:
                parts = cut(pending)
            except BaseException as failed:  # noqa: BLE001 - the same
                error = failed
            pending.done(parts, error)


def read_into(begin: Callable[[int, int, Done], object], offset: int, view: memoryview) -> int:
    """Fills the view by a read that is begun so, for which it waits; how many bytes. Raises what went wrong."""
    ended = threading.Lock()
    ended.acquire()
    errors: list[BaseException | None] = []
    filled = 0

    def done(parts: Parts, error: BaseException | None) -> None:
        nonlocal filled
        for part in parts:
            view[filled : filled + len(part)] = part
            filled += len(part)
        errors.append(error)
        ended.release()

    begin(offset, len(view), done)
    ended.acquire()
    if (error := errors[0]) is not None:
        raise error
    return filled
