"""A scrub gives way: who reads meanwhile waits as long as without one, and what reads for it has the lowest priority.

All programs and the reader run on one CPU, and everything is in memory: there is nothing else to wait for than the CPU,
and a scrub could use all of it. (With two CPUs it would use the other one, and nothing could be told.)
"""

import json
import os
import random
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.cluster import Cluster, Peer
from tests.support.patience import until
from tests.support.priorities import Readers, put_on

pytestmark = [
    pytest.mark.real,
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a file system in memory"),
]
MIB = 1 << 20
PIECE = MIB // 4
HOLE, FAR = 512 * MIB, 160 * MIB
WINDOWS, READS, TRIES = 3, 30, 3
WORSE = 3.0
"""So many times as long a read may take while there is a scrub. Seen beside one that does not rest: 5 to 10; beside one
that does: 1.0 to 1.2."""


class Net:
    """Anna and Ben each have a file without end to scrub; Ben reads pieces of Anna's `far`, one after the other."""

    def __init__(self, cluster: Cluster) -> None:
        memory = cluster.home / "memory"
        memory.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m", "tmpfs", memory], check=True, timeout=10)
        cluster.tracker()
        block = random.Random(4).randbytes(MIB)
        for name in ("anna", "ben"):
            (memory / name).mkdir()
            with open(memory / name / f"hole-of-{name}", "wb") as file:
                file.truncate(HOLE)
        with open(memory / "anna" / "far", "wb") as file:
            for number in range(FAR // MIB):
                file.write(f"{number:8}".encode() + block[8:])
        words = ("--scrub-every", "0", "--min-free", "0")
        self.anna, self.ben = self.both = [cluster.peer(name, *words, local=memory / name) for name in ("anna", "ben")]
        for path, size in (("far", FAR), ("hole-of-anna", HOLE), ("hole-of-ben", HOLE)):
            self.ben.wait_for(path, size, 60)
        self._pieces = random.Random(5).sample(range(FAR // PIECE), FAR // PIECE)

    def reads(self, count: int) -> list[float]:
        """Reads so many pieces that are not here; the seconds of each."""
        took = []
        with open(self.ben.mount / "far", "rb", buffering=0) as far:
            for _ in range(count):
                began = time.perf_counter()
                far.seek(self._pieces.pop() * PIECE)
                assert len(far.read(4096)) == 4096
                took.append(time.perf_counter() - began)
        return took


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Iterator[Net]:
    try:
        yield Net(shared_cluster)
    finally:
        shared_cluster.close()  # the file system too: it lies beneath the run's directory


def ask(peer: Peer, route: str, method: str = "GET", body: object = None) -> Any:
    """The JSON that the http port answers."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(peer.http + route, data, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


@contextmanager
def scrubbing(peers: list[Peer]) -> Iterator[None]:
    """Inside the block all of them scrub."""
    jobs = [(peer, f"/v1/jobs/{ask(peer, '/v1/scrub', 'POST', {'path': ''})['job']}") for peer in peers]
    until(lambda: all(ask(peer, job)["bytes"] for peer, job in jobs), 20, "they have begun")
    yield
    ended = [ask(peer, job)["done"] for peer, job in jobs]
    for peer, job in jobs:
        ask(peer, job, "DELETE")
    assert not any(ended), "it was too quick to be compared with"


@contextmanager
def on_one_cpu(peers: list[Peer]) -> Iterator[None]:
    """Inside the block they, and the thread that is here, run on one CPU."""
    before = os.sched_getaffinity(0)
    put_on(max(before), peers)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def test_who_reads_waits_no_longer_while_there_is_a_scrub(net: Net) -> None:
    found = []
    with on_one_cpu(net.both):
        for _ in range(TRIES):  # others use this machine too, now more, now less
            without: list[float] = []
            beside: list[float] = []
            for _ in range(WINDOWS):
                without += net.reads(READS)
                with scrubbing(net.both):
                    beside += net.reads(READS)
            found.append(statistics.median(beside) / statistics.median(without))
            if found[-1] < WORSE:
                return
    raise AssertionError(f"so many times as long beside a scrub: {found}")


def test_all_that_reads_for_a_scrub_has_the_lowest_priority(net: Net) -> None:
    """In the scanner what is whole, in the peer itself the pieces of a download."""
    net.reads(60)
    readers = Readers(net.ben)

    def both_were_at_work() -> bool:
        readers.look()
        job = f"/v1/jobs/{ask(net.ben, '/v1/scrub', 'POST', {'path': ''})['job']}"
        until(lambda: readers.look() or ask(net.ben, job)["done"], 60, "it ends", every=0.001)
        assert ask(net.ben, job)["pieces"] >= 60
        return bool(readers.of("peer.share.scanner", HOLE // 2) and readers.of("peer", 4 * MIB))

    until(both_were_at_work, 60, "they were seen at work")
    found = [*readers.of("peer.share.scanner", 4 * MIB), *readers.of("peer", 4 * MIB)]
    assert all(reading.gives_way for reading in found), found
    assert not readers.of("peer.data.server", 4 * MIB)
