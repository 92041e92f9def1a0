"""The walk over LOCAL, and what it finds different from the index.

`walk` goes through the tree in the order of the announced paths, through
directory descriptors, never along a link; `compare` merges it with the index's
rows, which come in the same order. So neither needs more memory than one
directory's names (a huge directory's are sorted on disk).

`judge` decides what becomes of one path, given its rows and what is there; pure.
"""

import os
import sqlite3
import stat
import unicodedata
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from peer.beneath import Beneath
from peer.share.index import Change, Known
from peer.share.local import identity
from peer.share.rows import Row
from shoal.errors import BadName
from shoal.manifest import DIR_CID, link_cid
from shoal.names import STATE_DIR, SafePath, safe_link, safe_path
from shoal.ownership import next_rev

NAMES_IN_MEMORY = 20_000
NOTHING_TTL_MS = 30 * 24 * 3600 * 1000
"""Milliseconds for which "nothing" is kept and announced."""

Skip = Callable[[str, str], None]
"""Told of a name on disk that cannot be shared, and why."""


@dataclass(slots=True)
class Found:
    """Something at `disk` (the name on disk) that is announced as `path`: no directory, or an empty one."""

    path: str
    disk: str
    status: os.stat_result


def announced_path(disk: str) -> SafePath:
    """The path that a file of this name (relative, surrogateescape) is announced as: its NFC form.

    Raises:
        BadName: it cannot be shared.
    """
    return safe_path(disk if disk.isascii() else unicodedata.normalize("NFC", disk))


def other_forms(name: str) -> list[str]:
    """The NFC and NFD forms of a name that are other names on disk, but the same path."""
    if name.isascii():
        return []
    return sorted({unicodedata.normalize(form, name) for form in ("NFC", "NFD")} - {name})


class Walk:
    """A walk over the tree at and beneath `prefix` (a name on disk; "" is the root).

    `enter` is called with each directory's descriptor and name before it is listed; `skip` with what cannot be shared.
    """

    def __init__(self, root: Beneath, prefix: str, enter: Callable[[int, str], None], skip: Skip) -> None:
        self._root, self._prefix, self._enter, self._skip = root, prefix, enter, skip

    def __iter__(self) -> Generator[Found, None, None]:
        """What is there, in the order of the announced paths."""
        if not self._prefix:
            yield from self._directory(os.dup(self._root.fd), "", "")
            return
        try:
            path = announced_path(self._prefix)
            fd, name = self._root.parent(self._prefix)
        except (OSError, BadName):
            return  # nothing there: rows beneath are looked at one by one
        try:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError:
                return
            yield from self._entry(fd, name, self._prefix, path, stat.S_ISDIR(status.st_mode))
        finally:
            os.close(fd)

    def _entry(self, fd: int, name: str, disk: str, path: str, is_dir: bool) -> Iterator[Found]:
        if is_dir:
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(name, flags, dir_fd=fd)
            except PermissionError:
                self._skip(disk, "a directory that cannot be read: Permission denied")
            except OSError:
                pass  # gone or swapped since it was listed: an event or the next walk tells
            else:
                yield from self._directory(inner, disk, path)
            return
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            return
        yield Found(path, disk, status)

    def _directory(self, fd: int, disk: str, path: str) -> Iterator[Found]:
        """Closes `fd` at its end."""
        try:
            self._enter(fd, disk)
            empty = True
            for name, part, is_dir in self._names(fd, disk, path):
                empty = False
                inner = f"{disk}/{name}" if disk else name
                yield from self._entry(fd, name, inner, f"{path}/{part}" if path else part, is_dir)
            if empty and path:
                yield Found(path, disk, os.fstat(fd))
        finally:
            os.close(fd)

    def _names(self, fd: int, disk: str, path: str) -> Iterator[tuple[str, str, bool]]:
        """(name, its NFC form, whether a directory) of all fit entries, in the order of the paths beneath."""
        with os.scandir(fd) as listing:
            entries = self._fit(listing, disk, path)
            first = list(islice(entries, NAMES_IN_MEMORY))
            if len(first) < NAMES_IN_MEMORY:
                yield from self._sorted(first, disk)
            else:
                yield from self._sorted_on_disk(chain(first, entries), disk)

    def _fit(self, listing: Iterator["os.DirEntry[str]"], disk: str, path: str) -> Iterator[tuple[str, str, bool]]:
        for entry in listing:
            name = entry.name
            if not disk and name == STATE_DIR:
                continue
            part = name if name.isascii() else unicodedata.normalize("NFC", name)
            try:
                safe_path(f"{path}/{part}" if path else part)
            except BadName as error:
                self._skip(f"{disk}/{name}" if disk else name, str(error))
                continue
            yield name, part, entry.is_dir(follow_symlinks=False)

    def _collides(self, disk: str, name: str) -> None:
        self._skip(f"{disk}/{name}" if disk else name, "another name beside it looks the same (Unicode NFC)")

    def _sorted(self, entries: list[tuple[str, str, bool]], disk: str) -> Iterator[tuple[str, str, bool]]:
        winners: dict[str, tuple[str, str, bool]] = {}
        for entry in sorted(entries, key=lambda entry: os.fsencode(entry[0])):
            if winners.setdefault(entry[1], entry) is not entry:
                self._collides(disk, entry[0])
        # A directory sorts by the paths beneath it: "a.b" < "a/…" < "a0".
        yield from sorted(winners.values(), key=lambda entry: entry[1] + "/" if entry[2] else entry[1])

    def _sorted_on_disk(self, entries: Iterator[tuple[str, str, bool]], disk: str) -> Iterator[tuple[str, str, bool]]:
        database = sqlite3.connect("", isolation_level=None)  # "": a temporary file
        try:
            database.execute("CREATE TABLE names (part TEXT, name BLOB, dir INTEGER, PRIMARY KEY (part, name))")
            rows = ((part, os.fsencode(name), is_dir) for name, part, is_dir in entries)
            database.execute("BEGIN")
            database.executemany("INSERT INTO names VALUES (?, ?, ?)", rows)
            query = (
                "SELECT part, name FROM names WHERE (part, name) NOT IN (SELECT part, MIN(name) FROM names GROUP BY 1)"
            )
            for _, raw in database.execute(query):
                self._collides(disk, os.fsdecode(raw))
            query = (
                "SELECT part, MIN(name), dir FROM names GROUP BY part"
                " ORDER BY CASE dir WHEN 1 THEN part || '/' ELSE part END"
            )
            for part, raw, is_dir in database.execute(query):
                yield os.fsdecode(raw), part, bool(is_dir)
        finally:
            database.close()


@dataclass(slots=True, frozen=True)
class Step:
    """One path of a comparison: `look` says that it is not as the index has it.

    `size` in bytes if it is a regular file, else -1.
    """

    disk: str
    look: bool
    size: int


def compare(found: Iterator[Found], known: Iterator[list[Known]]) -> Generator[Step, None, None]:
    """Merges what is on disk with the index's rows; both by path."""
    here, rows = next(found, None), next(known, None)
    while here is not None or rows is not None:
        if rows is None or (here is not None and here.path < rows[0].path):
            assert here is not None
            yield Step(here.disk, True, _size(here.status))
            here = next(found, None)
        elif here is None or rows[0].path < here.path:
            for row in rows:
                if row.place == "local":
                    yield Step(row.disk, True, -1)
            rows = next(known, None)
        else:
            yield Step(here.disk, not _same(here, rows), _size(here.status))
            here, rows = next(found, None), next(known, None)


def _size(status: os.stat_result) -> int:
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _same(found: Found, rows: list[Known]) -> bool:
    now = identity(found.status)
    if not stat.S_ISREG(found.status.st_mode):  # the size of a link or directory is not in its row
        now = (*now[:2], 0, *now[3:])
    local = [row for row in rows if row.place == "local"]
    if not local:
        return any(row.kind == "nothing" and row.identity[1::3] == now[1::3] for row in rows)
    return len(local) == 1 and local[0].identity == now and local[0].disk == found.disk


Verdict = Literal["same", "busy", "hash", "changed"]


def judge(
    path: SafePath, disk: str, rows: list[Row], status: os.stat_result | None, link: str, peer: str, now_ms: int
) -> tuple[Verdict, Change | None, str]:
    """What becomes of a path that is no directory, given all its rows and what is at `disk` now.

    `status` is None when nothing (or a directory) is there; `link` is the target if it is a link. Returns the verdict,
    the change of "changed", and why it cannot be shared ("" if it can). "busy": a move is under way; look again.
    """
    if any(row.state == "moving" for row in rows):
        return "busy", None, ""
    local = [row for row in rows if row.place == "local" and row.cid != DIR_CID]
    gone = [row.cid for row in local if row.disk == disk or status is not None]
    why = ""
    if status is not None:
        if forgotten(rows, status):
            why = ""
        elif stat.S_ISREG(status.st_mode):
            here = [row.cid for row in local if row.disk == disk and _identity(row) == identity(status)]
            if not here:
                return "hash", None, ""
            gone.remove(here[0])  # the others' place is taken
        elif stat.S_ISLNK(status.st_mode):
            try:
                target = safe_link(path, link)
            except BadName as error:
                why = str(error)
            else:
                return _judge_link(path, disk, rows, status, target, peer, now_ms)
        else:
            why = "neither a file, a directory nor a link"
    if not gone:
        return "same", None, why
    return "changed", Change(path, rows, gone=gone), why


def _judge_link(
    path: SafePath, disk: str, rows: list[Row], status: os.stat_result, target: str, peer: str, now_ms: int
) -> tuple[Verdict, Change | None, str]:
    row = Row(path, link_cid(target), "own", 0, status.st_mtime_ns, link=target)
    place(row, disk, status)
    if any(old.cid == row.cid and old.place == "local" and _identity(old) == _identity(row) for old in rows):
        return "same", None, ""
    return "changed", owned(path, rows, row, peer, now_ms), ""


def _identity(row: Row) -> tuple[int, int, int, int, int]:
    return row.dev, row.ino, row.size, row.mtime, row.ctime


def forgotten(rows: list[Row], status: os.stat_result) -> bool:
    """Whether what is there is what its owner withdrew, untouched since.

    By inode and ctime alone: any change moves the ctime, and a device number may change with a reboot.
    """
    _, ino, _, _, ctime = identity(status)
    return any(row.kind == "nothing" and (row.ino, row.ctime) == (ino, ctime) for row in rows)


def expired(row: Row, now_ms: int) -> bool:
    """Whether a row of kind "nothing" was kept for its 30 days."""
    return row.mtime // 1_000_000 + NOTHING_TTL_MS < now_ms


def place(row: Row, disk: str, status: os.stat_result) -> None:
    """Notes in the row where its file is."""
    row.place, row.disk = "local", disk
    row.dev, row.ino, _, _, row.ctime = identity(status)


def used_rev(rows: list[Row], peer: str) -> int:
    """The highest rev that this peer used at a path."""
    return max((row.revs.get(peer, 0) for row in rows if row.kind in ("own", "nothing", "gone")), default=0)


def owned(path: str, rows: list[Row], row: Row, peer: str, now_ms: int) -> Change:
    """The change by which `row` becomes this peer's own version of the path: the old ones go after it came."""
    row.kind = "own"
    for old in rows:
        if old.kind == "own" and (old.cid, old.mtime, old.x) == (row.cid, row.mtime, row.x):
            row.revs = old.revs  # the same version at the same time: nothing to tell
            break
    else:
        row.revs = {peer: next_rev(used_rev(rows, peer), 0, now_ms)}
    return Change(path, rows, [row], superseded_here(rows, row.cid, peer))


def superseded_here(rows: list[Row], cid: str, peer: str) -> list[str]:
    """The cids of the rows that end when `cid` takes a path in LOCAL."""
    return [
        row.cid
        for row in rows
        if row.cid != cid and (row.place == "local" or (row.kind == "nothing" and set(row.revs) == {peer}))
    ]
