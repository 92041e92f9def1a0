"""A whole swarm of one content, with faults, drawn from a seed, and what must come of it."""

import random
from collections.abc import Iterator

from peer import bitmap
from peer.swarm.config import SwarmConfig
from shoal.errors import Lied
from tests.support.simulated_swarm.clock import Clock
from tests.support.simulated_swarm.lines import Line, Lines
from tests.support.simulated_swarm.program import Program, in_order
from tests.support.simulated_swarm.reading import Reader
from tests.support.simulated_swarm.rules import Checked
from tests.support.simulated_swarm.serving import Server
from tests.support.simulated_swarm.world import World

KIB, MIB = 1 << 10, 1 << 20
KINDS = ("any", "any", "any", "one bad", "one bad", "one bad", "liars", "nobody")
STALL = 3.0
SOON = 3.0
"""Seconds in which a read fails when nobody gives it."""
FAULTS = ("dead", "silent", "killed", "stopped", "lies", "cuts", "crawls", "phantom", "leaves", "pauses", "gone")
NEVER = 1e5


class Case:
    """The swarm of a seed. `play` lets its programs read to their ends.

    Kinds: "any": holders and readers with any faults. "one bad": all are right but for one, who does whatever it
    likes; some other one has all of it all the time. "liars": there are only liars. "nobody": all are dead.
    """

    def __init__(self, seed: int, rules: Checked | None = None) -> None:
        self.dice = dice = random.Random(seed)
        self.kind = dice.choice(KINDS)
        self.piece = dice.choice((256 * KIB, 256 * KIB, MIB, 4 * MIB)) if self.kind == "any" else 256 * KIB
        self.count = dice.choice((4, 5, 6, 7, 8, 9, 12, 16, 24, 40))
        self.size = self.count * self.piece - dice.choice((0, 1, self.piece - 1, self.piece // 2))
        self.every = bitmap.span(0, self.count)
        self.clock, self.rules = Clock(), rules or Checked()
        config = SwarmConfig()
        lines = Lines(self.clock, config, self.size, self.piece)
        self.whole: list[str] = []
        self.parts: list[str] = []
        self.world = World(self.clock, lines, config, {}, lambda: self.whole, lambda: self.parts, self.rules)
        self.said: list[str] = []
        self.programs: list[Program] = []
        self.readers: list[Reader] = []
        self.sure = False
        """Whether somebody who is right has all of it, all the time."""
        self._left = 0
        holders = [self._holder(f"h{n}") for n in range(dice.choice((1, 1, 2, 2, 3, 4, 6)))]
        if self.kind == "one bad":
            holders += [self._holder("right", all=True)]
        self._break(holders)
        for number in range(dice.choice((1, 1, 1, 2, 2, 3, 4))):
            self._reader(f"r{number}")
        dice.shuffle(self.whole)

    def play(self) -> None:
        """Lets time pass until all programs are over. Raises AssertionError if a rule is broken."""
        for program in self.programs:
            self.clock.at(self.dice.choice((0.0, 0.0, self.dice.uniform(0, 2))), program.go_on)
        self.clock.run(NEVER)
        for program in self.programs:
            if not program.reader.on:
                continue
            assert program.over, "a read does not end"
            if self.kind == "liars":
                assert not program.done and all(isinstance(error, Lied) for error in program.errors), "liars are named"
                assert program.longest <= SOON, "a lie is not told soon"
            elif self.kind == "nobody":
                assert not program.done, "somebody gave it"
                assert program.longest <= SOON, "that nobody is there is not told soon"
            elif self.sure:
                assert not program.errors, "a holder that is right and has it was not asked"
            if self.kind == "one bad":
                assert program.longest <= STALL, f"a stall of {program.longest:.2f} s"

    # Who is there

    def _holder(self, id: str, all: bool = False) -> Server:
        dice = self.dice
        all = all or self.kind == "liars" or dice.random() < 0.6
        pieces = self.every if all else dice.getrandbits(self.count)
        up = Line(self._rate())
        server = Server(id, self.clock, self.world.lines, up, pieces, self.every)
        server.slots = dice.choice((8, 8, 8, 16, 2))
        self.world.servers[id] = server
        (self.whole if pieces == self.every else self.parts).append(id)
        return server

    def _reader(self, id: str) -> None:
        dice, rate = self.dice, self._rate()
        server = Server(id, self.clock, self.world.lines, Line(rate), 0, self.every)
        self.world.servers[id] = server
        reader = Reader(self.world, Line(rate), server, self.size, self.piece, random.Random(dice.getrandbits(32)))
        self.parts.append(id)
        self.readers.append(reader)
        for _ in range(dice.choice((1, 1, 1, 1, 2))):
            self.programs.append(Program(reader, self._reads(), self.clock, self._ended))
            self._left += 1

    def _rate(self) -> float:
        """Bytes a second; where the time counts, all that is wanted takes no more than moments."""
        return (
            2 ** self.dice.uniform(1, 6) * self.piece / (256 * KIB)
            if self.kind == "any"
            else self.dice.uniform(60, 200)
        ) * MIB

    def _reads(self) -> Iterator[tuple[int, int, float]]:
        dice = self.dice
        step = dice.choice((256 * KIB, 256 * KIB, MIB, 300_000, 100_000)) * self.piece // (256 * KIB)
        pause = dice.choice((0.0, 0.0, 0.0, 0.01, 0.3))
        if dice.random() < 0.75:
            return in_order(self.size, step, pause)
        places = [dice.randrange(self.size) for _ in range(dice.randint(1, 8))]
        return iter([(at, min(step, self.size - at), pause) for at in places])

    def _ended(self) -> None:
        self._left -= 1
        if not self._left:
            self.clock.end()

    # What befalls them

    def _break(self, holders: list[Server]) -> None:
        dice = self.dice
        match self.kind:
            case "one bad":
                self.sure = True
                self._befall(holders[0], dice.choice(FAULTS))
                for server in holders[1:-1]:
                    server.pieces = server.pieces or 1
            case "liars":
                for server in holders:
                    server.faults.lies = self.every
            case "nobody":
                for server in holders:
                    self._befall(server, "dead")
            case _:
                for server in holders:
                    if dice.random() < 0.6:
                        self._befall(server, dice.choice(FAULTS))
                    elif server.id in self.whole:
                        self.sure = True

    def _befall(self, server: Server, what: str) -> None:
        dice, clock = self.dice, self.clock
        self.said.append(f"{server.id}: {what}")
        early = dice.choice((0.0, 0.1, 1.0)) * dice.random() + 0.001
        late = early + dice.choice((0.2, 2.0, 20.0)) * dice.random()
        match what:
            case "dead":
                server.alive = False
            case "silent":
                server.stop()
            case "killed":
                clock.at(early, server.die)
            case "stopped":
                clock.at(early, server.stop)
            case "pauses":
                clock.at(early, server.stop)
                clock.at(late, server.go_on)
            case "leaves":
                clock.at(early, server.die)
                clock.at(late, server.live, dice.choice((0, server.pieces, dice.getrandbits(self.count))))
            case "lies":
                server.faults.lies = dice.choice((self.every, dice.getrandbits(self.count), 1))
            case "cuts":
                server.faults.cuts = [dice.choice((0.0, 0.02, 0.5)) * dice.random() for _ in range(dice.randint(1, 40))]
            case "crawls":
                self.world.lines.change(server.up, dice.uniform(100, 60_000))
            case "phantom":
                server.faults.phantom, server.pieces = self.every, server.pieces & dice.getrandbits(self.count)
            case "gone":
                server.pieces = 0
