"""What is pinned stays, whatever room is needed and however the peer ends; what was unpinned may go."""

from collections.abc import Callable
from itertools import cycle

import pytest

from tests.support.cached import fetch, said, settled, shoal
from tests.support.cluster import Cluster, Peer
from tests.support.faults import content, share
from tests.support.patience import until

pytestmark = pytest.mark.real
MIB = 1 << 20
FILLERS = [f"f/{number}" for number in range(12)]
PINNED, LATE = "keep/a", ["late/1", "late/2", "late/in/3"]


@pytest.fixture(scope="module")
def ben(shared_cluster: Cluster) -> Peer:
    """May keep 8 MiB of what Anna has: half of it."""
    cluster = shared_cluster
    tracker = cluster.tracker("--ttl", "2", "--refresh", "0.4")
    for path in (PINNED, *LATE, *FILLERS):
        share(cluster, "anna", path, content(path, MIB))
    cluster.peer("anna", "--no-mount")
    ben = cluster.peer("ben", "--no-mount", "--cache-limit", "8M")
    knows(ben)
    settled(tracker)
    return ben


def knows(ben: Peer) -> None:
    until(lambda: ben.status()["network"]["files"] >= 16, 15, "all files are listed")


def here(ben: Peer, *paths: str) -> list[str]:
    """Those of the paths that stand in Ben's share, whole and right."""
    found = [path for path in paths if (ben.local / path).exists()]
    assert all((ben.local / path).read_bytes() == content(path, MIB) for path in found)
    return found


def use_up(ben: Peer, enough: Callable[[], object]) -> None:
    """Fetches more than may be kept, again and again: the longest unread that may go goes first."""
    threes = cycle([FILLERS[number : number + 3] for number in range(0, len(FILLERS), 3)])
    until(lambda: said(ben, "warm", *next(threes)) and enough(), 30, "what was here had to go")


def crash(ben: Peer) -> None:
    """kill -9 of all its processes at once, and a new start."""
    ben.end()
    ben.restart()
    knows(ben)


def test_a_folder_pinned_is_fetched_after_kill_9_also_what_comes_later(ben: Peer, shared_cluster: Cluster) -> None:
    assert said(ben, "pin", "late")[0] == 0
    crash(ben)
    until(lambda: here(ben, *LATE) == LATE, 20, "all of it is here")
    assert ben.stop() == 0
    share(shared_cluster, "anna", "late/new", content("late/new", MIB))
    ben.restart()
    until(lambda: here(ben, "late/new"), 20, "what came later is here")
    assert here(ben, *LATE) == LATE
    assert shoal(ben, "du", "late")[1]["pinned"] == {"files": 4, "bytes": 4 * MIB}
    assert said(ben, "unpin", "")[0] == 0


def test_a_pin_outlives_kill_9_and_keeps_its_copy_until_it_is_taken_back(ben: Peer) -> None:
    fetch(ben, PINNED)
    assert said(ben, "pin", PINNED)[0] == 0
    crash(ben)
    _, told = shoal(ben, "du")
    assert (told["pins"], told["pinned"]) == ([PINNED], {"files": 1, "bytes": MIB})
    use_up(ben, lambda: ben.status()["cache"]["evicted"] > 3)
    assert here(ben, PINNED), "though it is the longest unread of all"
    assert ben.status()["cache"]["pinned"] == MIB
    assert said(ben, "evict", PINNED)[0] == 1 and here(ben, PINNED)
    assert said(ben, "unpin", PINNED)[0] == 0
    crash(ben)
    _, told = shoal(ben, "du")
    assert (told["pins"], told["pinned"]) == ([], {"files": 0, "bytes": 0})
    assert here(ben, PINNED), "nobody needs its room yet"
    use_up(ben, lambda: not here(ben, PINNED))
