"""The cache keeps within its limits while data comes in, and reads are right whatever room there is."""

import os
import random
from pathlib import Path

import pytest

from tests.support.cached import Watched, holders, on_disk, settled
from tests.support.cluster import Cluster, Peer
from tests.support.faults import QUICK, content, share
from tests.support.patience import until, within

pytestmark = [pytest.mark.mount, pytest.mark.real]
MIB = 1 << 20
BLOCK = random.Random(41).randbytes(MIB)


def write_large(file: Path, size: int) -> None:
    """A file of so many MiB, each of them another."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "wb") as out:
        for number in range(size):
            out.write(f"{file.name} {number:8}".encode().ljust(64) + BLOCK[64:])


def same(peer: Peer, path: str, source: Path) -> None:
    """Reads a file through the mount, and fails unless it is the source."""

    def read() -> None:
        with open(peer.mount / path, "rb", buffering=0) as got, open(source, "rb", buffering=0) as wanted:
            while True:
                data = wanted.read(MIB)
                assert got.read(MIB) == data, path
                if not data:
                    return

    within(60, read)


def free(directory: Path) -> int:
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def used(peer: Peer) -> int:
    return int(peer.status()["cache"]["used"])


def test_512_mib_read_under_a_limit_of_100_never_take_more_than_112(cluster: Cluster) -> None:
    tracker = cluster.tracker(*QUICK)
    names = [f"theirs/{number}" for number in range(8)]
    for name in names:
        write_large(cluster.home / "anna" / "local" / name, 32)
    write_large(cluster.home / "anna" / "local" / "theirs" / "huge", 256)
    anna = cluster.peer("anna")
    local = cluster.home / "small"
    local.mkdir()
    within(10, os.system, f"mount -t tmpfs -o size=1g tmpfs {local}")  # a walk over files that go and grow tells less
    ben = cluster.peer("ben", "--cache-limit", "100M", local=local)
    own = ben.put("own.bin", os.urandom(5 * MIB))
    for name in (*names, "theirs/huge"):
        ben.wait_for(name)
    ben.wait_for("own.bin")
    settled(tracker)
    base = on_disk(ben.local)
    with Watched(ben.local) as watched:
        for name in names:
            same(ben, name, anna.local / name)
        until(lambda: used(ben) < 97 * MIB, 10, "room was made ahead")
        assert ben.status()["cache"]["evicted"] >= 1
        last = names[-1]
        ben.wait_kept(last)
        assert not (ben.local / names[0]).exists(), "what was read first went first"
        until(lambda: holders(tracker)[last] == ["anna", "ben"], 5, "it is announced")
        same(ben, "theirs/huge", anna.local / "theirs" / "huge")
    assert watched.looks > 20
    assert watched.most - base <= 112 * MIB, f"{(watched.most - base) / MIB:.1f} MiB"
    assert ben.said("without being kept") <= 1, ben.tail()
    assert own.stat().st_size == 5 * MIB
    kept = {name for name in names if (ben.local / name).exists()}
    until(lambda: {path for path, who in holders(tracker).items() if "ben" in who} == kept | {"own.bin"}, 10, "listed")
    same(ben, names[0], anna.local / names[0])
    cluster.close()  # the file system too: it lies beneath the run's directory


def test_least_recently_read_goes_first_also_after_a_start_and_own_and_open_files_stay(cluster: Cluster) -> None:
    tracker = cluster.tracker(*QUICK)
    names = [f"{number}" for number in range(8)]
    for name in names:
        share(cluster, "anna", name, content(name, 4 * MIB))
    cluster.peer("anna")
    ben = cluster.peer("ben", "--cache-limit", "24M")
    for name in names:
        ben.wait_for(name)
    settled(tracker)
    for name in names[:4]:
        assert ben.cat(name) == content(name, 4 * MIB)
        ben.wait_kept(name)
    assert ben.cat(names[0], 0, 10)
    assert ben.stop() == 0
    ben.restart()
    ben.wait_for(names[0])
    settled(tracker)
    with open(ben.mount / names[1], "rb", buffering=0) as held:
        assert held.read(10)
        for name in names[4:7]:
            assert ben.cat(name) == content(name, 4 * MIB)
        until(lambda: not (ben.local / names[3]).exists(), 15, "the longest unread ones went")
        assert not (ben.local / names[2]).exists()
        assert (ben.local / names[0]).exists(), "it was read last before the start"
        assert (ben.local / names[1]).exists(), "it is open"
        assert held.read() == content(names[1], 4 * MIB)[10:]


def test_so_much_of_a_small_disk_stays_free(cluster: Cluster) -> None:
    tracker = cluster.tracker(*QUICK)
    names = [f"{number}" for number in range(10)]
    for name in names:
        share(cluster, "anna", name, content(name, 6 * MIB))
    cluster.peer("anna")
    local = cluster.home / "small"
    local.mkdir()
    within(10, os.system, f"mount -t tmpfs -o size=64m tmpfs {local}")
    try:
        ben = cluster.peer("ben", "--min-free", "24M", local=local)
        for name in names:
            ben.wait_for(name)
        settled(tracker)
        least = 64 * MIB
        for name in names:
            assert ben.cat(name) == content(name, 6 * MIB)
            least = min(least, free(local))
        assert least >= 23 * MIB, f"{least / MIB:.1f} MiB"
        until(lambda: any((local / name).exists() for name in names), 15, "what found room is kept")
        until(lambda: ben.status()["cache"]["evicted"] > 0, 15, "room is made ahead")
        (local / "filler").write_bytes(bytes(20 * MIB))
        until(lambda: free(local) >= 23 * MIB, 30, "room is made for what others write")
        assert ben.cat(names[0]) == content(names[0], 6 * MIB)
    finally:
        cluster.close()  # the file system too: it lies beneath the run's directory
