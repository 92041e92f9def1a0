"""`make bench`, or `python -m benchmarks [ROW …]`: ours, theirs, turn by turn, medians, ratios, bars.

`swarm` stands for all rows whose programs run on hosts of their own (`benchmarks.swarm`); `thousand` is a simulation
(`benchmarks.simulated`) and takes some two hours.

BENCH_SIZE=256M BENCH_SMALL=200 BENCH_LISTED=2000 BENCH_SWARM_SIZE=32M BENCH_ROUNDS=1 makes a quick run, whose bars say
little.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from benchmarks import simulated, swarm, theirs
from benchmarks.ground import Sizes, prepare
from benchmarks.rows import ROWS
from benchmarks.table import Line, print_table
from tests.support import lab, sweep


def main(names: list[str]) -> int:
    """Runs the rows named, or all; 0 if no bar was missed, 1 if one was, 2 if it cannot run."""
    if {"-h", "--help"} & {*names}:
        print(__doc__.strip(), "", f"Rows: {', '.join([*ROWS, *swarm.ROWS, *simulated.ROWS])}", sep="\n")
        return 0
    names = [
        row
        for name in names or [*ROWS, "swarm", *simulated.ROWS]
        for row in (swarm.GROUP if name == "swarm" else (name,))
    ]
    known = [*ROWS, *swarm.ROWS, *simulated.ROWS]
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such row: {', '.join(unknown)} (there are: {', '.join([*known, 'swarm'])})", file=sys.stderr)
        return 2
    sweep.sweep()
    on_loopback, on_hosts = [name for name in names if name in ROWS], [name for name in names if name in swarm.ROWS]
    if (on_loopback and not _has_programs()) or (on_hosts and not _has_hosts()):
        return 2
    lines = _on_loopback(on_loopback) + _on_hosts(on_hosts)
    lines += _in_simulation([name for name in names if name in simulated.ROWS])
    return 1 if any(line.met is False for line in lines) else 0


def _has_programs() -> bool:
    missing = theirs.missing()
    for program, package in missing.items():
        print(f"{program} is missing: apt-get install {package}", file=sys.stderr)
    return not missing.keys() & {"nginx", "rclone", "curl"}


def _has_hosts() -> bool:
    why = lab.missing()
    if not why and find_spec("libtorrent") is None:
        why = "libtorrent is missing: python -m pip install -r benchmarks/requirements.txt"
    if why:
        print(why, file=sys.stderr)
    return not why


def _on_loopback(names: list[str]) -> list[Line]:
    if not names:
        return []
    sizes, lines = Sizes.of_environment(), []
    with prepare(sizes) as ground:
        for name in names:
            with _timed(name):
                lines += ROWS[name](ground)
    print_table(lines, f"{sizes.big >> 20} MiB, loopback, medians of {sizes.rounds}, systems in turn")
    return lines


def _on_hosts(names: list[str]) -> list[Line]:
    if not names:
        return []
    sizes, lines = swarm.Sizes.of_environment(), []
    for name in names:
        with _timed(name):
            lines += swarm.ROWS[name](sizes)
    print_table(lines, f"each host with a line of its own, medians of {sizes.rounds}, systems in turn")
    return lines


def _in_simulation(names: list[str]) -> list[Line]:
    if not names:
        return []
    sizes, lines = simulated.Sizes.of_environment(), []
    for name in names:
        with _timed(name):
            lines += simulated.ROWS[name](sizes)
    print_table(lines, "simulated, the real plan over simulated lines, played once")
    return lines


@contextmanager
def _timed(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
