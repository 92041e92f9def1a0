"""The rows of crowds too large for this machine: the real plan over simulated lines (`tests.support.simulated_swarm`).

Nothing is timed but by the simulation's clock, so one play of each row is enough, and other load does no harm.
BENCH_SWARM_SIZE=256M plays a file a quarter as long (a full run has 1 GiB), BENCH_CROWD=100 fewer readers than 1,000.
"""

import os
import random
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from benchmarks.table import Line
from shoal.units import parse_size, show_size
from tests.support.lab import MBIT, PAYLOAD
from tests.support.simulated_swarm.crowd import Crowd, Outcome

RATE = PAYLOAD * 100 * MBIT / 8
MIXED = (0.5, 1.0, 2.0)
"""Lines of so many times that rate, all as frequent."""
BAR = 1.3
EVERY = 10.0
"""Simulated seconds after which it is told how far they are."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of the file, and readers."""

    file: int
    readers: int

    @classmethod
    def of_environment(cls) -> "Sizes":
        """From BENCH_SWARM_SIZE and BENCH_CROWD."""
        size = os.environ.get("BENCH_SWARM_SIZE")
        return cls(4 * parse_size(size) if size else 1 << 30, int(os.environ.get("BENCH_CROWD", "1000")))


def thousand(sizes: Sizes) -> list[Line]:
    """One source, a thousand readers: on equal lines, then on mixed ones where one in ten leaves and as many come."""
    with ProcessPoolExecutor(2) as pool:
        plays = [pool.submit(_play, sizes.file, sizes.readers, mixed) for mixed in (False, True)]
        equal, mixed = [play.result() for play in plays]
    text = f"{show_size(sizes.file)} to {sizes.readers:,} readers, simulated"
    return [
        *_lines(f"{text}, equal lines", equal),
        *_lines(f"{text}, lines of 50, 100 and 200 Mbit/s, 10 % leave and 10 % come late", mixed),
    ]


def _play(size: int, readers: int, mixed: bool) -> Outcome:
    dice = random.Random(readers)
    rates = [RATE * (dice.choice(MIXED) if mixed else 1.0) for _ in range(readers)]
    crowd = Crowd(size, rates, seed=1, churn=mixed)

    def tell() -> None:
        text = f"{'mixed' if mixed else 'equal'} lines, after {crowd.clock.now:.0f} s: {crowd.read:.0%} read"
        print(text, file=sys.stderr, flush=True)
        crowd.clock.at(crowd.clock.now + EVERY, tell)

    crowd.clock.at(EVERY, tell)
    return crowd.play()


def _lines(text: str, outcome: Outcome) -> list[Line]:
    note = (
        f"the reader in the middle used {100 * outcome.use:.0f} % of its line until it was done; "
        f"the source gave {outcome.given:.2f} × the file; "
        f"{outcome.errors} reads failed, the longest took {outcome.longest:.1f} s"
    )
    return [
        Line(f"{text}: the last one done", "×", [outcome.last], "the slowest line's optimum", [1.0], BAR, True, note)
    ]


ROWS: dict[str, Callable[[Sizes], list[Line]]] = {"thousand": thousand}
