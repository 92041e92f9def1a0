"""The work on one content: runs fetched off their holders, and news exchanged with whoever has it too.

It does what `peer.swarm.fetching` does, in the same order and under the same names, with events where that has threads.
Whoever changes one changes the other.
"""

import random
from dataclasses import dataclass
from typing import Any, cast

from peer import bitmap
from peer.swarm.bench import Bench
from peer.swarm.commons import Others
from peer.swarm.fetching import LISTED_FOR
from peer.swarm.neighbours import POLL, Neighbours
from peer.swarm.plan import PATIENCE, Plan, Run
from shoal.errors import Gone, RemoteError, Unreachable
from shoal.wire import PeerRow
from tests.support.simulated_swarm.lines import Flow, Line
from tests.support.simulated_swarm.serving import CID, TRIP, Answer, Server
from tests.support.simulated_swarm.world import World

TOLD_LATER = 0.05
"""Seconds until a reader hears from its own data server what others told (`peer.data.askers`)."""
TRACKER = 0.02
"""Seconds that a question to the tracker takes."""


class Fetching:
    """Fetches the pieces of one content. Its user says `_tend`, which looks after reads, and `_landed`."""

    def __init__(self, world: World, down: Line, server: Server, size: int, piece: int, dice: random.Random) -> None:
        self.id, self.world, self.down, self.server = server.id, world, down, server
        self.bench = Bench()
        self.plan = Plan(size, piece, server.pieces, self._not_before, self._doubted, self.id, dice)
        self.flows: dict[Run, Flow] = {}
        self.on = True
        others = Others(self.id, self._find, lambda cid: [])
        self._neighbours = Neighbours(cast(Any, _Commons(others)), dice)
        self._clock = world.clock
        self._polling = False
        self._listed = float("-inf")
        self._rows: list[str] = []
        self._told: list[str] = []
        self._heard: dict[str, tuple[int, tuple[int, int]]] = {}
        server.hears, server.reads = self._hears, True
        self._refresh()
        self._sync()
        self._clock.at(self._clock.now + TRACKER, self._find_others)

    def _tend(self) -> None:
        raise NotImplementedError

    def _landed(self) -> None:
        raise NotImplementedError

    # Runs

    def _pump(self) -> None:
        plan, now = self.plan, self._clock.now
        while plan.missing and (run := plan.next(now)) is not None:
            self._start(run)
        if not self._polling and self._is_hungry():
            self._polling = True
            self._clock.at(now + POLL, self._poll)

    def _start(self, run: Run) -> None:
        now, server = self._clock.now, self.world.servers[run.holder]
        self.world.rules.asked(self, run)
        if run.instead is not None:
            self._clock.at(now, self._abort, run.instead)
        flow = self.flows[run] = Flow(run, self, self.down, server, server.up, now)
        self.world.lines.watch(flow)
        self._clock.at(now + TRIP, server.asked, flow, *self._say(run.holder), self._begun)

    def _is_hungry(self) -> bool:
        return bool(self.plan.waits) or self.plan.want() != (0, 0)

    def _begun(self, flow: Flow, answer: Answer) -> None:
        self._listen(flow.run.holder, answer)

    def came(self, flow: Flow, number: int) -> None:
        """See `Client.came`."""
        run = flow.run
        self.world.rules.came(self, run, number)
        for other in self.plan.came(run, number, self._clock.now):
            self._clock.at(self._clock.now, self._abort, other)
        self.server.pieces = self.plan.here
        self._landed()

    def finished(self, flow: Flow) -> None:
        """See `Client.finished`."""
        self.bench.good(flow.run.holder)
        self._over(flow.run)

    def failed(self, flow: Flow, error: RemoteError) -> None:
        """See `Client.failed`."""
        run = flow.run
        self.world.lines.stop(flow)
        if isinstance(error, Gone):
            server = self.world.servers[run.holder]
            self._clock.at(
                self._clock.now + TRIP,
                server.asked_pieces,
                self.id,
                *self._say(run.holder),
                lambda answer: self._corrected(run, answer, error),
            )
        else:
            self._failed(run, error, flow.asked)

    def _corrected(self, run: Run, answer: Answer | RemoteError, gone: Gone) -> None:
        if not self.on or run not in self.flows:
            return
        if isinstance(answer, RemoteError):
            self._failed(run, answer, self._clock.now)
            return
        wanted = bitmap.span(run.first, run.end)
        if answer.pieces & wanted == wanted:
            self._failed(run, gone, self._clock.now)
            return
        self._holds(run.holder, answer.pieces)
        self._neighbours.met([run.holder])
        self._listen(run.holder, answer)
        if answer.pieces:
            self._over(run)
        else:
            self._failed(run, gone, self._clock.now)

    def _failed(self, run: Run, error: RemoteError, began: float) -> None:
        if run.cancelled:
            self.world.rules.cancelled(self, run)
        else:
            self.world.rules.failed(self, run, error)
            if run.at > run.first:
                self.bench.good(run.holder)
            self._neighbours.failed(run.holder)
            now = self._clock.now
            self.bench.failed(run.holder, CID, error, now, slow=now - max(began, run.heard) > PATIENCE)
        self._over(run)

    def _abort(self, run: Run) -> None:
        flow = self.flows.get(run)
        if flow is not None and flow.on:
            self.failed(flow, Unreachable("cancelled"))

    def _over(self, run: Run) -> None:
        if run not in self.flows:
            return
        del self.flows[run]
        if not self.on:
            return
        self.plan.ended(run, self._clock.now)
        self._tend()

    def _settle(self) -> None:
        if self.plan.waits:
            for flow in self.flows.values():
                if flow.begun:
                    self.world.lines.settle(flow)

    # News

    def _say(self, holder: str) -> tuple[int, tuple[int, int]]:
        told = self._neighbours.told(holder)
        here = self.plan.here
        self._neighbours.tell(holder, here, self._clock.now)
        return here & ~told, self.plan.want()

    def _listen(self, holder: str, answer: Answer) -> None:
        if not answer.complete:
            self.world.rules.told(self, holder, answer.pieces)
            self.plan.news(holder, answer.pieces, answer.want, self._clock.now)
        if answer.readers:
            self._meet(answer.readers)

    def _holds(self, holder: str, pieces: int) -> None:
        self.world.rules.corrected(self, holder, pieces)
        self.plan.hold(holder, pieces)

    def _meet(self, ids: list[str]) -> None:
        if self._neighbours.met(ids):
            self._sync()
            self._ask_all()

    def _hears(self, id: str, pieces: int, want: tuple[int, int]) -> None:
        """Its data server heard this; the news of some moments are told together."""
        if not self._heard:
            self._clock.at(self._clock.now + TOLD_LATER, self._hear)
        known = self._heard.pop(id, (0, want))
        self._heard[id] = known[0] | pieces, want

    def _hear(self) -> None:
        heard, self._heard = self._heard, {}
        if not self.on:
            return
        for id, (pieces, want) in heard.items():
            self._meet([id])
            self.world.rules.told(self, id, pieces)
            self.plan.news(id, pieces, want, self._clock.now)
        self._tend()

    def _poll(self) -> None:
        if not self.on:
            return
        self._polling = False
        self.server.want = self.plan.want()
        if self._is_hungry():
            if self.plan.waits or self._clock.now - self._listed > LISTED_FOR:
                self._refresh()
                self._sync()
            self._ask_all()
            self._tend()

    def _ask_all(self) -> None:
        for id in self._neighbours.due(self._clock.now):
            self._ask_pieces_of(id)

    def _ask_pieces_of(self, id: str) -> None:
        now = self._clock.now
        if self._not_before(id) > now:
            return
        waits = [True]

        def answered(answer: Answer | RemoteError) -> None:
            if waits and self.on:
                waits.clear()
                self._answered(id, answer, now)

        self._clock.at(now + TRIP, self.world.servers[id].asked_pieces, self.id, *self._say(id), answered)
        if self.world.servers[id].stopped:
            silent = Unreachable("it does not answer")
            self._clock.at(now + self.world.config.stall_timeout, answered, silent)

    def _answered(self, id: str, answer: Answer | RemoteError, began: float) -> None:
        if isinstance(answer, Gone):
            self._neighbours.forget(id)
        elif isinstance(answer, RemoteError):
            self._neighbours.failed(id)
            now = self._clock.now
            self.bench.failed(id, CID, answer, now, slow=now - began > PATIENCE)
        else:
            self._holds(id, answer.pieces)
            self._listen(id, answer)
        self._tend()

    # Who is there

    def _find(self, id: str) -> PeerRow | None:
        return PeerRow(id, id, "http://x") if id in self.world.servers else None

    def _find_others(self) -> None:
        if self.on:
            self._meet(self.world.partial())

    def _refresh(self) -> None:
        known = [*self._told, *self.world.listed()]
        self._rows = list(dict.fromkeys(id for id in known if id != self.id))
        self._listed = self._clock.now

    def _sync(self) -> None:
        plan = self.plan
        neighbours = [row.id for row in self._neighbours.rows()]
        for id in neighbours:
            if id not in plan.holdings:
                plan.hold(id, 0)
        for id in self._rows:
            if id not in plan.holdings:
                self.world.rules.told(self, id, None)
                plan.hold(id, None)
        plan.keep_only({*self._rows, *neighbours})

    def _not_before(self, id: str) -> float:
        return self.bench.until(id, CID)

    def _doubted(self, id: str) -> bool:
        return self.bench.doubted(id, self._clock.now)


@dataclass
class _Commons:
    """The part of `Commons` that neighbours use."""

    others: Others
