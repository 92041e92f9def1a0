"""Which run to ask of whom, next, and which to give up. Pure: pieces, windows, holders, rates and time come in, runs to
fetch and to cancel go out.

All forces to weigh; check each of them again when changing anything here:

 1. A piece that a reader waits for comes before all others, and is asked of who will give it first.
 2. A piece that is here or under way is not asked for again; but for (11).
 3. Only what the open handles' windows cover is fetched: a partial read keeps pieces and not the file. A stream in a
    swarm also takes what is rare further ahead, and who reads from the start does so soon.
 4. A window grows with the handle's streak and is nothing after a jump.
 5. Runs are long, because a request costs as much as 100 KiB; but no longer than their holder gives in `RUN_TIME`, so
    that it takes little with it when it dies; and what a reader waits for does not wait for a long run.
 6. A holder is asked for what it has, and while it is neither benched nor silent; one that is doubted only if nobody
    else has it.
 7. Readers are asked in the order in which they give a piece, as far as known, the time included in which they let one
    wait: so those with time to spare are used. Sources take turns. None gets more than `PER_HOLDER` runs at a time, a
    content no more than `RUNS`; when readers wait, `URGENT` times that. All runs share one's own line: more than
    `FEW_RUNS` only while what is under way comes within `BACKLOG`, or a reader would wait for them.
 8. When a run ends early, its other pieces are open again at once, for whoever is free.
 9. A new holder is tried with little; a slow one (`SLOW` times slower than another is, or than a new one is expected to
    be) is asked only for what no faster one has.
10. A source gives each piece once before it gives any twice: of the pieces that no reader has, each of the K readers
    that want them asks for those whose number, modulo K, is its own place among them by id. Another's piece is waited
    for a moment (`DEFER`) before the source is asked for it all the same; and the source, who knows what it gave, puts
    off who asks for what another was just given (`peer.data.turns`). What a reader has is asked of readers.
11. A piece that a reader waits for and that is late is asked of a second holder. Who is silent keeps its run, for it
    may go on; one that crawls loses it to one that is known to be faster. That costs at most 5 % more than the file in
    all (one piece at least). What is under way and not needed any more is cancelled.
12. Near the reader in order, beyond that the rarest first, from a random place on, so that readers have different
    pieces to give.

One `Plan` belongs to one content, and its owner's lock guards it.
"""

import random
from collections.abc import Callable, Iterator

from peer import bitmap
from peer.swarm.holding import Holding
from peer.swarm.state import SILENT, Run, State, Wait
from peer.swarm.window import AHEAD, MIB, Window

KIB = 1 << 10
RUN = 16 * MIB
"""Bytes of a run at most (one piece at least)."""
LITTLE = MIB
"""Bytes of a run of a holder whose rate is not known."""
RUN_TIME = 0.25
"""Seconds that a run should take."""
PER_HOLDER = 2
RUNS = 16
FEW_RUNS = 6
BACKLOG = 1.0
"""Seconds in which what is under way should come, if it is more than a few runs."""
URGENT = 2
"""For what readers wait for, the limits of runs are so many times higher."""
PATIENCE = 0.5
"""Seconds that a waiting reader grants to a holder whose penalty is about to end."""
SLOW = 8
UNKNOWN = 0.5
"""Seconds after which a holder whose rate is not known is expected to give a piece."""
DEFER = 0.5
"""Seconds for which a reader leaves it to another one to ask a source for a piece; and a source idles before it is
asked for what is another's, or is at readers too."""
FRESH = 3.0
"""Seconds for which what a reader said that it wants is true."""
SPARE = 20
"""One part in so many of the file may be asked for twice."""
NEAR = 4 * MIB
"""Bytes ahead of a reader that are fetched in order, also where others read."""


class Plan(State):
    """Decides, from what is known of one content, what to ask for next."""

    def __init__(
        self,
        size: int,
        piece: int,
        here: int,
        not_before: Callable[[str], float],
        doubted: Callable[[str], bool] = lambda holder: False,
        me: str = "",
        dice: random.Random | None = None,
    ) -> None:
        """`here` are the pieces that are here; `not_before(holder)` is when it may be asked again, `doubted(holder)`
        whether only if nobody else has it. `me` is one's own id, as other readers know it.
        """
        super().__init__(size, piece, here)
        self.me = me
        self._not_before, self._doubted = not_before, doubted
        self._dice = dice or random.Random()
        self._turn = 0

    def next(self, now: float) -> Run | None:
        """The next run to fetch, from now on under way; None if nothing is wanted or nobody is free for it."""
        if not self._is_some_open(now):
            return None
        able = [holding for holding in self.holdings.values() if self._not_before(holding.id) <= now]
        silent = {run.holder for run in self.runs if now - max(run.began, run.heard) >= SILENT}
        free = [h for h in able if h.active < URGENT * PER_HOLDER and h.id not in silent]
        if not free:
            return None
        readers = self._readers(able, now)
        run = self._blocked(free, readers, now) if self.waits else None
        if run is None and self._may_go_ahead(now):
            run = self._ahead([h for h in free if h.active < PER_HOLDER], readers, now)
        return run

    def _is_some_open(self, now: float) -> bool:
        """Whether there is anything to ask for, if somebody is free for it. Most often there is not."""
        if self.waits and len(self.runs) < URGENT * RUNS:
            lacking = ~self.here & ~self._flying
            if any(bitmap.span(wait.first, wait.end) & lacking for wait in self.waits) or self._late(now):
                return True
        return self._may_go_ahead(now) and self._reach(lambda window: window.far) & ~self.here & ~self._flying != 0

    def _may_go_ahead(self, now: float) -> bool:
        """Whether there is room for one more run that nobody waits for."""
        if len(self.runs) < FEW_RUNS:
            return True
        active = [holding for holding in self.holdings.values() if holding.active]
        backlog = sum(h.queued for h in active) / max(1.0, sum(h.pace.rate(now) for h in active))
        return len(self.runs) < RUNS and backlog < BACKLOG

    def outlook(self, wait: Wait, now: float) -> float | None:
        """What a reader may hope for: None when nobody can be asked for the first piece that it lacks;
        else until when to wait for it (infinity: until something arrives or fails), and then to ask `next` again.
        """
        lacking = bitmap.span(wait.first, wait.end) & ~self.here
        if not lacking:
            return float("inf")
        number = bitmap.lowest(lacking)
        carriers = self._carriers(number)
        if carriers:
            if len(carriers) > 1:
                return float("inf")
            late = max(carriers[0].began, carriers[0].heard) + SILENT
            return late if late > now else now + SILENT / 2
        able = [self._not_before(h.id) for h in self.holdings.values() if h.has(number)]
        soonest = min(able, default=None)
        if soonest is None or soonest > now + PATIENCE:
            return None
        return soonest if soonest > now else wait.since + DEFER if wait.since + DEFER > now else now + DEFER

    # What readers wait for

    def _blocked(self, free: list[Holding], readers: list[str], now: float) -> Run | None:
        for wait in self.waits:
            for number in _each(bitmap.span(wait.first, wait.end) & ~self.here & ~self._flying):
                holding = self._first_to_give(number, free, now)
                if holding is None or (holding.pieces is None and self._leaves(number, wait, readers, now)):
                    continue
                wanted = self._wanted(wait) & ~self.here & ~self._flying
                return self._start(holding, number, holding.of(wanted) | 1 << number, now)
        return self._second(free, now)

    def _leaves(self, number: int, wait: Wait, readers: list[str], now: float) -> bool:
        """Whether the piece, which only sources have, is for now another reader's to ask for."""
        return bool(readers) and self._place(readers, number) != self.me and now < wait.since + DEFER

    def _second(self, free: list[Holding], now: float) -> Run | None:
        """A piece that is late, asked of a second holder."""
        for wait, number, run, needs in self._late(now):
            size = self._size(number)
            holding = self._first_to_give(number, [other for other in free if other.id != run.holder], now)
            if holding is None or self._eta(holding, size, now) >= needs / 2:
                continue
            crawls = holding.pace.rate(now) > 0 and SLOW * self._eta(holding, size, now) < needs < float("inf")
            cost = self._part(run) - self._back(run) if crawls else size
            if self.twice + cost > max(self.piece, self.size // SPARE):
                continue
            if crawls:
                self.twice += self._part(run)
                self._give_up(run, now)
                wanted = self._wanted(wait) & ~self.here & ~self._flying
                second = self._start(holding, number, holding.of(wanted) | 1 << number, now)
                second.instead = run
            else:
                self.twice += size
                second = self._start(holding, number, 1 << number, now)
                self._doubles.append((run, second, number))
            return second
        return None

    def _late(self, now: float) -> list[tuple[Wait, int, Run, float]]:
        """(a wait, the piece that it waits for, the only run for that, the seconds until it comes), if it is late."""
        found = []
        for wait in self.waits:
            lacking = bitmap.span(wait.first, wait.end) & ~self.here
            if not lacking:
                continue
            number = bitmap.lowest(lacking)
            carriers = self._carriers(number)
            if len(carriers) == 1 and (needs := self._needs(carriers[0], number, now)) >= SILENT:
                found.append((wait, number, carriers[0], needs))
        return found

    def _needs(self, run: Run, number: int, now: float) -> float:
        """Seconds until the run has brought the piece, as far as can be told; infinity if it fell silent."""
        took = now - run.began
        if now - max(run.began, run.heard) >= SILENT:
            return float("inf")
        if took < SILENT / 2 or not run.bytes:
            return 0.0
        left = (number + 1 - run.first) * self.piece - run.bytes
        return left * took / run.bytes

    def _first_to_give(self, number: int, free: list[Holding], now: float) -> Holding | None:
        """Who will give the piece first: a source after readers of the same speed, the doubted after all others."""
        able = [holding for holding in free if holding.has(number)]
        if not able:
            return None
        if any(self._doubted(holding.id) for holding in able):
            trusted = [holding for holding in able if not self._doubted(holding.id)]
            if not trusted and self._is_elsewhere(number, now):
                return None
            able = trusted or able
        size, crowd = self._size(number), len(able) > 1

        def late(holding: Holding) -> tuple[float, int]:
            eta = self._eta(holding, size, now)
            return (2 * eta if crowd and holding.pieces is None else eta), holding.turn

        return min(able, key=late)

    def _is_elsewhere(self, number: int, now: float) -> bool:
        """Whether somebody who is not doubted has the piece, and may be asked soon."""
        return any(
            holding.has(number) and not self._doubted(holding.id) and self._not_before(holding.id) <= now + PATIENCE
            for holding in self.holdings.values()
        )

    def _eta(self, holding: Holding, size: int, now: float) -> float:
        rate = holding.pace.rate(now)
        return (holding.queued + size) / rate if rate else UNKNOWN * (1 + holding.active)

    # What they will want

    def _ahead(self, free: list[Holding], readers: list[str], now: float) -> Run | None:
        swarm = bool(self._rarity.any) or bool(readers)
        near = self._reach(lambda window: window.end)
        reaches = [near, self._reach(lambda window: window.far) & ~near] if swarm else [near]
        free.sort(key=lambda h: (UNKNOWN * h.active if h.pieces is None else self._eta(h, self.piece, now), h.turn))
        for reach in reaches:
            wanted = reach & ~self.here & ~self._flying
            if not wanted:
                continue
            if not swarm and not self._worth_it(wanted):
                continue
            for holding in free:
                pieces = self._pieces_for(holding, wanted, readers, now) if swarm else holding.of(wanted)
                pieces = self._not_of_better(holding, pieces, now) if pieces and len(self.holdings) > 1 else pieces
                if pieces:
                    number = self._pick(pieces) if holding.pieces is not None else bitmap.lowest(pieces)
                    return self._start(holding, number, pieces, now)
        return None

    def _pieces_for(self, holding: Holding, wanted: int, readers: list[str], now: float) -> int:
        """What to ask the holder for of what is wanted, where others read too."""
        pieces = holding.of(wanted)
        if holding.pieces is not None or not readers:
            return pieces
        rare = pieces & ~self._rarity.any
        if rare:
            mine = rare & self._mine(readers, rare)
            if mine or now < holding.idle + DEFER or holding.active:
                return mine
            return 1 << bitmap.highest(rare)
        # Readers have all of it: sources are asked for what those cannot give just now.
        return pieces if not holding.active and now >= holding.idle + DEFER else 0

    def _not_of_better(self, holding: Holding, pieces: int, now: float) -> int:
        """Those that nobody has who is less doubted, or much faster, or may be as far as known."""
        rate, doubted = holding.pace.rate(now), self._doubted(holding.id)
        if not rate and not doubted:
            return pieces
        for other in self.holdings.values():
            if other is holding or self._not_before(other.id) > now or self._doubted(other.id) > doubted:
                continue
            faster = other.pace.rate(now) or self.piece / UNKNOWN
            if doubted > self._doubted(other.id) or (rate and faster > SLOW * rate):
                pieces &= ~other.of(pieces)
                if not pieces:
                    break
        return pieces

    def _pick(self, pieces: int) -> int:
        """Near a reader the first of the pieces, else one of the rarest."""
        for window in self.windows:
            first = window.position // self.piece
            soon = pieces & bitmap.span(first, first + max(1, NEAR // self.piece))
            if soon:
                return bitmap.lowest(soon)
        rarest = self._rarity.rarest(pieces)
        low, high = bitmap.lowest(rarest), bitmap.highest(rarest)
        behind = rarest >> (start := self._dice.randint(low, high))
        return start + bitmap.lowest(behind)

    def _worth_it(self, wanted: int) -> bool:
        """Whether there is enough for a run: a window that moved a little does not make a little run, but a long one
        later."""
        for window in self.windows:
            first, end = self._span_of(window, window.end)
            lacking = wanted & bitmap.span(first, end)
            least = -(-min(RUN, window.ahead // 4) // self.piece)
            if lacking and (end - bitmap.lowest(lacking) >= least or end * self.piece >= self.size):
                return True
        return False

    # Who reads too

    def _readers(self, able: list[Holding], now: float) -> list[str]:
        """The ids, sorted, of those who want now what is wanted here, oneself among them; [] if that is nobody else."""
        first, end = self.want()
        if not self.me or first == end:
            return []
        since = now - FRESH
        found = [h.id for h in able if h.want[0] < end and first < h.want[1] and h.heard > since]
        return sorted([*found, self.me]) if found else []

    @staticmethod
    def _place(readers: list[str], number: int) -> str:
        """Which of the readers asks the sources for the piece."""
        return readers[number % len(readers)]

    def _mine(self, readers: list[str], pieces: int) -> int:
        """Those of the pieces that are one's own to ask the sources for."""
        step, place = len(readers), readers.index(self.me)
        first = bitmap.lowest(pieces)
        first += (place - first) % step
        found, bit = 0, 1 << first
        for _ in range(first, pieces.bit_length(), step):
            if pieces & bit:
                found |= bit
                break  # one after the other: neighbours are others'
            bit <<= step
        return found

    # Smaller things

    def _start(self, holding: Holding, first: int, pieces: int, now: float) -> Run:
        """Asks the holder for a run that begins at `first`, of these pieces."""
        rate = holding.pace.rate(now)
        most = min(rate * RUN_TIME, RUN) if rate else LITTLE
        end = bitmap.stretch(pieces, first, max(1, int(most) // self.piece))
        self._turn += 1
        holding.turn = self._turn
        holding.active += 1
        holding.pace.begin(now)
        run = Run(holding.id, first, end, first, now)
        holding.queued += sum(self._size(number) for number in range(first, end))
        self.runs.append(run)
        self._flying |= bitmap.span(first, end) & ~self.here
        return run

    def _wanted(self, wait: Wait) -> int:
        """What a run for this reader may go on into."""
        return bitmap.span(wait.first, wait.end) | self._reach(lambda window: window.end)

    def _reach(self, end: Callable[[Window], int]) -> int:
        """The pieces from each window's position to this end of it."""
        pieces = 0
        for window in self.windows:
            pieces |= bitmap.span(*self._span_of(window, end(window)))
        return pieces

    def _span_of(self, window: Window, end: int) -> tuple[int, int]:
        return (window.position // self.piece, -(-end // self.piece)) if window.ahead else (0, 0)


def _each(pieces: int) -> Iterator[int]:
    """The numbers in the set, from the first on."""
    while pieces:
        number = bitmap.lowest(pieces)
        yield number
        pieces &= pieces - 1


__all__ = ["AHEAD", "KIB", "MIB", "SILENT", "Plan", "Run", "Wait", "Window"]
