"""Keeps the index true to the disk: one thread that looks.

What it looks at comes from walks (everything at the start and from time to
time, a new directory at once), from the watch's hints, from the hashers'
results, and from whoever asks. A walk over everything costs at most 1 % of a
CPU: the pause after it is a hundred times the CPU time that it took. It goes on
step by step, so that hints never wait for its end.

Threading: `look`, `rescan`, `start` and `stop` from any thread; all else on the survey's own.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from peer.beneath import Beneath
from peer.messages import Message, Progress
from peer.priority import idle_disk
from peer.share.hashers import Hashers
from peer.share.hashing import Hashed
from peer.share.index import Change, Index
from peer.share.look import BATCH, Looker
from peer.share.scan import Step, Walk, announced_path, compare, expired, forgotten
from peer.share.skips import Skips
from peer.share.watch import Watch
from shoal.errors import BadName, LocalError

COMMIT_EVERY = 0.1
"""Seconds after which hashed files are committed although more are coming."""
PAUSE_MIN = 60.0
"""Seconds between two walks over everything, at least."""
PAUSE_FACTOR = 100
"""The pause after a walk over everything, in units of the CPU time that it took."""
RETRY = 5.0
"""Seconds until everything is looked at again after the index's disk refused."""
SAY_EVERY = 0.25
STEP = 0.05
"""Seconds for which a walk goes on before hints and results have their turn."""
log = logging.getLogger(__name__)


class Pass:
    """A walk under way, at and beneath `disk` ("" for everything), compared with the index."""

    def __init__(self, root: Beneath, index: Index, disk: str, watch: Watch, looker: Looker) -> None:
        self.disk, self.cpu = disk, 0.0
        self._found = iter(Walk(root, disk, watch.add, looker.skip))
        self._known = index.known(announced_path(disk) if disk else "")
        self._steps = compare(self._found, self._known)

    def next(self) -> Step | None:
        """The next path, or None at the end."""
        return next(self._steps, None)

    def close(self) -> None:
        """Gives the walk's descriptors back."""
        self._steps.close()
        self._found.close()
        self._known.close()


class Survey:
    """The thread that looks. `say` takes `Progress` and `Skipped`; `released` as in `Looker`."""

    def __init__(
        self,
        root: Beneath,
        index: Index,
        peer: str,
        say: Callable[[Message], None],
        released: Callable[[str], None] = lambda cid: None,
    ) -> None:
        self._root, self._index, self._say = root, index, say
        self._wake = threading.Event()
        self._stopping = False
        self._asked: deque[tuple[str, bool]] = deque()
        self._watch = Watch(self._wake.set)
        self._hashers = Hashers(root, peer, self._wake.set)
        self._skips = Skips(say)
        self._looker = Looker(root, index, peer, self._hashers, self._skips, released)
        self._trees: dict[str, None] = {}
        self._passes: list[Pass] = []
        self._next_full = 0.0
        self._taken = time.monotonic()
        self._first = True
        self._files = self._files_total = self._bytes = self._bytes_total = 0
        self._said = 0.0
        self._refused = False
        self._thread = threading.Thread(target=self._run, name="survey", daemon=True)

    def start(self) -> None:
        """Starts the threads."""
        self._watch.start()
        self._hashers.start()
        self._thread.start()

    def stop(self) -> None:
        """Ends the threads; what is half done is done after the next start."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self._hashers.stop()
        self._watch.stop()

    def look(self, disk: str) -> None:
        """Asks to look at this name on disk."""
        self._asked.append((disk, False))
        self._wake.set()

    def rescan(self, disk: str) -> None:
        """Asks to walk all that is at and beneath this name on disk ("": everything)."""
        self._asked.append((disk, True))
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            self._take_hints()
            self._looker.look_due()
            with idle_disk():  # but not while it writes the index: those who keep a download wait for that
                self._walk()
            self._take_results()
            try:
                self._looker.flush()
                self._refused = False
            except LocalError as error:
                self._disk_refused(error)
            self._say_progress()
            self._wake.wait(self._timeout())
            self._wake.clear()  # what was asked before this is seen by the next round, `stop` too
        self._end_passes()

    def _timeout(self) -> float:
        if self._looker.pending or self._trees or (self._passes and self._hashers.room):
            return 0
        if self._hashers.ready:
            return COMMIT_EVERY / 4
        now = time.monotonic()
        due = self._looker.next_due()
        if not self._passes:
            due = min(due, self._next_full)
        return max(0.0, min(due - now, SAY_EVERY if self._first else 3600.0))

    def _disk_refused(self, error: LocalError) -> None:
        """Nothing is lost but work: what the index could not take is found again by the next walk."""
        if not self._refused:
            log.error("%s; trying again every %.0f s", error, RETRY)
        self._refused = True
        self._end_passes()
        self._next_full = time.monotonic() + RETRY

    def _take_hints(self) -> None:
        hints = self._watch.take()
        if hints.lost:
            log.info("file system events were lost: looking at everything again")
            self._next_full = 0.0
        for disk, closed in hints.files.items():
            if closed:
                self._looker.closed(disk)
            self._look(disk)
        self._trees.update(dict.fromkeys(hints.trees))
        while self._asked:
            disk, tree = self._asked.popleft()
            if not tree:
                self._look(disk)
            elif disk:
                self._trees[disk] = None
            else:
                self._next_full = 0.0
        if self._looker.overflowed:
            self._looker.overflowed = False
            self._next_full = min(self._next_full, time.monotonic() + RETRY)

    def _look(self, disk: str) -> None:
        self._looker.look(disk)
        self._looker.directories.add(os.path.dirname(disk))

    def _take_results(self) -> None:
        now = time.monotonic()
        if self._hashers.ready < BATCH and not self._hashers.drained and now - self._taken < COMMIT_EVERY:
            return
        self._taken = now
        for result in self._hashers.take(BATCH):
            self._looker.take(result)
            if self._first:
                self._files += 1
                self._bytes += result.status.st_size if isinstance(result, Hashed) else 0

    # Walks.

    def _walk(self) -> None:
        """Goes on with a walk for a little while; one over a new directory goes before one over everything."""
        if self._trees and len(self._passes) < 2:
            self._begin_tree()
        elif not self._passes and time.monotonic() >= self._next_full:
            self._next_full = float("inf")
            self._watch.begin()
            self._skips.begin()
            self._passes.append(Pass(self._root, self._index, "", self._watch, self._looker))
        if not self._passes:
            return
        current = self._passes[-1]
        began, deadline = time.thread_time(), time.monotonic() + STEP
        step: Step | None = None
        while self._hashers.room and not self._looker.full and time.monotonic() < deadline:
            step = current.next()
            if step is None:
                break
            if self._first:
                self._count(step)
            if step.look:
                self._looker.look(step.disk)
        else:
            current.cpu += time.thread_time() - began
            return
        current.cpu += time.thread_time() - began
        self._end(current)

    def _begin_tree(self) -> None:
        disk = next(iter(self._trees))
        del self._trees[disk]
        try:
            announced_path(disk)
        except BadName:
            self._looker.look(disk)  # which says why
            return
        self._looker.directories.update((disk, os.path.dirname(disk)))
        self._passes.append(Pass(self._root, self._index, disk, self._watch, self._looker))

    def _count(self, step: Step) -> None:
        if step.size < 0:
            return
        self._files_total += 1
        self._bytes_total += step.size
        if not step.look:
            self._files += 1
            self._bytes += step.size

    def _end(self, ended: Pass) -> None:
        self._passes.remove(ended)
        ended.close()
        if ended.disk:
            return
        self._watch.sweep()
        self._skips.sweep()
        self._drop_expired()
        pause = max(PAUSE_MIN, PAUSE_FACTOR * ended.cpu)
        if self._hashers.forgot:
            self._hashers.forgot, pause = False, RETRY
        self._next_full = min(self._next_full, time.monotonic() + pause)

    def _end_passes(self) -> None:
        while self._passes:
            self._passes.pop().close()

    def _drop_expired(self) -> None:
        """Drops what was withdrawn 30 days ago, unless the withdrawn file is still there."""
        now_ms = time.time_ns() // 1_000_000
        for row in self._index.withdrawn():
            if not expired(row, now_ms):
                continue
            try:
                kept = forgotten([row], self._root.lstat(row.disk or row.path))
            except OSError:
                kept = False
            if not kept:
                self._looker.change(row.path, Change(row.path, self._index.at(row.path), gone=[row.cid]))

    def _say_progress(self) -> None:
        now = time.monotonic()
        if not self._first or now - self._said < SAY_EVERY:
            return
        done = not any(not p.disk for p in self._passes) and self._next_full > now and self._hashers.idle
        self._said, self._first = now, not done
        files, size = min(self._files, self._files_total), min(self._bytes, self._bytes_total)
        self._say(Progress(files, self._files_total, size, self._bytes_total, done))
