"""Whether somebody reads through the swarm just now: work that nobody waits for gives way to that.

Threading: any thread; a lock guards the count.
"""

import threading
import time

LINGER = 0.2
"""Seconds for which a reader counts as there after a read of its ended: the next one follows."""


class Foreground:
    """The reads that somebody waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads = 0
        self._last = float("-inf")

    def begin(self) -> None:
        """A read begins."""
        with self._lock:
            self._reads += 1

    def end(self) -> None:
        """It ended."""
        with self._lock:
            self._reads -= 1
            self._last = time.monotonic()

    def busy(self) -> bool:
        """Whether somebody reads, or did a moment ago."""
        return self._reads > 0 or time.monotonic() - self._last < LINGER
