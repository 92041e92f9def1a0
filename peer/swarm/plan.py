"""Which run to ask of whom, next. Pure: pieces, windows, holders and time go in, runs come out.

All forces to weigh; check each of them again when changing anything here:

 1. A piece that a reader waits for comes before all others.
 2. A piece that is here or under way is not asked for again.
 3. Only what the open handles' windows cover is fetched: a partial read keeps pieces and not the file.
 4. A window grows with the handle's streak and is nothing after a jump.
 5. Runs are long, because a request costs as much as 100 KiB; but not so long that a dead holder takes much with it,
    and what a reader waits for does not wait until there is enough for a long run.
 6. A holder is asked for what it has, and while it is not benched.
 7. Holders take turns; none gets more than `PER_HOLDER` runs at a time, a content no more than `RUNS`;
    when readers wait, `URGENT` times that.
 8. When a run ends early, its other pieces are open again at once, for whoever is free.

One `Plan` belongs to one content, and its owner's lock guards it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20
RUN = 4 * MIB
"""Bytes of a run at most (one piece at least)."""
AHEAD = 64 * MIB
"""Bytes that a window reaches ahead of its reader at most."""
SLACK = 2 * MIB
"""A read this near to where the streak stands belongs to it: the kernel's read-ahead does not arrive in order."""
PER_HOLDER = 2
RUNS = 4
URGENT = 2
"""For what readers wait for, the limits of runs are so many times higher."""
PATIENCE = 0.5
"""Seconds that a waiting reader grants to a holder whose penalty is about to end."""


class Window:
    """One open handle's streak: where it reads, and how far ahead of it to fetch."""

    __slots__ = ("_size", "cursor", "limit", "position", "streak")

    def __init__(self, size: int, limit: int = AHEAD) -> None:
        self._size, self.limit = size, limit
        self.position = 0
        self.streak = 0
        self.cursor = 0
        """All pieces from the position to before this one are here or under way."""

    def read(self, offset: int, length: int) -> None:
        """The handle reads `length` bytes at `offset`."""
        end = min(offset + length, self._size)
        if abs(offset - self.position) > SLACK:
            self.streak = 0
            self.position = end
            self.cursor = 0
        elif end > self.position:
            self.streak += min(length, end - self.position)
            self.position = end

    @property
    def ahead(self) -> int:
        """Bytes to fetch ahead of the position: twice what the streak has read."""
        return min(self.limit, 2 * self.streak)

    @property
    def end(self) -> int:
        """The offset that the window reaches to."""
        return min(self._size, self.position + self.ahead)


@dataclass(slots=True)
class Holding:
    """One holder of the content. `pieces` has a byte a piece, 1 for those it has; None when it has all."""

    id: str
    pieces: bytes | None = None
    active: int = 0
    turn: int = 0

    def has(self, number: int) -> bool:
        """Whether the holder has the piece."""
        return self.pieces is None or self.pieces[number] == 1


@dataclass(slots=True, eq=False)
class Run:
    """Neighbouring pieces, first ≤ n < end, asked of one holder. `heard` is when its last byte came; 0: none yet."""

    holder: str
    first: int
    end: int
    heard: float = 0.0


@dataclass(slots=True, eq=False)
class Wait:
    """A reader waits for the pieces first ≤ n < end."""

    first: int
    end: int


class Plan:
    """What is here, what is under way and what is wanted of one content."""

    def __init__(self, size: int, piece: int, here: bytes, not_before: Callable[[str], float]) -> None:
        """`here` has a byte a piece, 1 for those that are here; `not_before(holder)` is when it may be asked again."""
        self.size, self.piece = size, piece
        self.here = bytearray(here)
        self.missing = self.here.count(0)
        self.holdings: dict[str, Holding] = {}
        self.windows: list[Window] = []
        self.waits: list[Wait] = []
        self.runs: list[Run] = []
        self._flying: dict[int, Run] = {}
        self._not_before = not_before
        self._turn = 0

    def hold(self, holder: str, pieces: bytes | None) -> None:
        """The holder has these pieces, or all."""
        known = self.holdings.setdefault(holder, Holding(holder))
        known.pieces = pieces

    def keep_only(self, holders: set[str]) -> None:
        """Nobody else holds the content any more; runs under way go on."""
        for holder in [h for h in self.holdings.values() if h.id not in holders and not h.active]:
            del self.holdings[holder.id]

    def lacks(self, first: int, end: int) -> bool:
        """Whether one of the pieces first ≤ n < end is not here."""
        return self.here.find(0, first, end) >= 0

    def arrived(self, number: int) -> None:
        """The piece is here, checked."""
        if not self.here[number]:
            self.here[number] = 1
            self.missing -= 1
        self._flying.pop(number, None)

    def lost(self, number: int) -> None:
        """The piece is not here any more."""
        if self.here[number]:
            self.here[number] = 0
            self.missing += 1
            self._reopen(number)

    def ended(self, run: Run) -> None:
        """The run is over, whole or not; what did not arrive is open again."""
        self.runs.remove(run)
        if run.holder in self.holdings:
            self.holdings[run.holder].active -= 1
        for number in range(run.first, run.end):
            if self._flying.get(number) is run:
                del self._flying[number]
                self._reopen(number)

    def next(self, now: float) -> Run | None:
        """The next run to fetch, from now on under way; None if nothing is wanted or nobody is free for it."""
        room = len(self.runs) < RUNS
        if not room and (not self.waits or len(self.runs) >= URGENT * RUNS):
            return None
        free = [h for h in self.holdings.values() if h.active < URGENT * PER_HOLDER and self._not_before(h.id) <= now]
        if not free:
            return None
        for number, blocked in self._starts():
            if not blocked and not room:
                return None
            able = [h for h in free if h.has(number) and (blocked or h.active < PER_HOLDER)]
            if able:
                holding = min(able, key=lambda h: (h.active, h.turn))
                return self._start(holding, number)
        return None

    def outlook(self, first: int, end: int, now: float) -> float | None:
        """What a reader of these pieces may hope for: None when nobody can be asked for the first that is missing;
        else until when to wait for it (infinity: until something arrives or fails).
        """
        number = self.here.find(0, first, end)
        if number < 0 or number in self._flying:
            return float("inf")
        soonest = min((self._not_before(h.id) for h in self.holdings.values() if h.has(number)), default=None)
        if soonest is None or soonest > now + PATIENCE:
            return None
        return soonest if soonest > now else float("inf")

    def heard(self, first: int, end: int) -> float:
        """When a byte last came for one of these pieces that is under way; 0 if none did."""
        return max((run.heard for run in self.runs if run.first < end and first < run.end), default=0.0)

    def _starts(self) -> Iterator[tuple[int, bool]]:
        """(open piece, whether a reader waits for it), the most wanted first."""
        for wait in self.waits:
            for number in range(wait.first, wait.end):
                if self._open(number):
                    yield number, True
        for window in self.windows:
            first, end = self._reach(window)
            window.cursor = max(window.cursor, first)
            while window.cursor < end and not self._open(window.cursor):
                window.cursor += 1
            # A window that moved a little does not make a little run: better a long one, later.
            least = -(-min(RUN, window.ahead // 4) // self.piece)
            if window.cursor < end and (end - window.cursor >= least or end * self.piece >= self.size):
                for number in range(window.cursor, end):
                    if self._open(number):
                        yield number, False

    def _start(self, holding: Holding, first: int) -> Run:
        end = first + 1
        most = min(first + max(1, RUN // self.piece), len(self.here))
        while end < most and self._open(end) and holding.has(end) and self._wanted(end):
            end += 1
        self._turn += 1
        holding.turn = self._turn
        holding.active += 1
        run = Run(holding.id, first, end)
        self.runs.append(run)
        for number in range(first, end):
            self._flying[number] = run
        return run

    def _open(self, number: int) -> bool:
        return not self.here[number] and number not in self._flying

    def _wanted(self, number: int) -> bool:
        if any(wait.first <= number < wait.end for wait in self.waits):
            return True
        return any(first <= number < end for first, end in map(self._reach, self.windows))

    def _reach(self, window: Window) -> tuple[int, int]:
        """The pieces that the window covers."""
        if window.ahead == 0:
            return 0, 0
        return window.position // self.piece, -(-window.end // self.piece)

    def _reopen(self, number: int) -> None:
        for window in self.windows:
            window.cursor = min(window.cursor, number)
