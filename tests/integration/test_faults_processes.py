"""The processes of a peer, killed one by one or all at once: none is left, none is missed, nothing stays locked."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import sweep
from tests.support.cluster import ROOT, Cluster, Peer
from tests.support.faults import QUICK, Lively, content, helpers, share
from tests.support.patience import until

pytestmark = [pytest.mark.mount, pytest.mark.real]
SCANNER, SERVER = "peer.share.scanner", "peer.data.server"
SIZE = 1 << 20


@pytest.fixture(scope="module")
def peers(shared_cluster: Cluster) -> Iterator[tuple[Peer, Peer]]:
    """anna, who is killed in parts, and cleo, who reads from her."""
    shared_cluster.tracker(*QUICK)
    for number in range(4):
        share(shared_cluster, "anna", f"anna/{number}", content(f"anna {number}", SIZE))
        share(shared_cluster, "cleo", f"cleo/{number}", content(f"cleo {number}", SIZE))
    share(shared_cluster, "anna", "own.txt", b"here")
    anna, cleo = shared_cluster.peer("anna"), shared_cluster.peer("cleo")
    anna.wait_for("cleo/3")
    cleo.wait_for("anna/3")
    yield anna, cleo


def gone(pid: int) -> bool:
    """Whether a process has ended (it may still wait to be reaped)."""
    try:
        with open(f"/proc/{pid}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def can_be_had(port: int) -> bool:
    socket.create_server(("127.0.0.1", port)).close()
    return True


def started_again(peer: Peer, module: str, old: int) -> int:
    return until(lambda: (new := helpers(peer).get(module, 0)) != old and new, 10, f"{module} is started again")


def test_the_data_server_alone(peers: tuple[Peer, Peer]) -> None:
    anna, cleo = peers
    assert cleo.cat("anna/0") == content("anna 0", SIZE)
    old = helpers(anna)[SERVER]
    with Lively(anna, "own.txt"):
        os.kill(old, signal.SIGKILL)
        assert anna.cat("cleo/0") == content("cleo 0", SIZE)
        started_again(anna, SERVER, old)
        until(lambda: cleo.cat("anna/1") == content("anna 1", SIZE), 10, "it serves again")
    assert anna.running and cleo.running


def test_the_scanner_alone(peers: tuple[Peer, Peer]) -> None:
    anna, cleo = peers
    old = helpers(anna)[SCANNER]
    with Lively(anna, "own.txt"):
        os.kill(old, signal.SIGKILL)
        anna.put("anna/while-it-was-gone", b"new")
        (anna.local / "anna/1").unlink()
        assert anna.cat("cleo/1") == content("cleo 1", SIZE)  # its download has nobody to keep it just now
        new = started_again(anna, SCANNER, old)
        cleo.wait_for("anna/while-it-was-gone")
        anna.wait_kept("cleo/1")
    assert (anna.local / "cleo/1").read_bytes() == content("cleo 1", SIZE)
    assert gone(old) and not gone(new)
    anna.put("anna/later", b"later")
    cleo.wait_for("anna/later")


def test_both_again_and_again(peers: tuple[Peer, Peer]) -> None:
    anna, cleo = peers
    for _ in range(2):
        before = helpers(anna)
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        for module, pid in before.items():
            started_again(anna, module, pid)
    until(lambda: cleo.cat("anna/2") == content("anna 2", SIZE), 15, "it serves again")
    anna.put("anna/after", b"after")
    cleo.wait_for("anna/after")


def test_a_second_peer_on_the_same_share_is_refused(peers: tuple[Peer, Peer]) -> None:
    anna, _ = peers
    mount = anna.home / "second"
    mount.mkdir()
    command = [str(ROOT / "peer.py"), "127.0.0.1:1", str(anna.local), str(mount), "--http", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env={**os.environ})
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
    assert not os.path.ismount(mount)
    assert anna.cat("own.txt") == b"here"


def test_the_peer_is_killed_and_leaves_nobody_and_nothing(peers: tuple[Peer, Peer]) -> None:
    """Its helpers die with it, its ports and its lock are free, and the next one cleans its dead mount."""
    anna, cleo = peers
    family = helpers(anna)
    assert set(family) == {SCANNER, SERVER}
    ports = [int(url.rstrip("/").rpartition(":")[2]) for url in anna.urls]
    os.kill(family[SCANNER], signal.SIGSTOP)  # it dies all the same, though it cannot hear that the peer is gone
    anna.kill()
    for module, pid in family.items():
        until(lambda pid=pid: gone(pid), 3, f"{module} has ended")  # type: ignore[misc]
    for port in ports:  # a process is called gone when its first thread is
        until(lambda port=port: can_be_had(port), 3, f"port {port} is free")  # type: ignore[misc]
    assert sweep.mounts(str(anna.mount)), "the dead mount stands"
    anna.restart()
    assert anna.said("taking away the mount of a program that is gone") == 1
    assert len(sweep.mounts(str(anna.mount))) == 1
    assert anna.cat("own.txt") == b"here"
    anna.wait_for("cleo/2")
    assert anna.cat("cleo/2") == content("cleo 2", SIZE)
    until(lambda: cleo.cat("anna/3") == content("anna 3", SIZE), 15, "others read from it again")


def test_killed_at_any_moment_of_its_start_it_starts_again(peers: tuple[Peer, Peer]) -> None:
    anna, _ = peers
    anna.kill()
    for moment in (0.1, 0.5, 0.9):
        anna.launch()
        assert anna.process is not None
        with pytest.raises(subprocess.TimeoutExpired):
            anna.process.wait(moment)
        anna.kill()
    anna.restart()
    assert anna.cat("own.txt") == b"here"
    assert set(helpers(anna)) == {SCANNER, SERVER}
