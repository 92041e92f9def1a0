"""A peer of an ordinary user: mounted by fusermount3, read, never written, and gone when it is told to end."""

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import READ, ROOT, SEEN, Cluster, Peer
from tests.support.faults import content
from tests.support.mounted import is_mounted
from tests.support.patience import until

NOBODY = 65534
PYTHON = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
"""Our own may lie where only root comes."""
PATHS = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])
FUSERMOUNT = Path("/usr/bin/fusermount3")
pytestmark = [
    pytest.mark.mount,
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else"),
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse on this machine"),
    pytest.mark.skipif(
        not (FUSERMOUNT.exists() and FUSERMOUNT.stat().st_mode & stat.S_ISUID), reason="no fusermount3 that is set-uid"
    ),
]
SIZE = 3 << 20

SCRIPT = """
import json, os, sys
# Tries what a user must not do in the mount, and says how each ended.
point = sys.argv[1]
file = point + "/theirs/big"
def tried(call, *args, **more):
    try:
        call(*args, **more)
    except OSError as error:
        return error.errno
    return 0
print(json.dumps({
    "create": tried(os.open, point + "/new", os.O_CREAT | os.O_WRONLY),
    "write": tried(os.open, file, os.O_WRONLY),
    "append": tried(os.open, file, os.O_WRONLY | os.O_APPEND),
    "truncate": tried(os.truncate, file, 0),
    "unlink": tried(os.unlink, file),
    "mkdir": tried(os.mkdir, point + "/new"),
    "rmdir": tried(os.rmdir, point + "/theirs"),
    "rename": tried(os.rename, file, point + "/theirs/other"),
    "link": tried(os.link, file, point + "/theirs/other"),
    "symlink": tried(os.symlink, file, point + "/theirs/other"),
    "chmod": tried(os.chmod, file, 0o777),
    "utime": tried(os.utime, file),
    "mknod": tried(os.mkfifo, point + "/fifo"),
    "setxattr": tried(os.setxattr, file, "user.shoal.cid", b"x"),
}))
"""


def as_nobody(*command: str | Path) -> list[str]:
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *map(str, command)]


def said(*command: str | Path) -> str:
    """What a command prints that this user runs."""
    environ = {**os.environ, "PYTHONPATH": PATHS, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(as_nobody(*command), env=environ, cwd="/", capture_output=True, text=True, timeout=READ)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def device() -> Iterator[None]:
    """/dev/fuse as it is where users can mount."""
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)
    yield
    os.chmod("/dev/fuse", mode)


@pytest.fixture
def ben(cluster: Cluster, device: None, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """A peer of this user, in a network with another one that shares a file. Not even root may look into its mount."""
    if subprocess.run(as_nobody(PYTHON, "-c", "import msgspec"), env={"PYTHONPATH": PATHS}, check=False).returncode:
        pytest.skip(f"a user cannot run {PYTHON} with what is installed here")
    tracker = cluster.tracker("--ttl", "30", "--refresh", "1")  # the lease of one that hangs goes on meanwhile
    cluster.peer("anna").put("theirs/big", content("big", SIZE))
    cluster.home.chmod(0o755)
    home = cluster.home / "ben"
    for name, value in {"PYTHONPATH": PATHS, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}.items():
        monkeypatch.setenv(name, value)
    peer = Peer("ben", cluster.home, tracker.address, ["--fuse", "kernel"], None)
    peer.put("own", content("own", SIZE))
    for path in (home, peer.local, peer.local / "own"):
        os.chown(path, NOBODY, NOBODY)
    peer.command = as_nobody(PYTHON, *peer.command[1:])
    cluster.nodes.append(peer)
    peer.launch()
    peer.wait_ready()
    until(lambda: said("ls", peer.mount).split() == ["own", "theirs"], SEEN, "both files show")
    return peer


def test_a_users_mount_is_read_and_never_written_and_ends_when_told_to(ben: Peer) -> None:
    assert is_mounted(ben.mount)
    mode = ben.status()["mount"]["mode"]
    assert mode.startswith("kernel 7.") and "no passthrough: " in mode and "root" in mode
    shoal = (PYTHON, "-c", "from shoal.cli import main; main()", "--peer", ben.http, "status")
    assert mode in said(*shoal)
    status = json.loads(said(*shoal, "--json"))
    assert status["mount"] == {"path": str(ben.mount), "mode": mode}
    for path, name in (("own", "own"), ("theirs/big", "big")):
        for _ in range(2):
            expected = hashlib.sha256(content(name, SIZE)).hexdigest()
            assert said("sha256sum", ben.mount / path).split()[0] == expected
        assert said("stat", "-c", "%s %A %u", ben.mount / path).split() == [str(SIZE), "-r--r--r--", str(NOBODY)]
    refused = json.loads(said(PYTHON, "-c", SCRIPT, ben.mount))
    assert set(refused.values()) == {errno.EROFS}, {name: errno.errorcode.get(n, n) for name, n in refused.items()}
    assert said("ls", ben.mount).split() == ["own", "theirs"]
    ben.terminate()
    assert ben.wait_ended(10) == 0, ben.tail()
    assert not is_mounted(ben.mount) and os.listdir(ben.mount) == []


def test_a_users_peer_that_was_killed_starts_again(ben: Peer) -> None:
    """The mount that it left is dead; who may not take it away by himself has fusermount3 do it."""
    ben.kill()
    ben.restart()
    until(lambda: said("ls", ben.mount).split() == ["own", "theirs"], SEEN, "both files show again")
    assert ben.stop() == 0, ben.tail()
    assert not is_mounted(ben.mount)


def test_a_users_mount_that_is_in_use_ends_all_the_same(ben: Peer) -> None:
    user = subprocess.Popen(
        as_nobody("sh", "-c", 'cd "$1/theirs" && echo in && exec sleep 60', "sh", ben.mount), stdout=subprocess.PIPE
    )
    try:
        assert user.stdout is not None and user.stdout.readline() == b"in\n"
        ben.terminate()
        assert ben.wait_ended(10) == 0, ben.tail()
        assert not is_mounted(ben.mount)
    finally:
        user.kill()
        user.communicate()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, "umount"])
def test_a_users_peer_ends_though_64_readers_wait_for_a_holder_that_hangs(
    cluster: Cluster, ben: Peer, end: signal.Signals | str
) -> None:
    anna = next(node for node in cluster.nodes if node.name == "anna")
    anna.pause()
    command = as_nobody("cat", ben.mount / "theirs/big")
    readers = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(64)]
    try:
        until(lambda: sum(map(waits, readers)) == 64, READ, "all of them wait")
        began = time.monotonic()
        if isinstance(end, str):
            assert subprocess.run(as_nobody("fusermount3", "-uz", ben.mount), check=False, timeout=READ).returncode == 0
        else:
            os.kill(ben.pid, end)
            assert ben.wait_ended(10) == 0, ben.tail()
            assert time.monotonic() - began < 10
        assert not is_mounted(ben.mount)
        for reader in readers:
            assert reader.wait(READ) != 0
        assert ben.wait_ended(10) == 0, ben.tail()
    finally:
        anna.resume()
        for reader in readers:
            reader.kill()
            reader.wait(READ)


def waits(reader: "subprocess.Popen[bytes]") -> bool:
    """Whether it is a `cat` that sleeps: it waits for bytes."""
    status = Path(f"/proc/{reader.pid}/stat").read_text()
    return status.split("(", 1)[1].startswith("cat) S") or status.split("(", 1)[1].startswith("cat) D")
