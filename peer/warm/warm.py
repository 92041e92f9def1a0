"""The threads that fetch what nobody waits for yet.

    run = warm.start(lambda: wanted(catalogue, ["data"]))
    run.done.wait()

A file is done with when the scanner has kept it, was here before, or is not to be had; then the others go on. Who
reads comes first: while somebody does, a file under way is closed and opened again, so that nothing is fetched ahead
for it, and is read one chunk at a time.

Threading: any thread may call anything. `_changed` guards the runs and all in them; it is not held while anything is
fetched or looked up in the index.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from peer.catalogue.catalogue import Catalogue
from peer.messages import Kept
from peer.priority import give_way
from peer.swarm.pending import Done, Parts, Pending
from peer.warm.line import Line, Tally, Wanted
from shoal.errors import ShoalError
from shoal.manifest import MIB
from shoal.names import printable
from shoal.wire import Entry

THREADS = 8
LARGE = 2
"""Large files fetched at a time at most."""
UNKEPT = 200
"""Files that were read and are not kept yet, at most: small ones are in memory until then."""
CHUNK = MIB
YIELD = 1.0
"""Seconds for which a chunk waits at most because somebody reads: then it goes on, or it might never."""
LOOK = 1.0
"""Seconds after which it is looked up whether a file is kept, should the scanner's word have been missed."""
KEEPING, CHECKING = 60.0, 20 * MIB
"""Seconds, and bytes for a second more, in which a file that was read is checked and kept."""
_IDLE = 5.0
log = logging.getLogger(__name__)


class Reader(Protocol):
    """An open content of the swarm."""

    @property
    def cid(self) -> str:
        """The content's id."""

    @property
    def size(self) -> int:
        """Bytes."""

    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        """Begins a read: `done` is told how it ended. What is returned waits."""

    def close(self) -> None:
        """Ends it."""


class Run:
    """Files being fetched. `done` is set at the end, `cancelled` when nobody wants them any more."""

    def __init__(self, files: Callable[[], Iterator[Wanted]], ended: Callable[["Run"], None]) -> None:
        self.tally = Tally()
        self.done, self.cancelled = threading.Event(), threading.Event()
        self._files, self._ended = files, ended
        self._line = Line(files())
        self._counting = False
        self._open = 0
        """Files taken off the line and not done with, and the count."""
        self._found = 0
        """Bytes of files whose sizes nobody knew before they were read: the count has none of them."""

    def cancel(self) -> None:
        """Ends it soon."""
        self.cancelled.set()


class _Unkept:
    """A file that is being read, or was, and of which the scanner has not said what became of it."""

    def __init__(self, run: Run, wanted: Wanted) -> None:
        self.run, self.wanted = run, wanted
        self.read = 0.0
        """When all of it was read, by the monotonic clock; 0: not yet."""
        self.answer: Kept | None = None


class Warm:
    """Fetches files, a few at a time, for all runs in turn."""

    def __init__(
        self,
        open: Callable[[Wanted], Reader],
        state: Callable[[str, Entry], str],
        keeping: Callable[[str], bool],
        busy: Callable[[], bool],
    ) -> None:
        """`open` opens a version in the swarm, `state` says whether it is "here", `keeping` whether a content is on
        its way to that; `busy`: whether somebody reads.
        """
        self._open, self._state, self._keeping, self._busy = open, state, keeping, busy
        self._changed = threading.Condition()
        self._runs: list[Run] = []
        self._unkept: dict[str, list[_Unkept]] = {}
        self._large = self._threads = self._idle = 0
        self._looked = float("-inf")
        self._closing = threading.Event()

    def start(self, files: Callable[[], Iterator[Wanted]], ended: Callable[[Run], None] = lambda run: None) -> Run:
        """Begins a run. `files` is called twice, by this and by another thread: once to count, once to fetch them.

        `ended` is called when the run is done, by a thread of this.
        """
        run = Run(files, ended)
        with self._changed:
            self._runs.append(run)
            self._hire()
        return run

    def kept(self, message: Kept) -> None:
        """The scanner says what became of a download."""
        with self._changed:
            found = self._unkept.get(message.cid, ())
            for unkept in found:
                unkept.answer = message
            if found:
                self._changed.notify_all()

    def close(self, timeout: float = 2.0) -> None:
        """Ends all runs."""
        self._closing.set()
        with self._changed:
            for run in self._runs:
                run.cancel()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._threads, timeout)

    # Threads.

    def _hire(self) -> None:
        """Another thread, if all are at work. Call with the lock held."""
        if not self._idle and self._threads < THREADS and not self._closing.is_set():
            self._threads += 1
            threading.Thread(target=self._work, name="warm", daemon=True).start()
        self._changed.notify_all()

    def _work(self) -> None:
        give_way()
        until = time.monotonic() + _IDLE
        try:
            while True:
                with self._changed:
                    over = self._sweep()
                    task = self._take()
                    if task is None and not over:
                        if self._closing.is_set() or (not self._runs and time.monotonic() > until):
                            return
                        self._idle += 1
                        self._changed.wait(LOOK / 2)
                        self._idle -= 1
                    elif task is not None:
                        self._hire()
                for run in over:
                    run.done.set()
                    run._ended(run)
                if task is not None:
                    self._do(*task)
                    until = time.monotonic() + _IDLE
                self._look_up()
        finally:
            with self._changed:
                self._threads -= 1
                self._changed.notify_all()

    def _take(self) -> tuple[Run, Wanted | None] | None:
        """What to do next: a file to fetch, or (None) a run to count. Call with the lock held."""
        for run in list(self._runs):
            if run.cancelled.is_set():
                continue
            wanted = None
            if run._counting:
                if sum(map(len, self._unkept.values())) >= UNKEPT:
                    return None
                wanted = run._line.next(self._large < LARGE)
                if wanted is None:
                    continue
                self._large += wanted.large
            run._counting = True
            run._open += 1
            self._runs.remove(run)
            self._runs.append(run)  # all in turn
            return run, wanted
        return None

    def _sweep(self) -> list[Run]:
        """Takes out what is done with. Call with the lock held."""
        now = time.monotonic()
        for cid, waiting in list(self._unkept.items()):
            for unkept in list(waiting):
                run, wanted = unkept.run, unkept.wanted
                if run.cancelled.is_set():
                    if unkept.read:
                        self._end(cid, unkept, "")
                elif unkept.read and unkept.answer is not None:
                    self._end(cid, unkept, "" if unkept.answer.place else f"not kept: {unkept.answer.why}")
                elif unkept.read and now > unkept.read + KEEPING + wanted.size / CHECKING:
                    self._end(cid, unkept, "it was read, and was not kept in time")
        over = [run for run in self._runs if not run._open and (run.cancelled.is_set() or run._line.over)]
        for run in over:
            self._runs.remove(run)
        return over

    def _end(self, cid: str, unkept: _Unkept, why: str) -> None:
        """A file that was read is done with. Call with the lock held."""
        self._unkept[cid].remove(unkept)
        if not self._unkept[cid]:
            del self._unkept[cid]
        run = unkept.run
        run._open -= 1
        if why:
            run.tally.fail(unkept.wanted.shown, why, 0)
        elif not run.cancelled.is_set():
            run.tally.kept()
        self._changed.notify_all()

    def _look_up(self) -> None:
        """Looks up whether files are kept of which nothing was heard for a while."""
        now = time.monotonic()
        with self._changed:
            if now - self._looked < LOOK:
                return
            self._looked = now
            old = [
                (cid, unkept)
                for cid, waiting in self._unkept.items()
                for unkept in waiting
                if unkept.read and now - unkept.read > LOOK
            ]
        for cid, unkept in old:
            keeping = self._keeping(cid)  # in this order: what was kept in between is here
            path = unkept.wanted.path
            if self._state(path, _known(unkept.wanted.entry, cid)) == "here":
                unkept.answer = unkept.answer or Kept(path, cid, "local")
            elif not keeping:
                unkept.answer = unkept.answer or Kept(path, cid, "", "there is no room for it")

    # One file, without the lock.

    def _do(self, run: Run, wanted: Wanted | None) -> None:
        if wanted is None:
            self._count(run)
            return
        offset, cid = [0], wanted.entry.cid
        unkept = _Unkept(run, wanted)
        why, kept = "", True
        try:
            if not wanted.entry.link and self._state(wanted.path, wanted.entry) != "here":
                kept = False
                if cid:  # before it is read: the scanner may be quick
                    self._expect(cid, unkept)
                cid = self._read(run, wanted, offset) or cid
                if not wanted.entry.cid:
                    self._expect(cid, unkept)
        except _Cancelled:
            pass
        except ShoalError as error:
            why = str(error)
        except Exception as error:
            log.exception("%s could not be fetched", printable(wanted.shown))
            why = f"an error inside the peer: {error!r}"
        with self._changed:
            self._large -= wanted.large
            waits = unkept in self._unkept.get(cid, ())
            if kept or not waits or why or run.cancelled.is_set():
                if waits:
                    self._unkept[cid].remove(unkept)
                    if not self._unkept[cid]:
                        del self._unkept[cid]
                run._open -= 1
                if why:
                    run.tally.fail(wanted.shown, why, max(0, wanted.size - offset[0]))
                elif kept:
                    run.tally.was_here(wanted.size)
            else:
                unkept.read = time.monotonic()
            self._changed.notify_all()

    def _expect(self, cid: str, unkept: _Unkept) -> None:
        with self._changed:
            self._unkept.setdefault(cid, []).append(unkept)

    def _count(self, run: Run) -> None:
        files = size = 0
        for wanted in run._files():
            files, size = files + 1, size + wanted.size
            if not files % 1000:
                if run.cancelled.is_set():
                    break
                run.tally.files_total, run.tally.bytes_total = files, size + run._found
        with self._changed:
            run.tally.files_total = files
            run.tally.bytes_total = size + run._found
            run.tally.counted = True
            run._open -= 1
            self._changed.notify_all()

    def _read(self, run: Run, wanted: Wanted, offset: list[int]) -> str:
        """Reads all of it, as far as `offset` says; its cid. Raises ShoalError, _Cancelled."""
        self._give_way(run)
        reader = self._open(wanted)
        try:
            if wanted.entry.size is None:
                with self._changed:
                    run._found += reader.size
                    run.tally.bytes_total += reader.size
            while True:
                size = min(CHUNK, reader.size - offset[0])
                self._wait(run, reader, offset[0], size)
                offset[0] += size
                with self._changed:
                    run.tally.read(size, time.monotonic())
                if offset[0] >= reader.size:
                    return reader.cid
                if self._busy():
                    reader.close()
                    self._give_way(run)
                    reader = self._open(wanted)
        finally:
            reader.close()

    def _give_way(self, run: Run) -> None:
        """Waits while somebody reads, but not for ever."""
        until = time.monotonic() + YIELD
        while self._busy() and time.monotonic() < until:
            if run.cancelled.wait(0.05):
                raise _Cancelled

    @staticmethod
    def _wait(run: Run, reader: Reader, offset: int, size: int) -> None:
        ended = threading.Event()
        errors: list[BaseException | None] = []

        def done(parts: Parts, error: BaseException | None) -> None:
            errors.append(error)
            ended.set()

        pending = reader.begin(offset, size, done)
        while not ended.wait(0.2):
            if run.cancelled.is_set():
                if pending is not None:
                    pending.forget()
                raise _Cancelled
        if run.cancelled.is_set():
            raise _Cancelled
        if errors[0] is not None:
            raise errors[0]


class _Cancelled(Exception):
    """Nobody wants it any more."""


def _known(entry: Entry, cid: str) -> Entry:
    """The entry, with its cid, which was not known for a file of the seed's protocol."""
    return entry if entry.cid else Entry(cid, entry.size, entry.mtime, entry.sha1)


def wanted(catalogue: Catalogue, paths: Iterable[str]) -> Iterator[Wanted]:
    """All files at and beneath these shown paths, as they are when the walk reaches them."""
    for path in paths:
        for shown, file in catalogue.walk(path):
            yield Wanted(shown, file.path, file.entry)
