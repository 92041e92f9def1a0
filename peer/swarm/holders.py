"""Who holds one content, and whom to ask next for something that is asked of one holder at a time.

Threading: any thread. The rows are replaced whole; the bench has its own lock. Nothing here is held across the network
but `_asking`, which makes one question to the tracker out of many at the same time.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from peer.swarm.bench import verdict
from peer.swarm.commons import Commons
from peer.swarm.plan import PATIENCE
from peer.swarm.source import Source
from shoal.errors import BadManifest, Lied, Misbehaved, RemoteError, Unreachable
from shoal.names import SafePath, printable
from shoal.wire import Entry, PeerRow

ASK_AGAIN = 1.0
"""Seconds for which the tracker's answer holds."""
T = TypeVar("T")
log = logging.getLogger(__name__)


class Holders:
    """The holders of one content."""

    def __init__(self, path: SafePath, entry: Entry, commons: Commons) -> None:
        self.path, self.entry = path, entry
        # A file of the seed's protocol has no cid; who lies is then benched for its SHA-1.
        self.cid = entry.cid or entry.sha1
        self._commons = commons
        self._bench, self._sources = commons.bench, commons.sources
        self._asking = threading.Lock()
        self._asked = float("-inf")
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._told: dict[str, PeerRow] = {}
        self._met: dict[str, PeerRow] = {}
        self.rows: dict[str, PeerRow] = {}
        self.listed = float("-inf")
        """When the rows were last brought up to date."""

    def refresh(self) -> None:
        """Takes what is known without asking anybody."""
        self._take(self._commons.find(self.path, self.entry, False))

    def ask(self) -> None:
        """Asks the tracker, unless it was asked just now: who has all of it, and who has parts."""
        with self._asking:
            if time.monotonic() - self._asked < ASK_AGAIN:
                return
            rows = self._commons.find(self.path, self.entry, True)
            for row in self._commons.others.partial(self.entry.cid) if self.entry.cid else ():
                self.meet(row)
            self._asked = time.monotonic()
            self._told = {row.id: row for row in rows if row.url}
            self._take([])

    def _take(self, rows: list[PeerRow]) -> None:
        # What the tracker said when it was asked is more than the catalogue tells: it stays until it is asked anew.
        self.rows = self._told | {row.id: row for row in rows if row.url}
        self.listed = time.monotonic()

    def meet(self, row: PeerRow) -> None:
        """Somebody who is not listed has parts of it: it can be asked for them."""
        self._met[row.id] = row

    def source(self, id: str) -> Source:
        """The source of one of the holders. Raises Misbehaved, Unreachable."""
        row = self.rows.get(id) or self._met.get(id)
        if row is None:
            raise Unreachable("a holder that is not listed any more")
        return self._sources.of(row)

    def not_before(self, id: str) -> float:
        """When the holder may be asked for this content."""
        return self._bench.until(id, self.cid)

    def doubted(self, id: str) -> bool:
        """Whether the holder is to be asked only if nobody else has it: it lied more than once, lately."""
        return self._bench.doubted(id, time.monotonic())

    def good(self, id: str) -> None:
        """The holder gave what was right."""
        self._bench.good(id)

    def failed(self, id: str, error: RemoteError, began: float) -> None:
        """The holder failed at a request that began then."""
        now = time.monotonic()
        row = self.rows.get(id) or self._met.get(id)
        if isinstance(error, Lied):
            self._commons.counters.reject()
        if isinstance(error, Misbehaved):
            log.warning("%s: %s; not asked for it again", printable(row.name if row else id[:12]), error)
        else:
            log.debug("%s: %s", id[:12], error)
        self._bench.failed(id, self.cid, error, now, slow=now - began > PATIENCE)

    def verdict(self) -> RemoteError:
        """Why nobody gives it."""
        return verdict([error for id in [*self.rows, *self._met] if (error := self._bench.why(id, self.cid))])

    def first(self, get: Callable[[PeerRow, Source], T], deadline: float, seeds: bool = True) -> T:
        """The first answer that is right, from whichever holder gives it: `get` raises unless its own is.

        Peers of the seed's protocol are asked only with `seeds`. The deadline is by the monotonic clock; nobody is
        asked after it, but who was asked before may go on while bytes keep coming.

        Raises:
            RemoteError: nobody gave it; see `bench.verdict`.
        """
        asked = False
        if not self.rows:
            self.refresh()
        while True:
            now = time.monotonic()
            self._commons.check_open()
            rows = [row for row in (self._met | self.rows).values() if seeds or not row.seed]
            ready = [row for row in rows if self.not_before(row.id) <= now]
            if ready and now < deadline:
                row = min(ready, key=lambda row: (self.doubted(row.id), self._turns.get(row.id, 0)))
                self._turn += 1
                self._turns[row.id] = self._turn
                try:
                    answer = get(row, self._sources.of(row))
                except BadManifest as error:
                    self.failed(row.id, Lied(str(error)), now)
                except RemoteError as error:
                    self.failed(row.id, error, now)
                else:
                    self.good(row.id)
                    return answer
                continue
            soonest = min((self.not_before(row.id) for row in rows), default=float("inf"))
            if now >= deadline:
                raise self.verdict()
            if soonest <= now + PATIENCE:
                self._commons.closing.wait(max(0.0, min(soonest, deadline) - now))
            elif not asked:
                asked = True
                self.ask()
            else:
                raise self.verdict()
