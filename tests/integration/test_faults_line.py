"""A line between reader and holder that delays, cuts, corrupts, repeats, trickles or falls silent.

Reads end in time, with the right bytes if anybody can give them, and with an honest error if nobody can.
"""

import errno
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.chaos import Detour, Faults
from tests.support.cluster import Cluster, Peer
from tests.support.faults import HONEST, QUICK, Lively, content, share, told
from tests.support.patience import until

pytestmark = [pytest.mark.mount, pytest.mark.real]
SIZES = {"small": 100_000, "large": 9 << 20}
"""A file of one piece, and one of thirty-six: they are fetched in different ways, the large one from both holders."""
TIMEOUT = 6.0
FAULTS = {
    "delays": Faults(delay=0.01),
    "cuts": Faults(cut_after=50_000),
    "cuts-later": Faults(cut_after=700_000),
    "trickles": Faults(one_by_one=4_000),
    "stalls": Faults(stall_after=30_000),
    "refuses": Faults(refuse=True),
    "corrupts": Faults(corrupt_every=40_000),
    "repeats": Faults(duplicate_after=60_000),
}
LIES = ("corrupts", "repeats")
"""Who lied twice is asked last for a while; so each of these needs a reader that remembers nothing."""
each_fault = pytest.mark.parametrize("fault", FAULTS)


@dataclass
class Net:
    """anna is behind the bad line, ben is not, cleo reads."""

    detour: Detour
    anna: Peer
    ben: Peer
    cleo: Peer

    def read(self, path: str) -> bytes | int:
        """The bytes or the errno; neither may take longer than the read timeout and some more."""
        began = time.monotonic()
        try:
            return self.cleo.cat(path)
        except OSError as error:
            return error.errno or 0
        finally:
            assert time.monotonic() - began < TIMEOUT + 6


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Iterator[Net]:
    tracker = shared_cluster.tracker(*QUICK)
    share(shared_cluster, "cleo", "own.txt", b"here")
    for fault in (*FAULTS, "mended"):
        for path, data in files(f"both/{fault}").items():
            share(shared_cluster, "anna", path, data)
            share(shared_cluster, "ben", path, data)
        for path, data in files(f"anna/{fault}").items():
            share(shared_cluster, "anna", path, data)
    with Detour(tracker.address) as detour:
        anna = shared_cluster.peer("anna", server=detour.address)
        ben = shared_cluster.peer("ben")
        # What is fetched ahead meets no fault.
        cleo = shared_cluster.peer("cleo", "--read-timeout", str(TIMEOUT), "--no-prefetch")
        made = Net(detour, anna, ben, cleo)
        for path in ("own.txt", *files("both/mended"), *files("anna/mended")):
            cleo.wait_for(path)
        until(lambda: len(told(cleo, "both/mended/large", "holders").split(",")) == 2, 10, "both are listed")
        yield made


@pytest.fixture
def bad_line(net: Net, fault: str) -> Iterator[None]:
    """The line has the test's fault, put on when the reader has forgiven the last one."""
    if fault in LIES:
        net.cleo.stop()
        net.cleo.restart()
        net.cleo.wait_for(f"anna/{fault}/large")
    until(lambda: told(net.cleo, f"anna/{fault}/large", "state") == "remote", 12, "anna is in reach")
    net.detour.faults = FAULTS[fault]
    net.detour.cut()
    connections = net.detour.connections
    yield
    net.detour.faults = Faults()
    assert net.detour.connections > connections, "nobody met the fault"


def files(name: str) -> dict[str, bytes]:
    """A small and a large file."""
    return {f"{name}/{size}": content(f"{name} {size}", SIZES[size]) for size in SIZES}


@each_fault
@pytest.mark.usefixtures("bad_line")
def test_the_right_bytes_come_from_another_holder(net: Net, fault: str) -> None:
    before = net.cleo.fetched()
    with Lively(net.cleo, "own.txt"):
        for path, data in files(f"both/{fault}").items():
            assert net.read(path) == data
    assert net.cleo.fetched() - before >= sum(SIZES.values())


@each_fault
@pytest.mark.usefixtures("bad_line")
def test_the_only_holder_gives_the_right_bytes_or_an_error_soon(net: Net, fault: str) -> None:
    right = files(f"anna/{fault}")
    with Lively(net.cleo, "own.txt"):
        got = {path: net.read(path) for path in right}
    for path, outcome in got.items():
        assert outcome == right[path] or outcome in HONEST, f"{path}: {outcome!r:.100}"
        kept = net.cleo.local / path
        assert not kept.exists() or kept.read_bytes() == right[path]
    match fault:
        case "delays" | "trickles":
            assert got == right
        case "stalls" | "refuses" | "cuts":
            assert set(got.values()) == {errno.EHOSTUNREACH}
        case "corrupts":
            assert set(got.values()) == {errno.EIO}


def test_what_arrived_before_the_line_broke_is_not_fetched_again(net: Net) -> None:
    path, right = "anna/mended/large", files("anna/mended")["anna/mended/large"]
    until(lambda: told(net.cleo, path, "state") == "remote", 12, "anna is in reach")
    before = net.cleo.fetched()
    net.detour.faults = Faults(stall_after=2_000_000)
    assert net.read(path) in HONEST
    assert net.cleo.fetched() > before
    net.detour.faults = Faults()
    until(lambda: net.read(path) == right, 20, "it can be read again", every=0.2)
    assert net.cleo.fetched() - before == len(right)
