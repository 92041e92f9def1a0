"""One content of several pieces, being read: readers wait here, `fetching` fills it.

A read names a window and a range. What of the range is not here is waited for, and what the window covers beyond is
fetched ahead, all of it by the swarm's threads; a read that waits holds none. `_tend` looks after the reads whenever
something changed: a piece that arrives ends those that waited for it, at once and by the thread that fetched it.

Threading: `_changed` guards the plan and all state, and is never held across network or disk.
"""

import logging
import math
import time
from collections.abc import Callable
from threading import Condition, Lock

from peer.messages import Heard, Kept
from peer.swarm.commons import Commons, begun_message, keep_message
from peer.swarm.content import Content
from peer.swarm.fetching import Fetching
from peer.swarm.holders import Holders
from peer.swarm.knowledge import fetch_manifest
from peer.swarm.opened import Opened
from peer.swarm.pending import Done, Parts, Pending
from peer.swarm.pieces import VerifiedPiece
from peer.swarm.plan import Plan, Wait
from peer.swarm.receive import Receiver
from peer.swarm.store import Lost, Store
from peer.swarm.whole import check_whole
from peer.swarm.window import AHEAD, MIB, Window
from shoal.errors import Lied, ShoalError, Unreachable
from shoal.manifest import piece_size
from shoal.names import SafePath
from shoal.wire import Entry

DISKLESS_AHEAD = 2 * MIB
"""How far windows reach when the disk is full and pieces live in memory."""
log = logging.getLogger(__name__)


class _Read(Pending):
    """A read that waits for the pieces of `wait`. `useful`: when a byte last came for it; `asked`: the tracker was."""

    __slots__ = ("asked", "useful", "wait", "window")

    def __init__(self, window: Window, offset: int, size: int, done: Done, piece: int) -> None:
        super().__init__(offset, size, done)
        self.window = window
        self.useful = time.monotonic()
        self.wait = Wait(offset // piece, -(-(offset + size) // piece), self.useful)
        self.asked = False


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
        self._opened: Opened | None = None
        self._windows: list[Window] = []
        self._fetching: Fetching | None = None
        self._waiting: list[_Read] = []
        self._reads = 0
        self._asking = False
        self._alarm = math.inf
        self._check: str = ""
        """Of the whole: "", "under way", "right", "failed"."""
        self._kept = False

    @property
    def active(self) -> bool:
        """Whether anything is being fetched just now."""
        return self._opened is not None and bool(self._opened.plan.runs)

    @property
    def partly_here(self) -> bool:
        """Whether a piece of it is here."""
        opened = self._opened
        return opened is not None and bool(opened.plan.here)

    @property
    def checking(self) -> bool:
        """See `Content.checking`."""
        return self._check == "under way"

    @property
    def is_kept(self) -> bool:
        """Whether the scanner has it."""
        return self._kept

    def whole(self) -> int:
        """See `Content.whole`."""
        with self._changed:
            opened = self._opened
            if opened is None or opened.store.pieces is None or self._check != "right":
                return -1
            return opened.store.pieces.descriptor()

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
            last = not self._windows
        if last and self._fetching is not None:
            self._commons.submit(self._commons.fetching, self._fetching.say_want)

    def heard(self, message: Heard) -> None:
        """See `Content.heard`."""
        if self._fetching is not None:
            self._fetching.heard(message)

    def begin(self, window: Window, offset: int, size: int, done: Done) -> Pending | None:
        """See `Content.begin`."""
        read = _Read(window, offset, size, done, piece_size(self.size))
        with self._changed:
            self._raise_failure()
            self._reads += 1
            opened = self._opened
            if opened is None:
                self._waiting.append(read)
                self._start_preparing()
                return read
            here = self._plan_in(opened, read)
        if not here:
            self._tend()
            return read
        try:
            parts = opened.store.read(offset, size)
        except Lost as lost:
            self._wait_again(opened, read, lost)
            return read
        except BaseException:
            self._ended()
            raise
        self._ended()
        done(parts, None)
        return None

    def wake(self) -> None:
        """The program ends: reads that wait get an error."""
        self._tend()

    def lost(self, number: int) -> None:
        """A piece that was only in memory had to go."""
        with self._changed:
            if self._opened is not None and not self._opened.store.lost(number):
                self._opened.plan.lost(number)

    def spoil(self, number: int) -> bool:
        """See `Content.spoil`."""
        with self._changed:
            if self._preparing:  # it reads the marks just now
                return False
            if self._opened is not None and self._opened.store.pieces is not None:
                self._opened.store.pieces.spoil(number)
                self._opened.plan.lost(number)
        return True

    def write_back(self) -> None:
        """See `Content.write_back`."""
        with self._changed:
            opened = self._opened
            if opened is None:
                return
            self._reads += 1  # as a read, it keeps the files open
        try:
            opened.store.write_back()
            if opened.store.complete:
                self._end(opened.store)
        finally:
            self._ended()

    def kept(self, message: Kept) -> None:
        """The scanner's answer: its file is the share's now, and descriptors of it stay valid here."""
        self._kept = bool(message.place)

    def dispose(self, wait: float = 0.0, remove: bool = False) -> bool:
        """See `Content.dispose`; with `remove`, pieces go too."""
        with self._changed:
            if not self._changed.wait_for(self._is_quiet, wait):
                return False
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.store.close(remove or self._kept or self.cid in self._commons.condemned)
        return True

    def discard(self, waiting: bool) -> bool:
        """See `Content.discard`."""
        with self._changed:
            opened = self._opened
            waits = opened is not None and opened.store.waits and not opened.plan.missing
            if waits and not waiting:
                return False
        return self.dispose(remove=True)

    # -- called with `_changed` held -----------------------------------------------------------------------------------

    def _is_quiet(self) -> bool:
        return not self._reads and self._check != "under way" and not self.active

    def _raise_failure(self) -> None:
        self._commons.check_open()
        self._commons.check_condemned(self.cid)

    def _plan_in(self, opened: Opened, read: _Read) -> bool:
        """Plans for a read that is new to the plan; whether its pieces are here. If not, it waits."""
        read.window.limit = DISKLESS_AHEAD if opened.store.diskless else AHEAD
        read.window.read(read.offset, read.size)
        if opened.plan.lacks(read.wait.first, read.wait.end):
            self._waiting.append(read)
            opened.plan.waits.append(read.wait)
            return False
        self._pump()
        return True

    def _look_after(self, opened: Opened, read: _Read) -> float | None:
        """When to look again, at the latest, after a read for which all was asked for; None when it lacks nothing more.

        Raises:
            RemoteError: nobody gives it, or nothing useful came for too long; or nobody wants it any more.
        """
        self._raise_failure()
        plan, wait, timeout = opened.plan, read.wait, self._commons.config.read_timeout
        if not plan.lacks(wait.first, wait.end):
            return None
        if read.forgotten:
            raise Unreachable("nobody waits for it any more")
        now = time.monotonic()
        read.useful = max(read.useful, plan.heard(wait.first, wait.end))
        if now >= read.useful + timeout:
            raise Unreachable(f"nothing came for {timeout:g} s")
        until = plan.outlook(wait, now)
        if until is None and not read.asked:
            if not self._asking:
                self._asking = self._commons.submit(self._commons.fetching, self._ask)
            until = math.inf
        elif until is None:
            raise self._holders.verdict()
        return min(until, read.useful + timeout)

    def _start_preparing(self) -> None:
        if not self._preparing:
            self._preparing = self._commons.submit(self._commons.fetching, self._prepare)

    def _pump(self) -> None:
        if self._fetching is not None and not self._commons.closing.is_set():
            self._fetching.pump()

    # -- called without ------------------------------------------------------------------------------------------------

    def _tend(self) -> None:
        """Looks after all reads that wait: ends those that can be, and has fetched what the others lack."""
        over: list[tuple[_Read, BaseException | None]] = []
        soonest = math.inf
        with self._changed:
            opened = self._opened
            if opened is not None:
                self._pump()
            for read in list(self._waiting):
                until: float | None = math.inf
                error: BaseException | None = None
                try:
                    if opened is not None:
                        until = self._look_after(opened, read)
                    else:
                        self._raise_failure()
                except ShoalError as failure:
                    until, error = None, failure
                if until is None:
                    self._drop(opened, read)
                    over.append((read, error))
                else:
                    soonest = min(soonest, until)
            if over and opened is not None:
                self._pump()
            alarm = soonest < self._alarm
            if alarm:
                self._alarm = soonest
        if alarm:
            self._commons.alarms.at(soonest, self._wake_up)
        for read, error in over:
            self._end_read(opened, read, error)

    def _wake_up(self) -> None:
        with self._changed:
            self._alarm = math.inf
        self._tend()

    def _drop(self, opened: Opened | None, read: _Read) -> None:
        """A read waits no more. Call with `_changed` held."""
        self._waiting.remove(read)
        if opened is not None:
            opened.plan.waits.remove(read.wait)

    def _end_read(
        self, opened: Opened | None, read: _Read, error: BaseException | None, held: VerifiedPiece | None = None
    ) -> None:
        """A read that waited has its pieces, or an error; one of them may be in hand."""
        parts: Parts = ()
        if error is None and opened is not None and not read.forgotten:
            try:
                parts = opened.store.read(read.offset, read.size, held)
            except Lost as lost:
                self._wait_again(opened, read, lost)
                return
            except BaseException as failure:  # noqa: BLE001 - it is theirs who wait
                error = failure
        self._ended()
        read.done(parts, error)

    def _wait_again(self, opened: Opened, read: _Read, lost: Lost) -> None:
        """A piece had to go just before it was read."""
        with self._changed:
            opened.plan.lost(lost.number)
            self._waiting.append(read)
            opened.plan.waits.append(read.wait)
        self._tend()

    def _ended(self) -> None:
        with self._changed:
            self._reads -= 1
            self._changed.notify_all()

    def _ask(self) -> None:
        """Has the tracker and the neighbours asked, for all reads that wait just now and found nobody."""
        assert self._fetching is not None
        with self._changed:
            reads = list(self._waiting)
        try:
            self._holders.ask()
            self._fetching.ask_partial()
        finally:
            with self._changed:
                self._asking = False
                self._fetching.sync()
                for read in reads:
                    read.asked = True
            self._tend()

    def _prepare(self) -> None:
        """Has the manifest fetched, and the pieces on disk found."""
        opened, failure, run = None, None, None
        try:
            opened = self._open_store()
        except BaseException as error:  # noqa: BLE001 - it is theirs who wait
            failure = error
        with self._changed:
            self._preparing, self._opened = False, opened
            waiting, self._waiting = self._waiting, []
            here = []
            if opened is not None:
                here = [read for read in waiting if self._plan_in(opened, read)]
                run = opened.plan.next(time.monotonic())
            self._changed.notify_all()
        for read in here if opened is not None else waiting:
            self._end_read(opened, read, failure)
        if opened is not None and self._fetching is not None:
            if opened.store.complete:
                self._end(opened.store)
            self._commons.submit(self._commons.fetching, self._fetching.find_others)
            self._tend()
            self._fetching.work(run)

    def _open_store(self) -> Opened:
        """What there is once the manifest is known. Raises RemoteError, DataError."""
        commons, holders = self._commons, self._holders
        manifest = fetch_manifest(holders, commons, self.cid, self.size)
        if not holders.rows:
            holders.refresh()
        begun = begun_message(self._path, self._entry, manifest)
        store = Store(commons, manifest, lambda: commons.keeper.begin(begun))
        plan = Plan(self.size, manifest.piece, store.here, holders.not_before, holders.doubted, commons.others.me)
        plan.windows = self._windows
        opened = Opened(self._changed, store, plan, Receiver(manifest, commons.counters))
        self._fetching = Fetching(self.cid, commons, holders, opened, self._tend, self._landed, self._over)
        return opened

    def _landed(self, piece: VerifiedPiece) -> None:
        """A piece is here: those who waited for it have it, then it is written."""
        opened = self._opened
        assert opened is not None
        with self._changed:
            over = [read for read in self._waiting if not opened.plan.lacks(read.wait.first, read.wait.end)]
            for read in over:
                self._drop(opened, read)
        for read in over:
            self._end_read(opened, read, None, piece)
        opened.store.put(piece)
        if opened.store.complete:
            self._end(opened.store)

    def _over(self) -> None:
        """A worker ended."""
        opened = self._opened
        if opened is not None and opened.store.complete:
            self._end(opened.store)
        self._settled(self)

    def _end(self, store: Store) -> None:
        """All pieces are here: the whole is checked by another thread."""
        with self._changed:
            if self._check:
                return
            self._check = "under way"
        if not self._commons.submit(self._commons.checking, lambda: self._check_and_keep(store)):
            self._check = ""

    def _check_and_keep(self, store: Store) -> None:
        assert store.pieces is not None
        result = "failed"
        try:
            check_whole(store.pieces, self._commons.closing)
            result = "right"
            self._commons.keeper.offer(keep_message(self._path, self._entry, store.manifest, None))
        except Lied as error:
            self._commons.condemn(store.pieces, error)
        except ShoalError as error:  # the disk, or the program ends: the pieces stay, and are checked at the next open
            log.info("a download is not checked to its end: %s", error)
        finally:
            with self._changed:
                self._check = result
                self._changed.notify_all()
        self._settled(self)
