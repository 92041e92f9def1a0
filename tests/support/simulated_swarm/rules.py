"""What must be true at every request and at every read's end, checked beside the plan and not by it."""

from peer import bitmap
from peer.swarm.plan import PER_HOLDER, RUN, RUNS, SPARE, URGENT, Run
from peer.swarm.window import Window
from shoal.errors import RemoteError
from tests.support.simulated_swarm.fetching import Fetching as Reader
from tests.support.simulated_swarm.serving import CID
from tests.support.simulated_swarm.world import Read, Rules

GRACE = 0.01


class Checked(Rules):
    """Raises AssertionError when one of these is broken:

    - a read ends with right bytes, or with an error, `read_timeout` after the last useful byte at the latest;
    - a piece is asked only of who is known to have it, and of nobody who is benched;
    - no more runs are under way than `RUNS` and `PER_HOLDER` of one holder, or `URGENT` times that when readers wait;
    - nothing is asked for that nobody wants, or that is here;
    - at most one part in `SPARE` of the content, one piece at least, comes a second time or is cancelled half-way.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._known: dict[tuple[str, str], int | None] = {}
        self._right: dict[Reader, int] = {}
        self._wasted: dict[Reader, float] = {}

    def told(self, reader: Reader, holder: str, pieces: int | None) -> None:
        """See `Rules.told`."""
        known = self._known.get((reader.id, holder), 0)
        if pieces is None:
            self._known[reader.id, holder] = None
        elif known is not None:
            self._known[reader.id, holder] = known | pieces

    def corrected(self, reader: Reader, holder: str, pieces: int) -> None:
        """See `Rules.corrected`."""
        self._known[reader.id, holder] = pieces

    def asked(self, reader: Reader, run: Run) -> None:
        """See `Rules.asked`."""
        self.requests += 1
        plan, now, span = reader.plan, reader.world.clock.now, bitmap.span(run.first, run.end)
        known = self._known[reader.id, run.holder]
        assert span and (known is None or not span & ~known), "asked of who is not known to have it"
        assert plan.holdings[run.holder].of(span) == span, "asked of who does not have it, as the plan knows"
        assert reader.bench.until(run.holder, CID) <= now, "asked of who is benched"
        of_holder = sum(other.holder == run.holder for other in reader.flows)
        most = URGENT if plan.waits else 1
        assert len(reader.flows) < RUNS * most, "too many runs"
        assert of_holder < PER_HOLDER * most, "too many runs of one holder"
        assert (run.end - run.first) * plan.piece <= max(RUN, plan.piece), "a run that is too long"
        assert not span & plan.here, "asked for what is here"
        assert not span & ~self._wanted(reader), "asked for what nobody wants"

    def came(self, reader: Reader, run: Run, number: int) -> None:
        """See `Rules.came`."""
        assert run.first <= number < run.end
        if self._right[reader] >> number & 1:
            self._waste(reader, reader.plan.piece)
        self._right[reader] |= 1 << number

    def cancelled(self, reader: Reader, run: Run) -> None:
        """See `Rules.cancelled`."""
        self._waste(reader, run.bytes - (run.at - run.first) * reader.plan.piece)

    def began(self, reader: Reader, read: Read) -> None:
        """See `Rules.began`."""
        self._right.setdefault(reader, reader.plan.here)

    def ended(self, reader: Reader, read: Read, error: RemoteError | None) -> None:
        """See `Rules.ended`."""
        first, end = read.wait.first, read.wait.end
        if error is None:
            assert not bitmap.span(first, end) & ~self._right[reader], "a read got bytes that never came"
        useful = max(read.useful, reader.plan.heard(first, end))
        assert reader.world.clock.now <= useful + reader.world.config.read_timeout + GRACE, "a read ended too late"

    def _waste(self, reader: Reader, size: float) -> None:
        wasted = self._wasted[reader] = self._wasted.get(reader, 0) + size
        assert wasted <= max(reader.plan.piece, reader.plan.size // SPARE) + 1, "too much came for nothing"

    @staticmethod
    def _wanted(reader: Reader) -> int:
        plan = reader.plan
        wanted = 0
        for wait in plan.waits:
            wanted |= bitmap.span(wait.first, wait.end)
        for window in plan.windows:
            wanted |= _covered(window, plan.piece)
        return wanted


def _covered(window: Window, piece: int) -> int:
    return bitmap.span(window.position // piece, -(-window.far // piece)) if window.ahead else 0
