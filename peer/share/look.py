"""Looks at one name on disk, or one directory, and collects the changes that follow.

The rows of a path are read first, then the disk; the change is applied only if
the rows are still those. A path whose file is being moved in is left alone
until it stands.

Threading: none; all of it belongs to the survey's thread.
"""

import errno
import heapq
import logging
import os
import stat
import time
from collections.abc import Callable

from peer.beneath import Beneath
from peer.share.hashers import Hashers
from peer.share.hashing import SETTLE, Hashed, NotHashed, settle_delay
from peer.share.index import Change, Index
from peer.share.local import identity
from peer.share.mark import get_mark
from peer.share.rows import Row
from peer.share.scan import announced_path, forgotten, judge, other_forms, owned, place
from peer.share.skips import Skips
from shoal.errors import BadName
from shoal.manifest import DIR_CID
from shoal.names import STATE_DIR, SafePath, safe_link

BATCH = 500
"""Changes of one transaction at most."""
WAITING_MAX = 50_000
"""Names that wait for their time; more are left to the next walk over everything."""
TORN_WAIT_MAX = 600.0
"""Seconds at most until a file that keeps changing while it is hashed is tried again."""
_ABSENT = (FileNotFoundError, NotADirectoryError, PermissionError)
_ELSEWHERE = (errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG)
_COLLIDES = "another name beside it looks the same (Unicode NFC)"
_NOT_WHOLE = "a download whose bytes are not what they were: remove or change it"
log = logging.getLogger(__name__)


class Looker:
    """What was looked at and what follows. `released` is told of contents whose copy inside `.shoal` may go."""

    def __init__(
        self,
        root: Beneath,
        index: Index,
        peer: str,
        hashers: Hashers,
        skips: Skips,
        released: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root, self._index, self._peer = root, index, peer
        self._hashers, self._skips, self._released, self._clock = hashers, skips, released, clock
        self.directories: set[str] = set()
        """Directories to look at: whether they are empty."""
        self.overflowed = False
        """Whether names were left to the next walk over everything."""
        self._changes: list[tuple[str, Change]] = []
        self._closed: set[str] = set()
        self._torn: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []

    # Names that wait for their time.

    def again(self, disk: str, wait: float) -> None:
        """Looks at this name again in `wait` seconds."""
        if len(self._due) >= WAITING_MAX:
            self.overflowed = True
            return
        self._due[disk] = due = time.monotonic() + wait
        heapq.heappush(self._queue, (due, disk))

    def next_due(self) -> float:
        """The monotonic time of the next name that waits; infinity if there is none."""
        return self._queue[0][0] if self._queue else float("inf")

    def look_due(self) -> None:
        """Looks at the names whose time has come."""
        now = time.monotonic()
        while self._queue and self._queue[0][0] <= now:
            due, disk = heapq.heappop(self._queue)
            if self._due.get(disk) == due:
                del self._due[disk]
                self.look(disk)

    def closed(self, disk: str) -> None:
        """A writer closed this file: it need not settle."""
        if len(self._closed) < WAITING_MAX:
            self._closed.add(disk)
        if disk not in self._torn:
            self._due.pop(disk, None)

    # Looking.

    def skip(self, disk: str, why: str) -> None:
        """What is at this name cannot be shared; the directory that it is in may count as empty now."""
        self._skips.add(disk, why)
        self.directories.add(os.path.dirname(disk))

    def look(self, disk: str) -> None:
        """Compares the index with what is at this name on disk."""
        if not disk or disk.partition("/")[0] == STATE_DIR:
            return
        try:
            self._look(disk)
        except OSError as error:  # the disk fails: what is there is unknown, and the rows stay
            self.skip(disk, _failure(error))

    def _look(self, disk: str) -> None:
        try:
            path = announced_path(disk)
        except BadName as error:
            if self._status(disk) is None:
                self._skips.discard(disk)
            else:
                self.skip(disk, str(error))
            return
        rows = self._index.at(path)
        status = self._status(disk)
        if status is not None and self._shadowed(disk, rows):
            self.skip(disk, _COLLIDES)
            return
        if status is None:
            for other in other_forms(disk):
                if self._status(other) is not None:
                    self._look(other)
        elif stat.S_ISDIR(status.st_mode):
            self.directories.add(disk)
            status = None
        if any(row.cid == DIR_CID and row.disk == disk for row in rows):
            self.directories.add(disk)
        self._judge(path, disk, rows, status)

    def _judge(self, path: SafePath, disk: str, rows: list[Row], status: os.stat_result | None) -> None:
        link = self._target(disk) if status is not None and stat.S_ISLNK(status.st_mode) else ""
        verdict, change, why = judge(path, disk, rows, status, link, self._peer, _now_ms())
        if why:
            self.skip(disk, why)
        elif verdict != "hash":
            self._skips.discard(disk)
        if verdict == "busy":
            self.again(disk, 0.3)
        elif verdict == "hash":
            assert status is not None
            self._hash(path, disk, status)
        elif change is not None:
            self._changes.append((disk, change))

    def _hash(self, path: SafePath, disk: str, status: os.stat_result) -> None:
        if disk in self._due:
            return
        closed = disk in self._closed
        wait = settle_delay(status.st_mtime_ns, status.st_ctime_ns, closed, self._clock())
        if wait > 0:
            self.again(disk, wait)
        else:
            self._hashers.put(disk, path, status.st_size, status.st_mtime_ns, closed)

    def _status(self, disk: str) -> os.stat_result | None:
        try:
            return self._root.lstat(disk)
        except _ABSENT:
            return None
        except OSError as error:
            if error.errno in _ELSEWHERE:
                return None
            raise

    def _target(self, disk: str) -> str:
        fd, name = self._root.parent(disk)
        try:
            return os.readlink(name, dir_fd=fd)
        except OSError:
            return ""  # no link any more: an event follows
        finally:
            os.close(fd)

    def _shadowed(self, disk: str, rows: list[Row]) -> bool:
        """Whether another name on disk is the same path and comes first by bytes."""
        pairs = [(row.disk, disk) for row in rows if row.place == "local" and row.disk != disk]
        if not disk.isascii():
            parts = disk.split("/")
            for n, part in enumerate(parts):
                pairs += [("/".join([*parts[:n], form]), "/".join(parts[: n + 1])) for form in other_forms(part)]
        return any(self._first_by_bytes(rival, mine) for rival, mine in pairs)

    def _first_by_bytes(self, rival: str, mine: str) -> bool:
        if os.fsencode(rival) > os.fsencode(mine):
            return False
        there, here = self._status(rival), self._status(mine)
        if there is None or here is None:
            return False
        # The same inode: the file system itself takes both names for one.
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    # What the hashers found.

    def take(self, result: Hashed | NotHashed) -> None:
        """Takes what became of a file that was to be hashed."""
        disk = result.disk
        if isinstance(result, Hashed):
            try:
                self._take_hashed(result)
            except OSError as error:
                self.skip(disk, _failure(error))
        elif result.why == "early":
            self.again(disk, result.wait)
        elif result.why == "torn":
            self._closed.discard(disk)
            tries = self._torn[disk] = self._torn.get(disk, -1) + 1
            self.again(disk, min(SETTLE * 2**tries, TORN_WAIT_MAX))
        elif result.why == "vanished":
            self.look(disk)
        elif result.why == "failed":
            self._cannot(disk, result.error)

    def _cannot(self, disk: str, why: str) -> None:
        self.skip(disk, why)
        path = announced_path(disk)
        rows = self._index.at(path)
        gone = [row.cid for row in rows if row.place == "local" and row.disk == disk and row.state == "ok"]
        self._changes.append((disk, Change(path, rows, gone=gone)))

    def _take_hashed(self, result: Hashed) -> None:
        disk, status, cid = result.disk, result.status, result.manifest.cid
        path = announced_path(disk)
        rows = self._index.at(path)
        now = self._status(disk)
        if now is None or identity(now) != identity(status) or any(row.state == "moving" for row in rows):
            self.look(disk)
            return
        if forgotten(rows, now) or self._shadowed(disk, rows):
            return
        self._torn.pop(disk, None)
        self._closed.discard(disk)
        mark = result.mark
        if mark is not None and not mark.is_of(cid):
            self._cannot(disk, _NOT_WHOLE)  # torn by a crash: neither what was kept nor the user's
            return
        self._skips.discard(disk)
        x = bool(status.st_mode & stat.S_IXUSR)
        row = Row(path, cid, "copy", status.st_size, status.st_mtime_ns, result.manifest.sha1, x)
        place(row, disk, status)
        copies = [old for old in rows if (old.kind, old.place, old.cid, old.mtime) == ("copy", "local", cid, row.mtime)]
        if mark is not None or copies:
            row.revs = copies[0].revs if copies else mark.revs if mark else {}
            gone = [old.cid for old in rows if old.place == "local" and old.cid != cid]
            change = Change(path, rows, [row], gone)
        else:
            change = owned(path, rows, row, self._peer, _now_ms())
        change.manifest = result.manifest
        self._changes.append((disk, change))

    # Directories.

    def _look_directory(self, disk: str) -> None:
        """Empty directories are rows; one with anything announced beneath it is not."""
        if not disk or disk.partition("/")[0] == STATE_DIR:
            return
        try:
            path = announced_path(disk)
        except BadName:
            return
        rows = self._index.at(path)
        mine = [row for row in rows if row.cid == DIR_CID and row.place == "local"]
        row = None
        if not self._index.has_below(path):
            try:
                fd = self._root.open_dir(disk)
            except OSError as error:
                if not isinstance(error, _ABSENT) and error.errno not in _ELSEWHERE:
                    raise
                self.directories.add(os.path.dirname(disk))
            else:
                try:
                    row = self._empty(fd, path, disk, rows, mine)
                finally:
                    os.close(fd)
        if row is None and mine:
            self._changes.append((disk, Change(path, rows, gone=[DIR_CID])))
        elif row is not None and row not in mine:
            self._changes.append((disk, owned(path, rows, row, self._peer, _now_ms())))

    def _empty(self, fd: int, path: SafePath, disk: str, rows: list[Row], mine: list[Row]) -> Row | None:
        """The row that an open directory with nothing announced beneath it should have."""
        status = os.fstat(fd)
        if get_mark(fd, self._peer, path, 0) is not None or forgotten(rows, status) or self._shadowed(disk, rows):
            return None
        with os.scandir(fd) as entries:
            if any(self._counts(f"{disk}/{entry.name}", entry) for entry in entries):
                return mine[0] if mine else None  # what is in it comes soon: then the row goes
        row = Row(path, DIR_CID, "own", 0, status.st_mtime_ns)
        place(row, disk, status)
        same = [
            old for old in mine if (old.dev, old.ino, old.mtime, old.ctime) == (row.dev, row.ino, row.mtime, row.ctime)
        ]
        return same[0] if same else row

    def _counts(self, disk: str, entry: "os.DirEntry[str]") -> bool:
        """Whether something in a directory is, or will be, announced."""
        if disk in self._skips:
            return False
        try:
            path = announced_path(disk)
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                safe_link(path, self._target(disk))
        except (BadName, OSError):
            return False
        fit = stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode)
        return fit and not forgotten(self._index.at(path), status)

    # Changes.

    def change(self, disk: str, change: Change) -> None:
        """Takes a change that somebody else found."""
        self._changes.append((disk, change))

    @property
    def pending(self) -> bool:
        """Whether there are changes to apply or directories to look at."""
        return bool(self._changes or self.directories)

    @property
    def full(self) -> bool:
        """Whether there are enough changes for a transaction."""
        return len(self._changes) >= BATCH

    def flush(self) -> None:
        """Applies what was collected.

        Raises:
            LocalError: the disk refuses; what was collected is dropped.
        """
        directories, self.directories = self.directories, set()
        for disk in directories:
            try:
                self._look_directory(disk)
            except OSError as error:
                self.skip(disk, _failure(error))
        batch, self._changes = self._changes[:BATCH], self._changes[BATCH:]
        if not batch:
            return
        try:
            refused = {id(change) for change in self._index.apply([change for _, change in batch])}
        except BaseException:
            self._changes.clear()
            raise
        for disk, change in batch:
            if id(change) in refused:
                self.look(disk)
                continue
            self.directories.add(os.path.dirname(disk))
            taken = {row.cid for row in change.put} | set(change.gone)
            for row in change.seen:
                if row.place == "inside" and row.cid in taken:
                    self._released(row.cid)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _failure(error: OSError) -> str:
    return f"cannot be read: {os.strerror(error.errno or 0)}"
