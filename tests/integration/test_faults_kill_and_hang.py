"""Programs killed and stopped at random moments of a read: right bytes or an error, soon, and nothing fetched twice.

The moments are drawn from seeds, so that a failure can be had again.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from shoal.manifest import piece_size
from tests.support.chaos import Detour, Faults
from tests.support.cluster import READ, Cluster, Peer, Tracker
from tests.support.faults import (
    HONEST,
    QUICK,
    Lively,
    bytes_on_disk,
    content,
    failure,
    in_background,
    share,
    told,
)
from tests.support.patience import until, within

pytestmark = [pytest.mark.mount, pytest.mark.real]
SEEDS = pytest.mark.parametrize("seed", [1, 2])
SIZE = 16 << 20
PACE = Faults(bandwidth=5 << 20)
"""A read of SIZE from one holder takes a second or two, so that there is something to interrupt."""


@dataclass
class Net:
    """Two holders behind a slow line each, and a reader with a file of its own."""

    tracker: Tracker
    anna: Peer
    ben: Peer
    cleo: Peer

    def both(self, path: str) -> bytes:
        """A file in the shares of both holders, seen by the reader."""
        data = content(path, SIZE)
        self.anna.put(path, data)
        self.ben.put(path, data)
        return self._seen(path, data, 2)

    def anna_has(self, path: str) -> bytes:
        """A file in the share of one holder."""
        data = content(path, SIZE)
        self.anna.put(path, data)
        return self._seen(path, data, 1)

    def _seen(self, path: str, data: bytes, holders: int) -> bytes:
        self.cleo.wait_for(path, len(data))

        def listed() -> bool:
            files = self.tracker.get(f"/v1/files?prefix={path}")["files"]
            return any(len(file["holders"]) == holders for file in files)

        until(listed, 15, f"{holders} holders of {path} are listed")
        return data


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Iterator[Net]:
    tracker = shared_cluster.tracker(*QUICK)
    share(shared_cluster, "cleo", "own.txt", b"here")
    with Detour(tracker.address, PACE) as one, Detour(tracker.address, PACE) as other:
        anna = shared_cluster.peer("anna", server=one.address)
        ben = shared_cluster.peer("ben", server=other.address)
        cleo = shared_cluster.peer("cleo", "--read-timeout", "6", "--no-prefetch")  # what is ahead meets no fault
        cleo.wait_for("own.txt")
        yield Net(tracker, anna, ben, cleo)


def some_moment(seed: str) -> None:
    time.sleep(random.Random(seed).uniform(0.0, 0.7))


@SEEDS
def test_a_holder_is_killed_and_the_read_goes_on_from_another(net: Net, seed: int) -> None:
    path = f"killed-holder-{seed}"
    data = net.both(path)
    before = net.cleo.fetched()
    with Lively(net.cleo, "own.txt"):
        reading = in_background(lambda: net.cleo.cat(path))
        some_moment(path)
        net.anna.kill()
        assert reading.result(READ) == data
    assert net.cleo.fetched() - before == len(data)
    net.anna.restart()


@SEEDS
def test_a_holder_hangs_and_the_read_goes_on_from_another(net: Net, seed: int) -> None:
    path = f"hanging-holder-{seed}"
    data = net.both(path)
    with Lively(net.cleo, "own.txt"):
        reading = in_background(lambda: net.cleo.cat(path))
        some_moment(path)
        net.anna.pause()
        try:
            assert reading.result(READ) == data
        finally:
            net.anna.resume()


@SEEDS
def test_the_only_holder_is_killed_and_comes_back(net: Net, seed: int) -> None:
    """An error soon; when it is back the rest is fetched, and only the rest."""
    path = f"only-holder-{seed}"
    data = net.anna_has(path)
    before = net.cleo.fetched()
    with Lively(net.cleo, "own.txt"):
        reading = in_background(lambda: net.cleo.cat(path))
        some_moment(path)
        net.anna.kill()
        began = time.monotonic()
        assert failure(lambda: reading.result(READ)) in HONEST
        assert time.monotonic() - began < 12
        net.anna.restart()
        until(lambda: net.cleo.cat(path) == data, 20, "it can be read again", every=0.2)
    assert net.cleo.fetched() - before == len(data)


def test_the_only_holder_hangs_and_wakes_up(net: Net) -> None:
    path = "only-holder-hangs"
    data = net.anna_has(path)
    before = net.cleo.fetched()
    with Lively(net.cleo, "own.txt"):
        reading = in_background(lambda: net.cleo.cat(path))
        some_moment(path)
        net.anna.pause()
        try:
            began = time.monotonic()
            assert failure(lambda: reading.result(READ)) in HONEST
            assert time.monotonic() - began < 12
        finally:
            net.anna.resume()
        until(lambda: net.cleo.cat(path) == data, 25, "it can be read again", every=0.2)
    assert net.cleo.fetched() - before == len(data)


@SEEDS
def test_the_reader_is_killed_and_fetches_only_what_was_in_flight(net: Net, seed: int) -> None:
    path = f"killed-reader-{seed}"
    data = net.both(path)
    cid = told(net.cleo, path, "cid")
    got = bytearray()

    def read() -> bytes:
        with open(net.cleo.mount / path, "rb", buffering=0) as file:
            while part := file.read(1 << 18):
                got.extend(part)
        return bytes(got)

    reading = in_background(read)
    until(lambda: got, 20, "it has begun")
    some_moment(path)
    net.cleo.kill()
    if reading.exception(READ) is None:
        assert reading.result() == data  # it was through before
    here = bytes_on_disk(net.cleo, cid, SIZE)
    piece = piece_size(SIZE)
    assert here >= len(got) // piece * piece, "what a reader was given is on disk"
    kept = (net.cleo.local / path).exists()
    net.cleo.restart()
    net.cleo.wait_for(path, len(data))
    with Lively(net.cleo, "own.txt"):
        until(lambda: net.cleo.cat(path) == data, 20, "it can be read again", every=0.2)
    assert net.cleo.fetched() == (0 if kept else len(data) - here)


def test_the_reader_hangs_for_a_while(net: Net) -> None:
    path = "hanging-reader"
    data = net.both(path)
    before = net.cleo.fetched()
    reading = in_background(lambda: net.cleo.cat(path, seconds=60))
    some_moment(path)
    net.cleo.pause()
    time.sleep(2.5)
    net.cleo.resume()
    until(lambda: net.cleo.ls(), 5, "it answers again")
    assert within(READ, reading.result) == data
    assert net.cleo.fetched() - before == len(data)


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_the_tracker_is_gone_while_files_are_read(net: Net, fault: str) -> None:
    path = f"tracker-{fault}"
    data = net.both(path)
    with Lively(net.cleo, "own.txt"):
        reading = in_background(lambda: net.cleo.cat(path))
        some_moment(path)
        (net.tracker.kill if fault == "kill" else net.tracker.pause)()
        try:
            assert reading.result(READ) == data
            assert path in net.cleo.ls()
        finally:
            (net.tracker.restart if fault == "kill" else net.tracker.resume)()
    assert path in net.cleo.ls()
