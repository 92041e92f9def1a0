"""A file that becomes another one while it is open: each handle keeps its version, never a wrong or a missing byte."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.config import Fuse
from tests.support import sweep
from tests.support.mounted import Network, mounted
from tests.support.patience import until

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse on this machine"),
]
SIZE = 300_000
NEW_SIZES = pytest.mark.parametrize("size", [SIZE // 3, SIZE, SIZE * 3], ids=["smaller", "equal", "larger"])

READER = """
import mmap, os, sys
# Reads a file that is open on standard input in every way that there is, over and over, and tells what is wrong.
letter, size = sys.argv[1].encode(), int(sys.argv[2])
whole = letter * size
out = os.memfd_create("out")
maps = [mmap.mmap(0, size, flags=flags, prot=mmap.PROT_READ) for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE)]
print("ready", flush=True)
sys.stdin = None
while not os.path.exists(sys.argv[3]):
    for step in (4096, 65536, 1 << 20):
        got, at = b"", 0
        while data := os.pread(0, step, at):
            got += data
            at += len(data)
        if got != whole:
            sys.exit(f"pread: {len(got)} bytes of {set(got)}")
    if os.pread(0, 10, size) or os.fstat(0).st_size != size:
        sys.exit(f"fstat: {os.fstat(0).st_size}")
    if any(map[:] != whole for map in maps):
        sys.exit("mmap")
    os.ftruncate(out, 0)
    os.lseek(out, 0, 0)
    at = 0
    while sent := os.sendfile(out, 0, at, 1 << 20):
        at += sent
    if os.pread(out, size + 1, 0) != whole:
        sys.exit(f"sendfile: {at} bytes")
"""


@pytest.fixture
def place(fuse: Fuse) -> Iterator[tuple[Network, Path]]:
    directory = sweep.make_directory()
    with mounted(directory, fuse) as made:
        yield made
    sweep.take_away(str(directory))


@contextlib.contextmanager
def reader(path: Path, letter: str, size: int) -> Iterator["subprocess.Popen[str]"]:
    """A process that has the file open and reads it until the block ends; it must find nothing wrong."""
    with tempfile.TemporaryDirectory() as directory, open(path, "rb") as file:
        stop = Path(directory) / "stop"
        process = subprocess.Popen(
            [sys.executable, "-c", READER, letter, str(size), str(stop)],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        with process:
            try:
                process.stdout.readline()
                yield process
                stop.touch()
                _, errors = process.communicate(timeout=60)
                assert process.returncode == 0, errors
            finally:
                process.kill()


def read(path: Path) -> bytes:
    with open(path, "rb", buffering=0) as file:
        data = b""
        while part := file.read(1 << 20):
            data += part
        return data


@NEW_SIZES
def test_both_versions_are_read_in_every_way_at_once(place: tuple[Network, Path], size: int) -> None:
    net, point = place
    net.remote("dir/file", b"A" * SIZE)
    with reader(point / "dir/file", "A", SIZE) as first:
        net.remote("dir/file", b"B" * size)
        until(lambda: read(point / "dir/file") == b"B" * size, 5, "the new version shows")
        assert first.poll() is None
        with reader(point / "dir/file", "B", size):
            assert os.stat(point / "dir/file").st_size == size


@NEW_SIZES
def test_a_file_replaced_between_two_opens_is_never_cut(place: tuple[Network, Path], size: int) -> None:
    """Whatever the kernel still believes of the old one."""
    net, point = place
    for turn in range(10):
        net.remote("file", b"A" * SIZE)
        until(lambda: read(point / "file") == b"A" * SIZE, 5, "the old version shows")
        net.remote("file", b"B" * size)
        letters = {read(point / "file") for _ in range(1 + turn % 3)}
        assert letters <= {b"A" * SIZE, b"B" * size}
        until(lambda: read(point / "file") == b"B" * size, 5, "the new version shows")


def test_every_open_of_a_path_that_changes_all_the_time_is_of_one_version(place: tuple[Network, Path]) -> None:
    net, point = place
    versions = [bytes([65 + number]) * (50_000 + 7_000 * number) for number in range(6)]
    net.remote("file", versions[0])
    script = (
        "import errno, os, sys, time\n"
        "end, kept = time.monotonic() + 3, []\n"
        "while time.monotonic() < end:\n"
        "    try: fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "    except OSError as error:\n"
        "        assert error.errno == errno.ESTALE  # it changed twice between a look and an open\n"
        "        continue\n"
        "    kept.append(fd)\n"
        "    for fd in kept:\n"
        "        data, size = os.pread(fd, 1 << 20, 0), os.fstat(fd).st_size\n"
        "        number = data[0] - 65\n"
        "        whole = len(set(data)) == 1 and len(data) == size == 50_000 + 7_000 * number\n"
        "        assert whole, (set(data), len(data), size)\n"
        "    if len(kept) > 5: os.close(kept.pop(0))\n"
        "    os.stat(sys.argv[1])\n"
    )
    readers = [
        subprocess.Popen([sys.executable, "-c", script, point / "file"], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    turn = 0
    while any(process.poll() is None for process in readers):
        turn += 1
        net.remote("file", versions[turn % 6])
        readers[0].poll()
        with contextlib.suppress(subprocess.TimeoutExpired):
            readers[0].wait(0.03)
    assert [process.communicate()[1] for process in readers] == ["", ""]
    assert net.swarm.open_readers == 0 or until(lambda: net.swarm.open_readers == 0, 5, "all readers are closed")


def test_a_file_that_leaves_the_network_is_read_to_its_end_by_who_has_it_open(place: tuple[Network, Path]) -> None:
    net, point = place
    net.remote("file", b"A" * SIZE)
    with reader(point / "file", "A", SIZE):
        net.put({"file": []})
        until(lambda: not os.path.exists(point / "file"), 5, "the path is gone")


def test_a_directory_becomes_a_file_and_back(place: tuple[Network, Path]) -> None:
    net, point = place
    net.remote("name/file", b"A" * SIZE)
    with reader(point / "name/file", "A", SIZE):
        net.put({"name/file": []})
        net.remote("name", b"now a file")
        until(lambda: os.path.isfile(point / "name") and read(point / "name") == b"now a file", 5, "it is a file")
        net.put({"name": []})
        net.remote("name/file", b"B" * 5)
        until(lambda: os.path.isdir(point / "name") and read(point / "name/file") == b"B" * 5, 5, "it is a directory")


def test_ones_own_file_replaced_by_another_keeps_what_is_open(place: tuple[Network, Path]) -> None:
    net, point = place
    local = net.share.layout.local
    net.own("mine", b"A" * SIZE)
    with reader(point / "mine", "A", SIZE):
        (local / "new").write_bytes(b"B" * 5)
        os.rename(local / "new", local / "mine")  # the index knows nothing yet
        until(lambda: read(point / "mine") == b"B" * 5, 5, "the new file shows")
    assert net.rescans[-1] == "mine"


def test_what_was_read_while_the_share_changed_is_not_kept(place: tuple[Network, Path]) -> None:
    net, point = place
    local, data = net.share.layout.local, b"A" * 4096
    entry = net.remote("theirs", data)
    net.own("mine", data)  # the same content, so theirs is read from here
    with open(point / "theirs", "rb", buffering=0) as file:
        (local / "mine").write_bytes(b"B" * 4096)
        assert file.read() == b"B" * 4096  # a user who writes into LOCAL changes what is open there
    until(lambda: read(point / "theirs") == data, 5, "it is right again")
    assert entry.cid in net.swarm.contents
