"""Cases of the simulated swarm: one told step by step, or a great many.

python -m tests.swarm_cases SEED
python -m tests.swarm_cases FIRST END
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor

from peer.swarm.plan import Run
from shoal.errors import RemoteError
from tests.support.simulated_swarm.case import Case
from tests.support.simulated_swarm.fetching import Fetching
from tests.support.simulated_swarm.rules import Checked
from tests.support.simulated_swarm.world import Read

CHUNK = 1_000


def play(seed: int) -> str:
    """What went wrong in a case; "" if nothing did."""
    try:
        Case(seed).play()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cases are to be played
        return f"{type(error).__name__}: {error}"
    return ""


def failures(first: int) -> list[int]:
    """The seeds of a thousand cases that failed."""
    return [seed for seed in range(first, first + CHUNK) if play(seed)]


def play_many(first: int, end: int) -> int:
    """Plays them on all CPUs, and prints the seeds that fail; how many."""
    count = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        chunks = range(first, end, CHUNK)
        for number, failed in enumerate(pool.map(failures, chunks), 1):
            count += len(failed)
            for seed in failed:
                print(f"FAILED: python -m tests.swarm_cases {seed}", flush=True)
            if number % 50 == 0 or number == len(chunks):
                print(f"{number * CHUNK:,} cases of the simulated swarm, {count} failed", flush=True)
    return count


class Told(Checked):
    """Says what happens."""

    def _say(self, reader: Fetching, text: str) -> None:
        print(f"{reader.world.clock.now:8.3f} {reader.id} {text}")

    def asked(self, reader: Fetching, run: Run) -> None:
        """See `Rules.asked`."""
        waits = ", ".join(f"{wait.first}-{wait.end}" for wait in reader.plan.waits)
        self._say(reader, f"asks {run.holder} for {run.first}-{run.end}; waits for {waits or 'nothing'}")
        super().asked(reader, run)

    def came(self, reader: Fetching, run: Run, number: int) -> None:
        """See `Rules.came`."""
        self._say(reader, f"has {number} of {run.holder}")
        super().came(reader, run, number)

    def failed(self, reader: Fetching, run: Run, error: RemoteError) -> None:
        """See `Rules.failed`."""
        self._say(reader, f"loses {run.at}-{run.end} of {run.holder}: {error}")
        super().failed(reader, run, error)

    def ended(self, reader: Fetching, read: Read, error: RemoteError | None) -> None:
        """See `Rules.ended`."""
        took = reader.world.clock.now - read.began
        self._say(reader, f"read {read.wait.first}-{read.wait.end} in {took:.3f} s: {error or 'right'}")
        super().ended(reader, read, error)


def tell(seed: int) -> int:
    """Plays one case and tells it; 1 if it fails."""
    case = Case(seed, Told())
    print(f"{case.kind}: {case.count} pieces of {case.piece >> 10} KiB; {', '.join(case.said) or 'no faults'}")
    for server in case.world.servers.values():
        print(f"  {server.id}: {server.pieces:0{case.count}b}, {server.up.rate / 2**20:.3f} MiB/s")
    try:
        case.play()
    except AssertionError as error:
        print(f"FAILED: {error}")
        return 1
    print("right")
    return 0


if __name__ == "__main__":
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:]]
    sys.exit(tell(*numbers) if len(numbers) == 1 else min(1, play_many(*numbers)))
