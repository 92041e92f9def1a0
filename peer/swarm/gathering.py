"""Calls that nobody waits for, made one after another by one thread, gathered while more of them come."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
QUIET, LONGEST = 0.1, 1.0
"""Seconds: calls begin when none was added for the first, or when one has waited for the second."""
log = logging.getLogger(__name__)


class Gathering:
    """Threading: any thread; a lock guards the calls, and is not held while one is made. The thread starts with the
    first."""

    def __init__(self, name: str) -> None:
        """`name` of the thread."""
        self._name = name
        self._lock = threading.Lock()
        self._calls: deque[Callable[[], None]] = deque()
        self._added = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[T], None], argument: T) -> None:
        """Adds a call; what it raises is a bug, and logged. Raises RuntimeError after `shutdown`."""
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("no calls are made any more")
            self._calls.append(lambda: call(argument))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        if not self._added.is_set():
            self._added.set()

    def shutdown(self) -> None:
        """Waits for the call under way; no other is made."""
        with self._lock:
            self._closed.set()
            self._added.set()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._added.wait()
            self._gather()
            self._added.clear()  # what is added from here on is seen below, or by the next round
            while self._calls and not self._closed.is_set():
                try:
                    self._calls.popleft()()
                except Exception:
                    log.exception("a call that nobody waits for failed")

    def _gather(self) -> None:
        until, count = time.monotonic() + LONGEST, -1
        while count != len(self._calls) and time.monotonic() < until:
            count = len(self._calls)
            if self._closed.wait(QUIET):
                return
