"""What the swarm counts: plain numbers since the start."""

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """A snapshot. `fetched`: verified bytes by the name of the peer that gave them; `rejected`: pieces that were not
    what their hash says; `condemned`: files whose pieces were right and whose whole was not; `active`: contents
    being fetched just now; `memory`: verified bytes held in memory.
    """

    fetched: dict[str, int]
    rejected: int
    condemned: int
    active: int
    memory: int


class Counters:
    """Counts. Threading: any thread; a lock guards the numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fetched: Counter[str] = Counter()
        self._rejected = self._condemned = 0

    def fetched(self, source: str, size: int) -> None:
        """Verified bytes came from the peer of that name."""
        with self._lock:
            self._fetched[source] += size

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
            return Stats(dict(self._fetched), self._rejected, self._condemned, active, memory)
