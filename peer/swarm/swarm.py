"""All contents being read, by cid; opens readers, hands what is whole to the scanner.

Threading: any thread. `_changed` guards the tables and is not held while a content works, waits or is given back.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal
from urllib.parse import urlsplit

from peer.cache.room import Room
from peer.layout import Layout
from peer.messages import Heard, Kept
from peer.priority import give_way
from peer.swarm.ahead import Ahead
from peer.swarm.alarms import Alarms
from peer.swarm.bench import Bench
from peer.swarm.commons import Commons, FindHolders, Others
from peer.swarm.config import SwarmConfig
from peer.swarm.content import Content
from peer.swarm.counters import Counters, Stats
from peer.swarm.download import Download
from peer.swarm.foreground import Foreground
from peer.swarm.keeper import Keeper, Told
from peer.swarm.legacy import Legacy, remove_unfinished
from peer.swarm.memory import Memory
from peer.swarm.partial import partial_sizes, remove_partial
from peer.swarm.pieces import CHECKED, PiecesReader, mark_missing
from peer.swarm.prefetch import Following, Prefetch
from peer.swarm.reader import Reader
from peer.swarm.ready import Ready
from peer.swarm.small import Small, offer_again
from peer.swarm.source import HttpSources, Sources
from shoal.errors import LocalError
from shoal.manifest import piece_size
from shoal.names import SafePath
from shoal.wire import Entry

LINGERING = 64
"""Contents that nobody has open and that are kept ready for the next reader, at most: each has two descriptors."""
GRACE = 3.0
"""Seconds for which `close` waits for reads that are on their way out."""
log = logging.getLogger(__name__)


class _Use:
    """How many readers have a content open; since when none has; whether it is being given back."""

    __slots__ = ("content", "leaving", "left", "readers")

    def __init__(self, content: Content) -> None:
        self.content = content
        self.readers = 0
        self.left = 0.0
        self.leaving = False


class Swarm:
    """Bytes from other peers."""

    def __init__(
        self,
        config: SwarmConfig,
        layout: Layout,
        find_holders: FindHolders,
        keep: Callable[[Told], bool],
        sources: Sources | None = None,
        following: Following | None = None,
        observe: Callable[[float], None] = lambda seconds: None,
        others: Others = Others(),
        room: Room | None = None,
    ) -> None:
        """`keep` sends a message to the scanner, False if it is not there just now; it may block for a short time.
        `sources` are the holders, over HTTP unless a test has others; `following` tells which small files come after
        one, without it nothing is fetched ahead. `observe` hears how long each read took. `others` tells of the other
        peers; without it nothing is exchanged with them. `room` says what may be written; without one, everything that
        the disk takes.

        Raises:
            LocalError: `.shoal/partial/` cannot be used.
        """
        self._config, self._observe = config, observe
        closing = threading.Event()
        room = room or Room(layout)
        self._commons = Commons(
            config=config,
            layout=layout,
            find=find_holders,
            bench=Bench(),
            sources=sources or HttpSources(config),
            memory=Memory(config.memory, self._lost),
            ahead=Ahead(config.ahead, self._used_ahead),
            counters=Counters(),
            keeper=Keeper(keep, config.memory, closing, lambda cid: room.gone("coming", cid)),
            room=room,
            fetching=ThreadPoolExecutor(config.threads, "swarm-fetch"),
            checking=ThreadPoolExecutor(1, "swarm-check", initializer=give_way),
            alarms=Alarms(),
            closing=closing,
            others=others,
        )
        self.foreground = Foreground()
        """The reads that programs wait for."""
        self._prefetch = Prefetch(self._commons, following) if following is not None else None
        self._changed = threading.Condition()
        self._uses: dict[str, _Use] = {}
        self._idle: OrderedDict[str, _Use] = OrderedDict()
        self._seeds: dict[str, Content] = {}
        self._removing: set[str] = set()
        self._sweeper: threading.Thread | None = None
        remove_unfinished(self._commons)
        for cid, size in partial_sizes(layout):
            room.found("partial", cid, size)
        room.sheds["partial"] = self.discard
        room.again, room.say = self._write_back, self._commons.say_not_kept

    def open(self, path: SafePath, entry: Entry, waited_for: bool = True) -> Reader:
        """A handle on this version. Touches the network only for a file whose size is not known.

        `waited_for`: whether a program waits for its reads; if not, they are not measured as that.

        Raises:
            RemoteError: the size is not known, and nobody tells; or this content turned out to be wrong.
            Unreachable: the program ends.
        """
        self._commons.check_open()
        self._commons.check_condemned(entry.cid)
        if (ready := self.ready(path, entry)) is not None:
            return ready
        if self._prefetch is not None and _is_small(entry) and entry.cid not in self._uses:
            self._prefetch.opened(path, entry.size or 0)
        key = entry.cid or f"{entry.sha1} {path}"
        with self._changed:
            while ((use := self._uses.get(key)) is not None and use.leaving) or key in self._removing:
                self._changed.wait()
            if use is None:
                use = self._uses[key] = _Use(self._make(path, entry))
            use.readers += 1
            self._commons.room.opened(key)
            self._idle.pop(key, None)
            self._start_sweeper()
        try:
            use.content.open()
        except BaseException:
            self._leave(key, use)
            raise
        if not waited_for:
            return Reader(use.content, lambda: None, lambda seconds: None, lambda: self._leave(key, use))
        return Reader(use.content, self.foreground.begin, self._read, lambda: self._leave(key, use))

    def _read(self, seconds: float) -> None:
        self.foreground.end()
        self._observe(seconds)

    def discard(self, cid: str, waiting: bool = False) -> bool:
        """Takes the pieces of a download away that nobody has open, see `Content.discard`; whether they are gone."""
        with self._changed:
            use = self._uses.get(cid)
            if cid in self._removing or self._commons.keeper.offered(cid):
                return False
            if use is not None and (use.readers or use.leaving):
                return False
            self._removing.add(cid)  # who opens it waits
        gone = False
        try:
            if use is None:
                remove_partial(self._commons.layout, cid)
                gone = True
            else:
                gone = use.content.discard(waiting)
        except LocalError as error:
            log.warning("%s", error)
        finally:
            if gone:
                self._commons.keeper.end(cid)
                self._commons.room.gone("partial", cid)
            with self._changed:
                if gone and use is not None:
                    self._uses.pop(cid, None)
                    self._idle.pop(cid, None)
                self._removing.discard(cid)
                self._changed.notify_all()
        return gone

    def ready(self, path: SafePath, entry: Entry) -> Reader | None:
        """A handle on a small file whose bytes are in memory: its reads are answered at once. Else None. Quick.

        Raises:
            Unreachable: the program ends.
        """
        commons, cid = self._commons, entry.cid
        if not self.holds(cid):
            return None
        commons.check_open()
        arrived = commons.ahead.get(cid)
        data = arrived.data if arrived is not None else commons.memory.get(cid, 0)
        if data is None or len(data) != entry.size:  # gone by now, or the first piece of a larger file
            return None
        if arrived is not None and self._prefetch is not None:
            self._prefetch.opened(path, len(data))
        return Reader(Ready(path, entry, arrived, data, commons), _nothing, self._observe, _nothing)

    def holds(self, cid: str) -> bool:
        """Whether `ready` is worth asking for this content."""
        return self._commons.ahead.get(cid) is not None or self._commons.memory.has(cid)

    @property
    def ahead(self) -> int:
        """Bytes held of small files that were fetched ahead and not read."""
        return self._commons.ahead.size

    def drop_ahead(self, size: int | None = None) -> int:
        """Lets go at least so many of them (all if not told); how many."""
        return self._commons.ahead.drop(size)

    def state(self, entry: Entry) -> Literal["partial", "remote", "unreachable"]:
        """How much of a version that is not whole here could be read now, without asking anybody.

        "partial": some of its pieces are here; "remote": none, and a listed holder is not known to be dead.
        """
        use = self._uses.get(entry.cid)
        if (use is not None and use.content.partly_here) or self._commons.memory.get(entry.cid, 0) is not None:
            return "partial"
        if use is None and entry.cid and self._on_disk(entry.cid):
            return "partial"
        now = time.monotonic()
        if all(self._commons.bench.dead(holder, now) for holder in entry.holders):
            return "unreachable"
        return "remote"

    def keep_again(self) -> None:
        """The scanner was started again, and knows nothing of what the one before was sent."""
        self._commons.keeper.again()

    def kept(self, message: Kept) -> None:
        """The scanner's answer to a `Keep`: what is kept is let go here, what is not stays and is served from here."""
        offered = self._commons.keeper.answered(message.cid, bool(message.place))
        room = self._commons.room
        if not message.place:
            self._commons.say_not_kept(message.why)
            room.gone("coming", message.cid)
        else:
            room.turn("coming", message.cid, "copy")
            room.turn("partial", message.cid, "copy")
        with self._changed:
            use = self._uses.get(message.cid)
            content = use.content if use else self._seeds.get(message.cid)
            self._seeds.pop(message.cid, None)
        if content is not None:
            content.kept(message)
        if message.place and use is None:
            self._commons.memory.drop(message.cid)
            if offered is None or offered.data is None:
                self._remove_marks(message.cid)
        elif message.place and use is not None and not use.readers:
            self._let_go(message.cid, use)

    def keeping(self, cid: str) -> bool:
        """Whether a content is being fetched, checked or kept just now; if not, nothing comes of it by itself."""
        use = self._uses.get(cid)
        under_way = use is not None and (use.content.active or use.content.checking)
        return under_way or self._commons.keeper.offered(cid)

    def spoil(self, cid: str, number: int) -> bool:
        """A piece of a download on disk turned out to be rotten: it is missing from now on. False: try again.

        Raises:
            LocalError: the disk is broken.
        """
        mark_missing(self._commons.layout, cid, number)  # first: who opens the download from here on reads that
        with self._changed:
            use = self._uses.get(cid)
        return use is None or use.content.spoil(number)

    def heard(self, message: Heard) -> None:
        """Another reader of a content told what it has. Ignored unless it is a peer that is listed at that address."""
        row = self._commons.others.find(message.peer)
        use = self._uses.get(message.cid)
        if use is not None and row is not None and urlsplit(row.url).hostname == message.address:
            use.content.heard(message)

    def stats(self) -> Stats:
        """What was counted since the start."""
        with self._changed:
            active = sum(use.content.active for use in self._uses.values())
        return self._commons.counters.stats(active, self._commons.memory.size)

    def close(self) -> None:
        """Ends: every waiting read gets an error at once, connections and files are closed, pieces stay on disk."""
        commons = self._commons
        commons.closing.set()
        commons.sources.close()
        with self._changed:
            contents = [use.content for use in self._uses.values()] + list(self._seeds.values())
            self._uses.clear()
            sweeper = self._sweeper
        for content in contents:
            content.wake()
        commons.fetching.shutdown()
        commons.checking.shutdown()
        commons.alarms.close()
        commons.keeper.close()
        if sweeper is not None:
            sweeper.join()
        deadline = time.monotonic() + GRACE
        for content in contents:
            if not content.dispose(max(0.0, deadline - time.monotonic())):
                log.warning("a read does not end; its file is not closed")

    def _make(self, path: SafePath, entry: Entry) -> Content:
        if not entry.cid or entry.size is None:
            return Legacy(path, entry, self._commons, self._identified)
        if _is_small(entry):
            return Small(path, entry, self._commons)
        return Download(path, entry, self._commons, self._settled)

    def _leave(self, key: str, use: _Use) -> None:
        with self._changed:
            use.readers -= 1
            self._commons.room.closed(key)
            if use.readers:
                return
            use.left = time.monotonic()
            self._idle[key] = use
            self._start_sweeper()
            over = [(key, use)] if use.content.is_kept or not use.content.lingers else []
            if len(self._idle) > LINGERING:
                over.append(next(iter(self._idle.items())))
        for old in over:
            self._let_go(*old)

    def _let_go(self, key: str, use: _Use) -> None:
        """Gives a content back that nobody has open; it stays in the table while that does not succeed."""
        with self._changed:
            if use.readers or use.leaving or key in self._removing or self._uses.get(key) is not use:
                return
            use.leaving = True
        gone = use.content.dispose()
        with self._changed:
            use.leaving = False
            if gone and self._uses.get(key) is use:
                del self._uses[key]
                self._idle.pop(key, None)
            self._changed.notify_all()

    def _used_ahead(self, size: int) -> None:
        if self._prefetch is not None:
            self._prefetch.used(size)

    def _settled(self, content: Download) -> None:
        use = self._uses.get(content.cid)
        if use is not None and not use.readers and content.is_kept:
            self._let_go(content.cid, use)

    def _identified(self, content: Legacy) -> None:
        with self._changed:
            self._seeds[content.cid] = content

    def _lost(self, cid: str, number: int) -> None:
        use = self._uses.get(cid)
        if use is not None:
            use.content.lost(number)

    def _write_back(self) -> None:
        with self._changed:
            contents = [use.content for use in self._uses.values()]
        offer_again(self._commons)
        for content in contents:
            content.write_back()

    def _on_disk(self, cid: str) -> bool:
        reader = PiecesReader.open(self._commons.layout, cid)
        if reader is None:
            return False
        try:
            return CHECKED in reader.flags()
        finally:
            reader.close()

    def _remove_marks(self, cid: str) -> None:
        """The scanner took the data of a download that is not open here: what described it goes too."""
        for kind in ("bits", "manifest"):
            try:
                (self._commons.layout.partial / f"{cid}.{kind}").unlink(missing_ok=True)
            except OSError as error:
                log.warning("cannot remove what is left of a download: %s", error)

    def _start_sweeper(self) -> None:
        if self._sweeper is None and not self._commons.closing.is_set():
            self._sweeper = threading.Thread(target=self._sweep, name="swarm-sweep", daemon=True)
            self._sweeper.start()

    def _sweep(self) -> None:
        """Lets go what nobody used for long; ends when there is nothing left that will have to go."""
        timeout = self._config.idle_timeout
        while not self._commons.closing.wait(timeout / 2):
            now = time.monotonic()
            connected = self._commons.sources.sweep(now)
            with self._changed:
                old = [(key, use) for key, use in self._idle.items() if now - use.left >= timeout]
            for key, use in old:
                self._let_go(key, use)
            with self._changed:
                if not connected and not self._idle:
                    self._sweeper = None
                    return


def _is_small(entry: Entry) -> bool:
    """Whether it is a content of one piece at most."""
    return bool(entry.cid) and entry.size is not None and entry.size <= piece_size(entry.size)


def _nothing() -> None:
    """What there is to do when a handle is closed on a content that no table has."""
