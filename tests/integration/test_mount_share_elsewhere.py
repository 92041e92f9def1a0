"""A share on a file system of another kind: in memory, or one that a program serves by FUSE itself."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.config import Fuse
from tests.support.cluster import READ, SEEN, Cluster, Peer
from tests.support.faults import QUICK, Lively, content, told
from tests.support.mounted import is_mounted
from tests.support.patience import until, within

pytestmark = [
    pytest.mark.mount,
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount"),
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse on this machine"),
]
LAYERS = {"lowerdir": "beneath", "upperdir": "upper", "workdir": "work"}
SIZES = {"small": 70_001, "large": (12 << 20) + 5}

WAYS = """
import hashlib, mmap, os, sys
# Reads a file by `read`, by a map and by `sendfile`.
fd = os.open(sys.argv[1], os.O_RDONLY)
out = os.memfd_create("out")
while os.sendfile(out, fd, None, 1 << 20):
    pass
size = os.fstat(fd).st_size
for data in os.pread(fd, size + 1, 0), mmap.mmap(fd, 0, prot=mmap.PROT_READ), os.pread(out, size + 1, 0):
    print(hashlib.sha256(data).hexdigest())
"""


def mount_tmpfs(directory: Path) -> Path:
    """A file system in memory; where it is."""
    point = directory / "memory"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(point)], check=True)
    return point


def mount_bindfs(directory: Path) -> Path:
    """A directory as a program shows it by FUSE: one that cannot rename without replacing."""
    return _mounted_by(directory, "bindfs", str(directory / "beneath"))


def mount_overlay(directory: Path) -> Path:
    """The same by a program that can rename in every way."""
    for place in ("upper", "work"):
        (directory / place).mkdir()
    layers = ",".join(f"{name}={directory / place}" for name, place in LAYERS.items())
    return _mounted_by(directory, "fuse-overlayfs", "-o", layers)


def _mounted_by(directory: Path, program: str, *args: str) -> Path:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} on this machine")
    (directory / "beneath").mkdir()
    (point := directory / "shown").mkdir()
    subprocess.run([program, *args, str(point)], check=True, timeout=20)
    until(lambda: is_mounted(point), 10, f"{program} has mounted")
    return point


@pytest.fixture(params=[mount_tmpfs, mount_overlay, mount_bindfs], ids=["tmpfs", "overlay", "bindfs"])
def peers(request: pytest.FixtureRequest, cluster: Cluster, fuse: Fuse) -> Iterator[tuple[Peer, Peer]]:
    """A peer, and one whose share is there; each has files of SIZES."""
    local = request.param(cluster.home) / "local"
    (local / "own").mkdir(parents=True)
    (local / "own.txt").write_bytes(b"here")
    for name, size in SIZES.items():
        (local / "own" / name).write_bytes(content(f"own {name}", size))
    cluster.tracker(*QUICK)
    anna = cluster.peer("anna")
    for name, size in SIZES.items():
        anna.put(f"theirs/{name}", content(f"theirs {name}", size))
    cleo = cluster.peer("cleo", "--fuse", fuse, local=local)
    yield anna, cleo
    cluster.close()  # the file systems too: they lie beneath the run's directory


def read_in_every_way(path: Path) -> set[str]:
    """The digests of what is read."""
    command = [sys.executable, "-c", WAYS, str(path)]
    return set(subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=READ, check=True).stdout.split())


def test_all_files_are_read_in_every_way_and_fetched_once(peers: tuple[Peer, Peer]) -> None:
    anna, cleo = peers
    for whose in ("own", "theirs"):
        for name, size in SIZES.items():
            cleo.wait_for(f"{whose}/{name}", size)
    with Lively(cleo, "own.txt"):
        for _ in range(2):
            for whose in ("own", "theirs"):
                for name in SIZES:
                    path, data = f"{whose}/{name}", content(f"{whose} {name}", SIZES[name])
                    assert cleo.cat(path) == data
                    until(lambda path=path: told(cleo, path, "state") == "here", SEEN, "it is here")  # type: ignore[misc]
                    assert read_in_every_way(cleo.mount / path) == {hashlib.sha256(data).hexdigest()}
    made_up = (cleo.home / "shown").exists() and not (cleo.home / "work").exists()
    # On bindfs a file's ctime is another one after it was renamed and noted, so that a copy may be fetched again.
    assert cleo.fetched() == sum(SIZES.values()) or (made_up and cleo.fetched() > sum(SIZES.values()))
    for name, size in SIZES.items():
        anna.wait_for(f"own/{name}", size)
        assert anna.cat(f"own/{name}") == content(f"own {name}", size)
    assert cleo.stop() == 0, cleo.tail()


def test_downloads_are_kept(peers: tuple[Peer, Peer]) -> None:
    _, cleo = peers
    for name, size in SIZES.items():
        cleo.wait_for(f"theirs/{name}", size)
        assert cleo.cat(f"theirs/{name}") == content(f"theirs {name}", size)
    for name, size in SIZES.items():
        kept = cleo.local / "theirs" / name
        until(lambda kept=kept: kept.exists() or cleo.said("without being kept"), SEEN, "it is kept")  # type: ignore[misc]
        assert within(READ, kept.read_bytes) == content(f"theirs {name}", size)
    assert not cleo.said("without being kept"), cleo.tail()
    assert cleo.stop() == 0, cleo.tail()


def test_an_own_file_that_changes_is_followed(peers: tuple[Peer, Peer]) -> None:
    anna, cleo = peers
    for name, size in SIZES.items():
        cleo.wait_for(f"own/{name}", size)
        with open(cleo.local / "own" / name, "r+b") as disk:
            disk.write(b"changed")
        data = b"changed" + content(f"own {name}", size)[7:]
        until(lambda path=f"own/{name}", data=data: cleo.cat(path) == data, SEEN, "it is read as it is now")  # type: ignore[misc]
        until(lambda path=f"own/{name}", data=data: anna.cat(path) == data, READ, "others see it", every=0.2)  # type: ignore[misc]
        assert cleo.cat(f"own/{name}") == data
    assert cleo.stop() == 0, cleo.tail()
