"""When which byte is to be read again, so that a pass over everything takes a given time, evenly: pure.

A pass goes through the index by (path, cid), and ends with the downloads under way. Where it is, is a `Round`, which
is written down now and then: a peer that was off goes on where it was, and catches up no faster than `RATE`.
"""

from msgspec import Struct

from shoal.manifest import KIB, MIB

RATE = 32 * MIB
"""Bytes a second at most: a fraction of what any disk gives."""
COST = 64 * KIB
"""What a file costs besides its bytes, in bytes: it is looked up and opened."""


class Round(Struct):
    """A pass, as far as it has come. Times in seconds since 1970.

    The next to be read is the piece `piece` of the first (path, cid) after that of `path` and `cid`, or of that itself
    if `piece` is more than 0. `files`, `bytes` and `rotten` were met in it so far; `cost` is what paces it.
    """

    began: float
    path: str = ""
    cid: str = ""
    piece: int = 0
    files: int = 0
    bytes: int = 0
    cost: int = 0
    rotten: int = 0
    ended: float = 0.0
    """When all was read; then the next one is due at `began` and the time of a pass."""
    last: float = 0.0
    """When the pass before ended; 0: there was none."""

    def next(self, now: float, every: float) -> "Round":
        """The pass after this one, which ended: due when its time is over, or at once if that was missed."""
        return Round(max(self.began + every, now), last=self.ended)


def wait(round: Round, total: int, every: float, now: float) -> float:
    """Seconds until the next byte of the pass is due, or the next pass; 0: it is time. `total` is the cost of all.

    `now` in seconds since 1970; a clock that was set back costs at most the time of one pass.
    """
    share = 1.0 if round.ended else min(1.0, round.cost / max(1, total))
    return min(max(0.0, round.began + every * share - now), every)


def rest(cost: int, took: float) -> float:
    """Seconds to rest after reading what costs so much in `took` seconds, so that it was no faster than `RATE`."""
    return max(0.0, cost / RATE - took)
