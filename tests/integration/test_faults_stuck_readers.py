"""Many reads that wait for a holder who hangs: the rest of the mount goes on, and a peer ends as if nothing were."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support import sweep
from tests.support.cluster import READ, Cluster, Peer
from tests.support.faults import HONEST, Lively, content, in_background, share
from tests.support.patience import until, within

pytestmark = [pytest.mark.mount, pytest.mark.real]
READS = 64
SIZE = 1 << 20


@pytest.fixture
def peers(cluster: Cluster) -> Iterator[tuple[Peer, Peer]]:
    """The only holder of READS + 1 files, and a reader."""
    cluster.tracker("--ttl", "30", "--refresh", "1")  # the lease of one that hangs goes on meanwhile
    for number in range(READS + 1):
        share(cluster, "anna", f"far/{number}", content(f"far {number}", SIZE))
    share(cluster, "cleo", "own.txt", b"here")
    anna, cleo = cluster.peer("anna"), cluster.peer("cleo", "--read-timeout", "8")
    for number in range(READS + 1):
        cleo.wait_for(f"far/{number}")
    yield anna, cleo
    anna.resume()


@contextmanager
def programs_that_wait(cleo: Peer, number: int) -> Iterator["subprocess.Popen[str]"]:
    """A shell with programs that read a file each, in vain: of each that ends it prints the status."""
    script = 'for path; do (cat "$path" >&2; echo $?) & done; wait'
    paths = [str(cleo.mount / f"far/{n}") for n in range(number)]
    shell = subprocess.Popen(
        ["sh", "-c", script, "sh", *paths],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield shell
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.communicate(timeout=READ)


def all_wait(shell: "subprocess.Popen[str]", seconds: float) -> bool:
    """Whether none of its programs ends within so many seconds."""
    assert shell.stdout is not None
    return not select.select([shell.stdout], [], [], seconds)[0]


def failed(shell: "subprocess.Popen[str]", seconds: float) -> int:
    """How many of its programs ended with an error, when all have ended."""
    return sum(status != "0" for status in shell.communicate(timeout=seconds)[0].split())


def test_64_stuck_reads_slow_nobody_and_end_in_time(peers: tuple[Peer, Peer]) -> None:
    anna, cleo = peers
    kept = content(f"far {READS}", SIZE)
    assert cleo.cat(f"far/{READS}") == kept
    anna.pause()
    began = time.monotonic()
    reads = [in_background(lambda number=number: cleo.cat(f"far/{number}")) for number in range(READS)]  # type: ignore[misc]
    with Lively(cleo, "own.txt") as lively:
        while not all(read.done() for read in reads):
            looked = time.monotonic()
            assert within(READ, os.stat, cleo.mount / "far/3").st_size == SIZE
            assert len(cleo.ls("far")) == READS + 1
            assert cleo.cat(f"far/{READS}") == kept
            assert time.monotonic() - looked < 2
            assert time.monotonic() - began < 8 + 6
            time.sleep(0.05)
        assert lively.turns > 10
    for read in reads:
        error = read.exception()
        assert isinstance(error, OSError) and error.errno in HONEST, error
    anna.resume()
    until(lambda: cleo.cat("far/0") == content("far 0", SIZE), 20, "it can be read again", every=0.2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_peer_ends_in_time_though_readers_wait(peers: tuple[Peer, Peer], number: signal.Signals) -> None:
    anna, cleo = peers
    anna.pause()
    with programs_that_wait(cleo, READS) as readers:
        assert all_wait(readers, 0.5)
        began = time.monotonic()
        os.kill(cleo.pid, number)
        assert cleo.wait_ended(7) == 0, cleo.tail()
        assert time.monotonic() - began < 5
        assert not sweep.mounts(str(cleo.mount))
        assert failed(readers, 5) == READS
    assert os.listdir(cleo.mount) == []
    cleo.restart()
    assert cleo.cat("own.txt") == b"here"


def test_unmounted_by_another_hand_though_readers_wait(peers: tuple[Peer, Peer]) -> None:
    anna, cleo = peers
    anna.pause()
    with programs_that_wait(cleo, READS) as readers:
        assert all_wait(readers, 0.5)
        began = time.monotonic()
        subprocess.run(["umount", "-f", cleo.mount], check=False, capture_output=True, timeout=10)
        subprocess.run(["umount", "-l", cleo.mount], check=False, capture_output=True, timeout=10)
        assert cleo.wait_ended(7) == 0, cleo.tail()
        assert time.monotonic() - began < 6
        assert not sweep.mounts(str(cleo.mount))
        assert failed(readers, 5) == READS
