"""The reading side of a peer: it looks after the reads of its programs as `peer.swarm.download` does."""

import math
import random
from collections.abc import Callable

from peer.swarm.bench import verdict
from peer.swarm.window import Window
from shoal.errors import RemoteError, Unreachable
from tests.support.simulated_swarm.fetching import TRACKER, Fetching
from tests.support.simulated_swarm.lines import Line
from tests.support.simulated_swarm.serving import CID, TRIP, Server
from tests.support.simulated_swarm.world import Read, World


class Reader(Fetching):
    """A peer that reads. `server` is its giving side, which has what it has."""

    def __init__(self, world: World, down: Line, server: Server, size: int, piece: int, dice: random.Random) -> None:
        super().__init__(world, down, server, size, piece, dice)
        self.waiting: list[Read] = []
        self._asking = False
        self._alarm = math.inf

    # Programs

    def window(self) -> Window:
        """A handle."""
        window = Window(self.plan.size)
        self.plan.windows.append(window)
        return window

    def leave(self, window: Window) -> None:
        """The handle is closed."""
        self.plan.windows.remove(window)
        if not self.plan.windows:
            self.server.want = self.plan.want()

    def begin(self, window: Window, offset: int, size: int, over: Callable[[RemoteError | None], None]) -> bool:
        """A read: whether it is over at once; else `over` is called when it is."""
        read = Read(window, offset, size, self.plan.piece, self._clock.now, over)
        self.world.rules.began(self, read)
        window.read(offset, size)
        if self.plan.lacks(read.wait.first, read.wait.end):
            self.waiting.append(read)
            self.plan.waits.append(read.wait)
            self._tend()
            return False
        self._settle()
        self._pump()
        self.world.rules.ended(self, read, None)
        return True

    def end(self) -> None:
        """The peer ends: nothing is fetched any more, and nobody is told how a read ended."""
        self.on = False
        for run, flow in list(self.flows.items()):
            self.world.lines.stop(flow)
            del self.flows[run]
        self.waiting.clear()

    # Reads

    def _tend(self) -> None:
        if not self.on:
            return
        over: list[tuple[Read, RemoteError | None]] = []
        soonest = math.inf
        self._settle()
        self._pump()
        for read in list(self.waiting):
            error: RemoteError | None = None
            try:
                until = self._look_after(read)
            except RemoteError as failure:
                until, error = None, failure
            if until is None:
                self._drop(read)
                over.append((read, error))
            else:
                soonest = min(soonest, until)
        if over:
            self._pump()
        if soonest < self._alarm:
            self._alarm = soonest
            self._clock.at(soonest, self._wake_up, soonest)
        for read, error in over:
            self._end_read(read, error)

    def _wake_up(self, when: float) -> None:
        if when == self._alarm:
            self._alarm = math.inf
        self._tend()

    def _look_after(self, read: Read) -> float | None:
        plan, wait, now = self.plan, read.wait, self._clock.now
        if not plan.lacks(wait.first, wait.end):
            return None
        read.useful = max(read.useful, plan.heard(wait.first, wait.end))
        deadline = read.useful + self.world.config.read_timeout
        if now >= deadline:
            raise Unreachable("nothing came")
        until = plan.outlook(wait, now)
        if until is None and not read.asked:
            if not self._asking:
                self._asking = True
                self._clock.at(now + TRACKER, self._ask, list(self.waiting))
            until = math.inf
        elif until is None:
            ids = {*self._rows, *(row.id for row in self._neighbours.rows())}
            raise verdict([error for id in sorted(ids) if (error := self.bench.why(id, CID))])
        return min(until, deadline)

    def _drop(self, read: Read) -> None:
        self.waiting.remove(read)
        self.plan.waits.remove(read.wait)

    def _end_read(self, read: Read, error: RemoteError | None) -> None:
        self.world.rules.ended(self, read, error)
        self._clock.at(self._clock.now, read.over, error)

    def _ask(self, reads: list[Read]) -> None:
        if self.on:
            self._told = self.world.partial()
            self._refresh()
            self._neighbours.met(row for row in self.world.partial())
            self._sync()
            for row in self._neighbours.rows():
                self._ask_pieces_of(row.id)
            self._clock.at(self._clock.now + 2 * TRIP, self._asked, reads)

    def _asked(self, reads: list[Read]) -> None:
        self._asking = False
        self._sync()
        for read in reads:
            read.asked = True
        self._tend()

    def _landed(self) -> None:
        for read in [read for read in self.waiting if not self.plan.lacks(read.wait.first, read.wait.end)]:
            self._drop(read)
            self._end_read(read, None)
