"""kill -9 while copies are given up: each is whole or gone after it, and the last one is never lost."""

import os
import random
import time
import urllib.request
from pathlib import Path

import pytest

from peer.layout import Layout
from peer.share.rows import IndexReader
from shoal.manifest import manifest_of
from tests.support.cached import asking, fetch, holders, outcomes_of, settled
from tests.support.cluster import Cluster, Peer, Tracker
from tests.support.faults import content, helpers, share, stopped
from tests.support.patience import until

pytestmark = pytest.mark.real
KIB, MIB = 1 << 10, 1 << 20
LAST = {f"last/{number}": 200 * KIB for number in range(8)}
MANY = {f"many/{number}": 500 * KIB for number in range(12)}
FILES = LAST | MANY | {"one": 100 * KIB}
LIMIT = 5 * MIB


class Net:
    """Anna owns `many` and `one`; of what is in `last` Ben and Cleo have the only copies. Ben may keep half of all."""

    def __init__(self, cluster: Cluster) -> None:
        self.tracker: Tracker = cluster.tracker("--ttl", "2", "--refresh", "0.4")
        for path, size in FILES.items():
            share(cluster, "anna", path, content(path, size))
        self.anna = cluster.peer("anna", "--no-mount")
        self.ben = cluster.peer("ben", "--no-mount", "--cache-limit", str(LIMIT))
        self.cleo = cluster.peer("cleo", "--no-mount")
        for peer in self.both:
            self.ready(peer)
            fetch(peer, "last")
        for path in LAST:
            (self.anna.local / path).unlink()
        until(lambda: all(holders(self.tracker)[path] == ["ben", "cleo"] for path in LAST), 15, "copies alone")

    @property
    def both(self) -> tuple[Peer, Peer]:
        return self.ben, self.cleo

    def ready(self, peer: Peer) -> None:
        """Waits until the peer knows of all files, and has looked through its share."""
        until(lambda: peer.status()["network"]["files"] >= len(FILES), 15, "all files are listed")
        until(lambda: peer.status()["share"]["scan"]["done"], 15, "the scan is done")

    def one_more(self) -> None:
        """Ben has a copy of `one`, and may be told to give it up."""
        fetch(self.ben, "one")
        until(lambda: "one" in self.listed(self.ben) and serves(self.ben, "one"), 10, "Ben has it too")
        settled(self.tracker)

    def crash(self, peer: Peer) -> None:
        """kill -9 of all its processes at once; then all that must hold of the disks does; then a new start."""
        peer.end()
        for path in LAST:
            data = content(path, LAST[path])
            assert any(data in whole(other) for other in self.both), f"the last copy of {path}"
        peer.restart()
        self.ready(peer)
        self.sound(peer)

    def sound(self, peer: Peer) -> None:
        """What is in the share, in the index, and told, is the same: whole copies, and nothing half there."""
        layout = Layout(peer.local)
        index = IndexReader(layout.index)
        try:
            rows = index.beneath("")
        finally:
            index.close()
        copies = {row.path for row in rows if row.kind == "copy"}
        assert all(row.state == "ok" and row.place == "local" for row in rows if row.kind == "copy")
        files = {str(file.relative_to(peer.local)) for file in standing(peer)}
        assert files == copies
        assert all((peer.local / path).read_bytes() == content(path, FILES[path]) for path in files)
        assert os.listdir(layout.copies) == os.listdir(layout.quarantine) == []
        cache = peer.status()["cache"]
        assert cache["copies"] == sum(-(-FILES[path] // 4096) * 4096 for path in copies)
        assert peer is not self.ben or cache["used"] <= LIMIT
        until(lambda: self.listed(peer) == copies, 10, f"{peer.name} is listed with what it has")

    def listed(self, peer: Peer) -> set[str]:
        """The paths of which the tracker says that the peer has all."""
        return {path for path, names in holders(self.tracker).items() if peer.name in names}


def standing(peer: Peer) -> list[Path]:
    """The files of a share."""
    return [file for file in peer.local.rglob("*") if file.is_file() and ".shoal" not in file.parts]


def whole(peer: Peer) -> list[bytes]:
    """What is in the share's files, and in what is on its way from or to there."""
    found = []
    for file in (*standing(peer), *Layout(peer.local).copies.iterdir()):
        try:
            found.append(file.read_bytes())
        except FileNotFoundError:  # given up just now: it was not the last, as will be seen
            continue
    return found


def serves(peer: Peer, path: str) -> bool:
    """Whether the data port gives the content."""
    url = f"{peer.url.rstrip('/')}/v1/content/{manifest_of(content(path, FILES[path])).cid}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.read() == content(path, FILES[path]))
    except OSError:
        return False


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Net:
    return Net(shared_cluster)


def test_killed_while_another_is_asked_it_is_a_copy_again(net: Net) -> None:
    net.one_more()
    with stopped(helpers(net.anna)["peer.data.server"]):
        begun = asking(net.ben, "evict", "one")
        until(lambda: not serves(net.ben, "one"), 15, "it is hidden")
        assert "one" not in net.listed(net.ben)
        net.crash(net.ben)
    assert outcomes_of(begun) == {}
    assert serves(net.ben, "one") and "one" in net.listed(net.ben)


def test_killed_when_the_tracker_has_said_yes_it_is_listed_again(net: Net) -> None:
    """It was delisted before it was hidden: index and list are not the same."""
    net.one_more()
    with stopped(helpers(net.ben)["peer.share.scanner"]):
        begun = asking(net.ben, "evict", "one")
        until(lambda: "one" not in net.listed(net.ben), 15, "the tracker said yes")
        net.crash(net.ben)
    assert outcomes_of(begun) == {} and "one" in net.listed(net.ben)


@pytest.mark.parametrize("round", range(2))
def test_killed_in_the_midst_the_last_copy_is_with_one_of_both(net: Net, round: int) -> None:
    moments = random.Random(round)
    for peer in net.both:
        fetch(peer, "last")
    victim, other = net.both if round % 2 else net.both[::-1]
    settled(net.tracker)
    until(lambda: all(holders(net.tracker)[path] == ["ben", "cleo"] for path in LAST), 10, "both are listed")
    begun = [asking(peer, "evict", "last") for peer in (victim, other)]
    until(lambda: any(not (peer.local / path).exists() for path in LAST for peer in net.both), 15, "one went")
    time.sleep(moments.uniform(0, 0.1))
    net.crash(victim)
    for one in begun:
        outcomes_of(one)
    net.sound(other)


def test_killed_while_room_is_made_all_that_is_kept_is_counted_again(net: Net) -> None:
    fetch(net.cleo, "last")
    filling = asking(net.ben, "warm", "many", "last")
    until(lambda: net.ben.status()["cache"]["evicted"] > 0, 20, "room is made")
    net.crash(net.ben)
    filling.communicate(timeout=30)
