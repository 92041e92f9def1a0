"""What all rows stand on: the files, the web server over them, a tracker, and the peer that owns them."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import theirs
from shoal.units import parse_size
from tests.support.cluster import Cluster, Peer, Tracker
from tests.support.patience import until


@dataclass(frozen=True)
class Sizes:
    """How much work a run does; the defaults are the ones that the bars are for."""

    big: int
    """Bytes of the file that is read whole and at random."""
    small: int
    """How many files of 10 KiB are read one after another."""
    listed: int
    """How many files are listed."""
    rounds: int
    """Rounds; the median counts."""

    @classmethod
    def of_environment(cls) -> "Sizes":
        """From BENCH_SIZE, BENCH_SMALL, BENCH_LISTED and BENCH_ROUNDS."""
        get = os.environ.get
        return cls(
            parse_size(get("BENCH_SIZE", "1G")),
            int(get("BENCH_SMALL", "2000")),
            int(get("BENCH_LISTED", "20000")),
            int(get("BENCH_ROUNDS", "3")),
        )


class Ground:
    """The running programs and their files; made by `prepare`."""

    def __init__(self, cluster: Cluster, sizes: Sizes, web: str, tracker: Tracker, owner: Peer) -> None:
        self.cluster, self.sizes, self.web, self.tracker, self.owner = cluster, sizes, web, tracker, owner
        self.home, self.source = cluster.home, owner.local
        self._readers = 0

    @contextmanager
    def reader(self, *args: str) -> Iterator[Peer]:
        """A peer that has nothing yet and sees all files; gone, with what it kept, after the block."""
        self._readers += 1
        peer = self.cluster.peer(f"reader{self._readers}", *args)
        peer.wait_for("big.bin", self.sizes.big, 60)
        peer.wait_for("listed/19", seconds=60)
        try:
            yield peer
        finally:
            peer.stop()
            self.cluster.nodes.remove(peer)
            shutil.rmtree(peer.local, ignore_errors=True)

    def small_files(self) -> list[str]:
        """The paths of the small files."""
        return [f"small/{number // 100:02d}/{number % 100:02d}.bin" for number in range(self.sizes.small)]


@contextmanager
def prepare(sizes: Sizes) -> Iterator[Ground]:
    """Makes the files, starts the programs, and waits until the owner's are all listed."""
    with Cluster() as cluster, ExitStack() as stack:
        source = cluster.home / "source"
        _make_files(source, sizes)
        web = stack.enter_context(theirs.nginx(source, cluster.home))
        tracker = cluster.tracker()
        owner = cluster.peer("owner", local=source)
        ground = Ground(cluster, sizes, web, tracker, owner)
        expected = sizes.small + sizes.listed + 2

        def listed() -> int:
            return sum(peer["files"] for peer in tracker.get("/v1/peers")["peers"])

        until(lambda: listed() >= expected, 300, "all files are listed", 0.5)
        yield ground


def _make_files(source: Path, sizes: Sizes) -> None:
    """Random bytes, left in the page cache; 20,000 little ones in 20 directories."""
    source.mkdir()
    with open(source / "big.bin", "wb") as file:
        for _ in range(sizes.big >> 20):
            file.write(os.urandom(1 << 20))
    (source / "middle.bin").write_bytes(os.urandom(64 << 20))
    for number in range(sizes.small):
        path = source / f"small/{number // 100:02d}/{number % 100:02d}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(10 << 10))
    for number in range(sizes.listed):
        path = source / f"listed/{number % 20:02d}/{number:06d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d\n" % number)
    os.sync()
