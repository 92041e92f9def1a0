"""Fetches small files before they are asked for: what `streaks` wishes, several in one request, each checked.

Threading: `opened` and `used` by any thread, and quick; lists and requests are made by threads of the swarm. A lock
guards the streaks, and is not held across anything else.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from peer.swarm import batch
from peer.swarm.commons import Commons
from peer.swarm.plan import PATIENCE
from peer.swarm.source import Source, by_cid
from peer.swarm.streaks import Next, Streaks
from shoal.errors import Gone, Lied, Misbehaved, Refused, RemoteError
from shoal.manifest import manifest_of
from shoal.names import SafePath, printable
from shoal.wire import Entry, PeerRow

Following = Callable[[str, str, int], tuple[list[tuple[SafePath, Entry]], str]]
"""(path, order, count) → small files that come after it and are not here, and where the look for them ended ("": there
is nothing more). Quick, from memory."""
ORDERS = ("name", "listed")
FLYING = 4
"""Requests under way at most."""
OLD = 600.0
"""Seconds for which a holder that does not know batches, or answers with none, is asked for one file at a time."""
log = logging.getLogger(__name__)


class Prefetch:
    """What is fetched ahead of all readers of one swarm."""

    def __init__(self, commons: Commons, following: Following) -> None:
        self._commons, self._following = commons, following
        self._lock = threading.Lock()
        self._streaks = Streaks(ORDERS)
        self._working = False
        self._opens = self._flying = 0
        self._speeds: dict[str, float] = {}
        self._old: dict[str, float] = {}

    def opened(self, path: SafePath, size: int) -> None:
        """A small file that is not here is opened."""
        with self._lock:
            self._streaks.opened(path, size)
            self._opens += 1
        self._go_on()

    def used(self, size: int) -> None:
        """A file of so many bytes, fetched ahead, is read."""
        self._commons.counters.used_ahead(size)
        with self._lock:
            self._streaks.budget.used(size)

    def _go_on(self) -> None:
        with self._lock:
            if self._working or self._flying >= FLYING or not self._streaks.waiting:
                return
            self._working = True
        if not self._commons.submit(self._commons.fetching, self._work):
            self._working = False

    def _work(self) -> None:
        opens = -1
        try:
            while True:
                with self._lock:
                    if opens == self._opens:  # nothing happened since the streaks had no wish
                        self._working = False
                        return
                    opens = self._opens
                while self._list_one() or self._send_some():
                    pass
        except BaseException:  # else nothing would ever be fetched ahead again
            with self._lock:
                self._working = False
            raise

    def _list_one(self) -> bool:
        with self._lock:
            streak = self._streaks.to_list()
            if streak is None:
                return False
            last, order, count = streak.last, streak.order, streak.lacks
            streak.asked = True
        files, last = self._following(last, order, count)
        with self._lock:
            streak.listed([Next(*file) for file in files], last)
        return True

    def _send_some(self) -> bool:
        commons = self._commons
        with self._lock:
            if self._flying >= FLYING or commons.closing.is_set() or commons.keeper.crowded:
                return False
            wishes = self._streaks.wishes()
        if not wishes:
            return False
        for row, files in self._shared_out(wishes):
            with self._lock:
                self._flying += 1
            if not commons.submit(commons.fetching, partial(self._fly, row, files)):
                self._landed(files)
        return True

    def _shared_out(self, wishes: Sequence[Next]) -> list[tuple[PeerRow, list[Next]]]:
        """Which holder is asked for which files: who is expected to be done with it first."""
        commons, now = self._commons, time.monotonic()
        known: dict[object, list[PeerRow]] = {}
        shares: dict[str, tuple[PeerRow, list[Next]]] = {}
        load: dict[str, float] = {}
        best = max(self._speeds.values(), default=1.0)
        for file in wishes:
            entry = file.entry
            key = (entry.holders, *[owner.id for owner in entry.owners])
            if key not in known:
                rows = commons.find(file.path, entry, False)
                known[key] = [row for row in rows if row.url and not row.seed]
            rows = [row for row in known[key] if self._is_asked(row, entry.cid, now)]
            if not rows or not self._is_cold(entry.cid) or not commons.ahead.expect(entry.cid):
                self._give_back(file)
                continue
            row = min(rows, key=lambda row: load.get(row.id, 0.0))
            load[row.id] = load.get(row.id, 0.0) + file.size / self._speeds.get(row.id, best)
            shares.setdefault(row.id, (row, []))[1].append(file)
        return list(shares.values())

    def _is_asked(self, row: PeerRow, cid: str, now: float) -> bool:
        """Whether a holder is asked before it has to be. No liar is: what it sends is taken from no budget."""
        return self._commons.bench.until(row.id, cid) <= now and not self._commons.bench.doubted(row.id, now)

    def _is_cold(self, cid: str) -> bool:
        return self._commons.memory.get(cid, 0) is None and cid not in self._commons.condemned

    def _give_back(self, file: Next) -> None:
        with self._lock:
            self._streaks.budget.used(file.size)

    def _fly(self, row: PeerRow, files: list[Next]) -> None:
        left, began = list(files), time.monotonic()
        try:
            source = self._commons.sources.of(row)
            if self._old.get(row.id, 0.0) <= began:
                try:
                    self._fetch_together(row, source, left)
                except (Gone, Refused):
                    self._old[row.id] = began + OLD
                except Misbehaved as error:  # which of the files is to blame is not known: none is
                    self._old[row.id] = began + OLD
                    log.warning("%s: %s; asked for one file at a time", printable(row.name), error)
            if left:
                self._fetch_singly(row, source, left)
        except RemoteError as error:
            now = time.monotonic()
            log.debug("nothing more is fetched ahead from %s: %s", printable(row.name), error)
            self._commons.bench.failed(row.id, (left or files)[0].entry.cid, error, now, slow=now - began > PATIENCE)
        else:
            seconds = max(time.monotonic() - began, 1e-6)
            self._speeds[row.id] = sum(file.size for file in files) / seconds
        finally:
            self._landed(left)

    def _landed(self, left: Sequence[Next]) -> None:
        """A request is over, and did not give these."""
        for file in left:
            self._commons.ahead.failed(file.entry.cid)
            self._give_back(file)
        with self._lock:
            self._flying -= 1
        self._go_on()

    def _fetch_together(self, row: PeerRow, source: Source, left: list[Next]) -> None:
        """Takes out of `left` what came, or is said not to be there."""
        for _, data in batch.fetch(source, [(file.entry.cid, file.size) for file in left]):
            self._take(row, source, left[0], data)
            del left[0]

    def _fetch_singly(self, row: PeerRow, source: Source, left: list[Next]) -> None:
        while left:
            size = left[0].size
            try:
                with source.get(by_cid(left[0].entry.cid), 0, size, size) as body:
                    data: bytes | None = body.read()
            except Gone:
                data = None
            self._take(row, source, left[0], data)
            del left[0]

    def _take(self, row: PeerRow, source: Source, file: Next, data: bytes | None) -> None:
        """Takes a file in, once it is found right."""
        cid = file.entry.cid
        if data is not None:
            manifest = manifest_of(data)
            if manifest.cid == cid:
                self._commons.counters.fetched(source.name, len(data))
                self._commons.counters.fetched_ahead(len(data))
                self._commons.ahead.arrived(manifest, data)
                self._commons.bench.good(row.id)
                return
            error = Lied(f"{source.name} gave other bytes than {cid[:12]}")
            self._commons.counters.reject()
            self._commons.bench.failed(row.id, cid, error, time.monotonic())
            log.warning("%s: %s; not asked for it again", printable(row.name), error)
        self._commons.ahead.failed(cid)
        self._give_back(file)
