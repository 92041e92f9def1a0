"""A clock that does not count the time in which this tracker itself did nothing.

Leases end by the clock. After a stop of the whole process (a paused machine, a
debugger, a list of a million files) that clock would end all of them at once,
before any of the renewals that wait at the door is read: everybody living would be delisted.
"""

from collections.abc import Callable

LONGEST = 2.0
"""Seconds between two looks at the clock, in a tracker that runs as it should; what a gap has more is not counted."""


class PatientClock:
    """Seconds that never go back, of a tracker that looks at it at least every `LONGEST` seconds.

    Not thread-safe: whoever looks holds the store's lock.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._last = timer()
        self._lost = 0.0

    def __call__(self) -> float:
        """The time now."""
        now = self._timer()
        self._lost += max(0.0, now - self._last - LONGEST)
        self._last = now
        return now - self._lost
