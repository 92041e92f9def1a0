"""The ways in which programs use a file, each in every way that a mount has of giving its bytes."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from peer.config import Fuse
from peer.mount.adapters import start_mount
from peer.mount.backing import LEAST
from peer.mount.kernel import KernelMount
from peer.mount.protocol import Op
from shoal.manifest import manifest_of
from tests.support import sweep
from tests.support.mounted import Network, network

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse on this machine"),
]
SMALL, LARGE = 70_001, LEAST + 300_001
"""Neither ends with a page; the second is passed through where that can be, and all own ones are."""
SCRIPT = b"#!/bin/sh\necho script of the mount\nexit\n"
PROGRAM = Path("/bin/echo").read_bytes()

WAYS = """
import hashlib, json, mmap, os, socket, sys, threading
# Reads a file in one way, and says what it got.
path, way = sys.argv[1:]
fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if way == "direct" else 0))
size = os.fstat(fd).st_size
def drain(end):
    got = b""
    while part := os.read(end, 1 << 16):
        got += part
    return got
def through(ends, send):
    # What comes out at one end when all of the file was sent into the other one.
    def run():
        while send(ends[1]):
            pass
        os.close(ends[1])
    thread = threading.Thread(target=run)
    thread.start()
    got = drain(ends[0])
    thread.join()
    return got
if way in ("mmap shared", "mmap private"):
    flags = mmap.MAP_SHARED if way == "mmap shared" else mmap.MAP_PRIVATE
    map = mmap.mmap(fd, 0, flags=flags, prot=mmap.PROT_READ)
    touched = [map[at] for at in reversed(range(0, size, mmap.PAGESIZE))]
    got = map[:]
    assert touched == [got[at] for at in reversed(range(0, size, mmap.PAGESIZE))]
elif way == "sendfile to a file":
    out = os.memfd_create("out")
    while os.sendfile(out, fd, None, 1 << 17):
        pass
    got = os.pread(out, size + 1, 0)
elif way == "sendfile to a socket":
    pair = [end.detach() for end in socket.socketpair()]
    got = through(pair, lambda end: os.sendfile(end, fd, None, 1 << 17))
elif way == "splice":
    got = through(os.pipe(), lambda end: os.splice(fd, end, 1 << 16))
elif way == "splice backwards":
    got = b""
    for at in reversed(range(0, size, 40_000)):
        out, into = os.pipe()
        left = min(40_000, size - at)
        while left:
            left -= os.splice(fd, into, left, offset_src=at + min(40_000, size - at) - left)
        os.close(into)
        got = drain(out) + got
        os.close(out)
elif way == "direct":
    got, buffer = b"", mmap.mmap(-1, 1 << 16)
    while count := os.preadv(fd, [buffer], len(got)):
        got += buffer[:count]
        if count % 4096:
            break
elif way == "readahead":
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
    got = os.pread(fd, size + 1, 0) if size < 1 << 16 else drain(fd)
print(json.dumps([len(got), hashlib.sha256(got).hexdigest()]))
"""
NAMES = [
    *("mmap shared", "mmap private", "sendfile to a file", "sendfile to a socket", "splice", "splice backwards"),
    *("direct", "readahead"),
]
PLACES = ["own", "own small", "copy", "copy small", "remote", "remote small"]


@dataclass
class Place:
    """A mount, and how often the kernel asked it for bytes."""

    net: Network
    point: Path
    fuse: Fuse
    passes: bool
    """Whether the kernel reads files that are here by itself."""
    reads: list[int] = field(default_factory=list)

    def put(self, where: str, name: str, data: bytes, x: bool = False) -> Path:
        """A file in the mount, of which the bytes are there."""
        net, path = self.net, f"{where}/{name}"
        manifest, disk = manifest_of(data), net.share.layout.local / path
        if "own" in where:
            disk.parent.mkdir(parents=True, exist_ok=True)
            disk.write_bytes(data)
            disk.chmod(0o755 if x else 0o644)
            net.share.list(path, manifest, disk)
            net.catalogue.apply_rows(net.index.at(path))
        else:
            net.remote(path, data, x)
            if "copy" in where:
                net.share.add(path, data, kind="copy")
        assert os.getxattr(self.point / path, "user.shoal.state") == (b"remote" if "remote" in where else b"here")
        return self.point / path

    def passed_through(self, where: str) -> bool:
        return self.passes and where in ("own", "own small", "copy")


@contextmanager
def mounted(directory: Path, fuse: Fuse) -> Iterator[Place]:
    (directory / "mount").mkdir()
    with network(directory) as net:
        mount = start_mount(fuse, net.vfs, directory / "mount", net.swarm.close)
        place = Place(net, directory / "mount", fuse, "kernel" in mount.mode and "no pass" not in mount.mode)
        if isinstance(mount, KernelMount):
            calls = mount._requests._others
            read = calls[Op.READ]
            calls[Op.READ] = lambda request: (place.reads.append(request.node), read(request))[1]  # type: ignore[func-returns-value]
        try:
            yield place
        finally:
            mount.stop()


@pytest.fixture(scope="module")
def place(fuse: Fuse) -> Iterator[Place]:
    directory = sweep.make_directory()
    with mounted(directory, fuse) as made:
        yield made
    sweep.take_away(str(directory))


def content(name: str, size: int) -> bytes:
    """No two pages are alike."""
    return b"".join(b"%-31s\n" % f"{name} {at}".encode()[-31:] for at in range(0, size, 32))[:size]


def shell(command: str, *args: object) -> str:
    """What a shell command prints. Programs are run by a shell that is not in the mount: see `support.mounted`."""
    words = ["sh", "-c", command, "sh", *map(str, args)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.parametrize("way", NAMES)
@pytest.mark.parametrize("where", PLACES)
def test_every_way_of_reading_gives_the_right_bytes(place: Place, where: str, way: str) -> None:
    data = content(f"{where} {way}", SMALL if "small" in where else LARGE)
    path = place.put(where, way, data)
    place.reads.clear()
    for _ in range(2):  # the second time it may be cached
        said = json.loads(shell('"$1" -c "$2" "$3" "$4"', sys.executable, WAYS, path, way))
        assert said == [len(data), hashlib.sha256(data).hexdigest()]
    if place.fuse == "kernel" and way != "readahead":  # which the kernel does for the mount's own cache all the same
        assert (not place.reads) == place.passed_through(where)


@pytest.mark.parametrize("size", [0, LEAST + 5000], ids=["small", "large"])
@pytest.mark.parametrize("where", ["own", "copy", "remote"])
def test_programs_run(place: Place, where: str, size: int) -> None:
    script = place.put(where, f"script {size}", SCRIPT + f"# {where}\n".encode().ljust(size, b"#"), x=True)
    program = place.put(where, f"program {size}", PROGRAM + where.encode().ljust(size), x=True)
    assert os.stat(program).st_mode & 0o777 == 0o555
    for _ in range(2):
        assert shell('"$1"', script) == "script of the mount\n"
        assert shell('exec "$1" a program', program) == "a program\n"


@pytest.mark.parametrize("where", ["own", "copy", "remote"])
def test_what_is_not_a_program_does_not_run(place: Place, where: str) -> None:
    path = place.put(where, "no program", PROGRAM + where.encode())
    assert shell('"$1" it runs || echo no', path) == "no\n"
