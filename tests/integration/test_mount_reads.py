"""A real mount over a network in memory: what programs see and read."""

import errno
import hashlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peer.config import Fuse
from shoal.errors import Gone, Lied, LocalError, Misbehaved, Unreachable
from tests.support import sweep
from tests.support.mounted import Network, mounted
from tests.support.patience import until

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse on this machine"),
]
BIG = bytes(range(256)) * 4096 * 3 + b"the end"


@pytest.fixture(scope="module")
def place(fuse: Fuse) -> Iterator[tuple[Network, Path]]:
    directory = sweep.make_directory()
    with mounted(directory, fuse) as (net, point):
        yield net, point
    sweep.take_away(str(directory))


def shell(command: str, *args: object) -> str:
    """What a shell command prints. Programs are run by a shell that is not in the mount: see `mounted`."""
    words = ["sh", "-c", command, "sh", *map(str, args)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done
    return done.stdout


def failing(call: object, *args: object) -> int:
    with pytest.raises(OSError) as caught:
        call(*args)  # type: ignore[operator]
    assert caught.value.errno is not None
    return caught.value.errno


def test_lists_finds_and_counts_without_moving_a_byte(place: tuple[Network, Path]) -> None:
    net, point = place
    for number in range(40):
        net.remote(f"walk/d{number % 4}/f{number}", b"x" * 1000)
    net.link("walk/to", "d0/f0")
    before = len(net.swarm.opened), len(net.swarm.reads)
    assert shell('find "$1" -type f | wc -l', point / "walk").strip() == "40"
    assert shell('ls -lR "$1" | grep -c -- "-r--r--r-- 1"', point / "walk").strip() == "40"
    assert int(shell('du -s --block-size=512 "$1"', point / "walk").split()[0]) == 40 * 2
    assert shell('ls -l "$1"', point / "walk").count("to -> d0/f0") == 1
    assert (len(net.swarm.opened), len(net.swarm.reads)) == before
    assert os.stat(point / "walk").st_mode & 0o7777 == 0o555
    assert os.stat(point / "walk/to").st_size == 1000
    assert ".shoal" not in os.listdir(point)


def test_every_way_of_reading_gives_the_same_bytes(place: tuple[Network, Path]) -> None:
    net, point = place
    net.remote("big", BIG)
    (path := point / "big").read_bytes()
    digest = shell('sha256sum < "$1"', path)
    assert shell('dd if="$1" bs=64k status=none | sha256sum', path) == digest
    assert shell('dd if="$1" bs=4096 iflag=direct status=none | sha256sum', path) == digest
    assert shell('tail -c 7 "$1"', path) == "the end"
    script = (
        "import hashlib, mmap, os, sys, tempfile\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "print(hashlib.sha256(mmap.mmap(fd, 0, prot=mmap.PROT_READ)).hexdigest())\n"
        "print(hashlib.sha256(mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)).hexdigest())\n"
        "out = tempfile.TemporaryFile()\n"
        "while os.sendfile(out.fileno(), fd, None, 1 << 20): pass\n"
        "out.seek(0); print(hashlib.sha256(out.read()).hexdigest())\n"
    )
    assert set(shell('python3 -c "$2" "$1"', path, script).split()) == {digest.split()[0]}


def test_programs_run(place: tuple[Network, Path]) -> None:
    net, point = place
    net.remote("bin/script", b"#!/bin/sh\necho from the mount\n", x=True)
    net.remote("bin/true", Path("/bin/true").read_bytes(), x=True)
    assert shell('"$1/bin/script" && "$1/bin/true"', point) == "from the mount\n"
    assert os.stat(point / "bin/script").st_mode & 0o7777 == 0o555


def test_what_was_read_once_is_read_from_the_page_cache(place: tuple[Network, Path]) -> None:
    net, point = place
    net.remote("cached", BIG)

    def asked_for() -> int:
        net.swarm.reads.clear()
        assert (point / "cached").read_bytes() == BIG
        return sum(size for _, _, size in net.swarm.reads)

    # That there is a new name may be told after the first read, and then it is forgotten with what was read of it.
    until(lambda: not asked_for(), 10, "it is in the page cache")
    assert [asked_for() for _ in range(3)] == [0] * 3


def test_a_file_of_unknown_size_is_read_whole(place: tuple[Network, Path]) -> None:
    net, point = place
    net.seed("unknown", BIG)
    assert os.stat(point / "unknown").st_size == 0
    assert "unknown" not in net.swarm.opened
    shell('cp "$1" "$2"', point / "unknown", point.parent / "copy")
    assert (point.parent / "copy").read_bytes() == BIG
    net.seed("unknown too", BIG)
    script = "import shutil, sys; shutil.copyfile(*sys.argv[1:])"  # by sendfile
    shell('python3 -c "$3" "$1" "$2"', point / "unknown too", point.parent / "copy", script)
    assert (point.parent / "copy").read_bytes() == BIG
    assert os.stat(point / "unknown too").st_size == len(BIG)


def test_own_files_are_read_here_and_followed(place: tuple[Network, Path]) -> None:
    net, point = place
    net.own("mine", b"first" * 1000)
    assert (point / "mine").read_bytes() == b"first" * 1000
    with open(point / "mine", "rb", buffering=0) as file:
        with open(net.share.layout.local / "mine", "ab") as disk:
            disk.write(b"more")
        assert shell('cat "$1"', point / "mine") == "first" * 1000 + "more"
        assert file.seek(5000) == 5000
        shell("sleep 0.15")
        assert file.read() == b"more"
    assert net.rescans[-1] == "mine"
    assert "mine" not in net.swarm.opened


def test_a_copy_is_read_here(place: tuple[Network, Path]) -> None:
    net, point = place
    net.own("kept", b"copied", kind="copy")
    net.own("elsewhere", b"inside", kind="copy", place="inside")
    assert shell('cat "$1/kept" "$1/elsewhere"', point) == "copiedinside"
    assert os.getxattr(point / "kept", "user.shoal.state") == b"here"


def test_extended_attributes(place: tuple[Network, Path]) -> None:
    net, point = place
    entry = net.remote("attributed", b"some")
    values = {
        "user.shoal.cid": entry.cid,
        "user.shoal.sha1": entry.sha1,
        "user.shoal.owners": "lab2",
        "user.shoal.holders": "lab2",
        "user.shoal.state": "remote",
    }
    assert sorted(os.listxattr(point / "attributed")) == sorted(values)
    assert {name: os.getxattr(point / "attributed", name).decode() for name in values} == values
    assert failing(os.getxattr, point / "attributed", "user.shoal.other") == errno.ENODATA
    assert failing(os.getxattr, point / "attributed", "user.other") == errno.EOPNOTSUPP
    assert failing(os.getxattr, point / "attributed", "security.selinux") == errno.EOPNOTSUPP
    assert failing(os.getxattr, point, "user.shoal.cid") == errno.ENODATA


def test_the_state_is_there_when_asked_for(place: tuple[Network, Path]) -> None:
    net, point = place
    net.remote("state/file", b"theirs")
    assert (point / ".shoal/status").read_bytes() == net.status
    net.status = b'{"ok": false, "longer": "than before"}\n'
    assert (point / ".shoal/status").read_bytes() == net.status
    assert shell('cat "$1"', point / ".shoal/status").encode() == net.status
    assert sorted(os.listdir(point / ".shoal")) == ["peers", "status"]
    assert "lab2" in os.listdir(point / ".shoal/peers")
    assert (point / ".shoal/peers/lab2/state/file").read_bytes() == b"theirs"
    assert failing(os.listdir, point / ".shoal/peers/nobody") == errno.ENOENT


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (Unreachable("nobody alive has it"), errno.EHOSTUNREACH),
        (Gone("it left"), errno.ESTALE),
        (Lied("wrong bytes"), errno.EIO),
        (Misbehaved("a broken promise"), errno.EIO),
        (LocalError("the disk is full"), errno.EIO),
        (ValueError("nobody thought of that"), errno.EIO),
    ],
)
def test_the_errors_of_reads(place: tuple[Network, Path], error: Exception, number: int) -> None:
    net, point = place
    path = f"failing-{type(error).__name__}"
    net.swarm.errors[net.remote(path, type(error).__name__.encode()).cid] = error
    with open(point / path, "rb", buffering=0) as file:
        assert failing(file.read, 5) == number
        assert failing(os.pread, file.fileno(), 3, 2) == number


def test_the_errors_of_paths(place: tuple[Network, Path]) -> None:
    net, point = place
    net.remote("dir/file", b"data")
    path, entry = point / "dir/file", net.remote("alone", b"alone")
    assert failing(os.stat, point / "none") == errno.ENOENT
    assert failing(os.open, path, os.O_RDWR) in (errno.EROFS, errno.EACCES)
    assert failing(os.open, point / "new", os.O_CREAT | os.O_WRONLY) in (errno.EROFS, errno.EACCES)
    assert failing(os.unlink, path) in (errno.EROFS, errno.EACCES)
    assert failing(os.rename, path, point / "other") in (errno.EROFS, errno.EACCES)
    assert failing(os.listdir, path) == errno.ENOTDIR
    net.swarm.contents.pop(entry.cid)
    assert failing(os.open, point / "alone", os.O_RDONLY) == errno.EHOSTUNREACH


def test_whatever_others_list_the_kernel_takes_no_devices_and_no_set_user_id_from_it(
    place: tuple[Network, Path],
) -> None:
    _, point = place
    flags = os.statvfs(point).f_flag
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NODEV


def test_a_link_that_could_lead_out_is_not_there(place: tuple[Network, Path]) -> None:
    net, point = place
    net.remote("tree/sub/file", b"inside")
    net.link("tree/ok", "sub/file")
    net.link("tree/deep", "../tree/./sub/file")
    net.link("tree/sub/up", "..")
    net.link("tree/sneaky", "sub/up/../../../etc/passwd")  # stays inside by its letters alone
    assert sorted(os.listdir(point / "tree")) == ["deep", "ok", "sub"]
    assert (point / "tree/ok").read_bytes() == (point / "tree/deep").read_bytes() == b"inside"
    assert failing(os.readlink, point / "tree/sneaky") == errno.ENOENT


def test_waiting_readers_do_not_stop_other_calls(place: tuple[Network, Path]) -> None:
    net, point = place
    entry = net.remote("held", BIG)
    net.remote("free", b"free")
    net.swarm.held.add(entry.cid)
    readers = [subprocess.Popen(["sh", "-c", 'cat "$1" > /dev/null', "sh", point / "held"]) for _ in range(30)]
    try:
        assert shell('cat "$1"', point / "free") == "free"
        assert "held" in shell('ls -l "$1"', point)
    finally:
        net.swarm.let_go.set()
        assert [reader.wait(20) for reader in readers] == [0] * 30
        net.swarm.held.clear()
        net.swarm.let_go.clear()


CHANGES: dict[str, Callable[[Network], object]] = {
    "time": lambda net: net.remote("touched", BIG),
    "mode": lambda net: net.remote("touched", BIG, x=True),
    "content": lambda net: net.remote("touched", b"other"),
    "gone": lambda net: net.put({"touched": []}),
    "gone and back": lambda net: (net.put({"touched": []}), time.sleep(0.3), net.remote("touched", BIG)),
}
"""What may happen to a file; its time is another one each time."""


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_keeps_nobody_waiting_for_who_reads(
    place: tuple[Network, Path], change: Callable[[Network], object]
) -> None:
    """As when one of two owners leaves in the midst of a read, and the file has the other's time from now on."""
    net, point = place
    net.swarm.held.add(net.remote("touched", BIG).cid)
    net.swarm.reads.clear()
    shell('ls -l "$1"', point)
    words = ["sh", "-c", 'sha1sum < "$1"', "sh", str(point / "touched")]
    readers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True)]
    try:
        until(lambda: any(path == "touched" for path, _, _ in net.swarm.reads), 10, "it is read")
        change(net)
        for _ in range(2):
            time.sleep(0.3)
            for command in ('ls -l "$1"', 'stat "$1"/touched || true', 'ls -l "$1"'):
                shell(f"timeout -s KILL 5 sh -c '{command}' sh \"$1\"", point)
            readers.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
    finally:
        net.swarm.let_go.set()
        said = [reader.communicate(timeout=20)[0] for reader in readers]
        net.swarm.held.clear()
        net.swarm.let_go.clear()
    assert said[0].split()[0] == hashlib.sha1(BIG).hexdigest()
    now = net.vfs.find("touched")
    if now is not None:
        time_now = net.vfs.attributes(now).mtime // 1_000_000_000
        until(lambda: shell('stat -c %Y "$1"', point / "touched") == f"{time_now}\n", 5, "the new time is shown")
