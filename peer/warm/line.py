"""Which file a run fetches next, and how far it is: pure; no thread, no clock of its own.

Large files go one or two at a time, for each uses all there is. Small ones go many at a time, for each waits for an
answer and little else; while a large one waits for its turn, small ones behind it go first.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from shoal.manifest import KIB
from shoal.names import SafePath
from shoal.wire import Entry

SMALL = 256 * KIB
"""Bytes of a file that is fetched by one request."""
LOOK_AHEAD = 1000
"""Large files that wait while the small ones behind them are looked for, at most."""
FAILURES = 10_000
"""Failures that are remembered by name."""
_WINDOW = 10.0
"""Seconds over which the rate is measured."""


@dataclass(frozen=True)
class Wanted:
    """A version that is to be here: `shown` is its path as in the mount, `path` that of the network."""

    shown: str
    path: SafePath
    entry: Entry

    @property
    def size(self) -> int:
        """Bytes; 0 where that is not known yet."""
        return self.entry.size or 0

    @property
    def large(self) -> bool:
        """Whether it takes more than one request. One of unknown size may."""
        return self.entry.size is None or self.entry.size > SMALL


class Line:
    """The files of a run, in order, but for large ones that wait. Not thread-safe."""

    def __init__(self, files: Iterator[Wanted]) -> None:
        self._files, self._large = files, deque[Wanted]()
        self._ended = False

    def next(self, large: bool) -> Wanted | None:
        """The next file to fetch; a large one only if there is room for one. None: nothing now, or nothing more."""
        if large and self._large:
            return self._large.popleft()
        while not self._ended and len(self._large) < LOOK_AHEAD:
            wanted = next(self._files, None)
            if wanted is None:
                self._ended = True
            elif large or not wanted.large:
                return wanted
            else:
                self._large.append(wanted)
        return None

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self._ended and not self._large


@dataclass(frozen=True)
class Failure:
    """A file that is not here, and why not."""

    path: str
    why: str


@dataclass
class Tally:
    """How far a run is. Sizes in bytes. Not thread-safe."""

    files_total: int = 0
    bytes_total: int = 0
    counted: bool = False
    """Whether the totals are known; until then they grow."""
    files: int = 0
    """Files that are done with, whatever became of them."""
    bytes: int = 0
    """Their bytes, and what was read of those under way."""
    here: int = 0
    """Files that were here before."""
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    _read: deque[tuple[float, int]] = field(default_factory=deque)
    _fetched: int = 0

    def was_here(self, size: int) -> None:
        """A file need not be fetched."""
        self.files += 1
        self.here += 1
        self.bytes += size

    def read(self, size: int, now: float) -> None:
        """So much of a file was read; `now` by a monotonic clock."""
        self.bytes += size
        self._fetched += size
        self._read.append((now, self._fetched))
        while self._read[0][0] < now - _WINDOW:
            self._read.popleft()

    def kept(self) -> None:
        """A file is here."""
        self.files += 1

    def fail(self, path: str, why: str, unread: int) -> None:
        """A file is not to be had; `unread` bytes of it will not come."""
        self.files += 1
        self.failed += 1
        self.bytes += unread
        if len(self.failures) < FAILURES:
            self.failures.append(Failure(path, why))

    def rate(self, now: float) -> float:
        """Bytes a second that were fetched lately."""
        while self._read and self._read[0][0] < now - _WINDOW:
            self._read.popleft()
        if len(self._read) < 2:
            return 0.0
        (since, before), (_, until) = self._read[0], self._read[-1]
        return (until - before) / max(now - since, 0.05)

    def left(self, now: float) -> float | None:
        """Seconds until all is here at this rate; None while that cannot be told."""
        rate = self.rate(now)
        return (self.bytes_total - self.bytes) / rate if rate and self.counted else None
