"""What a plan knows of one holder: its pieces, what is asked of it, and how fast it gives. Pure; seconds and bytes."""

from dataclasses import dataclass, field

SMOOTH = 1.0
"""Seconds over which a holder's rate is averaged."""
FORGOTTEN = 10.0
"""Seconds without a request after which a rate is not known any more."""

ENOUGH, LONG_ENOUGH = 64 << 10, 0.5
"""Bytes, or seconds, that tell a rate: the time that a small last piece takes is the way there and back."""


class Pace:
    """The rate at which a holder gives while something is asked of it: the time in between does not count."""

    __slots__ = ("_busy", "_bytes", "_mark", "_time")

    def __init__(self) -> None:
        self._bytes = self._time = 0.0
        self._mark = 0.0
        self._busy = False

    def begin(self, now: float) -> None:
        """Something is asked of it from now on."""
        if not self._busy:
            if now - self._mark > FORGOTTEN:
                self._bytes = self._time = 0.0
            self._busy, self._mark = True, now

    def came(self, size: int, now: float) -> None:
        """It gave so many bytes."""
        self._pass(now)
        self._bytes += size

    def end(self, now: float) -> None:
        """Nothing is asked of it any more."""
        self._pass(now)
        self._busy = False

    def rate(self, now: float) -> float:
        """Bytes a second; 0 if not known."""
        if not self._bytes or (not self._busy and now - self._mark > FORGOTTEN):
            return 0.0
        waited = max(0.0, now - self._mark) if self._busy else 0.0
        time = max(self._time + waited, 1e-4)
        return self._bytes / time if self._bytes >= ENOUGH or time >= LONG_ENOUGH else 0.0

    def _pass(self, now: float) -> None:
        if self._busy:
            passed, self._mark = max(0.0, now - self._mark), now
            self._time += passed
            if self._time > SMOOTH:
                self._bytes *= SMOOTH / self._time
                self._time = SMOOTH


@dataclass(slots=True, eq=False)
class Holding:
    """One holder of the content. `pieces` are those it has; None: all, and it had them before anybody read."""

    id: str
    pieces: int | None = None
    want: tuple[int, int] = (0, 0)
    """The pieces first ≤ n < end that its own readers want next; (0, 0): none."""
    heard: float = 0.0
    """When it last said what it has and wants."""
    active: int = 0
    """Runs under way."""
    queued: int = 0
    """Bytes of runs under way."""
    turn: int = 0
    idle: float = float("inf")
    """Since when nothing is asked of it any more; infinity: nothing ever was."""
    pace: Pace = field(default_factory=Pace)

    def has(self, number: int) -> bool:
        """Whether the holder has the piece."""
        return self.pieces is None or bool(self.pieces >> number & 1)

    def of(self, pieces: int) -> int:
        """Those of the set that it has."""
        return pieces if self.pieces is None else pieces & self.pieces
