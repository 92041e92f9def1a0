"""A full disk: LOCAL has no room. Files are read all the same, nothing is kept, and that is said once."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Peer
from tests.support.faults import QUICK, Lively, content, share
from tests.support.patience import until

pytestmark = [pytest.mark.mount, pytest.mark.real]
SIZES = {**{f"small-{number}": 100_000 for number in range(5)}, "large": 12 << 20, "larger": 30 << 20}
LATER = {"later": 100_000, "later-large": 3 << 20}


@pytest.fixture
def reader(cluster: Cluster) -> Iterator[Peer]:
    """A peer whose LOCAL is a file system of 40 MiB with 64 KiB left; another one shares SIZES and LATER."""
    cluster.tracker(*QUICK)
    for name, size in (SIZES | LATER).items():
        share(cluster, "anna", f"theirs/{name}", content(name, size))
    cluster.peer("anna")
    local = cluster.home / "small"
    local.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(local)], check=True)
    try:
        (local / "own.txt").write_bytes(b"here")
        peer = cluster.peer("cleo", local=local)
        peer.wait_for("own.txt")
        fill(local / "filler")
        for name in SIZES | LATER:
            peer.wait_for(f"theirs/{name}")
        yield peer
    finally:
        cluster.close()  # the file system too: it lies beneath the run's directory


def fill(path: Path) -> None:
    """Takes all room but some KiB, that the index needs to live."""
    try:
        with open(path, "wb", buffering=0) as file:
            while file.write(bytes(1 << 16)):
                pass
    except OSError:
        os.truncate(path, max(0, path.stat().st_size - (1 << 16)))


def test_files_are_read_and_not_kept_and_that_is_said_once(reader: Peer) -> None:
    with Lively(reader, "own.txt"):
        for _ in range(2):
            for name, size in SIZES.items():
                assert reader.cat(f"theirs/{name}") == content(name, size)
        assert reader.cat("theirs/larger", 29 << 20, 4096) == content("larger", SIZES["larger"])[29 << 20 :][:4096]
    for name in ("large", "larger"):
        assert not (reader.local / "theirs" / name).exists()
    until(lambda: reader.said("kept"), 10, "it is said")
    assert reader.said("kept") == 1, reader.tail()
    assert reader.said("the index cannot be written") <= 1, reader.tail()
    assert reader.status()["why"].startswith("the disk of")
    (reader.local / "filler").unlink()
    until(lambda: not reader.status()["why"], 10, "it is fine again")
    for name in LATER:
        until(
            lambda name=name: reader.cat(f"theirs/{name}") and (reader.local / "theirs" / name).exists(),
            20,
            f"{name} is kept",
        )  # type: ignore[misc]
        assert (reader.local / "theirs" / name).read_bytes() == content(name, LATER[name])


def test_a_peer_with_a_full_disk_ends_well(reader: Peer) -> None:
    assert reader.cat("theirs/large") == content("large", SIZES["large"])
    assert reader.stop() == 0
