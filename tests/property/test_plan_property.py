"""The plan and the bench, played in simulated time against holders that fail at random."""

from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from peer.swarm.bench import Bench
from peer.swarm.plan import PER_HOLDER, RUN, RUNS, URGENT, Plan, Run, Wait
from peer.swarm.window import MIB, Window
from shoal.errors import Gone, Lied, Misbehaved, RemoteError, Unreachable

PIECE = MIB // 4
CID = "c"
FAULTS: dict[str, RemoteError] = {
    "dead": Unreachable("d"),
    "lies": Lied("l"),
    "breaks": Misbehaved("m"),
    "gone": Gone("g"),
}


@dataclass
class Peer:
    """A holder of the simulation: what it has, what it does wrong from which request on, seconds a run takes."""

    pieces: frozenset[int] | None
    fault: str
    after: int
    pace: float
    asked: int = 0

    @property
    def right(self) -> bool:
        return self.fault == ""


peers = st.builds(
    Peer,
    pieces=st.none() | st.frozensets(st.integers(0, 63)),
    fault=st.sampled_from(["", "", "dead", "lies", "breaks", "gone"]),
    after=st.integers(0, 3),
    pace=st.floats(0.01, 2.0),
)
reads = st.tuples(st.integers(0, 2), st.integers(0, 16 * MIB - 1), st.integers(1, MIB))


class Simulation:
    """Runs end at their times; what the plan starts is checked at once."""

    def __init__(self, holders: list[Peer], count: int, handles: int) -> None:
        self.now = 1.0
        self.bench = Bench()
        self.holders = {f"h{n}": peer for n, peer in enumerate(holders)}
        self.plan = Plan(count * PIECE, PIECE, 0, lambda id: self.bench.until(id, CID))
        for id, peer in self.holders.items():
            has = None if peer.pieces is None else sum(1 << n for n in peer.pieces)
            self.plan.hold(id, has)
        self.windows = [Window(count * PIECE) for _ in range(handles)]
        self.plan.windows = self.windows
        self.flying: list[tuple[float, Run]] = []
        self.fetched: list[int] = []

    def pump(self) -> None:
        while (run := self.plan.next(self.now)) is not None:
            self.check(run)
            self.flying.append((self.now + self.holders[run.holder].pace, run))

    def check(self, run: Run) -> None:
        holding = self.plan.holdings[run.holder]
        pieces = range(run.first, run.end)
        assert all(holding.has(n) for n in pieces), "asked for what it has not"
        assert self.bench.until(run.holder, CID) <= self.now, "asked while benched"
        assert not any(self.plan.has(n) for n in pieces), "asked for what is here"
        for _, other in self.flying:
            assert run.end <= other.first or other.end <= run.first, "asked twice at a time"
        assert len(pieces) * PIECE <= RUN
        assert len(self.plan.runs) <= RUNS * URGENT
        assert holding.active <= PER_HOLDER * URGENT
        spans = [(wait.first, wait.end) for wait in self.plan.waits]
        spans += [(w.position // PIECE, -(-w.end // PIECE)) for w in self.windows]
        assert all(any(first <= n < end for first, end in spans) for n in pieces), "asked for what nobody wants"

    def step(self) -> bool:
        """The next run ends; False if none is under way."""
        if not self.flying:
            return False
        self.flying.sort(key=lambda item: item[0])
        self.now, run = self.flying.pop(0)
        peer = self.holders[run.holder]
        peer.asked += 1
        failed = not peer.right and peer.asked > peer.after
        good = range(run.first, run.first + (run.end - run.first) // 2 if failed else run.end)
        for number in good:
            self.plan.arrived(number)
            self.fetched.append(number)
        if failed:
            self.bench.failed(run.holder, CID, FAULTS[peer.fault], self.now, slow=peer.pace > 0.5)
        else:
            self.bench.good(run.holder)
        self.plan.ended(run, self.now)
        return True

    def read(self, handle: int, offset: int, size: int) -> bool:
        """Whether the bytes came; False when the plan says that nobody can be asked."""
        window = self.windows[handle]
        window.read(offset, size)
        wait = Wait(offset // PIECE, -(-(offset + size) // PIECE))
        self.plan.waits.append(wait)
        try:
            for _ in range(1000):
                if not self.plan.lacks(wait.first, wait.end):
                    return True
                self.pump()
                until = self.plan.outlook(wait.first, wait.end, self.now)
                if until is None:
                    return False
                if until == float("inf"):
                    assert self.step(), "a reader waits for nothing"
                else:
                    assert until > self.now
                    self.now = until
            raise AssertionError("a read does not end")
        finally:
            self.plan.waits.remove(wait)


@settings(max_examples=150, deadline=None)
@given(st.lists(peers, min_size=1, max_size=5), st.lists(reads, min_size=1, max_size=12))
@example([Peer(None, "gone", 0, 1.0) for _ in range(3)], [(0, 0, 1)])
def test_reads(holders: list[Peer], wanted: list[tuple[int, int, int]]) -> None:
    """Every read ends with its bytes, or with nobody left to ask; holders are asked only for what they have, while not
    benched, within the bounds, and for nothing that is here, under way or not wanted."""
    simulation = Simulation(holders, 64, 3)
    for handle, offset, size in wanted:
        size = min(size, 64 * PIECE - offset)
        came = simulation.read(handle, offset, size)
        first, end = offset // PIECE, -(-(offset + size) // PIECE)
        able = any(
            peer.right and all(peer.pieces is None or n in peer.pieces for n in range(first, end)) for peer in holders
        )
        assert came or not able, "a holder that is right and has it was not asked"
    assert len(simulation.fetched) == len(set(simulation.fetched)), "a piece was fetched twice"


@settings(max_examples=50, deadline=None)
@given(st.lists(peers, max_size=3), st.integers(50_000, MIB), st.floats(0.01, 1.0))
def test_sequential(others: list[Peer], step: int, pace: float) -> None:
    """Reading from the start to the end, with one holder that is right, gives all of it, each piece fetched once."""
    simulation = Simulation([Peer(None, "", 0, pace), *others], 64, 1)
    for offset in range(0, 64 * PIECE, step):
        assert simulation.read(0, offset, min(step, 64 * PIECE - offset))
    assert sorted(simulation.fetched) == list(range(64))
