"""Two peers have the last two copies, and their owner is gone: whatever they are asked at once, one copy stays.

What stands before it: the tracker says yes to one of them only, and who was told yes asks the other one itself.
"""

import time

import pytest

from tests.support.cached import asking, fetch, holders, outcomes, outcomes_of, settled
from tests.support.cluster import Cluster, Peer, Tracker
from tests.support.faults import content, helpers, share, stopped
from tests.support.patience import until

pytestmark = [pytest.mark.real, pytest.mark.mount]
ROUNDS = [f"r/{number}" for number in range(3)]
SILENT, ENDED = "silent", "ended"
SIZE = 300_000


class Net:
    """Ben and Cleo have copies of what Anna had; Dora has nothing, and reads."""

    def __init__(self, cluster: Cluster) -> None:
        paths = [*ROUNDS, SILENT, ENDED]
        self.tracker: Tracker = cluster.tracker("--ttl", "2", "--refresh", "0.4")
        for path in paths:
            share(cluster, "anna", path, content(path, SIZE))
        anna = cluster.peer("anna", "--no-mount")
        self.ben, self.cleo = cluster.peer("ben", "--no-mount"), cluster.peer("cleo", "--no-mount")
        self.dora = cluster.peer("dora", "--no-prefetch")
        for peer in (self.ben, self.cleo):
            until(lambda peer=peer: peer.status()["network"]["files"] >= len(paths), 15, "all is listed")  # type: ignore[misc]
            fetch(peer, "")
        anna.end()
        until(lambda: all(self.have(path) == ["ben", "cleo"] for path in paths), 15, "the owner's lease has run out")
        settled(self.tracker)

    def have(self, path: str) -> list[str]:
        """Who has all of it, as the tracker tells."""
        return holders(self.tracker).get(path, [])


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Net:
    return Net(shared_cluster)


def evict(peer: Peer, path: str) -> str:
    """What became of a copy, once a tracker can tell."""

    def told() -> str:
        outcome = outcomes(peer, "evict", path)[path]
        return "" if outcome == "later" else outcome

    return until(told, 15, "it can be told")


def test_of_two_that_ask_at_once_one_stays(net: Net) -> None:
    gone = 0
    for path in ROUNDS:
        net.tracker.pause()  # so that both have asked before either is answered
        try:
            begun = [asking(peer, "evict", path) for peer in (net.ben, net.cleo)]
            time.sleep(0.6)
        finally:
            net.tracker.resume()
        told = [outcomes_of(one)[path] for one in begun]
        assert told.count("evicted") < 2, path
        gone += told.count("evicted")
        kept = [peer for peer in (net.ben, net.cleo) if (peer.local / path).exists()]
        assert len(kept) == 2 - told.count("evicted")
        assert all((peer.local / path).read_bytes() == content(path, SIZE) for peer in kept)
        if len(kept) == 1:
            assert evict(kept[0], path) == "last", "asked once more, it is the only one"
        assert net.dora.cat(path) == content(path, SIZE)
    assert gone, "now and then one may go"


def test_a_holder_that_does_not_answer_counts_as_nobody(net: Net) -> None:
    """Though its lease lives, and the tracker says yes."""
    with stopped(helpers(net.ben)["peer.data.server"]):
        assert evict(net.cleo, SILENT) == "unsure"
    assert (net.cleo.local / SILENT).read_bytes() == content(SILENT, SIZE)
    until(lambda: net.have(SILENT) == ["ben", "cleo"], 10, "it is listed again")
    assert evict(net.cleo, SILENT) == "evicted"


def test_a_holder_whose_lease_ran_out_counts_as_nobody(net: Net) -> None:
    """Though it would answer itself."""
    with stopped(net.ben.pid):
        until(lambda: net.have(ENDED) == ["cleo"], 15, "the lease has run out")
        assert evict(net.cleo, ENDED) == "last"
    assert (net.cleo.local / ENDED).read_bytes() == content(ENDED, SIZE)
    until(lambda: net.have(ENDED) == ["ben", "cleo"], 15, "Ben is listed again")
