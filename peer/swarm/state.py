"""What is known of one content: its pieces, who has which, and what is under way. Pure; seconds and bytes.

`peer.swarm.plan` decides with it. Sets of pieces are ints, see `peer.bitmap`.
"""

from collections import Counter
from dataclasses import dataclass

from peer import bitmap
from peer.swarm.holding import Holding
from peer.swarm.rarity import Rarity
from peer.swarm.window import Window

SILENT = 1.0
"""A run of which no byte came for so long is late, and one that needs so much longer for what a reader waits for."""
BROKEN = 8
"""Runs that end in the middle of a piece, after which bytes of it that came before are of no use."""


@dataclass(slots=True, eq=False)
class Run:
    """Neighbouring pieces, first ≤ n < end, asked of one holder at `began`. Up to `at` they came.

    `heard` is when its last byte came, 0: none yet; `bytes`: how many did. Who receives it sets these two, and nobody
    else. `cancelled`: nobody needs it any more.
    """

    holder: str
    first: int
    end: int
    at: int = 0
    began: float = 0.0
    heard: float = 0.0
    bytes: int = 0
    cancelled: bool = False
    instead: "Run | None" = None
    """The run that was given up for this one, because it would have taken too long."""


@dataclass(slots=True, eq=False)
class Wait:
    """A reader waits for the pieces first ≤ n < end, since then."""

    first: int
    end: int
    since: float = 0.0


class State:
    """What is here, what is under way and what is wanted of one content."""

    def __init__(self, size: int, piece: int, here: int) -> None:
        """`here` are the pieces that are here."""
        self.size, self.piece, self.here = size, piece, here
        self.count = -(-size // piece)
        self.holdings: dict[str, Holding] = {}
        self.windows: list[Window] = []
        self.waits: list[Wait] = []
        self.runs: list[Run] = []
        self.twice = 0
        """Bytes that came, or will come, for nothing, because something was late."""
        self._all = bitmap.span(0, self.count)
        self._flying = 0
        self._doubles: list[tuple[Run, Run, int]] = []
        """Runs under way for one late piece, which is the third."""
        self._rarity = Rarity()
        self._furthest: dict[int, tuple[int, float]] = {}
        """Of pieces that are not here: the most bytes of one that came, and when."""
        self._broken = Counter[int]()
        """How many runs ended in the middle of each of these."""

    # What is known

    @property
    def missing(self) -> int:
        """How many pieces are not here."""
        return self.count - self.here.bit_count()

    def hold(self, holder: str, pieces: int | None) -> None:
        """The holder has these pieces, or all: a source."""
        known = self.holdings.get(holder)
        if known is None:
            known = self.holdings[holder] = Holding(holder)
        if pieces is not None:
            pieces &= self._all
        old = known.pieces or 0
        if pieces != known.pieces:
            self._rarity.remove(old & ~(pieces or 0))
            self._rarity.add((pieces or 0) & ~old)
            known.pieces = pieces

    def news(self, holder: str, pieces: int, want: tuple[int, int], now: float) -> None:
        """A holder that does not have all said that it has these too, and what it wants."""
        known = self.holdings.get(holder)
        if known is None or known.pieces is None:
            return
        self.hold(holder, known.pieces | pieces)
        known.want, known.heard = want, now

    def keep_only(self, holders: set[str]) -> None:
        """Nobody else holds the content any more; runs under way go on."""
        for holding in [h for h in self.holdings.values() if h.id not in holders and not h.active]:
            self._rarity.remove(holding.pieces or 0)
            del self.holdings[holding.id]

    def lacks(self, first: int, end: int) -> bool:
        """Whether one of the pieces first ≤ n < end is not here."""
        return bool(bitmap.span(first, end) & ~self.here)

    def has(self, number: int) -> bool:
        """Whether the piece is here."""
        return bool(self.here >> number & 1)

    def want(self) -> tuple[int, int]:
        """The pieces first ≤ n < end among which those are that one's own readers want next; (0, 0): none."""
        spans = [(window.position, window.far) for window in self.windows if window.ahead]
        if not spans:
            return 0, 0
        first, end = min(first for first, _ in spans) // self.piece, -(-max(end for _, end in spans) // self.piece)
        lacking = bitmap.span(first, end) & ~self.here
        return (bitmap.lowest(lacking), end) if lacking else (0, 0)

    # What happens

    def arrived(self, number: int) -> None:
        """The piece is here, checked."""
        bit = 1 << number
        self.here |= bit
        self._flying &= ~bit
        self._furthest.pop(number, None)
        self._broken.pop(number, None)

    def came(self, run: Run, number: int, now: float) -> list[Run]:
        """The piece is here by this run; the runs that nobody needs any more, to be cancelled."""
        self.arrived(number)
        run.at = number + 1
        holding = self.holdings.get(run.holder)
        if holding is not None:
            size = self._size(number)
            holding.queued -= size
            holding.pace.came(size, now)
        useless = []
        for other in self.runs:
            if other is not run and other.first <= number < other.end and not other.cancelled:
                beaten = other.at == number and other.bytes and now < max(other.began, other.heard) + SILENT
                if beaten or not self.lacks(other.at, other.end):  # what else the beaten has, somebody may wait for
                    self._give_up(other, now)
                    useless.append(other)
        return useless

    def lost(self, number: int) -> None:
        """The piece is not here any more."""
        self.here &= ~(1 << number)

    def ended(self, run: Run, now: float) -> None:
        """The run is over, whole or not; what did not arrive is open again."""
        self.runs.remove(run)
        if self._part(run) and not run.cancelled:
            self._broken[run.at] += 1
            if self._broken[run.at] < BROKEN:
                self._furthest.pop(run.at, None)
        for double in [double for double in self._doubles if run in double[:2]]:
            self._settle(double, run)
        holding = self.holdings.get(run.holder)
        if holding is not None:
            holding.active -= 1
            holding.queued -= sum(self._size(number) for number in range(run.at, run.end))
            if not holding.active:
                holding.idle = now
                holding.pace.end(now)
        self._reopen(run)

    def heard(self, first: int, end: int) -> float:
        """When a useful byte last came by a run for one of these pieces; 0 if none did.

        After `BROKEN` runs that ended in the middle of a piece, what came before is of no use: else a few who crawl,
        or lie, each given up in its turn, would keep a read waiting for ever.
        """
        last = 0.0
        for run in self.runs:
            if run.first < end and first < run.end and run.at < run.end:
                most, when = self._furthest.get(run.at, (0, 0.0))
                if (part := self._part(run)) > most:
                    when = run.heard
                    self._furthest[run.at] = part, when
                last = max(last, when)
        return last

    # Smaller things

    def _carriers(self, number: int) -> list[Run]:
        return [run for run in self.runs if run.at <= number < run.end and not run.cancelled]

    def _give_up(self, run: Run, now: float) -> None:
        run.cancelled = True
        self._reopen(run)
        if (holding := self.holdings.get(run.holder)) is not None:
            holding.pace.came(self._part(run), now)  # or it would count as one whose rate is not known

    def _reopen(self, run: Run) -> None:
        """What did not arrive of it may be asked for again."""
        self._flying &= ~bitmap.span(run.at, run.end)
        for other in self.runs:
            if not other.cancelled:
                self._flying |= bitmap.span(other.at, other.end) & ~self.here

    def _settle(self, double: tuple[Run, Run, int], run: Run) -> None:
        """One of the two runs for a late piece is over: what did not come of it did not cost anything."""
        first, second, number = double
        if run.at <= number:
            self.twice -= self._saved(run, number) if run.cancelled else self._size(number)
            self._doubles.remove(double)
        elif first not in self.runs and second not in self.runs:
            self._doubles.remove(double)

    def _saved(self, run: Run, number: int) -> int:
        """Bytes of a late piece that do not come a second time if the run, which is for it, ends now."""
        return self._size(number) - (self._part(run) if run.at == number else 0) if run.at <= number else 0

    def _back(self, run: Run) -> int:
        """Bytes counted as coming twice that do not if the run ends now."""
        return sum(self._saved(run, number) for *runs, number in self._doubles if run in runs)

    def _part(self, run: Run) -> int:
        """Bytes that came of the piece that is not whole yet."""
        return max(0, run.bytes - (run.at - run.first) * self.piece)

    def _size(self, number: int) -> int:
        return min(self.piece, self.size - number * self.piece)
