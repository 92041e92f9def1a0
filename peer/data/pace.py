"""Who reads too slowly. Pure: times in seconds and bytes come in, a verdict goes out."""

LOWEST = 1024
"""Bytes a second that a reader must take, on average over each window."""


class Pace:
    """Watches one answer on its way; its reader has taken `taken` bytes by `now`. Not thread-safe."""

    def __init__(self, now: float, taken: int, stall: float, window: float) -> None:
        self._stall, self._window = stall, window
        self._taken, self._last = taken, now
        self._window_taken, self._window_began = taken, now

    def too_slow(self, now: float, taken: int) -> bool:
        """Whether to give up a reader that has taken `taken` bytes in all: nothing for `stall` s, or too little."""
        if taken > self._taken:
            self._taken, self._last = taken, now
        if now - self._last >= self._stall:
            return True
        if now - self._window_began < self._window:
            return False
        slow = taken - self._window_taken < LOWEST * (now - self._window_began)
        self._window_taken, self._window_began = taken, now
        return slow
