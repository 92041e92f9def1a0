"""One owner, a thousand readers: the real planner over a network that is a model (`flows`), in simulated time."""

import gc
import random
from dataclasses import dataclass

from benchmarks.flows import Flows
from peer import bitmap
from peer.swarm.config import SwarmConfig
from tests.support.simulated_swarm.clock import Clock
from tests.support.simulated_swarm.lines import Line
from tests.support.simulated_swarm.program import Program, in_order
from tests.support.simulated_swarm.reading import Reader
from tests.support.simulated_swarm.serving import Server
from tests.support.simulated_swarm.world import Rules, World

KIB, MIB = 1 << 10, 1 << 20
MBIT = 1e6 / 8
PAYLOAD = 0.956
OWNER = "owner"


@dataclass(frozen=True)
class Links:
    """Bytes a second: the owner's line, and each reader's, both ways the same."""

    owner: float
    readers: tuple[float, ...]


class Spread:
    """A swarm of readers that begin at once, and what came of it. `churn`: so many leave and come meanwhile."""

    def __init__(self, size: int, piece: int, links: Links, churn: int = 0, seed: int = 1) -> None:
        self.dice = random.Random(seed)
        self.size, self.piece, self.links = size, piece, links
        self.every = bitmap.span(0, -(-size // piece))
        self.clock = Clock()
        self.flows = Flows(self.clock, size, piece)
        self.servers: dict[str, Server] = {}
        self.readers: list[Reader] = []
        self.began: dict[str, float] = {}
        self.done: dict[str, float] = {}
        self.whole = [OWNER]
        self.parts: list[str] = []
        self.world = World(
            self.clock, self.flows, SwarmConfig(), self.servers, lambda: self.whole[:3], lambda: self.parts, Rules()
        )
        self.owner = self._server(OWNER, links.owner, self.every)
        for rate in links.readers:
            self.clock.at(self.dice.uniform(0, 0.05), self._join, rate)

    def _server(self, id: str, rate: float, pieces: int) -> Server:
        line = self.flows.add(Line(rate))
        server = self.servers[id] = Server(id, self.clock, self.flows, line, pieces, self.every)
        return server

    def _join(self, rate: float) -> None:
        id = f"{self.dice.getrandbits(64):016x}"
        server = self._server(id, rate, 0)
        down = self.flows.add(Line(rate))
        reader = Reader(self.world, down, server, self.size, self.piece, random.Random(self.dice.getrandbits(32)))
        self.readers.append(reader)
        self.began[id] = self.clock.now
        Program(reader, in_order(self.size, self.piece), self.clock, lambda: self._ended(id)).go_on()

    def _ended(self, id: str) -> None:
        self.done[id] = self.clock.now
        if len(self.done) == len(self.links.readers):
            self.clock.end()

    def run(self, until=1e9):
        gc.collect()
        gc.freeze()
        gc.disable()
        self.flows.run(until)
        gc.enable()
