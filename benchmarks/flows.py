"""A network of thousands of flows, as a model: who is on which line, and how fast that makes each.

Time goes in steps. In each the lines are shared max-min fairly between the flows, as TCP does it about: what one cannot
use, because its other end is busy, the others get. Packets, losses and round trips are not modelled.
"""

import numpy as np

from tests.support.simulated_swarm.clock import Clock
from tests.support.simulated_swarm.lines import Flow, Line

STEP = 0.004
"""Seconds."""
ROUNDS = 6
"""In each, every flow gets an equal part of what its lines have left. That converges soon."""


class Flows:
    """Moves the bytes of flows; stands where `simulated_swarm.lines.Lines` does for few of them."""

    def __init__(self, clock: Clock, size: int, piece: int, most: int = 1 << 15) -> None:
        self._clock, self._size, self._piece = clock, size, piece
        self._up, self._down = np.zeros(most, np.int64), np.zeros(most, np.int64)
        self._left, self._rate = np.zeros(most), np.zeros(most)
        self._on = np.zeros(most, bool)
        self._flows: list[Flow | None] = [None] * most
        self._free = list(range(most))[::-1]
        self._lines: list[Line] = []
        self._capacity = np.zeros(0)

    def add(self, line: Line) -> Line:
        """The line is one of this network's."""
        line.number = len(self._lines)
        self._lines.append(line)
        self._capacity = np.append(self._capacity, line.rate)
        return line

    def watch(self, flow: Flow) -> None:
        """Nobody falls silent here."""

    def start(self, flow: Flow) -> None:
        """Its bytes begin to come."""
        at = flow.version = self._free.pop()
        flow.begun = True
        flow.up.flows[flow] = flow.down.flows[flow] = None
        self._up[at], self._down[at] = flow.up.number, flow.down.number
        self._left[at], self._on[at] = self._length(flow.run.at), True
        self._flows[at] = flow

    def stop(self, flow: Flow) -> None:
        """No more of it comes."""
        if not flow.on:
            return
        flow.on = False
        if flow.begun:
            self.settle(flow)
            del flow.up.flows[flow], flow.down.flows[flow]
            self._on[flow.version] = False
            self._flows[flow.version] = None
            self._free.append(flow.version)
        flow.giver.over(flow)

    def change(self, line: Line, rate: float) -> None:
        """The line has another rate from now on."""
        line.rate = self._capacity[line.number] = rate

    def settle(self, flow: Flow) -> None:
        """Counts the bytes that came by now."""
        run = flow.run
        if flow.on or flow.begun:
            part = self._length(run.at) - float(self._left[flow.version]) if run.at < run.end else 0.0
            whole = min(self._size, run.at * self._piece) - run.first * self._piece
            run.bytes = int(whole + part)
            if run.bytes:
                run.heard = self._clock.now

    def run(self, until: float) -> None:
        """Time passes."""
        while self._clock.now < until and self._clock.busy:
            self._clock.run(self._clock.now + STEP)
            self._pass()

    def _length(self, number: int) -> int:
        return min(self._piece, self._size - number * self._piece)

    def _pass(self) -> None:
        on = np.flatnonzero(self._on)
        if not len(on):
            return
        self._left[on] -= self._share(self._up[on], self._down[on]) * STEP
        for at in on[self._left[on] <= 0].tolist():
            flow = self._flows[at]
            while flow is not None and flow.on and self._left[at] <= 0:
                self._came(flow, at)

    def _came(self, flow: Flow, at: int) -> None:
        run = flow.run
        number = run.at
        run.heard, run.bytes = self._clock.now, run.bytes + self._length(number)
        flow.client.came(flow, number)
        if not flow.on:
            return
        if number + 1 == run.end:
            self.stop(flow)
            flow.client.finished(flow)
        else:
            self._left[at] += self._length(number + 1)

    def _share(
        self, up: "np.ndarray[int, np.dtype[np.int64]]", down: "np.ndarray[int, np.dtype[np.int64]]"
    ) -> np.ndarray:
        """The rates of the flows on these lines."""
        left, count = self._capacity.copy(), len(self._lines)
        rates = np.zeros(len(up))
        some = np.arange(len(up))
        for _ in range(ROUNDS):
            ups, downs = up[some], down[some]
            users = np.bincount(ups, minlength=count) + np.bincount(downs, minlength=count)
            share = left / np.maximum(users, 1)
            more = np.minimum(share[ups], share[downs])
            rates[some] += more
            left -= np.bincount(ups, more, count) + np.bincount(downs, more, count)
            some = some[np.minimum(left[ups], left[downs]) > 1e3]
            if not len(some):
                break
        return rates
