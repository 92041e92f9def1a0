"""A store in this process: leases and catalogue behind one lock, gone with the process.

Threading: a `MemoryStore` may be used by any thread; one lock guards all of its
state, and nothing but the state is touched under it. Its sweeper thread ends
leases on time also while nobody asks for anything.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachetools import TTLCache

from shoal.names import printable
from shoal.wire import MAX_BODY, PAGE, Announce, Changes, Evict, Evicted, Holders, Leave, encode
from tracker.catalogue import Catalogue
from tracker.leases import MAX_LEASES, Lease, Leases, Outcome, Where
from tracker.quotas import Limits
from tracker.seed import SeedFile, seed_file, winner
from tracker.settling import Settling
from tracker.store import State, Totals
from tracker.views import FilesPage, FileView, PeerView, file_view, peer_view

log = logging.getLogger(__name__)

SLICE = 2000
"""Paths looked at under one hold of the lock."""
SWEEP = 0.5
"""Seconds between two sweeps."""


class _Cache(TTLCache[str, Lease]):
    """The living leases. `ended` is called for each that expired, wherever cachetools finds that out.

    When it is full it would drop a living one: `Leases` refuses before that.
    """

    def __init__(self, ttl: float, timer: Callable[[], float], ended: Callable[[Lease], None]) -> None:
        super().__init__(MAX_LEASES + 1, ttl, timer)
        self._ended = ended

    def expire(self, time: float | None = None) -> list[tuple[str, Lease]]:
        """Takes out what has expired."""
        expired = list(super().expire(time))
        for _, lease in expired:
            self._ended(lease)
        return expired


class MemoryStore:
    """A store in this process, gone with it.

    `timer` gives seconds that never go back, `clock` nanoseconds since 1970; `changed` is called after each change of
    what is listed, on the thread that made it and without the lock.
    """

    def __init__(
        self,
        ttl: float,
        limits: Limits,
        changed: Callable[[], None] = lambda: None,
        timer: Callable[[], float] = time.monotonic,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clock, self._changed = clock, changed
        self._lock = threading.Lock()
        self._catalogue = Catalogue(secrets.token_hex(8))
        self._living = _Cache(ttl, timer, self._expired)
        self._settling = Settling(timer(), ttl)
        self._leases = Leases(self._living, self._catalogue, limits, self._settling)
        self._told = self._catalogue.version
        self._stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)

    def start(self) -> None:
        """Starts the sweeper."""
        self._sweeper.start()

    def stop(self) -> None:
        """Ends the sweeper."""
        self._stopping.set()
        if self._sweeper.is_alive():
            self._sweeper.join()

    @contextmanager
    def _now(self) -> Iterator[float]:
        """Holds the lock, with time standing still and nobody in the cache whose time is over."""
        with self._lock:
            with self._living.timer as now:
                self._living.expire(now)
                yield now
            version = self._catalogue.version
            told, self._told = self._told, version
        if told != version:
            self._changed()

    def sweep(self) -> None:
        """Ends what is over."""
        with self._now() as now:
            self._leases.sweep(now)

    def _sweep(self) -> None:
        while not self._stopping.wait(SWEEP):
            self.sweep()

    def _expired(self, lease: Lease) -> None:
        log.info("%s (%s) is gone: not heard of for a time to live", printable(lease.listing.name), lease.listing.url)
        self._leases.ended(lease)

    def _state(self, now: float) -> State:
        return State(self._catalogue.version, self._settling.at(now, self._leases.under_way))

    def announce(self, message: Announce, where: Where) -> tuple[Outcome, State]:
        """Takes an announcement whose sender has proved its id. Raises DataError as `Leases.announce` does."""
        with self._now() as now:
            new = message.id not in self._living
            outcome = self._leases.announce(message, where, now, self._clock())
            state = self._state(now)
        if new and outcome.status == 200:
            log.info("%s (%s) is here", printable(message.name), where.url)
        return outcome, state

    def refresh_seed(self, id: str, name: str, files: dict[str, str], where: Where) -> Outcome:
        """Takes the whole list of a peer of the seed's protocol."""
        with self._now() as now:
            new = id not in self._living
            outcome = self._leases.refresh_seed(id, name, files, where, self._clock())
            if outcome.status != 200:
                self._settling.put_off(now)
        if new and outcome.status == 200:
            log.info("%s (%s) is here, of the seed's protocol", printable(name), where.url)
        return outcome

    def leave(self, message: Leave) -> Outcome:
        """Ends the lease of a peer that has proved its id."""
        with self._now():
            lease = self._living.get(message.id)
            outcome = self._leases.leave(message)
        if lease and outcome.status == 200:
            log.info("%s (%s) left", printable(lease.listing.name), lease.listing.url)
        return outcome

    def evict(self, message: Evict) -> Evicted | None:
        """Delists a copy if another whole holder remains; None if the peer has no lease."""
        with self._now():
            return self._leases.evict(message)

    def changes(self, since: str | None) -> Changes | None:
        """A page of the delta feed; None if there is none from there."""
        with self._now() as now:
            return self._catalogue.changes(since, self._state(now).settling)

    def holders(self, cid: str) -> Holders:
        """Who has a content."""
        with self._now():
            return self._catalogue.holders(cid)

    def peers(self) -> list[PeerView]:
        """All living peers, by name."""
        with self._now():
            views = [peer_view(lease.listing, lease.seen_ns) for lease in list(self._living.values())]
        return sorted(views, key=lambda view: (view.name, view.id))

    def state(self) -> State:
        """What readers are told with every answer."""
        with self._now() as now:
            return self._state(now)

    def totals(self) -> Totals:
        """How much is listed."""
        with self._now() as now:
            listings = self._catalogue.listings.values()
            files = sum(listing.files for listing in listings)
            return Totals(len(listings), files, sum(each.bytes for each in listings), self._state(now).settling)

    def hints(self) -> tuple[str, list[tuple[str, int]]]:
        """The VERSION, and the (address, port) of everybody who wants to be told of it."""
        with self._now():
            leases = list(self._living.values())
            return self._catalogue.version, [(lease.address, lease.hint) for lease in leases if lease.hint]

    # Lists are read a slice at a time, so that nobody waits for a reader of a million files.

    def files(self, prefix: str, q: str, limit: int, after: str) -> FilesPage:
        """A page of the files above path `after` that begin with `prefix` and contain `q`, whatever its case."""
        wanted = q.casefold()
        limit = min(limit, PAGE)
        files: list[FileView] = []
        size = 0
        while True:
            last = None
            with self._now() as now:
                for looked, path in enumerate(self._catalogue.paths(after, prefix), 1):
                    after = path
                    if wanted in path.casefold():
                        for version in self._catalogue.versions(path):
                            files.append(file_view(version, self._catalogue.owner_name))
                            size += len(encode(files[-1]))
                    if len(files) >= limit or size >= MAX_BODY or looked >= SLICE:
                        last = path
                        break
                state = self._state(now)
            if last is None or len(files) >= limit or size >= MAX_BODY:
                return FilesPage(state.version, state.settling, files)

    def seed_file(self, path: str) -> SeedFile | None:
        """What a seed peer is told of a file."""
        with self._now():
            found = winner(self._catalogue.versions(path))
            return seed_file(found, self._catalogue.listings) if found else None

    def seed_files(self) -> Iterator[tuple[str, SeedFile]]:
        """What seed peers are told of all files whose name has no "/"."""
        after, more = "", True
        while more:
            more = False
            found: list[tuple[str, SeedFile]] = []
            with self._now():
                for looked, (path, on) in enumerate(self._top_level(after), 1):
                    after = on
                    if path and (version := winner(self._catalogue.versions(path))):
                        found.append((path, seed_file(version, self._catalogue.listings)))
                    if looked >= SLICE:
                        more = True
                        break
            yield from found

    def _top_level(self, after: str) -> Iterator[tuple[str, str]]:
        """The paths above `after` without "/", and "" for each folder; with each, after what to go on."""
        while True:
            for path in self._catalogue.paths(after):
                folder, slash, _ = path.partition("/")
                if slash:
                    after = folder + "/\U0010ffff"  # all that is below it sorts before that
                    yield "", after
                    break
                yield path, path
            else:
                return
