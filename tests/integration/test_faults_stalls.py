"""Holders that die or hang while others have the pieces: what a reader feels of it, by the time between its bytes."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.chaos import Detour, Faults
from tests.support.cluster import Cluster, Peer, Tracker
from tests.support.faults import QUICK, content, share, told
from tests.support.lab import MBIT, Lab, missing
from tests.support.patience import until
from tests.support.programs import needs
from tests.support.reading import Reading

pytestmark = [pytest.mark.mount, pytest.mark.real]
STALL = 3.0
"""Seconds between two bytes at most, whatever becomes of one holder."""
SIZE = 24 << 20
PACE = Faults(bandwidth=8 << 20)
"""So that there is something to interrupt: a read of SIZE takes a second."""
FAULTS = ("dies", "hangs")
HOLDERS = ("anna", "ben", "dora")
CASES = [
    ("anna", "dies", 0.3),
    ("anna", "hangs", 0.0),
    ("ben", "hangs", 0.6),
    ("dora", "dies", 0.2),
    ("dora", "hangs", 0.2),
]
"""Who is lost, how, and after which part of the file."""


def path_of(name: str, fault: str, part: float) -> str:
    return f"{name}-{fault}-{part}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Net:
    """anna and ben own the files, dora has read half of them, cleo reads; each but cleo behind a slow line."""

    tracker: Tracker
    holders: dict[str, Peer]
    cleo: Peer


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Iterator[Net]:
    tracker, paths = shared_cluster.tracker(*QUICK), [path_of(*case) for case in CASES]
    for path in paths:
        for name in ("anna", "ben"):
            share(shared_cluster, name, path, content(path, SIZE))
    with Detour(tracker.address, PACE) as one, Detour(tracker.address, PACE) as two, Detour(tracker.address) as three:
        lines = dict(zip(HOLDERS, (one, two, three), strict=True))
        holders = {name: shared_cluster.peer(name, server=line.address) for name, line in lines.items()}
        cleo = shared_cluster.peer("cleo")
        for path in paths:
            for reader in (cleo, holders["dora"]):
                reader.wait_for(path, SIZE)
        yield Net(tracker, holders, cleo)


@pytest.mark.parametrize(("name", "fault", "part"), CASES)
def test_a_holder_is_lost_and_the_reader_hardly_feels_it(net: Net, name: str, fault: str, part: float) -> None:
    path, holder = path_of(name, fault, part), net.holders[name]
    net.holders["dora"].cat(path, 0, SIZE // 2)

    def listed() -> bool:
        (file,) = net.tracker.get(f"/v1/files?prefix={path}")["files"]
        return len(file["holders"]) == 2 and len(file["partial"]) == 1

    until(listed, 15, "all three are listed")
    reading = Reading(net.cleo.mount / path)
    reading.has(part * SIZE)
    if fault == "hangs":
        holder.pause()
    else:
        holder.end()
    try:
        assert reading.finish() == sha256(content(path, SIZE))
        assert reading.stall < STALL, f"{name} {fault}"
    finally:
        if fault == "hangs":
            holder.resume()
        else:
            holder.restart()
    until(lambda: told(net.cleo, path, "state") == "here", 15, "the reader has it")


def test_a_reader_that_dies_four_times_fetches_little_twice(cluster: Cluster) -> None:
    size = 120 << 20
    tracker = cluster.tracker(*QUICK)
    share(cluster, "anna", "far", content("far", size))
    with Detour(tracker.address, Faults(bandwidth=24 << 20)) as line:
        anna, cleo = cluster.peer("anna", server=line.address), cluster.peer("cleo")
        for turn in range(4):
            cleo.wait_for("far", size)
            reading = Reading(cleo.mount / "far")
            reading.has((turn + 1) * size / 5)
            cleo.end()
            reading.join()
            cleo.restart()
        cleo.wait_for("far", size)
        assert Reading(cleo.mount / "far").finish() == sha256(content("far", size))
        until(lambda: anna.metric("shoal_served_bytes_total") >= size, 5, "anna counted what she served")
        assert anna.metric("shoal_served_bytes_total") <= 1.35 * size + (64 << 20)


@pytest.fixture
def lab() -> Iterator[Lab]:
    needs("tc", "iproute2")
    if why := missing():
        pytest.skip(why)
    with Lab() as made:
        yield made


def spread(lab: Lab, readers: int, size: int) -> tuple[Tracker, Peer, list[Peer]]:
    """A tracker, the owner of `far`, and readers of it; every line is slow enough for sharing to matter."""
    tracker = lab.tracker(place=lab.host("hub"))
    share(lab, "owner", "far", content("far", size))
    owner = lab.peer("owner", place=lab.host("owner", 100 * MBIT))
    names = [f"reader{number}" for number in range(readers)]
    peers = [lab.peer(name, place=lab.host(name, 100 * MBIT), wait=False) for name in names]
    for peer in peers:
        peer.wait_ready()
    for peer in peers:
        peer.wait_for("far", size)
    return tracker, owner, peers


def test_four_readers_share_though_the_tracker_dies_at_once(lab: Lab) -> None:
    size = 24 << 20
    tracker, owner, readers = spread(lab, 4, size)
    readings = [Reading(reader.mount / "far") for reader in readers]
    readings[0].has(1)
    tracker.end()
    for reading in readings:
        assert reading.finish() == sha256(content("far", size))
    until(lambda: owner.metric("shoal_served_bytes_total") >= size, 5, "the owner counted what it served")
    assert owner.metric("shoal_served_bytes_total") < 2.5 * size, "they fetch from one another"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fellow_reader_is_lost_and_the_others_hardly_feel_it(lab: Lab, fault: str) -> None:
    size = 32 << 20
    _, _, (lost, *others) = spread(lab, 3, size)
    first, *readings = [Reading(reader.mount / "far") for reader in (lost, *others)]
    for reading in readings:
        reading.has(size / 3)
    if fault == "hangs":
        lost.pause()
    else:
        lost.end()
    for reading in readings:
        assert reading.finish() == sha256(content("far", size))
        assert reading.stall < STALL
    lost.end()  # so that its reader ends, whichever way
    first.join()
