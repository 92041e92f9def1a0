"""A file replaced at its owner while others read it: each handle gives one version whole, or ESTALE; no mixture."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.chaos import Detour, Faults
from tests.support.cluster import READ, Cluster, Peer, Tracker
from tests.support.faults import HONEST, QUICK, Lively, content, in_background, share
from tests.support.patience import until, within

pytestmark = [pytest.mark.mount, pytest.mark.real]
SIZE = 6 << 20
NEW_SIZES = pytest.mark.parametrize("size", [SIZE // 3, SIZE, SIZE * 2], ids=["smaller", "equal", "larger"])
SLOW = Faults(bandwidth=4 << 20)


@dataclass
class Net:
    """anna owns and is behind a line that can be slow, cleo reads."""

    tracker: Tracker
    detour: Detour
    anna: Peer
    cleo: Peer


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Iterator[Net]:
    tracker = shared_cluster.tracker(*QUICK)
    share(shared_cluster, "cleo", "own.txt", b"here")
    with Detour(tracker.address) as detour:
        anna = shared_cluster.peer("anna", server=detour.address)
        cleo = shared_cluster.peer("cleo", "--read-timeout", "6")
        cleo.wait_for("own.txt")
        yield Net(tracker, detour, anna, cleo)


@pytest.mark.parametrize("way", ["rename", "write"])
@NEW_SIZES
def test_a_file_replaced_in_the_middle_of_a_read(net: Net, size: int, way: str) -> None:
    path = f"{way}-{size}"
    old, new = content(f"{path} old", SIZE), content(f"{path} new", size)
    net.anna.put(path, old)
    net.cleo.wait_for(path, SIZE)
    net.detour.faults = SLOW
    file = within(READ, open, net.cleo.mount / path, "rb", 0)
    with file, Lively(net.cleo, "own.txt"):
        begun = within(READ, file.read, 65536)
        if way == "rename":
            (net.anna.local / "new").write_bytes(new)
            os.rename(net.anna.local / "new", net.anna.local / path)
        else:
            (net.anna.local / path).write_bytes(new)  # into the file that is being served
        rest = in_background(file.readall)
        error = rest.exception(READ)
        assert begun == old[:65536]
        if error is None:
            assert begun + (rest.result() or b"") == old
        else:
            assert isinstance(error, OSError) and error.errno in HONEST
        net.detour.faults = Faults()
        until(lambda: net.cleo.cat(path) == new, 20, "a new open gives the new bytes", every=0.1)
        if error is not None:
            # The old version is nowhere any more; what is known of it by now must say so.
            assert getattr(error, "errno", 0) in HONEST
            with pytest.raises(OSError) as stale:
                within(READ, os.pread, file.fileno(), 65536, SIZE - 65536)
            assert stale.value.errno == errno.ESTALE
    # What was answered a moment before is believed by the kernel for a tenth of a second.
    until(lambda: within(READ, os.stat, net.cleo.mount / path).st_size == size, 2, "its size is the new one")


def test_every_open_of_a_file_that_changes_all_the_time_gives_one_version(net: Net) -> None:
    versions = [content(f"turn {turn}", 300_000 + 70_000 * turn) for turn in range(8)]
    net.anna.put("turning", versions[0])
    net.cleo.wait_for("turning")
    stopping = threading.Event()

    def change() -> None:
        turn = 0
        while not stopping.wait(0.15):
            turn += 1
            (net.anna.local / "next").write_bytes(versions[turn % 8])
            os.rename(net.anna.local / "next", net.anna.local / "turning")

    changer = threading.Thread(target=change, name="changer")
    changer.start()
    right, end = 0, time.monotonic() + 4
    try:
        while time.monotonic() < end:
            try:
                data = net.cleo.cat("turning")
            except OSError as error:
                assert error.errno in (*HONEST, errno.ENOENT), error
                continue
            assert data in versions, f"{len(data)} bytes that nobody ever shared"
            right += 1
    finally:
        stopping.set()
        changer.join()
    assert right, "not one read went well"
    last = (net.anna.local / "turning").read_bytes()
    until(lambda: net.cleo.cat("turning") == last, 20, "the last version is there", every=0.1)
