"""One content of several pieces, being fetched: readers wait here, workers fill it.

A read names a window and a range. What of the range is not here is waited for; what the window covers beyond is
fetched by the swarm's threads. A reader that waits for a run of its own, as a random read does, fetches it itself.

Threading: `_changed` guards the plan and all state, and is never held across network or disk.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from peer.messages import Kept
from peer.swarm.commons import Commons, keep_message
from peer.swarm.content import Content
from peer.swarm.holders import Holders
from peer.swarm.knowledge import fetch_flags, fetch_manifest
from peer.swarm.pieces import VerifiedPiece
from peer.swarm.plan import AHEAD, MIB, Plan, Run, Wait, Window
from peer.swarm.receive import Receiver
from peer.swarm.source import Source
from peer.swarm.store import Lost, Store
from peer.swarm.whole import check_whole
from shoal.errors import Gone, Lied, RemoteError, ShoalError, Unreachable
from shoal.names import SafePath
from shoal.wire import Entry

DISKLESS_AHEAD = 2 * MIB
"""How far windows reach when the disk is full and pieces live in memory."""
LATE = 8
"""Pieces of one content that wait to be written, at most, after those who read them have gone on."""
LISTED_FOR = 5.0
"""Seconds after which the holders known are looked up again."""
log = logging.getLogger(__name__)


class _Open:
    """What there is once the manifest is known."""

    def __init__(self, store: Store, plan: Plan, receiver: Receiver) -> None:
        self.store, self.plan, self.receiver = store, plan, receiver


class Download(Content):
    """A content of several pieces."""

    def __init__(self, path: SafePath, entry: Entry, commons: Commons, settled: Callable[["Download"], None]) -> None:
        """`settled` is called when work ended after which `dispose` may succeed."""
        assert entry.size is not None
        self.cid, self.size = entry.cid, entry.size
        self._path, self._entry, self._commons, self._settled = path, entry, commons, settled
        self._holders = Holders(path, entry, commons)
        self._changed = Condition(Lock())
        self._preparing = False
        self._opened: _Open | None = None
        self._windows: list[Window] = []
        self._partial: dict[str, bytes] = {}
        self._reads = 0
        self._late = 0
        self._check: str = ""
        """Of the whole: "", "under way", "done"."""
        self._kept = False

    @property
    def active(self) -> bool:
        """Whether anything is being fetched just now."""
        return self._opened is not None and bool(self._opened.plan.runs)

    @property
    def partly_here(self) -> bool:
        """Whether a piece of it is here."""
        opened = self._opened
        return opened is not None and opened.plan.missing < len(opened.plan.here)

    @property
    def is_kept(self) -> bool:
        """Whether the scanner has it."""
        return self._kept

    def window(self) -> Window:
        """A new handle's window."""
        window = Window(self.size)
        with self._changed:
            self._windows.append(window)
        return window

    def leave(self, window: Window) -> None:
        """A handle was closed: what only its window covered is not fetched any more."""
        with self._changed:
            self._windows.remove(window)

    def read_into(self, window: Window, offset: int, view: memoryview) -> None:
        """See `Content.read_into`."""
        size = len(view)
        with self._changed:
            self._reads += 1
        try:
            opened = self._opened or self._prepare()
            piece = opened.plan.piece
            first, end = offset // piece, -(-(offset + size) // piece)
            while True:
                with self._changed:
                    self._raise_failure()
                    window.limit = DISKLESS_AHEAD if opened.store.diskless else AHEAD
                    window.read(offset, size)
                    if opened.plan.lacks(first, end):
                        self._wait(opened, first, end)
                    self._pump(opened)
                try:
                    opened.store.read_into(offset, view)
                    return
                except Lost as lost:
                    self.lost(lost.number)
        finally:
            with self._changed:
                self._reads -= 1
                self._changed.notify_all()

    def wake(self) -> None:
        """The program ends: waiting reads look at that."""
        with self._changed:
            self._changed.notify_all()

    def lost(self, number: int) -> None:
        """A piece that was only in memory had to go."""
        with self._changed:
            if self._opened is not None:
                self._opened.plan.lost(number)

    def kept(self, message: Kept) -> None:
        """The scanner's answer: its file is the share's now, and descriptors of it stay valid here."""
        self._kept = bool(message.place)

    def dispose(self, wait: float = 0.0) -> bool:
        """See `Content.dispose`."""
        with self._changed:
            if not self._changed.wait_for(self._is_quiet, wait):
                return False
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.store.close(remove=self._kept or self.cid in self._commons.condemned)
        return True

    # -- called with `_changed` held -----------------------------------------------------------------------------------

    def _is_quiet(self) -> bool:
        return not self._reads and not self._late and self._check != "under way" and not self.active

    def _raise_failure(self) -> None:
        self._commons.check_open()
        self._commons.check_condemned(self.cid)

    def _wait(self, opened: _Open, first: int, end: int) -> None:
        """Returns when the pieces first ≤ n < end are here.

        Raises:
            RemoteError: nobody gives them, or nothing useful came for too long.
        """
        plan, timeout = opened.plan, self._commons.config.read_timeout
        wait = Wait(first, end)
        plan.waits.append(wait)
        useful, asked = time.monotonic(), False
        try:
            while plan.lacks(first, end):
                self._raise_failure()
                now = time.monotonic()
                useful = max(useful, plan.heard(first, end))
                if now >= useful + timeout:
                    raise Unreachable(f"nothing came for {timeout:g} s")
                run = plan.next(now)
                if run is not None and first <= run.first and run.end <= end:
                    with self._released():
                        self._fetch(opened, run, self._arrived_late)
                elif run is not None:
                    self._start(opened, run)
                elif (until := plan.outlook(first, end, now)) is not None:
                    self._changed.wait(min(until, useful + timeout) - now)
                elif asked:
                    raise self._holders.verdict()
                else:
                    asked = True
                    with self._released():
                        self._holders.ask()
                        self._ask_partial(opened)
                    self._sync(plan)
        finally:
            plan.waits.remove(wait)

    def _pump(self, opened: _Open) -> None:
        """Sets threads to work on what is wanted."""
        now = time.monotonic()
        while opened.plan.missing and (run := opened.plan.next(now)) is not None:
            self._start(opened, run)

    def _start(self, opened: _Open, run: Run) -> None:
        if not self._commons.submit(self._commons.fetching, lambda: self._work(opened, run)):
            opened.plan.ended(run)
            self._commons.check_open()

    def _sync(self, plan: Plan) -> None:
        """The plan's holders are those that are listed."""
        rows = [row for row in self._holders.rows.values() if not row.seed]
        for row in rows:
            plan.hold(row.id, self._partial.get(row.id))
        plan.keep_only({row.id for row in rows})

    @contextmanager
    def _released(self) -> Iterator[None]:
        self._changed.release()
        try:
            yield
        finally:
            self._changed.acquire()

    # -- called without ------------------------------------------------------------------------------------------------

    def _prepare(self) -> _Open:
        """Has the manifest fetched by one reader, and the pieces on disk found."""
        with self._changed:
            while self._preparing:
                # The one that does it ends by its own deadline; later than that something is wrong with it.
                if not self._changed.wait(2 * self._commons.config.read_timeout):
                    raise Unreachable("another read of the same file does not end")
            self._raise_failure()
            if self._opened is not None:
                return self._opened
            self._preparing = True
        opened = None
        try:
            manifest = fetch_manifest(self._holders, self._commons, self.cid, self.size)
            if not self._holders.rows:
                self._holders.refresh()
            store = Store(self._commons, manifest)
            plan = Plan(self.size, manifest.piece, store.here, self._holders.not_before)
            plan.windows = self._windows
            self._sync(plan)
            opened = _Open(store, plan, Receiver(manifest, self._commons.counters))
        finally:
            with self._changed:
                self._preparing, self._opened = False, opened
                self._changed.notify_all()
        if store.complete:
            self._end(store)
        return opened

    def _work(self, opened: _Open, run: Run | None) -> None:
        """A worker: fetches runs until nothing more is wanted."""
        while run is not None:
            self._fetch(opened, run, self._arrived)
            refreshed = time.monotonic() - self._holders.listed > LISTED_FOR
            if refreshed:
                self._holders.refresh()
            with self._changed:
                if refreshed:
                    self._sync(opened.plan)
                stop = self._commons.closing.is_set()
                run = None if stop else opened.plan.next(time.monotonic())
        self._settled(self)

    def _fetch(self, opened: _Open, run: Run, arrived: Callable[[_Open, VerifiedPiece], None]) -> None:
        """Fetches a run from its holder; whatever happens, the run is over then."""
        began = time.monotonic()
        try:
            if opened.store.doubtful and self._settle_doubts(opened, run):
                return
            source = self._holders.source(run.holder)
            try:
                opened.receiver.receive(run, source, lambda piece: arrived(opened, piece))
                self._holders.good(run.holder)
            except Gone as gone:
                self._ask_pieces(opened, run, source, gone)
        except RemoteError as error:
            if opened.plan.here[run.first]:  # who is cut off again and again, but gets on, is not as good as dead
                self._holders.good(run.holder)
            self._holders.failed(run.holder, error, max(began, run.heard))
        finally:
            with self._changed:
                opened.plan.ended(run)
                self._changed.notify_all()

    def _arrived(self, opened: _Open, piece: VerifiedPiece) -> None:
        """A piece is here: those who wait for it go on, then it is written."""
        opened.store.take(piece)
        with self._changed:
            opened.plan.arrived(piece.number)
            self._changed.notify_all()
        self._write(opened, piece)

    def _arrived_late(self, opened: _Open, piece: VerifiedPiece) -> None:
        """As `_arrived`, but the thread that fetched it is the reader's, and does not wait until it is written."""
        opened.store.take(piece)
        with self._changed:
            opened.plan.arrived(piece.number)
            self._changed.notify_all()
            late = self._late < LATE
            self._late += late
        write = self._write_late if late else self._write
        if not late or not self._commons.submit(self._commons.fetching, lambda: write(opened, piece)):
            write(opened, piece)

    def _write_late(self, opened: _Open, piece: VerifiedPiece) -> None:
        try:
            self._write(opened, piece)
        finally:
            with self._changed:
                self._late -= 1
                self._changed.notify_all()
            self._settled(self)

    def _write(self, opened: _Open, piece: VerifiedPiece) -> None:
        opened.store.put(piece)
        opened.receiver.give_back(piece)
        if opened.store.complete:
            self._end(opened.store)

    def _settle_doubts(self, opened: _Open, run: Run) -> bool:
        """Looks at the run's doubtful pieces; whether there were any, and the run is to be planned anew."""
        doubtful = [number for number in range(run.first, run.end) if number in opened.store.doubtful]
        for number in doubtful:
            if opened.store.settle(number):
                with self._changed:
                    opened.plan.arrived(number)
                    self._changed.notify_all()
        if doubtful and opened.store.complete:
            self._end(opened.store)
        return bool(doubtful)

    def _ask_pieces(self, opened: _Open, run: Run, source: Source, gone: Gone) -> None:
        """The holder does not have the run: which pieces has it? Raises RemoteError; Gone if none."""
        flags = fetch_flags(source, self.cid, len(opened.plan.here))
        if all(flags[run.first : run.end]):
            raise gone  # it contradicts itself: perhaps its file changed just now
        with self._changed:
            self._partial[run.holder] = flags
            opened.plan.hold(run.holder, flags)

    def _ask_partial(self, opened: _Open) -> None:
        """Learns what the partial holders have by now."""
        for id in list(self._partial):
            began = time.monotonic()
            if self._holders.not_before(id) <= began:
                try:
                    self._partial[id] = fetch_flags(self._holders.source(id), self.cid, len(opened.plan.here))
                except RemoteError as error:
                    self._holders.failed(id, error, began)

    def _end(self, store: Store) -> None:
        """All pieces are here: the whole is checked by another thread."""
        with self._changed:
            if self._check or store.diskless:
                return
            self._check = "under way"
        if not self._commons.submit(self._commons.checking, lambda: self._check_and_keep(store)):
            self._check = ""

    def _check_and_keep(self, store: Store) -> None:
        assert store.pieces is not None
        try:
            check_whole(store.pieces, self._commons.closing)
            self._commons.keeper.offer(keep_message(self._path, self._entry, store.manifest, None))
        except Lied as error:
            self._commons.condemn(store.pieces, error)
        except ShoalError as error:  # the disk, or the program ends: the pieces stay, and are checked at the next open
            log.info("a download is not checked to its end: %s", error)
        finally:
            with self._changed:
                self._check = "done"
                self._changed.notify_all()
        self._settled(self)
