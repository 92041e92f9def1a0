"""The giving side of a peer: what it has, what it says, whom it gives, and what it does wrong.

Who asks is remembered and named to others (`peer.data.askers`). At most `SLOTS` answers are sent at a time, fairly
between askers, what was given least often first; who waits longer than `PATIENCE` for its turn is told to come later.
"""

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile

from peer import news
from peer.data.turns import Given, Part
from peer.swarm.plan import Run
from shoal.errors import Busy, Gone, Lied, RemoteError, Unreachable
from tests.support.simulated_swarm.clock import Clock
from tests.support.simulated_swarm.lines import Flow, Line, Lines

SLOTS = 8
WAITING = 192
"""Answers that wait for their turn at most."""
CID = "c"
PATIENCE = 0.5
LATELY = 15.0
TRIP = 0.001
"""Seconds from a request to what comes back of it."""


@dataclass(slots=True)
class Faults:
    """What it does wrong. Pieces are sets as in `peer.bitmap`."""

    lies: int = 0
    """Pieces that it gives wrong."""
    phantom: int = 0
    """Pieces that it says it has and has not."""
    cuts: list[float] = field(default_factory=list)
    """Its first answers end so many seconds after they began."""


@dataclass(slots=True)
class Answer:
    """What is told with an answer. `complete`: it has all of it, and tells nothing of its pieces."""

    pieces: int = 0
    want: tuple[int, int] = (0, 0)
    readers: list[str] = field(default_factory=list)
    complete: bool = False


@dataclass(slots=True)
class Told:
    """What one asker was told."""

    pieces: int = 0
    readers: set[str] = field(default_factory=set)


class Server:
    """One peer's giving side. `pieces` are those that it has; `hears` is told who asked: (id, pieces, want)."""

    def __init__(self, id: str, clock: Clock, lines: Lines, up: Line, pieces: int, every: int) -> None:
        """`every` are all pieces of the content."""
        self.id, self.up, self.pieces, self.every = id, up, pieces, every
        self.want = (0, 0)
        self.hears: Callable[[str, int, tuple[int, int]], None] = lambda id, pieces, want: None
        self.faults = Faults()
        self.reads = False
        """It has begun to download: it answers though it may have no piece yet."""
        self.alive = True
        self.stopped = False
        self.slots = SLOTS
        self.bytes = 0
        self._rate = up.rate
        self._clock, self._lines = clock, lines
        self._sent: dict[str, int] = {}
        self._dice = random.Random(id)
        self._given = Given()
        self._served: dict[str, float] = {}
        self._busy = 0
        self._waiting: dict[Flow, None] = {}
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._told: dict[str, Told] = {}
        self._stuck: list[tuple[Callable[..., None], tuple[object, ...]]] = []

    # What befalls it

    def die(self) -> None:
        """Its process ends: connections break, new ones are refused."""
        self.alive, self.stopped = False, False
        self._stuck.clear()
        for flow in [*self._flows(), *self._waiting]:
            flow.client.failed(flow, Unreachable("the connection was lost"))
        self._asked.clear()
        self._told.clear()

    def live(self, pieces: int) -> None:
        """It is there again, with these pieces."""
        self.alive, self.pieces = True, pieces
        self._lines.change(self.up, self._rate)

    def stop(self) -> None:
        """It says nothing any more, and its connections stay."""
        if self.alive and not self.stopped:
            self.stopped = True
            self._lines.change(self.up, 0.0)

    def go_on(self) -> None:
        """It does what it was asked meanwhile."""
        if self.stopped:
            self.stopped = False
            self._lines.change(self.up, self._rate)
            stuck, self._stuck = self._stuck, []
            for call, args in stuck:
                call(*args)
            self._advance()

    # Requests

    def asked(self, flow: Flow, pieces: int, want: tuple[int, int], answer: Callable[[Flow, Answer], None]) -> None:
        """A request for a run came, and what its asker has and wants; `answer` is told what comes with its answer."""
        if not flow.on:
            return
        if self.stopped:
            self._stuck.append((self.asked, (flow, pieces, want, answer)))
        elif not self.alive:
            flow.client.failed(flow, Unreachable("refused"))
        elif _span(flow.run) & ~self.pieces:
            flow.client.failed(flow, Gone("these bytes are not here"))
        else:
            told = self._exchange(flow.client.id, pieces, want)
            if len(self._waiting) >= WAITING:
                flow.client.failed(flow, Busy("later"))
                return
            flow.turn = (told, answer)
            self._waiting[flow] = None
            self._advance()
            if not flow.begun and flow.on:
                self._clock.at(self._clock.now + PATIENCE, self._tire, flow)

    def asked_pieces(
        self, id: str, pieces: int, want: tuple[int, int], answer: Callable[[Answer | RemoteError], None]
    ) -> None:
        """A request for what it has came."""
        if self.stopped:
            self._stuck.append((self.asked_pieces, (id, pieces, want, answer)))
        elif not self.alive:
            answer(Unreachable("refused"))
        elif not self.says and not self.reads:
            answer(Gone("it is not here"))
        else:
            told = self._exchange(id, pieces, want)
            told.pieces = self.says
            answer(told)

    @property
    def says(self) -> int:
        """The pieces that it says it has."""
        return self.pieces | self.faults.phantom

    def _exchange(self, id: str, pieces: int, want: tuple[int, int]) -> Answer:
        mine = self._told.get(id)
        if mine is None:
            mine = self._told[id] = Told()
        self._asked[id] = self._clock.now
        self._asked.move_to_end(id)
        answer = Answer(complete=self.pieces == self.every)
        if not answer.complete:
            self.hears(id, pieces, want)
            answer.want = self.want
            answer.pieces = self.says & ~mine.pieces
            mine.pieces |= answer.pieces
        since = self._clock.now - LATELY
        lately = takewhile(lambda other: self._asked[other] >= since, reversed(self._asked))
        others = [other for other in lately if other != id and other not in mine.readers]
        answer.readers = self._dice.sample(others, min(len(others), news.READERS))
        mine.readers.update(answer.readers)
        return answer

    # Turns

    def _advance(self) -> None:
        while self._waiting and self._busy < self.slots and self.alive and not self.stopped:
            sent = self._sent
            flow = min(self._waiting, key=self._turn) if len(self._waiting) > 1 else next(iter(self._waiting))
            del self._waiting[flow]
            self._busy += 1
            id = flow.client.id
            sent[id] = sent.get(id, 0) + 1
            told, answer = flow.turn  # type: ignore[misc]
            self._given.add(self._part(flow.run))
            self._lines.start(flow)
            if self.faults.cuts:
                self._clock.at(self._clock.now + self.faults.cuts.pop(), self._cut, flow)
            answer(flow, told)

    def _turn(self, flow: Flow) -> tuple[int, int, float]:
        id = flow.client.id
        return self._sent.get(id, 0), self._given.times(self._part(flow.run)), self._served.get(id, 0.0)

    def _part(self, run: Run) -> Part:
        return Part(CID, run.first, run.end, self.pieces == self.every)

    def over(self, flow: Flow) -> None:
        """The answer is, or nobody waits for it."""
        if flow.begun:
            id = flow.client.id
            self._busy -= 1
            self._sent[id] -= 1
            self._served[id] = self._clock.now
            self.bytes += flow.run.bytes
            self._advance()
        else:
            self._waiting.pop(flow, None)

    def wrong(self, flow: Flow, number: int) -> RemoteError | None:
        """See `Giver.wrong`."""
        return Lied("a wrong piece") if self.faults.lies >> number & 1 else None

    def _tire(self, flow: Flow) -> None:
        if flow.on and not flow.begun and not self.stopped:
            flow.client.failed(flow, Busy("others are being served"))

    def _cut(self, flow: Flow) -> None:
        if flow.on:
            flow.client.failed(flow, Unreachable("it ended the connection too early"))

    def _flows(self) -> list[Flow]:
        return [flow for flow in self.up.flows if flow.giver is self]


def _span(run: Run) -> int:
    return ((1 << (run.end - run.first)) - 1) << run.first
