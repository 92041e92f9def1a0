"""What the swarm counts: plain numbers since the start."""

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """A snapshot. `fetched`: verified bytes by the name of the peer that gave them; `rejected`: pieces that were not
    what their hash says; `condemned`: files whose pieces were right and whose whole was not; `active`: contents
    being fetched just now; `memory`: verified bytes held in memory; `fetched_ahead`: bytes of small files that
    nobody had asked for yet, `used_ahead`: as many of these as were read since.
    """

    fetched: dict[str, int]
    rejected: int
    condemned: int
    active: int
    memory: int
    fetched_ahead: int
    used_ahead: int


class Counters:
    """Counts. Threading: any thread; a lock guards the numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fetched: Counter[str] = Counter()
        self._rejected = self._condemned = self._fetched_ahead = self._used_ahead = 0

    def fetched(self, source: str, size: int) -> None:
        """Verified bytes came from the peer of that name."""
        with self._lock:
            self._fetched[source] += size

    def fetched_ahead(self, size: int) -> None:
        """So many verified bytes came that nobody asked for yet."""
        with self._lock:
            self._fetched_ahead += size

    def used_ahead(self, size: int) -> None:
        """So many of them are read now."""
        with self._lock:
            self._used_ahead += size

    def reject(self) -> None:
        """A piece (or a small file, or a manifest) was not what it should be."""
        with self._lock:
            self._rejected += 1

    def condemn(self) -> None:
        """A whole was not what it should be, though all its pieces were."""
        with self._lock:
            self._condemned += 1

    def stats(self, active: int, memory: int) -> Stats:
        """All numbers at one moment."""
        with self._lock:
            ahead = self._fetched_ahead, self._used_ahead
            return Stats(dict(self._fetched), self._rejected, self._condemned, active, memory, *ahead)
