"""`make bench`, or `python -m benchmarks [ROW …]`: ours, theirs, turn by turn, medians, ratios, bars.

BENCH_SIZE=256M BENCH_SMALL=200 BENCH_LISTED=2000 BENCH_ROUNDS=1 makes a quick run, whose bars say little.
"""

import sys
import time

from benchmarks import theirs
from benchmarks.ground import Sizes, prepare
from benchmarks.rows import ROWS
from benchmarks.table import print_table
from tests.support import sweep


def main(names: list[str]) -> int:
    """Runs the rows named, or all; 0 if no bar was missed, 1 if one was, 2 if it cannot run."""
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        print(f"no such row: {', '.join(unknown)} (there are: {', '.join(ROWS)})", file=sys.stderr)
        return 2
    missing = theirs.missing()
    for program, package in missing.items():
        print(f"{program} is missing: apt-get install {package}", file=sys.stderr)
    if missing.keys() & {"nginx", "rclone", "curl"}:
        return 2
    sweep.sweep()
    sizes = Sizes.of_environment()
    lines = []
    with prepare(sizes) as ground:
        for name in names or ROWS:
            began = time.monotonic()
            lines += ROWS[name](ground)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print_table(lines, f"{sizes.big >> 20} MiB, loopback, medians of {sizes.rounds}, systems in turn")
    return 1 if any(line.met is False for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
