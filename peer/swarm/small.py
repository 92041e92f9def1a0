"""Contents of at most one piece: one request, however many read it at that moment; in memory until kept.

What is being fetched ahead just then is waited for, for a while, before it is asked for a second time.

No manifest is fetched: it is computed from the bytes, and its cid must be the one asked for.
"""

import time

from peer.messages import Kept
from peer.swarm.commons import Commons, keep_message
from peer.swarm.content import Content
from peer.swarm.holders import Holders
from peer.swarm.pending import Done, Flight, Parts, Pending
from peer.swarm.plan import PATIENCE, Window
from peer.swarm.source import Source, by_cid, by_path
from shoal.errors import Lied
from shoal.manifest import Manifest, manifest_of
from shoal.names import SafePath
from shoal.wire import Entry, PeerRow

MOST_UNKEPT = 4096
"""Small contents remembered that found no room: more are kept when they are fetched again."""


class Small(Content):
    """A content of at most one piece.

    Threading: any thread; the flight has its own lock.
    """

    lingers = False  # what matters is in `Memory`

    def __init__(self, path: SafePath, entry: Entry, commons: Commons) -> None:
        assert entry.size is not None
        self.cid, self.size = entry.cid, entry.size
        self._path, self._entry, self._commons = path, entry, commons
        self._holders = Holders(path, entry, commons)
        self._flight = Flight(lambda task: commons.submit(commons.fetching, task), self._fetch, _cut)
        self._kept = False

    @property
    def active(self) -> bool:
        """Whether it is being fetched just now."""
        return self._flight.under_way

    @property
    def partly_here(self) -> bool:
        """Whether a byte of it is here."""
        return self._commons.memory.get(self.cid, 0) is not None

    def begin(self, window: Window, offset: int, size: int, done: Done) -> Pending | None:
        """See `Content.begin`."""
        self._commons.check_open()
        pending = Pending(offset, size, done)
        data = self._commons.memory.get(self.cid, 0)
        if data is not None:
            done(_cut(pending, data), None)
            if self.cid in self._commons.unkept:
                offer(self._path, self._entry, manifest_of(data), data, self._commons)
            return None
        self._flight.join(pending)
        return pending

    def kept(self, message: Kept) -> None:
        """See `Content.kept`: memory is let go when the last handle is."""
        self._kept = bool(message.place)

    def dispose(self, wait: float = 0.0) -> bool:
        """Nobody has it open any more."""
        if self._kept:
            self._commons.memory.drop(self.cid)
        return True

    def _fetch(self) -> bytes:
        commons = self._commons
        deadline = time.monotonic() + commons.config.read_timeout
        arrived = commons.ahead.take(self.cid, PATIENCE)
        if arrived is not None:
            manifest, data = arrived
        elif self.size:
            manifest, data = self._holders.first(self._get, deadline)
        else:
            manifest, data = self._checked(b"", "an entry")
        take_in(self._path, self._entry, manifest, data, commons)
        return data

    def _get(self, row: PeerRow, source: Source) -> tuple[Manifest, bytes]:
        target = by_path(self._path) if row.seed else by_cid(self.cid)
        with source.get(target, 0, self.size, self.size) as body:
            answer = self._checked(body.read(), source.name)
        self._commons.counters.fetched(source.name, self.size)
        return answer

    def _checked(self, data: bytes, whose: str) -> tuple[Manifest, bytes]:
        manifest = manifest_of(data)
        if manifest.cid != self.cid:
            raise Lied(f"{whose} gave other bytes than {self.cid[:12]}")
        return manifest, data


def take_in(path: SafePath, entry: Entry, manifest: Manifest, data: bytes, commons: Commons) -> None:
    """A content that somebody reads is here and right: it is in memory until the scanner has kept it."""
    commons.memory.put(manifest.cid, 0, data)
    offer(path, entry, manifest, data, commons)


def offer(path: SafePath, entry: Entry, manifest: Manifest, data: bytes, commons: Commons) -> None:
    """Has a content kept that somebody reads, if there is room for it."""
    cid, size = manifest.cid, manifest.size
    if commons.keeper.offered(cid):
        return
    if not commons.room.take("coming", cid, size):
        commons.room.not_kept(size)
        if len(commons.unkept) < MOST_UNKEPT:
            commons.unkept[cid] = path, entry
        return
    commons.unkept.pop(cid, None)
    if not commons.keeper.offer(keep_message(path, entry, manifest, data)):
        commons.room.gone("coming", cid)


def offer_again(commons: Commons) -> None:
    """There is room: what had none and is in memory still is kept now. Programs may not read it again for that: the
    kernel has its bytes.
    """
    for cid, (path, entry) in list(commons.unkept.items()):
        data = commons.memory.get(cid, 0)
        if data is None:
            commons.unkept.pop(cid, None)
        else:
            offer(path, entry, manifest_of(data), data, commons)


def _cut(pending: Pending, data: bytes) -> Parts:
    return (memoryview(data)[pending.offset : pending.offset + pending.size],)
