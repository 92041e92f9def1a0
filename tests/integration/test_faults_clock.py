"""Wall clocks that are off by hours, or jump: files are listed and read, changed ones replace old ones, leases stay."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.cluster import Cluster, Peer, Tracker
from tests.support.faults import QUICK, Lively, WrongClock, content, settled, share
from tests.support.patience import until

pytestmark = [pytest.mark.mount, pytest.mark.real]
SIZE = 300_000


@dataclass
class Net:
    """The tracker's and anna's clocks can jump, anna's begins 5 hours behind; ben's is 7 hours ahead, cleo's right."""

    tracker: Tracker
    tracker_clock: WrongClock
    anna_clock: WrongClock
    anna: Peer
    ben: Peer
    cleo: Peer

    @property
    def all(self) -> tuple[Peer, Peer, Peer]:
        return self.anna, self.ben, self.cleo


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Iterator[Net]:
    home = shared_cluster.home
    with WrongClock(home / "tracker.clock") as tracker_clock:
        tracker = shared_cluster.tracker(*QUICK)
    for name in ("anna", "ben", "cleo"):
        share(shared_cluster, name, f"{name}.bin", content(name, SIZE))
    with WrongClock(home / "anna.clock", hours=-5) as anna_clock:
        anna = shared_cluster.peer("anna")
    with WrongClock(home / "ben.clock", hours=7):
        ben = shared_cluster.peer("ben")
    cleo = shared_cluster.peer("cleo")
    yield Net(tracker, tracker_clock, anna_clock, anna, ben, cleo)


def test_clocks_that_disagree_by_hours(net: Net) -> None:
    """Also the files that were there before their peer started: all their times are in its future, or long past."""
    for peer in net.all:
        for name in ("anna", "ben", "cleo"):
            peer.wait_for(f"{name}.bin")
            assert peer.cat(f"{name}.bin") == content(name, SIZE)


def test_a_file_changed_by_a_peer_that_is_behind_replaces_the_copies(net: Net) -> None:
    net.anna.put("turns", content("turns 0", SIZE))
    for turn in range(1, 4):
        net.anna_clock.set(hours=(-9, 2, -20)[turn - 1])
        net.cleo.wait_for("turns", SIZE + turn - 1)
        assert net.cleo.cat("turns") == content(f"turns {turn - 1}", SIZE + turn - 1)
        net.cleo.wait_kept("turns")
        net.anna.put("turns", content(f"turns {turn}", SIZE + turn))
        for peer in net.all:
            peer.wait_for("turns", SIZE + turn)
            assert [name for name in peer.ls() if name.startswith("turns")] == ["turns"]
    assert net.ben.cat("turns") == content("turns 3", SIZE + 3)


def test_the_trackers_clock_jumps(net: Net) -> None:
    """Back and ahead: nobody's lease ends, nobody's files go, and what is new is seen."""
    for peer in net.all:
        settled(peer)
    before = {peer["id"] for peer in net.tracker.get("/v1/peers")["peers"]}
    with Lively(net.cleo, "cleo.bin"):
        for hours, seconds in ((-30, 2), (30, 6)):  # together longer than a lease, the second alone too
            net.tracker_clock.set(hours)
            for peer in (net.anna, net.ben):
                path = f"{peer.name} after {hours}"
                peer.put(path, b"new")
                net.cleo.wait_for(path)
                assert net.cleo.cat(path) == b"new"
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                assert {peer["id"] for peer in net.tracker.get("/v1/peers")["peers"]} == before
                assert {"anna.bin", "ben.bin", "cleo.bin"} <= set(net.cleo.ls())
                time.sleep(0.2)
    net.tracker_clock.set(0)


def test_a_file_from_the_future_is_listed_with_the_trackers_time(net: Net) -> None:
    file = net.anna.put("future", b"from tomorrow")
    os.utime(file, (time.time() + 86_400, time.time() + 86_400))
    net.cleo.wait_for("future")
    assert net.cleo.cat("future") == b"from tomorrow"
    until(lambda: abs(os.stat(net.cleo.mount / "future").st_mtime - time.time()) < 600, 10, "its time is cut")
    net.anna.put("future", b"from today, and longer")
    net.cleo.wait_for("future", 22)
    assert net.ben.cat("future") == b"from today, and longer"


def test_a_peer_restarted_after_its_clock_went_back_is_listed_again(net: Net) -> None:
    """Its epochs go on from the last one, whatever the clock says."""
    settled(net.cleo)
    for hours, end in ((-50, net.anna.kill), (-100, net.anna.stop)):
        end()
        net.anna_clock.set(hours)
        net.anna.put("after", b"%d" % hours)
        net.anna.restart()
        net.cleo.wait_for("after", len(b"%d" % hours), 20)
        assert net.cleo.cat("after") == b"%d" % hours
        assert net.anna.cat("cleo.bin") == content("cleo", SIZE)
