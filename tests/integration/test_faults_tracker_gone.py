"""Trackers that are not there yet, die, hang and come back: peers go on, say so once, and are right again soon."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.cluster import Cluster, Peer, Tracker
from tests.support.faults import QUICK, content, settled, share
from tests.support.patience import until

pytestmark = [pytest.mark.mount, pytest.mark.real]
REFRESH = 1.0


@dataclass
class Net:
    """Two peers that see each other's files."""

    tracker: Tracker
    anna: Peer
    cleo: Peer


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Iterator[Net]:
    tracker = shared_cluster.tracker(*QUICK)
    for name in ("anna", "cleo"):
        for number in range(5):
            share(shared_cluster, name, f"{name}/{number}", content(f"{name} {number}", 1000))
    anna, cleo = shared_cluster.peer("anna"), shared_cluster.peer("cleo")
    anna.wait_for("cleo/4")
    cleo.wait_for("anna/4")
    yield Net(tracker, anna, cleo)


def files(tracker: Tracker) -> set[str]:
    return {file["path"] for file in tracker.get("/v1/files")["files"]}


def test_its_loss_and_its_return_are_each_said_once(net: Net) -> None:
    peers = (net.anna, net.cleo)
    lost = [peer.said("the tracker is lost") for peer in peers]
    back = [peer.said("answers again") for peer in peers]
    net.tracker.kill()
    for peer in peers:
        until(lambda peer=peer: not peer.status()["tracker"]["connected"], 10, f"{peer.name} noticed")  # type: ignore[misc]
    time.sleep(3 * REFRESH)
    assert net.cleo.sees("anna/4")
    net.tracker.restart()
    for number, peer in enumerate(peers):
        until(lambda peer=peer: peer.status()["tracker"]["connected"], 10, f"{peer.name} noticed its return")  # type: ignore[misc]
        assert peer.said("the tracker is lost") - lost[number] == 1, peer.tail()
        assert peer.said("answers again") - back[number] == 1, peer.tail()


def test_restarted_it_is_right_again_in_two_refreshes(net: Net) -> None:
    expected = {f"{name}/{number}" for name in ("anna", "cleo") for number in range(5)}
    (net.anna.local / "anna/new").write_bytes(b"while it is there")
    net.cleo.wait_for("anna/new")
    net.tracker.kill()
    (net.anna.local / "anna/0").unlink()
    (net.cleo.local / "cleo/newer").write_bytes(b"while it is gone")
    expected = expected - {"anna/0"} | {"anna/new", "cleo/newer"}
    until(lambda: net.cleo.sees("cleo/newer") and not net.anna.sees("anna/0"), 10, "each knows of its own")
    assert net.cleo.sees("anna/0"), "what is unknown is not taken out"
    net.tracker.restart()
    began = time.monotonic()
    until(lambda: files(net.tracker) == expected, 10, "the tracker knows all")
    assert time.monotonic() - began < 2 * REFRESH + 2
    net.anna.wait_for("cleo/newer")
    assert net.cleo.sees("anna/1")
    net.cleo.wait_gone("anna/0")
    assert net.anna.cat("cleo/newer") == b"while it is gone"


def test_a_peer_that_hangs_longer_than_its_lease_comes_back_with_all(net: Net) -> None:
    settled(net.cleo)
    net.anna.pause()
    try:
        net.cleo.wait_gone("anna/1", 20)
        assert net.cleo.sees("cleo/1")
    finally:
        net.anna.resume()
    net.cleo.wait_for("anna/1")
    assert net.anna.cat("cleo/1") == content("cleo 1", 1000)


@pytest.mark.parametrize("fault", ["dead", "hanging"])
def test_a_peer_that_starts_without_any_tracker(cluster: Cluster, fault: str) -> None:
    tracker = cluster.tracker(*QUICK)
    (tracker.kill if fault == "dead" else tracker.pause)()
    share(cluster, "anna", "own.txt", b"here")
    began = time.monotonic()
    anna = cluster.peer("anna")
    assert 2.5 < time.monotonic() - began < 10
    assert anna.cat("own.txt") == b"here"
    assert b"no tracker answers; trying again" in anna.cat(".shoal/status")
    assert not anna.status()["tracker"]["connected"] and anna.status()["ready"]
    until(lambda: anna.said("the tracker is lost") == 1, 10, "it says so, once")
    (tracker.restart if fault == "dead" else tracker.resume)()
    ben = cluster.peer("ben")
    ben.wait_for("own.txt")
    assert ben.cat("own.txt") == b"here"
    until(lambda: b'"connected": true' in anna.cat(".shoal/status"), 10, "anna has joined")
    assert anna.said("answers again") == 1
