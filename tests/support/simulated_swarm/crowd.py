"""One source and a crowd of readers who all read the file from its start to its end, as a benchmark wants it."""

import math
import random
import statistics
from dataclasses import dataclass

from peer import bitmap
from peer.swarm.config import SwarmConfig
from shoal.manifest import piece_count, piece_size
from shoal.wire import PAGE
from tests.support.simulated_swarm.clock import Clock
from tests.support.simulated_swarm.lines import Line, Lines
from tests.support.simulated_swarm.program import Program, in_order
from tests.support.simulated_swarm.reading import Reader
from tests.support.simulated_swarm.serving import Server
from tests.support.simulated_swarm.world import Rules, World

STEP = 1 << 20
"""Bytes of a program's read."""
START = 0.5
"""Seconds in which all begin."""
SOURCE = "source"


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    last: float
    """The longest that a reader took who read to the end, by what the slowest line needs for the file at least."""
    use: float
    """The part of its own line that the reader in the middle used until it was done."""
    given: float
    """Bytes that the source sent, by the file's."""
    errors: int
    longest: float
    """Seconds that a read took at most."""


class Crowd:
    """`rates` are the bytes a second of the readers' lines, both ways; the source has the largest of them. One in ten
    leaves for good with `churn`, at any moment, and as many come late.
    """

    def __init__(self, size: int, rates: list[float], seed: int, churn: bool = False) -> None:
        self.size, self.dice = size, random.Random(seed)
        self.clock, config = Clock(), SwarmConfig()
        self._lines = Lines(self.clock, config, size, piece_size(size))
        self._every = bitmap.span(0, piece_count(size))
        self.parts: list[str] = []
        world = World(self.clock, self._lines, config, {}, lambda: [SOURCE], lambda: self.parts[:PAGE], Rules())
        self._world, self._slowest = world, min(rates)
        self.source = Server(SOURCE, self.clock, self._lines, Line(max(rates)), self._every, self._every)
        world.servers[SOURCE] = self.source
        self._began: dict[Program, float] = {}
        self._gone: set[str] = set()
        self._left = self._readers = len(rates)
        soon = size / statistics.median(rates)
        come_late = set(self.dice.sample(range(len(rates)), len(rates) // 10)) if churn else set()
        leave = set(self.dice.sample(range(len(rates)), len(rates) // 10)) if churn else set()
        for number, rate in enumerate(rates):
            begins = self.dice.uniform(0, soon if number in come_late else START)
            self.clock.at(begins, self._come, f"r{number}", rate)
            if number in leave - come_late:
                self.clock.at(self.dice.uniform(START, soon), self._go, f"r{number}")

    def play(self) -> Outcome:
        """Lets them read."""
        self.clock.run(1e5)
        last, uses, errors = 0.0, [], 0
        for program, began in self._began.items():
            errors += len(program.errors)
            if program.reader.id not in self._gone:
                took = program.over - began if program.over else math.inf
                last = max(last, took)
                uses.append(self.size / program.reader.down.rate / took)
        return Outcome(
            last / (self.size / self._slowest),
            statistics.median(uses),
            self.source.bytes / self.size,
            errors,
            max(program.longest for program in self._began),
        )

    @property
    def read(self) -> float:
        """The part of all that is to be read that is here by now."""
        here = sum(program.reader.server.pieces.bit_count() for program in self._began)
        return here / (self._readers * self._every.bit_count())

    def _come(self, id: str, rate: float) -> None:
        server = Server(id, self.clock, self._lines, Line(rate), 0, self._every)
        self._world.servers[id] = server
        dice = random.Random(self.dice.getrandbits(32))
        reader = Reader(self._world, Line(rate), server, self.size, piece_size(self.size), dice)
        self.parts.append(id)
        self.dice.shuffle(self.parts)
        program = Program(reader, in_order(self.size, STEP), self.clock, self._ended, seconds=1e5)
        self._began[program] = self.clock.now
        program.go_on()

    def _go(self, id: str) -> None:
        program = next(program for program in self._began if program.reader.id == id)
        if program.over:
            return
        self._gone.add(id)
        program.reader.end()
        self._world.servers[id].die()
        self.parts.remove(id)
        self._ended()

    def _ended(self) -> None:
        self._left -= 1
        if not self._left:
            self.clock.end()
