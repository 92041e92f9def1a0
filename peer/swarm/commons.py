"""What all contents of one swarm share."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from peer.cache.room import Room
from peer.layout import Layout
from peer.messages import Begun, Keep
from peer.swarm.ahead import Ahead
from peer.swarm.alarms import Alarms
from peer.swarm.bench import Bench
from peer.swarm.config import SwarmConfig
from peer.swarm.counters import Counters
from peer.swarm.keeper import Keeper
from peer.swarm.memory import Memory
from peer.swarm.pieces import Pieces
from peer.swarm.source import Sources
from shoal.errors import Lied, Unreachable
from shoal.manifest import Manifest
from shoal.names import SafePath
from shoal.wire import Entry, PeerRow

FindHolders = Callable[[SafePath, Entry, bool], list[PeerRow]]
"""Who has the entry; with True the tracker is asked (which may take 2 s), else what is known is told at once."""
MOST_CONDEMNED = 1024
_FULL = "no space left"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Others:
    """The other peers. `me`: one's own id, which they are told; "": nothing is told. `find` gives a living peer by its
    id, `partial` who has parts of a content: it asks the tracker, which may take 2 s.
    """

    me: str = ""
    find: Callable[[str], PeerRow | None] = lambda id: None
    partial: Callable[[str], list[PeerRow]] = lambda cid: []


@dataclass(frozen=True)
class Commons:
    """The swarm's parts that its contents use. `fetching` runs runs, `checking` hashes whole files, one at a time."""

    config: SwarmConfig
    layout: Layout
    find: FindHolders
    bench: Bench
    sources: Sources
    memory: Memory
    ahead: Ahead
    counters: Counters
    keeper: Keeper
    room: Room
    fetching: ThreadPoolExecutor
    checking: ThreadPoolExecutor
    alarms: Alarms
    closing: threading.Event
    others: Others
    condemned: dict[str, str] = field(default_factory=dict)
    """Contents whose whole was not what it should be, by cid: nobody reads them again while this process lives."""
    unkept: dict[str, tuple[SafePath, Entry]] = field(default_factory=dict)
    """Small contents in memory that found no room on disk: they are offered again when they are read again."""
    _said: set[str] = field(default_factory=set)

    def check_condemned(self, cid: str) -> None:
        """Raises what was found out about this content, if it was condemned."""
        if cid in self.condemned:
            raise Lied(self.condemned[cid])

    def check_open(self) -> None:
        """Raises Unreachable when the program ends."""
        if self.closing.is_set():
            raise Unreachable("the program ends")

    def condemn(self, pieces: Pieces, error: Lied) -> None:
        """Puts a download aside whose pieces are right and whose whole is not. Its descriptors stay open."""
        cid = pieces.manifest.cid
        self.condemned[cid] = str(error)
        if len(self.condemned) > MOST_CONDEMNED:
            del self.condemned[next(iter(self.condemned))]
        log.error("%s; it is in quarantine", error)
        try:
            (self.layout.partial / f"{cid}.bits").unlink(missing_ok=True)  # first: without it no other peer gets it
            (self.layout.partial / f"{cid}.data").rename(self.layout.quarantine / f"{cid}.data")
        except OSError as failure:
            log.error("cannot put it in quarantine: %s", failure)
        self.keeper.end(cid)
        self.room.gone("partial", cid)
        self.counters.condemn()

    def say_not_kept(self, why: str) -> None:
        """Logs that files are read without being kept: once for each reason. A full disk is one, whoever met it."""
        reason = _FULL if _FULL in why.lower() else why
        if reason not in self._said and len(self._said) < MOST_CONDEMNED:
            self._said.add(reason)
            log.warning("files are read without being kept: %s", why)

    def submit(self, threads: ThreadPoolExecutor, task: Callable[[], None]) -> bool:
        """Has a task done by one of the threads; False when the program ends. What it raises is a bug, and logged."""
        try:
            threads.submit(task).add_done_callback(_tell)
        except RuntimeError:
            return False
        return True


def keep_message(path: SafePath, entry: Entry, manifest: Manifest, data: bytes | None) -> Keep:
    """What the scanner is told of a whole download."""
    revs = {owner.id: owner.rev for owner in entry.owners}
    return Keep(path, manifest.cid, manifest.encode(), entry.mtime, entry.x, revs, data)


def begun_message(path: SafePath, entry: Entry, manifest: Manifest) -> Begun:
    """What the scanner is told of a download of which pieces are on disk."""
    revs = {owner.id: owner.rev for owner in entry.owners}
    return Begun(path, manifest.cid, manifest.size, entry.mtime, entry.x, manifest.sha1, revs)


def _tell(future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("a task of the swarm failed", exc_info=error)
