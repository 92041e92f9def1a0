"""How a mount begins and ends: unfit places, readers that wait, programs that were killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.config import Fuse
from peer.mount import binding
from peer.mount.adapters import start_mount
from peer.mount.binding import _loads
from peer.mount.mounting import check_apart, check_mountpoint
from shoal.errors import LocalError, UsageError
from tests.support import sweep
from tests.support.mounted import is_mounted, network
from tests.support.patience import until, within

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse on this machine"),
]


def check_places(local: Path, mount: Path) -> None:
    """As a peer does at its start."""
    check_apart(local, mount)
    check_mountpoint(mount)


PROGRAM = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.support.mounted import mounted
with mounted(Path(sys.argv[1]), sys.argv[2]) as (net, point):
    net.remote("file", b"data")
    print("ready", flush=True)
    if sys.stdin.readline() == "new\\n":
        net.remote("file", b"another")
        sys.stdin.readline()
"""
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def directory() -> Iterator[Path]:
    made = sweep.make_directory()
    yield made
    sweep.take_away(str(made))


def program(directory: Path, fuse: Fuse, *before: str, **environ: str) -> "subprocess.Popen[str]":
    """A process that mounts at `directory/mount`; a line "new" replaces the file, any other ends it."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", PROGRAM.format(root=ROOT), str(directory), fuse],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environ,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_ends_while_readers_wait(directory: Path, fuse: Fuse) -> None:
    (directory / "mount").mkdir()
    with network(directory) as net:
        net.swarm.held.add(net.remote("held", b"x" * 1000).cid)
        mount = start_mount(fuse, net.vfs, directory / "mount", net.swarm.close)
        readers = [
            subprocess.Popen(["cat", directory / "mount/held"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(5)
        ]
        until(lambda: len(net.swarm.reads) >= 1, 5, "they wait")
        began = time.monotonic()
        within(10, mount.stop)
        assert time.monotonic() - began < 5
        assert not mount.alive and not is_mounted(directory / "mount")
        for reader in readers:
            reader.communicate(timeout=5)
            assert reader.returncode == 1


def test_ends_while_a_reader_never_gets_an_answer_and_a_directory_is_in_use(directory: Path, fuse: Fuse) -> None:
    """As when nothing can unblock it: the connection is ended."""
    (directory / "mount").mkdir()
    with network(directory) as net:
        net.swarm.held.add(net.remote("dir/held", b"x" * 1000).cid)
        mount = start_mount(fuse, net.vfs, directory / "mount")
        reader = subprocess.Popen(["sh", "-c", 'cd "$1"; cat held; exec sleep 60', "sh", directory / "mount/dir"])
        try:
            until(lambda: len(net.swarm.reads) >= 1, 5, "it waits")
            began = time.monotonic()
            within(10, mount.stop)
            assert time.monotonic() - began < 5
            assert not is_mounted(directory / "mount")
        finally:
            net.swarm.let_go.set()
            assert until(lambda: mount.wait(0), 5, "its loop ends")
            mount.stop()
            reader.kill()
            reader.wait(5)


def test_taken_away_by_another_hand(directory: Path, fuse: Fuse) -> None:
    (directory / "mount").mkdir()
    with network(directory) as net:
        mount = start_mount(fuse, net.vfs, directory / "mount")
        subprocess.run(["umount", directory / "mount"], check=True)
        assert mount.wait(5) and not mount.alive
        mount.stop()


def test_a_killed_programs_mount_is_cleaned_by_the_next(directory: Path, fuse: Fuse) -> None:
    process = program(directory, fuse)
    assert (directory / "mount/file").read_bytes() == b"data"
    process.kill()
    process.communicate()
    until(lambda: not _answers(directory / "mount"), 5, "it is dead")
    check_places(directory / "local", directory / "mount")
    assert not is_mounted(directory / "mount")


def test_a_living_mount_is_left_alone(directory: Path, fuse: Fuse) -> None:
    process = program(directory, fuse)
    with pytest.raises(UsageError, match="mounted already"):
        check_places(directory / "local", directory / "mount")
    assert (directory / "mount/file").read_bytes() == b"data"
    process.communicate("end\n", timeout=10)
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stay_the_programs_own(directory: Path, fuse: Fuse, number: int) -> None:
    """libfuse would take those that nobody handles, and end the mount."""
    process = program(directory, fuse)
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert process.returncode in (-number, 1, 130)


def test_runs_on_libfuse_2(directory: Path) -> None:
    """Where nothing else is: the same adapter, on the other layouts."""
    if not _loads("libfuse.so.2"):
        pytest.skip("there is no libfuse 2 on this machine")
    process = program(directory, "libfuse", FUSE_LIBRARY_PATH="libfuse.so.2")
    path = directory / "mount/file"
    assert process.stdin is not None
    with open(path, "rb", buffering=0) as file:
        assert os.stat(path).st_size == 4 and os.listdir(directory / "mount") == ["file"]
        print("new", file=process.stdin, flush=True)
        until(lambda: path.read_bytes() == b"another", 5, "the new version shows")
        assert file.read() == b"data" and os.fstat(file.fileno()).st_size == 4
    process.communicate("end\n", timeout=10)
    assert process.returncode == 0 and not is_mounted(directory / "mount")


@pytest.mark.parametrize(
    ("modules", "libraries", "said"),
    [
        ((), ("libfuse3.so.3",), "pip install mfusepy"),
        (("mfusepy",), (), "apt install fuse3"),
        (("fuse",), ("libfuse3.so.3",), "apt install fuse3"),  # fusepy knows libfuse 2 alone
    ],
)
def test_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, modules: tuple[str, ...], libraries: tuple[str, ...], said: str
) -> None:
    monkeypatch.delenv("FUSE_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(binding.importlib.util, "find_spec", lambda name: name if name in modules else None)
    monkeypatch.setattr(binding, "_loads", lambda name: name in libraries)
    with pytest.raises(LocalError, match=said):
        binding.load()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_works_without_root(directory: Path, fuse: Fuse) -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if subprocess.run([*nobody, "test", "-w", "/dev/fuse"], check=False).returncode != 0:
        pytest.skip("/dev/fuse is root's alone on this machine")
    os.chown(directory, 65534, 65534)
    process = program(directory, fuse, *nobody)
    shown = subprocess.run([*nobody, "cat", directory / "mount/file"], capture_output=True, check=False)
    process.communicate("end\n", timeout=10)
    assert process.returncode == 0 and shown.stdout == b"data"
    assert not is_mounted(directory / "mount")


def test_places_that_contain_each_other_are_refused(directory: Path) -> None:
    local, mount = directory / "local", directory / "mount"
    for path in (local / "inner", mount / "inner", directory / "bound", directory / "elsewhere"):
        path.mkdir(parents=True)
    (directory / "link").symlink_to(local)
    (mount / "inner").rmdir()
    check_places(local, mount)
    for wrong in (local, local / "inner", directory / "link/inner"):
        with pytest.raises(UsageError):
            check_places(local, wrong)
    with pytest.raises(UsageError, match="contain each other"):
        check_places(mount, mount)
    with pytest.raises(UsageError, match="not empty"):
        check_mountpoint(local)
    with pytest.raises(UsageError, match="not a directory"):
        check_mountpoint(Path(__file__))
    with pytest.raises(UsageError, match="cannot be used"):
        check_mountpoint(directory / "missing")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to bind")
@pytest.mark.parametrize("bound", ["local", "local/inner"])
def test_a_mountpoint_inside_the_share_by_way_of_a_bind_is_refused(directory: Path, bound: str) -> None:
    for name in ("local/inner/mount", "elsewhere", "free"):
        (directory / name).mkdir(parents=True)
    subprocess.run(["mount", "--bind", directory / bound, directory / "elsewhere"], check=True)
    try:
        inside = directory / "elsewhere" / ("inner/mount" if bound == "local" else "mount")
        with pytest.raises(UsageError, match="contain each other"):
            check_places(directory / "local", inside)
        with pytest.raises(UsageError, match="contain each other"):
            check_places(inside, directory / "local/inner/mount")
        check_places(directory / "local", directory / "free")
    finally:
        subprocess.run(["umount", directory / "elsewhere"], check=True)


def _answers(path: Path) -> bool:
    try:
        os.listdir(path)
    except OSError:
        return False
    return True
