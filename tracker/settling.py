"""When a new catalogue is complete enough that what is missing from it is known to be missing. Pure."""

MOST = 120.0
"""Seconds after which a catalogue counts as settled whatever happens."""


class Settling:
    """For one time to live after the start, and on while announcers are put off or a whole list is under way.

    Somebody put off counts until one time to live after it was told so: by then it has come back or is gone.
    Times in seconds of one monotonic clock.
    """

    def __init__(self, start: float, ttl: float) -> None:
        self._start, self._ttl = start, ttl
        self._put_off = start

    def put_off(self, now: float) -> None:
        """An announcer was told to send all, or to come again."""
        self._put_off = now

    def at(self, now: float, under_way: bool) -> bool:
        """Whether the catalogue is settling; `under_way`: a whole list is being received."""
        age = now - self._start
        return age < self._ttl or (age < MOST and (under_way or now - self._put_off < self._ttl))
