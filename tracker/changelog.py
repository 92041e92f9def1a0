"""What changed in the catalogue, in order: the source of the delta feed. Pure.

Each thing that can change (a path, or a peer's row) has one `Place`, with the
number of its last change. The log is an append-only list of (number, place);
an entry whose place changed again since is stale, is skipped, and is swept out
when stale ones are the most. What was removed leaves a tombstone, an empty
place; of these only the newest `TOMBSTONES` are kept, and `horizon` is the
number of the newest one dropped: who knows less must start over.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

TOMBSTONES = 100_000
"""Removed things remembered at most."""

T = TypeVar("T")


class Place(Generic[T]):
    """One thing that can change: its key, the number of its last change, and what is there now (None: nothing)."""

    __slots__ = ("held", "key", "number")

    def __init__(self, key: str) -> None:
        self.key = key
        self.number = 0
        self.held: T | None = None


class ChangeLog(Generic[T]):
    """All places by key, and the order in which they changed. Not thread-safe."""

    def __init__(self, tombstones: int = TOMBSTONES) -> None:
        self.places: dict[str, Place[T]] = {}
        self.number = 0
        """The number of the newest change."""
        self.horizon = 0
        self._numbers = array("Q")
        self._log: list[Place[T]] = []
        self._tombstones: deque[tuple[int, Place[T]]] = deque()
        self._most = tombstones

    def __len__(self) -> int:
        return len(self.places)

    def place(self, key: str) -> Place[T]:
        """The place of a key, made if it is new; call `changed` once its `held` is set."""
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = Place(key)
        return place

    def changed(self, place: Place[T]) -> None:
        """What readers see of this place is different now."""
        self.number += 1
        place.number = self.number
        self._numbers.append(self.number)
        self._log.append(place)
        if place.held is None:
            self._tombstones.append((place.number, place))
            while len(self._tombstones) > self._most:
                self._drop(*self._tombstones.popleft())
        if len(self._log) > 2 * len(self.places) + 1024:
            self._sweep()

    def after(self, number: int) -> Iterator[Place[T]]:
        """The places that changed after `number`, in order of their last change. No change may be made meanwhile."""
        for at in range(bisect_right(self._numbers, number), len(self._log)):
            place = self._log[at]
            if place.number == self._numbers[at]:
                yield place

    def _drop(self, number: int, place: Place[T]) -> None:
        if place.held is None and place.number == number:
            del self.places[place.key]
            place.number = 0  # makes its entry in the log stale
            self.horizon = number

    def _sweep(self) -> None:
        live = [(n, p) for n, p in zip(self._numbers, self._log, strict=True) if p.number == n]
        self._numbers = array("Q", (number for number, _ in live))
        self._log = [place for _, place in live]
