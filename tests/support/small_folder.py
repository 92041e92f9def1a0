"""A swarm whose reader reads small files off holders in memory, with all that is fetched ahead of it."""

import time
from collections.abc import Callable
from pathlib import Path

from peer.layout import Layout
from peer.messages import Keep, Kept
from peer.swarm import Swarm, SwarmConfig, batch
from peer.swarm.prefetch import Prefetch
from shoal.names import SafePath
from shoal.wire import Entry, PeerRow
from tests.support.faults import content
from tests.support.patience import until
from tests.support.swarm_in_memory import QUICK, Holder, MemorySources, entry_of


class SmallFolder:
    """Small files that all holders have. Close it.

    After each read everything that it set going ahead is over, unless `wait` is False.
    """

    def __init__(
        self, tmp: Path, names: list[str], size: int, holders: int = 1, config: SwarmConfig = QUICK, ahead: bool = True
    ) -> None:
        self.holders = [Holder("abc"[number]) for number in range(holders)]
        self.files = {name: content(name, size) for name in names}
        ids = [holder.id for holder in self.holders]
        self.entries: dict[str, Entry] = {}
        for name, data in self.files.items():
            entries = [holder.add(data) for holder in self.holders]
            self.entries[name] = entry_of(self.holders[0].files[entries[0].cid][0], *ids)
        self.kept: set[str] = set()
        """The cids that the scanner was told to keep."""
        self.answers = True
        """Whether the scanner says that it kept them."""
        self.failing: Exception | None = None
        """What the list of the following files fails with."""
        self.read_bytes = 0
        self._order = sorted(names)
        self._places = {name: place for place, name in enumerate(self._order)}
        tmp.mkdir(exist_ok=True)
        layout = Layout(tmp)
        layout.make()
        following = self._after if ahead else None
        sources = MemorySources(self.holders, config)
        self.swarm = Swarm(config, layout, self._find, self._keep, sources, following)

    def open(self, name: str, wait: bool = True) -> bytes:
        """Reads a file."""
        with self.swarm.open(SafePath(name), self.entries[name]) as reader:
            data = reader.read(0, reader.size)
        self.read_bytes += len(data)
        if wait:
            self.settle()
        return data

    def right(self, *names: str, wait: bool = True) -> None:
        """Reads files, and fails unless they are what they should be."""
        for name in names:
            assert self.open(name, wait) == self.files[name], name

    def settle(self) -> None:
        """Waits until nothing is being fetched ahead."""
        prefetch = self.swarm._prefetch
        if prefetch is not None:
            until(lambda: not _busy(prefetch), 20, "nothing is under way", every=0.001)
            assert not self.swarm._commons.ahead._coming, "nobody waits for what did not come"

    def ahead(self, *names: str) -> list[str]:
        """The files (all, or of these) that were fetched ahead and are not read."""
        there = self.swarm._commons.ahead.get
        return [name for name in names or self._order if there(self.entries[name].cid) is not None]

    @property
    def unread(self) -> int:
        """Bytes fetched ahead and not read, still there or not."""
        stats = self.swarm.stats()
        return stats.fetched_ahead - stats.used_ahead

    def asked(self, name: str) -> int:
        """How often a content was asked for, alone or with others."""
        cid = self.entries[name].cid
        return sum(request.target.count(cid) for holder in self.holders for request in holder.requests)

    @property
    def batches(self) -> list[int]:
        """How many contents were in each of the requests for several."""
        targets = [request.target for holder in self.holders for request in holder.requests]
        return [target.count(",") + 1 for target in targets if target.startswith(batch.PREFIX)]

    @property
    def requests(self) -> int:
        """How many requests there were."""
        return sum(len(holder.requests) for holder in self.holders)

    def lie(self, how: Callable[[bytes], bytes]) -> None:
        """From now on all answers with several contents are made into something else."""
        for holder in self.holders:
            holder.faults.several = how

    def close(self) -> None:
        self.swarm.close()

    def _after(self, path: str, order: str, count: int) -> tuple[list[tuple[SafePath, Entry]], str]:
        if self.failing is not None:
            raise self.failing
        at = self._places[path] + 1
        found = self._order[at : at + count]
        here = self.kept if self.answers else set()
        cold = [(SafePath(name), self.entries[name]) for name in found if self.entries[name].cid not in here]
        return cold, found[-1] if len(found) == count else ""

    def _find(self, path: SafePath, entry: Entry, ask: bool) -> list[PeerRow]:
        return [holder.row for holder in self.holders]

    def _keep(self, message: object) -> bool:
        if isinstance(message, Keep):
            self.kept.add(message.cid)
            if self.answers:
                self.swarm.kept(Kept(message.path, message.cid, "local", ""))
        return True


def _busy(prefetch: Prefetch) -> bool:
    with prefetch._lock:
        if prefetch._working or prefetch._flying:
            return True
    time.sleep(0.001)  # what has just landed goes on once more
    with prefetch._lock:
        return bool(prefetch._working or prefetch._flying)
