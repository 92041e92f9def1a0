"""Lines, and the flows of bytes on them. Each line is shared equally by its flows, but for what one of them cannot take
because its other end is slower: that goes to the others (max-min fairness, as TCP has it in the long run).

`Flow` is one request for a run and its answer, on whatever lines; `Lines` moves the bytes of flows.
"""

import math
from typing import Protocol

from peer.swarm.config import SwarmConfig
from peer.swarm.plan import Run
from shoal.errors import RemoteError, Unreachable
from tests.support.simulated_swarm.clock import Clock

SOON = 1e-9
"""Seconds that are nothing: what is left of a piece after rounding."""
EXACT = 0.02
"""A line whose level changes by a smaller part does not change those at the other ends of its flows."""
SPREAD = 64
"""Lines looked at for one change at most."""


class Line:
    """One direction of a host's line: bytes a second, and the flows on it."""

    __slots__ = ("flows", "level", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.flows: dict[Flow, None] = {}
        self.level = math.inf
        """Bytes a second that it gives to a flow whose other end takes them; infinity: it is not full."""


class Client(Protocol):
    """Who asked."""

    id: str

    def came(self, flow: "Flow", number: int) -> None:
        """A piece came whole."""

    def failed(self, flow: "Flow", error: RemoteError) -> None:
        """Nothing more comes."""

    def finished(self, flow: "Flow") -> None:
        """All of it came."""


class Giver(Protocol):
    """Who is asked."""

    def wrong(self, flow: "Flow", number: int) -> RemoteError | None:
        """What the client finds wrong in the piece that it was sent."""

    def over(self, flow: "Flow") -> None:
        """The answer ended, or is not waited for any more."""


class Flow:
    """A run that was asked for, and its answer."""

    __slots__ = ("asked", "begun", "client", "down", "giver", "left", "mark", "on", "rate", "run", "turn", "up")
    __slots__ += ("version", "watched", "watched_bytes")

    def __init__(self, run: Run, client: Client, down: Line, giver: Giver, up: Line, now: float) -> None:
        self.run, self.client, self.down, self.giver, self.up = run, client, down, giver, up
        self.asked = now
        self.begun = False
        self.on = True
        """Until it is over, well or not."""
        self.left = 0.0
        """Bytes of the piece `run.at` that did not come yet."""
        self.rate = 0.0
        self.mark = now
        """Until when its bytes are counted."""
        self.version = 0
        self.watched, self.watched_bytes = now, 0
        self.turn: object = None


class Lines:
    """Moves the bytes of flows over their lines, and watches over silence and speed as a reader's connection does."""

    def __init__(self, clock: Clock, config: SwarmConfig, size: int, piece: int) -> None:
        self._clock, self._config = clock, config
        self._size, self._piece = size, piece

    def watch(self, flow: Flow) -> None:
        """The flow was asked for just now."""
        flow.watched = self._clock.now
        self._clock.at(flow.watched + self._config.stall_timeout, self._look, flow)

    def start(self, flow: Flow) -> None:
        """Its bytes begin to come."""
        now = self._clock.now
        flow.begun, flow.mark = True, now
        flow.watched, flow.watched_bytes = now, 0
        flow.left = self._length(flow.run.at)
        flow.up.flows[flow] = flow.down.flows[flow] = None
        self._share(flow.up, flow.down)
        if not flow.rate:
            self._clock.at(now + self._config.stall_timeout, self._look, flow)

    def stop(self, flow: Flow) -> None:
        """No more of it comes."""
        if not flow.on:
            return
        flow.on = False
        flow.version += 1
        if flow.begun:
            self.settle(flow)
            del flow.up.flows[flow], flow.down.flows[flow]
            self._share(flow.up, flow.down)
        flow.giver.over(flow)

    def change(self, line: Line, rate: float) -> None:
        """The line has another rate from now on; 0: nothing passes."""
        line.rate = rate
        self._share(line)

    def settle(self, flow: Flow) -> None:
        """Counts the bytes that came by now."""
        now = self._clock.now
        if flow.rate and now > flow.mark:
            moved = min(flow.left, flow.rate * (now - flow.mark))
            flow.left -= moved
            flow.run.bytes += moved  # type: ignore[assignment]
            flow.run.heard = now
        flow.mark = now

    def _length(self, number: int) -> int:
        return min(self._piece, self._size - number * self._piece)

    def _share(self, *lines: Line) -> None:
        dirty, steps = dict.fromkeys(lines), 0
        while dirty and steps < SPREAD:
            line = next(iter(dirty))
            del dirty[line]
            steps += 1
            old, line.level = line.level, _level(line)
            changed = old != line.level and not abs(old - line.level) <= EXACT * line.level
            for flow in line.flows:
                self._set(flow)
                if changed:
                    dirty[flow.down if flow.up is line else flow.up] = None

    def _set(self, flow: Flow) -> None:
        now, rate = self._clock.now, min(flow.up.level, flow.down.level)
        if rate == flow.rate:
            return
        self.settle(flow)
        flow.rate = rate
        flow.version += 1
        if rate:
            self._clock.at(now + flow.left / rate, self._due, flow, flow.version)
        else:
            self._clock.at(now + self._config.stall_timeout, self._look, flow)

    def _due(self, flow: Flow, version: int) -> None:
        """A piece has come whole, unless the rate changed meanwhile."""
        if version != flow.version or not flow.on:
            return
        self.settle(flow)
        run, number = flow.run, flow.run.at
        run.heard = self._clock.now
        error = flow.giver.wrong(flow, number)
        if error is not None:
            flow.client.failed(flow, error)
            return
        flow.client.came(flow, number)
        if not flow.on:
            return
        if number + 1 == run.end:
            self.stop(flow)
            flow.client.finished(flow)
            return
        flow.left = self._length(number + 1)
        flow.version += 1
        self._clock.at(self._clock.now + flow.left / flow.rate, self._due, flow, flow.version)

    def _look(self, flow: Flow) -> None:
        """As `connection.Body` does: who is silent or too slow for the stall timeout failed."""
        if not flow.on:
            return
        now, config = self._clock.now, self._config
        if flow.begun:
            self.settle(flow)
        silent = now - max(flow.run.heard, flow.watched if flow.begun else flow.asked)
        if not flow.rate and silent >= config.stall_timeout - SOON:
            flow.client.failed(flow, Unreachable("it fell silent"))
            return
        passed = now - flow.watched
        if flow.rate and passed >= config.stall_timeout - SOON:
            if flow.run.bytes - flow.watched_bytes < config.lowest_speed * passed:
                flow.client.failed(flow, Unreachable("it is too slow"))
                return
            flow.watched, flow.watched_bytes = now, flow.run.bytes
            self._clock.at(now + config.stall_timeout, self._look, flow)
        elif flow.rate:
            self._clock.at(flow.watched + config.stall_timeout, self._look, flow)


def _level(line: Line) -> float:
    """See `Line.level`: as its flows' other ends are just now."""
    left, count = line.rate, len(line.flows)
    for most in sorted([(flow.down if flow.up is line else flow.up).level for flow in line.flows]):
        if most * count > left:
            return left / count
        left -= most
        count -= 1
    return math.inf if line.rate else 0.0
