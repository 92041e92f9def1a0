"""What of the network is kept on this disk, how large it is, and what goes first when room is needed. Pure.

    early     fetched ahead and never opened
    partial   pieces of a download
    coming    on its way to become a copy
    copy      whole files

Early ones go first, then partial ones, then copies; of each the one that was opened the longest ago. What is open or
pinned does not go, nor what is coming. What may not go although it is its turn (it is the last copy) is put off, for
longer each time. One's own files are not in here.
"""

import heapq
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Literal

Kind = Literal["early", "partial", "coming", "copy"]
GOING: tuple[Kind, ...] = ("early", "partial", "copy")
"""The kinds that may go, in the order in which they do."""
EARLIER = 16, 256 << 20
"""Room is made this part of the limit before it is reached, but not more bytes than that."""
PUT_OFF = 2.0, 3600.0
"""Seconds until what could not go is tried again: the first time, and at most."""


@dataclass(slots=True)
class _Held:
    size: int = 0
    refusals: int = 0
    off: bool = False


class Shelf:
    """Everything that is kept, by (kind, cid). Sizes in bytes on disk, `now` in monotonic seconds. Not thread-safe."""

    def __init__(self, limit: int, min_free: int) -> None:
        """`limit`: of all together, 0 for none; `min_free`: what stays free of the disk, 0: the disk itself says no."""
        self.limit, self.min_free = limit, min_free
        self.used = 0
        self.totals: dict[Kind, tuple[int, int]] = dict.fromkeys((*GOING, "coming"), (0, 0))
        """By kind: how many there are, and their bytes."""
        self._held: dict[tuple[Kind, str], _Held] = {}
        self._lines: dict[Kind, OrderedDict[str, None]] = {kind: OrderedDict() for kind in GOING}
        self._open: Counter[str] = Counter()
        self._pinned: set[str] = set()
        self._later: list[tuple[float, Kind, str]] = []

    # What there is

    def set(self, kind: Kind, cid: str, size: int) -> None:
        """So many bytes are kept of it now; new, it was read just now."""
        held = self._held.get((kind, cid))
        if held is None:
            held = self._held[kind, cid] = _Held()
            self._line_up(kind, cid)
            self._count(kind, 1, 0)
        self._count(kind, 0, size - held.size)
        held.size = size

    def add(self, kind: Kind, cid: str, size: int) -> None:
        """So many bytes more, or less."""
        self.set(kind, cid, self.size(kind, cid) + size)

    def gone(self, kind: Kind, cid: str) -> None:
        """It is not kept any more; again is harmless."""
        held = self._held.pop((kind, cid), None)
        if held is not None:
            self._count(kind, -1, -held.size)
            if kind != "coming":
                self._lines[kind].pop(cid, None)

    def turn(self, kind: Kind, cid: str, into: Kind, other: str) -> None:
        """It became something else. If that is known already, its size is."""
        held = self._held.get((kind, cid))
        if held is not None and (into, other) not in self._held:
            self.set(into, other, held.size)
        self.gone(kind, cid)

    def size(self, kind: Kind, cid: str) -> int:
        """Its bytes."""
        held = self._held.get((kind, cid))
        return held.size if held is not None else 0

    def _count(self, kind: Kind, more: int, size: int) -> None:
        count, total = self.totals[kind]
        self.totals[kind] = count + more, total + size
        self.used += size

    # What must not go

    def opened(self, cid: str) -> None:
        """Somebody opened it: it does not go until it is `closed` as often."""
        self._open[cid] += 1
        for kind in GOING:
            self._lines[kind].pop(cid, None)

    def closed(self, cid: str) -> None:
        """It was read last just now."""
        self._open[cid] -= 1
        if self._open[cid] <= 0:
            del self._open[cid]
            self._line_up_all(cid)

    def is_open(self, cid: str) -> bool:
        """Whether anybody has it open."""
        return cid in self._open

    def pin(self, cid: str, pinned: bool) -> None:
        """Whether it is kept whatever room is needed."""
        if pinned == (cid in self._pinned):
            return
        if pinned:
            self._pinned.add(cid)
            for kind in GOING:
                self._lines[kind].pop(cid, None)
        else:
            self._pinned.discard(cid)
            self._line_up_all(cid)

    def is_pinned(self, cid: str) -> bool:
        """Whether it is pinned."""
        return cid in self._pinned

    def pinned_bytes(self) -> int:
        """Bytes of the copies that are pinned."""
        return sum(self.size("copy", cid) for cid in self._pinned)

    # Room

    def has_room(self, size: int, free: int) -> bool:
        """Whether so many bytes more may come, with `free` bytes of the disk free."""
        fits = not self.limit or self.used + size <= self.limit
        return fits and (not self.min_free or free - size >= self.min_free)

    def excess(self, free: int) -> int:
        """Bytes that should go: a little before there is no room; 0 if none."""
        over = self.used - (self.limit - _earlier(self.limit)) if self.limit else 0
        lack = self.min_free + _earlier(self.min_free) - free if self.min_free else 0
        return max(0, over, lack)

    @property
    def ahead(self) -> int:
        """Bytes of room that there are when nothing more need go; 0 without limits."""
        return min((_earlier(bound) for bound in (self.limit, self.min_free) if bound), default=0)

    def first(self, now: float) -> tuple[Kind, str] | None:
        """What goes first; None if nothing may."""
        while self._later and self._later[0][0] <= now:
            _, kind, cid = heapq.heappop(self._later)
            held = self._held.get((kind, cid))
            if held is not None and held.off:
                held.off = False
                self._line_up(kind, cid)
                if cid in self._lines[kind]:
                    self._lines[kind].move_to_end(cid, last=False)
        for kind in GOING:
            if self._lines[kind]:
                return kind, next(iter(self._lines[kind]))
        return None

    def refused(self, kind: Kind, cid: str, now: float) -> None:
        """It could not go: others are tried first."""
        held = self._held.get((kind, cid))
        if held is None:
            return
        if not held.off:
            first, most = PUT_OFF
            heapq.heappush(self._later, (now + min(most, first * 2 ** min(held.refusals, 16)), kind, cid))
            held.off = True
            held.refusals += 1
        self._lines[kind].pop(cid, None)

    def _line_up_all(self, cid: str) -> None:
        for kind in GOING:
            self._line_up(kind, cid)

    def _line_up(self, kind: Kind, cid: str) -> None:
        """At the end of its line, if it may go."""
        held = self._held.get((kind, cid))
        if kind == "coming" or held is None or held.off or cid in self._open or cid in self._pinned:
            return
        self._lines[kind][cid] = None
        self._lines[kind].move_to_end(cid)


def _earlier(limit: int) -> int:
    part, most = EARLIER
    return min(limit // part, most)
