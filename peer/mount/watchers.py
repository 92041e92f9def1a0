"""Wakes those who watch directories of the mount when something changed there elsewhere.

For each change in a directory that somebody has an inotify watch on, the
helper does the like of it through the mount (see `acts`), and the kernel tells
the watchers. In directories that nobody watches nothing is done. Changes of
one path that come together are one; what is undone before its turn is none.

A folder that is new here may be watched from the moment its watcher heard of
it. What came with it is not made once more then, as he finds it there: it is
written to, a moment later.

The mount never waits for any of this.

Threading: one thread of its own, and the helper's.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from peer.catalogue.difference import Difference
from peer.mount import protocol
from peer.mount.acts import MAKES, Act, Acted, Acts, difference, in_order, replaced
from peer.mount.stage import Stage
from peer.mount.table import Table
from peer.mount.watched import watched_inodes
from peer.process import Helper
from peer.vfs import Vfs
from shoal.names import printable

PAUSE = 0.25
"""Seconds between two looks at who watches, at least."""
SHARE = 0.1
"""Part of the time that may be spent with looking."""
SETTLING = 1.0
"""Seconds that a watcher has for watching a new folder too."""
BATCH = 64
"""Acts sent at once."""
PATIENCE = 5.0
"""Seconds after which a helper that does nothing is ended."""
TRIES = 4
"""How often something is made that another program has just looked up again."""
log = logging.getLogger(__name__)


class Watchers:
    """Tells them."""

    def __init__(self, vfs: Vfs, table: Table, stage: Stage, write: Callable[[bytes], object], point: str) -> None:
        """`write` gives the kernel a message; `point` is the mount's path without links."""
        self._vfs, self._table, self._stage, self._write, self._point = vfs, table, stage, write, point
        self._device = 0
        self._lock = threading.Condition()
        self._pending = Difference()
        self._closed = False
        self._new: dict[str, float] = {}
        """What came with new folders, and until when it is looked whether they are watched."""
        self._looked = 0.0
        self._helper: Helper[Acts, Acted] | None = None
        self._starts = 0
        self._results: list[str] = []
        self._thread = threading.Thread(target=self._run, name="mount-watchers", daemon=True)

    def start(self, device: int) -> None:
        """Begins; `device` is the mount's st_dev."""
        self._device = device
        self._thread.start()

    def changed(self, difference: Difference) -> None:
        """Something else is shown now. Quick."""
        with self._lock:
            self._pending.follow(difference)
            self._lock.notify_all()

    def close(self) -> None:
        """Tells nothing more."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        if self._thread.ident is not None:
            self._thread.join(1.0)
        if self._helper is not None:
            self._helper.stop(1.0)

    def _run(self) -> None:
        while (changes := self._next()) is not None:
            try:
                self._tell(changes)
            except Exception:
                log.exception("those who watch the mount could not be told of changes")

    def _next(self) -> Difference | None:
        """What changed, when there is something to look at again; None when it is over."""
        with self._lock:
            while not self._closed:
                now = time.monotonic()
                due = self._looked if self._pending or self._new else None
                if due is not None and now >= due:
                    changes, self._pending = self._pending, Difference()
                    return changes
                self._lock.wait(None if due is None else due - now)
            return None

    def _tell(self, changes: Difference) -> None:
        began = time.monotonic()
        watched = watched_inodes(self._device)
        ended = time.monotonic()
        self._looked = ended + max(PAUSE, (ended - began) / SHARE)
        found = [path for path in self._new if self._parent(path) in watched]
        self._new = {path: until for path, until in self._new.items() if until > ended and path not in found}
        settled = [Act("modify", path) for path in found if self._is_file(path)]
        acts: list[Act] = []
        if watched:
            for path in {**changes.paths, **changes.folders}:
                folder = path.rpartition("/")[0]
                if not watched.isdisjoint((self._table.id_of(folder), *self._ids(path))):
                    acts += self._difference(path, changes, watched)
                elif changes.folders.get(folder) is False:
                    self._new[path] = ended + SETTLING
        for batch in _batches(list(chain(settled, in_order(acts)))):
            self._play(batch)

    def _difference(self, path: str, changes: Difference, watched: set[int]) -> list[Act]:
        before = self._vfs.sights(path, changes.paths.get(path), changes.folders.get(path))
        acts = difference(before, self._vfs.sights(path))
        if self._table.gone_id_of(path) in watched:
            # Who watches a file itself watches a version of it, and is to look for the next one.
            acts = [new for act in acts for new in (replaced(act) if act.kind == "modify" else (act,))]
        return acts

    def _ids(self, path: str) -> tuple[int, int]:
        return self._table.id_of(path), self._table.gone_id_of(path)

    def _parent(self, path: str) -> int:
        return self._table.id_of(path.rpartition("/")[0])

    def _is_file(self, path: str) -> bool:
        sight = self._vfs.sights(path).get(path)
        return sight is not None and sight.kind == "file"

    def _play(self, acts: Sequence[Act]) -> None:
        """Has the helper do this, and waits until it did, or could not."""
        for _ in range(TRIES):
            acts = self._attempt(acts)
            if not acts:
                return

    def _attempt(self, acts: Sequence[Act]) -> Sequence[Act]:
        """The same once; what is to be done again."""
        helper = self._ready_helper()
        if helper is None:
            return acts
        for act in acts:
            folder, _, name = act.path.rpartition("/")
            parent = self._table.id_of(folder)
            if parent and act.kind != "touch":
                self._write(protocol.inval_entry(parent, os.fsencode(name)))
        with self._lock:
            self._results.clear()
            starts = self._starts
        self._stage.expect(helper.pid, acts)
        if helper.send(Acts(self._point, self._device, list(acts))):
            self._await(len(acts), starts, helper.pid)
        else:
            with self._lock:
                self._lock.wait_for(lambda: self._closed or self._starts != starts, PATIENCE)
        self._stage.expect(0, ())
        with self._lock:
            results = list(self._results)
        again = list(acts[len(results) :])
        for act, why in zip(acts, results, strict=False):
            if why == "there" and act.kind in MAKES:
                again.append(act)
            elif why:
                log.debug("nobody is told of %s: %s", printable(act.path), why)
        return again

    def _await(self, count: int, starts: int, pid: int) -> None:
        """Returns when so many acts are done, or the helper is another, or it is over."""
        with self._lock:
            done = 0
            while len(self._results) < count and self._starts == starts and not self._closed:
                if self._lock.wait(PATIENCE):
                    continue
                if len(self._results) == done:
                    log.warning("the helper that wakes watchers hangs; ending it")
                    os.kill(pid, signal.SIGKILL)
                    return
                done = len(self._results)

    def _ready_helper(self) -> Helper[Acts, Acted] | None:
        """The helper, running; None if it is over, or it cannot be started."""
        if self._helper is None:
            self._helper = Helper("peer.mount.actor", [], Acted, self._acted, self._started)
            self._helper.start()
        with self._lock:
            self._lock.wait_for(lambda: self._closed or self._starts > 0, PATIENCE)
            return self._helper if self._starts and not self._closed else None

    def _started(self) -> None:
        with self._lock:
            self._starts += 1
            self._lock.notify_all()

    def _acted(self, message: Acted) -> None:
        with self._lock:
            self._results.append(message.why)
            self._lock.notify_all()


def _batches(acts: list[Act]) -> Iterator[list[Act]]:
    for at in range(0, len(acts), BATCH):
        yield acts[at : at + BATCH]
