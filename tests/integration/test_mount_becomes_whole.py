"""Programs that read a file at random while it is downloaded, and go on when it is whole and read from this disk."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.config import Fuse
from tests.support.chaos import Detour, Faults
from tests.support.cluster import READ, Cluster, Peer
from tests.support.faults import QUICK, told
from tests.support.patience import TooLate, until, within

pytestmark = [pytest.mark.mount, pytest.mark.real]
SIZE = (48 << 20) + 12_345
READERS = 6
PACE = Faults(bandwidth=2 << 20)
"""The download takes some seconds, in which it is read."""
AFTER = 3.0
"""Seconds in which it is read on when it is passed through, or at least whole."""

READER = """
import json, os, random, sys, time
# Reads at random places until standard input ends, and says how often, or what was wrong.
path, disk, seed = sys.argv[1:]
random.seed(seed)
theirs, size = os.open(disk, os.O_RDONLY), os.stat(disk).st_size
os.set_blocking(0, False)
counts = {"opens": 0, "reads": 0, "opens when whole": 0}
stopping = False
while not stopping:
    fd = os.open(path, os.O_RDONLY)
    counts["opens"] += 1
    counts["opens when whole"] += os.getxattr(path, "user.shoal.state") == b"here"
    for _ in range(random.choice([1, 5, 40])):
        length = min(int(1.5 ** random.uniform(0, 31.2)), 300 << 10)
        at = random.choice([random.randrange(size), size - random.randrange(length + 5)])
        got = os.pread(fd, length, max(at, 0))
        wanted = os.pread(theirs, length, max(at, 0))
        if got != wanted:
            sys.exit(f"{length} at {at}: {len(got)} bytes for {len(wanted)}")
        counts["reads"] += 1
        try:
            stopping = stopping or os.read(0, 1) == b""
        except BlockingIOError:
            pass
    if os.fstat(fd).st_size != size:
        sys.exit(f"{os.fstat(fd).st_size} bytes for {size}")
    os.close(fd)
    time.sleep(random.choice([0, 0.05]))  # it is passed through from an open on when nobody else has it open
print(json.dumps(counts))
"""


@pytest.fixture
def peers(cluster: Cluster, fuse: Fuse) -> Iterator[tuple[Peer, Peer]]:
    """The only holder of a file, behind a slow line, and a reader."""
    tracker = cluster.tracker(*QUICK)
    with Detour(tracker.address, PACE) as line:
        anna = cluster.peer("anna", server=line.address)
        anna.put("big", random.Random(7).randbytes(SIZE))
        cleo = cluster.peer("cleo", "--fuse", fuse)
        cleo.wait_for("big", SIZE, 30)
        yield anna, cleo


def passed_through(peer: Peer, path: Path) -> bool:
    """Whether the kernel reads the file without asking: a peer that hangs is not missed."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        peer.pause()
        try:
            within(1, os.pread, file.fileno(), 4096, SIZE // 2)
        except TooLate:
            return False
        finally:
            peer.resume()
    return True


def test_readers_at_random_see_no_wrong_byte_while_a_file_becomes_whole(peers: tuple[Peer, Peer], fuse: Fuse) -> None:
    anna, cleo = peers
    path, state = cleo.mount / "big", told(cleo, "big", "state")
    assert state == "remote"
    command = [sys.executable, "-c", READER, str(path), str(anna.local / "big")]
    readers = [
        subprocess.Popen(
            [*command, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for seed in range(READERS)
    ]
    try:
        whole = within(READ, cleo.cat, "big", 0, None, READ)
        assert whole == (anna.local / "big").read_bytes()
        until(lambda: told(cleo, "big", "state") == "here", READ, "it is kept")
        cleo.wait_kept("big")
        mode = cleo.status()["mount"]["mode"]
        assert fuse in mode
        if mode.endswith(", passthrough"):
            until(lambda: passed_through(cleo, path), READ, "it is passed through while it is read")
        time.sleep(AFTER)
        assert [reader.poll() for reader in readers] == [None] * READERS
        for reader in readers:
            out, errors = reader.communicate(timeout=READ)
            assert reader.returncode == 0, errors
            counts = json.loads(out)
            assert counts["reads"] > counts["opens"] > counts["opens when whole"] > 0, counts
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()
