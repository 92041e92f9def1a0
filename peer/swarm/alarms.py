"""Calls at a time to come, by one thread for the whole swarm."""

import heapq
import logging
import threading
import time
from collections.abc import Callable
from itertools import count

log = logging.getLogger(__name__)


class Alarms:
    """Calls what it was given, soon after the time that was named (by the monotonic clock).

    Threading: any thread; what is called must not wait, and no lock is held then. The thread starts with the first.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Has it called then; never after `close`."""
        with self._changed:
            if self._closed:
                return
            heapq.heappush(self._heap, (when, next(self._numbers), call))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="swarm-alarms", daemon=True)
                self._thread.start()
            elif self._heap[0][0] == when:
                self._changed.notify()

    def close(self) -> None:
        """Ends the thread; what it calls just now ends first."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (not self._heap or self._heap[0][0] > time.monotonic()):
                    self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
                if self._closed:
                    return
                _, _, call = heapq.heappop(self._heap)
            try:
                call()
            except Exception:
                log.exception("an alarm of the swarm failed")
