"""One's own file that changes on disk before the index knows: what is read is what is on the disk now."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peer.config import Fuse
from peer.mount.backing import LEAST
from shoal.manifest import manifest_of
from tests.support import sweep
from tests.support.mounted import Network, mounted
from tests.support.patience import until

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse on this machine"),
]
SECOND = 1_000_000_000
SIZES = {"small": 70_001, "large": LEAST + 70_001}
"""Neither ends with a page."""

READER = """
import os, sys
# Has a file open and read. For each line on standard input reads it by that descriptor ("kept"), or by one that is
# opened now ("fresh"), or both in turn, and says where what it reads differs from what is on the disk.
path, disk = sys.argv[1:]
def whole(fd, step):
    data = b""
    while part := os.pread(fd, step, len(data)):
        data += part
    return data
def wrong(name, fd, step):
    with open(disk, "rb") as file:
        wanted = file.read()
    got = whole(fd, step)
    if os.fstat(fd).st_size != len(wanted):
        return f"{name}: fstat says {os.fstat(fd).st_size} for {len(wanted)}; "
    if got == wanted:
        return ""
    at = next((n for n, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]), min(len(got), len(wanted)))
    return f"{name} by {step}: {len(got)} bytes for {len(wanted)}, {got[at:at + 4]} for {wanted[at:at + 4]} at {at}; "
kept = os.open(path, os.O_RDONLY)
whole(kept, 65536)
print("ready", flush=True)
for order in sys.stdin:
    said = ""
    for step in (4096, 65536, 1 << 20):
        for name in order.split():
            fd = os.open(path, os.O_RDONLY) if name == "fresh" else kept
            said += wrong(name, fd, step)
            if fd != kept:
                os.close(fd)
    print(said or "right", flush=True)
"""


@pytest.fixture(scope="module")
def place(fuse: Fuse) -> Iterator[tuple[Network, Path]]:
    directory = sweep.make_directory()
    with mounted(directory, fuse) as made:
        yield made
    sweep.take_away(str(directory))


def grow(file: Path) -> None:
    with open(file, "ab") as disk:
        disk.write(b"grown" * 2000)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 10_000)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def overwrite(file: Path) -> None:
    status = file.stat()
    with open(file, "r+b") as disk:
        disk.seek(5_000)
        disk.write(bytes([66 + status.st_mtime_ns // SECOND % 2]) * 50_000)
    os.utime(file, ns=(status.st_mtime_ns + SECOND, status.st_mtime_ns + SECOND))


def replace(file: Path) -> None:
    new = file.with_name("new")
    new.write_bytes(b"C" * file.stat().st_size)
    os.rename(new, file)


@pytest.mark.parametrize("order", ["fresh", "kept", "fresh kept", "kept fresh"])
@pytest.mark.parametrize("change", [grow, cut, empty, overwrite, replace], ids=lambda change: change.__name__)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_it_is_read_as_it_is_now(
    place: tuple[Network, Path],
    fuse: Fuse,
    size: int,
    change: Callable[[Path], None],
    order: str,
) -> None:
    """By fresh descriptors, and by one that was open before."""
    if change is replace and "kept" in order:
        pytest.skip("a descriptor keeps the file it was opened on: test_mount_versions has that")
    if fuse == "libfuse" and "kept" in order:
        pytest.skip("libfuse looks at a file that is open ten times a second at most, and never at bytes it has cached")
    net, point = place
    name = f"{size} {change.__name__} {order}"
    net.own(name, b"A" * size)
    disk = net.share.layout.local / name
    with subprocess.Popen(
        [sys.executable, "-c", READER, point / name, disk],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for _ in range(3):
            change(disk)
            print(order, file=reader.stdin, flush=True)
            assert reader.stdout.readline() == "right\n"


@pytest.mark.parametrize("change", [grow, overwrite, replace], ids=lambda change: change.__name__)
def test_it_is_read_as_it_is_now_when_the_index_knows_and_the_catalogue_does_not_yet(
    place: tuple[Network, Path], change: Callable[[Path], None]
) -> None:
    """As for a moment after each change: the scanner writes the row, and what is shown follows."""
    net, point = place
    name = f"indexed {change.__name__}"
    net.own(name, b"A" * 70_001)
    disk = net.share.layout.local / name
    assert (point / name).read_bytes() == b"A" * 70_001
    change(disk)
    data = disk.read_bytes()
    net.share.list(name, manifest_of(data), disk)
    assert (point / name).read_bytes() == data
    net.catalogue.apply_rows(net.index.at(name))
    until(lambda: (point / name).read_bytes() == data, 10, "it is read as the version that it is now")
