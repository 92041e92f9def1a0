"""Bytes a second shared between askers, in simulated time: never more than the rate, never less than one's share."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from peer.shares import BURST, SMALL, Shares, Ticket

TIME = 20.0


@dataclass
class Asker:
    """One who asks over several connections: each for `want` bytes, again `gap` seconds after each grant."""

    name: str
    connections: int
    want: int
    gap: float
    small: bool = False
    """Asks for small things only, past all others if it is let."""
    tickets: list[Ticket] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)


class Simulation:
    """What is granted to whom, and when."""

    def __init__(self, rate: int, askers: list[Asker]) -> None:
        self.now = 0.0
        self.shares = Shares(rate, 0.0)
        self.askers = askers
        self.granted: list[tuple[float, str, int]] = []
        for asker in askers:
            asker.wakes = [0.0] * asker.connections

    def run(self) -> None:
        while self.now < TIME:
            for asker in self.askers:
                self._ask(asker)
            granted, pause = self.shares.advance(self.now)
            for ticket in granted:
                self._take(ticket)
            if granted:
                continue
            wakes = [wake for asker in self.askers for wake in asker.wakes]
            later = min([*wakes, self.now + pause if pause is not None else TIME])
            self.now = max(later, self.now + 1e-6)

    def _ask(self, asker: Asker) -> None:
        due = [wake for wake in asker.wakes if wake <= self.now]
        asker.wakes = [wake for wake in asker.wakes if wake > self.now]
        for _ in due:
            if asker.small and self.shares.small(asker.name, asker.want, self.now):
                self.granted.append((self.now, asker.name, asker.want))
                asker.wakes.append(self.now + max(asker.gap, 0.001))
            else:
                asker.tickets.append(self.shares.ask(asker.name, asker.want, self.now))

    def _take(self, ticket: Ticket) -> None:
        asker = next(asker for asker in self.askers if asker.name == ticket.asker)
        asker.tickets.remove(ticket)
        self.granted.append((self.now, asker.name, ticket.size))
        asker.wakes.append(self.now + asker.gap)

    def bytes(self, first: float, end: float, name: str = "") -> int:
        """What was granted in that time, to one or to all."""
        return sum(size for when, who, size in self.granted if first <= when < end and name in ("", who))


rates = st.integers(2_000, 50_000_000)
others = st.lists(
    st.tuples(st.integers(1, 12), st.integers(1, 4 << 20), st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0]), st.booleans()),
    max_size=5,
)
spans = st.tuples(st.floats(0, TIME), st.floats(0, TIME)).map(sorted)


def played(rate: int, drawn: list[tuple[int, int, float, bool]]) -> Simulation:
    steady = Asker("steady", 1, 4 << 20, 0.0)
    askers = [
        Asker(f"a{n}", connections, min(want, SMALL) if small else want, gap, small)
        for n, (connections, want, gap, small) in enumerate(drawn)
    ]
    simulation = Simulation(rate, [steady, *askers])
    # A request of a byte, again and again at once, is only long to simulate.
    for asker in askers:
        asker.want = max(asker.want, min(rate // 200, SMALL) if asker.small else rate // 200)
    simulation.run()
    return simulation


@settings(max_examples=60, deadline=None)
@given(rates, others, spans)
def test_never_more_than_the_rate(rate: int, drawn: list[tuple[int, int, float, bool]], span: list[float]) -> None:
    """Over any time no more is granted than the rate, its burst, a grant, and what small requests may run ahead."""
    simulation = played(rate, drawn)
    first, end = span
    ahead = sum(SMALL + max(asker.want, simulation.shares.most * 6) for asker in simulation.askers if asker.small)
    assert simulation.bytes(first, end) <= rate * (end - first) + rate * BURST + simulation.shares.most + 2 * ahead + 1


@settings(max_examples=60, deadline=None)
@given(rates, others, spans)
def test_who_always_wants_gets_its_share(
    rate: int, drawn: list[tuple[int, int, float, bool]], span: list[float]
) -> None:
    """Over any time an asker with one connection gets its part of all that is granted, less a constant."""
    simulation = played(rate, drawn)
    first, end = span
    count = len(simulation.askers)
    small = max((SMALL * (2 + asker.connections) for asker in simulation.askers if asker.small), default=0)
    constant = 7 * simulation.shares.most + small
    mine = simulation.bytes(first, end, "steady")
    assert mine >= simulation.bytes(first, end) / count - constant
    assert simulation.bytes(0, TIME) >= 0.95 * rate * TIME - simulation.shares.most, "what is wanted is granted"


@settings(max_examples=30, deadline=None)
@given(st.integers(50_000, 5_000_000), st.integers(2, 64))
def test_many_connections_get_no_more_than_one(rate: int, connections: int) -> None:
    """Half each, whatever the number of connections."""
    simulation = Simulation(rate, [Asker("modest", 1, 1 << 20, 0.0), Asker("greedy", connections, 1 << 20, 0.0)])
    simulation.run()
    modest, greedy = simulation.bytes(0, TIME, "modest"), simulation.bytes(0, TIME, "greedy")
    assert abs(modest - greedy) <= 4 * simulation.shares.most
