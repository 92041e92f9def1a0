"""A swarm over holders in memory, for tests of reading: see `Ground`."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from peer.cache.room import Room
from peer.layout import Layout
from peer.messages import Begun, Ended, Keep, Kept
from peer.swarm import Others, Reader, Swarm, SwarmConfig
from shoal.errors import RemoteError, Unreachable
from shoal.manifest import KIB, MIB, Manifest, manifest_of
from shoal.names import SafePath, safe_path
from shoal.wire import Entry, PeerRow
from tests.support.patience import within
from tests.support.swarm_in_memory import QUICK, Faults, Holder, MemorySources, entry_of

PIECE = 256 * KIB
DATA = random.Random(1).randbytes(12 * MIB + 5)
MANIFEST = manifest_of(DATA)
PATH = safe_path("dir/file.bin")
SMALL = b"hello " * 1000


class Ground:
    """A swarm over holders; what it asked the tracker and told the scanner."""

    def __init__(self, tmp: Path, config: SwarmConfig = QUICK) -> None:
        self.layout = Layout(tmp)
        self.layout.make()
        self.config = config
        self.holders: list[Holder] = []
        self.readers: list[Holder] = []
        """Those that the tracker lists as holders of parts."""
        self.known: list[Holder] = []
        """Those that the catalogue tells of; the tracker knows all."""
        self.asked = self.opened = 0
        self.keeps: list[Keep] = []
        self.told: list[Begun | Ended | Keep] = []
        """What the scanner was told, of downloads that begin too."""
        self.scanner_there = True
        self.room: Room | None = None
        self._swarm: Swarm | None = None
        self._making = threading.Lock()

    def holder(self, id: str, data: bytes | None = DATA, known: bool = True, seed: bool = False) -> Holder:
        holder = Holder(id, seed)
        if data is not None:
            holder.add(data)
        self.holders.append(holder)
        if known:
            self.known.append(holder)
        return holder

    @property
    def swarm(self) -> Swarm:
        with self._making:
            if self._swarm is None:
                sources = MemorySources([*self.holders, *self.readers], self.config)
                rows = {holder.id: holder.row for holder in self.readers}
                others = Others(partial=lambda cid: list(rows.values()), find=rows.get)
                self._swarm = Swarm(
                    self.config, self.layout, self._find, self._keep, sources, others=others, room=self.room
                )
            return self._swarm

    def close(self) -> None:
        if self._swarm is not None:
            self._swarm.close()
            self._swarm = None

    def open(self, entry: Entry | Manifest = MANIFEST) -> Reader:
        if isinstance(entry, Manifest):
            entry = entry_of(entry, *(holder.id for holder in self.known))
        reader = self.swarm.open(PATH, entry)
        self.opened += 1
        return reader

    def read_all(self, entry: Entry | Manifest = MANIFEST, step: int = 128 * KIB) -> bytes:
        with self.open(entry) as reader:
            return b"".join(reader.read(offset, step) for offset in range(0, reader.size, step))

    def kept(self, keep: Keep, place: str = "local", why: str = "") -> None:
        """The scanner's answer; it takes the file first."""
        if place and keep.data is None:
            (self.layout.partial / f"{keep.cid}.data").rename(self.layout.local / "kept")
        self.swarm.kept(Kept(keep.path, keep.cid, place, why))

    def _find(self, path: SafePath, entry: Entry, ask: bool) -> list[PeerRow]:
        self.asked += ask
        return [holder.row for holder in (self.holders if ask else self.known)]

    def _keep(self, message: Begun | Ended | Keep) -> bool:
        if self.scanner_there:
            self.told.append(message)
        if self.scanner_there and isinstance(message, Keep):
            self.keeps.append(message)
        return self.scanner_there


BAD = [
    Faults(dead=True),
    Faults(stall_at=300_000),
    Faults(stall_at=0),
    Faults(cut_at=300_000),
    Faults(wrong_bytes=True),
    Faults(status=302),
    Faults(status=500),
    Faults(status=503),
    Faults(status=404),
    Faults(compressed=True),
    Faults(more=7),
    Faults(shifted=True),
    Faults(slow=9),
]
"""What a holder may do that another one has to make up for."""


def fails(kind: type[RemoteError], call: Callable[[], object], seconds: float = 3.0) -> None:
    """It raises just this, within the time."""
    with pytest.raises(kind) as caught:
        within(seconds, call)
    assert type(caught.value) is kind


def answers(reader: Reader) -> bool:
    """Whether the beginning of `DATA` can be read."""
    try:
        return reader.read(0, 10) == DATA[:10]
    except Unreachable:
        return False
