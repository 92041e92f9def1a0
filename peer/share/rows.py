"""The index's rows, and how every process reads them.

SQLite in WAL mode: one writer (`peer.share.index`, in the scanner), any number
of readers that never block it. Each change of a row takes the next sequence
number, so "what changed since N" is a query and nobody keeps a list in memory.

    rows       one for each (path, cid): what is at a path, or was
    manifests  the manifests of all whole contents
    pins       paths, of files and folders, that are kept on purpose
    meta       sequence, digest

Threading: an `IndexReader` may be used by any thread; a lock guards its connection.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from shoal.manifest import DIR_CID
from shoal.wire import Item

SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
  path TEXT NOT NULL, cid TEXT NOT NULL, kind TEXT NOT NULL,
  size INTEGER NOT NULL, mtime INTEGER NOT NULL, sha1 TEXT NOT NULL, x INTEGER NOT NULL, link TEXT NOT NULL,
  revs TEXT NOT NULL, sequence INTEGER NOT NULL,
  place TEXT NOT NULL, disk TEXT NOT NULL,
  dev INTEGER NOT NULL, ino INTEGER NOT NULL, ctime INTEGER NOT NULL, state TEXT NOT NULL,
  pinned INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (path, cid)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rows_by_cid ON rows (cid);
CREATE UNIQUE INDEX IF NOT EXISTS rows_by_sequence ON rows (sequence);
CREATE TABLE IF NOT EXISTS manifests (cid TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pins (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_KEPT = f"kind IN ('own', 'copy') AND state != 'moving' AND place != '' AND link = '' AND cid != '{DIR_CID}'"
COLUMNS = "path, cid, kind, size, mtime, sha1, x, link, revs, sequence, place, disk, dev, ino, ctime, state, pinned"


@dataclass(slots=True)
class Row:
    """What is, or was, at a path. Times in nanoseconds since 1970, sizes in bytes.

    `kind`: as `wire.Item`, or "gone": it was here; told once as a drop.
    `place`: "local": the file `LOCAL/<disk>`; "inside": `.shoal/copies/<cid>`; "": no file.
    `disk` is the name on disk (surrogateescape), which may be another Unicode form than `path`.
    `state`: "ok", "moving" while a rename is under way, or "rotten": an own file whose bytes are not what they were,
    though nobody changed it: it is not told, and given to nobody.
    """

    path: str
    cid: str
    kind: Literal["own", "copy", "partial", "nothing", "gone"]
    size: int
    mtime: int
    sha1: str = ""
    x: bool = False
    link: str = ""
    revs: dict[str, int] = field(default_factory=dict)
    sequence: int = 0
    place: Literal["local", "inside", ""] = ""
    disk: str = ""
    dev: int = 0
    ino: int = 0
    ctime: int = 0
    state: Literal["ok", "moving", "rotten"] = "ok"
    pinned: bool = False
    """Whether there is a pin at its path or above. The index sets it."""

    @property
    def announced(self) -> bool:
        """Whether the tracker is told of it."""
        return self.kind != "gone" and self.state == "ok"

    @property
    def is_file(self) -> bool:
        """Whether there are bytes of it on this disk."""
        return self.place != "" and not self.link and self.cid != DIR_CID

    def item(self) -> Item:
        """The line of the peer's list that says so; not for "gone"."""
        assert self.kind != "gone"
        pinned = self.pinned and self.kind in ("own", "copy")
        return Item(
            self.path, self.cid, self.kind, self.size, self.mtime, self.sha1, self.x, self.link, self.revs, pinned
        )


def row_of(values: Sequence[Any]) -> Row:
    """The row of a SELECT of `COLUMNS`."""
    row = Row(*values)
    row.x, row.pinned = bool(row.x), bool(row.pinned)
    row.revs = msgspec.json.decode(values[8], type=dict[str, int])
    return row


class IndexReader:
    """Reads the index. The file must exist (the scanner makes it before it says `Opened`)."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA query_only=1")
        self._lock = threading.Lock()

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self._db.close()

    def _rows(self, where: str, *values: object) -> list[Row]:
        with self._lock:
            found = self._db.execute(f"SELECT {COLUMNS} FROM rows WHERE {where}", values).fetchall()
        return [row_of(values) for values in found]

    def at(self, path: str) -> list[Row]:
        """All rows of a path, "gone" ones too."""
        return self._rows("path = ?", path)

    def of(self, cid: str, limit: int = -1) -> list[Row]:
        """The rows that hold this content on disk, as files that are not rotten: all of them, or so many."""
        found = self._rows("cid = ? AND kind IN ('own', 'copy') AND state != 'rotten' LIMIT ?", cid, limit)
        return [row for row in found if row.is_file]

    def of_each(self, cids: Sequence[str], limit: int) -> list[Row]:
        """Rows that hold any of these contents on disk, as files: so many at most, of whichever comes first."""
        marks = ",".join("?" * len(cids))
        rows = self._rows(f"cid IN ({marks}) AND kind IN ('own', 'copy') LIMIT ?", *cids, limit)
        return [row for row in rows if row.is_file]

    def changes(self, after: int, limit: int) -> list[Row]:
        """Rows changed after that sequence number, oldest change first, "gone" ones too."""
        return self._rows("sequence > ? ORDER BY sequence LIMIT ?", after, limit)

    def listed(self, page: int = 1000) -> Iterator[list[Row]]:
        """All announced rows by path, in pages; not one snapshot: changes made meanwhile may show or not."""
        path, cid = "", ""
        while rows := self._rows("(path, cid) > (?, ?) ORDER BY path, cid LIMIT ?", path, cid, page):
            path, cid = rows[-1].path, rows[-1].cid
            yield [row for row in rows if row.announced]

    def state(self) -> tuple[int, str, int]:
        """(sequence, digest of the announced list at it, the oldest sequence that `changes` can answer from)."""
        with self._lock:
            meta = dict(self._db.execute("SELECT key, value FROM meta WHERE key IN ('sequence', 'digest', 'oldest')"))
        return int(meta.get("sequence", 0)), meta.get("digest", ""), int(meta.get("oldest", 0))

    def manifest(self, cid: str) -> bytes | None:
        """The manifest's bytes, if that content is here whole."""
        with self._lock:
            found = self._db.execute("SELECT body FROM manifests WHERE cid = ?", (cid,)).fetchone()
        return found[0] if found else None

    def kept(self, path: str, cid: str, prefix: str, limit: int) -> list[Row]:
        """The next rows after (path, cid), by that, that are files on this disk at and beneath `prefix` ("": all)."""
        where, values = beneath(prefix)
        return self._rows(
            f"(path, cid) > (?, ?) AND {_KEPT} AND {where} ORDER BY path, cid LIMIT ?", path, cid, *values, limit
        )

    def weight(self, prefix: str) -> tuple[int, int]:
        """(number, bytes) of the files on this disk at and beneath `prefix` ("": all)."""
        where, values = beneath(prefix)
        query = f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM rows WHERE {_KEPT} AND {where}"
        with self._lock:
            count, size = self._db.execute(query, values).fetchone()
        return int(count), int(size)

    def rotten(self, limit: int = -1) -> list[Row]:
        """Own files that are rotten, by path: all of them, or so many."""
        return self._rows("state = 'rotten' ORDER BY path LIMIT ?", limit)

    def copies(self, cid: str = "") -> list[tuple[str, int, bool]]:
        """(cid, bytes on disk of its copies, whether it is pinned) of all contents that are kept of others, in whole
        or in part, the oldest first; or of this one.

        The copies of one content inside `.shoal` are one file. Those that are just being moved count.
        """
        query = (
            "SELECT cid, (SUM(place = 'local') + MAX(place = 'inside')) * ((MAX(size) + 4095) / 4096), MAX(pinned)"
            " FROM rows WHERE kind IN ('copy', 'partial') AND cid >= ? AND cid <= ? GROUP BY cid ORDER BY MAX(ctime)"
        )
        with self._lock:
            found = self._db.execute(query, (cid, cid or "g")).fetchall()
        return [(cid, int(blocks) * 4096, bool(pinned)) for cid, blocks, pinned in found]

    def beneath(self, path: str, cid: str = "", after: str = "", limit: int = -1) -> list[Row]:
        """What is here of files at and beneath a path ("": everything), in whole or in part, by path; of one content
        if that is given; above the path `after`.
        """
        where, values = _files(path, cid)
        return self._rows(f"{where} AND path > ? ORDER BY path, cid LIMIT ?", *values, after, limit)

    def held(self, path: str, cid: str = "") -> dict[str, tuple[int, int]]:
        """(files, their bytes) of one's "own", of "copies", and of those that are "pinned", at and beneath a path."""
        where, values = _files(path, cid)
        query = (
            "SELECT SUM(kind = 'own'), SUM((kind = 'own') * size), SUM(kind = 'copy'), SUM((kind = 'copy') * size),"
            " SUM((kind = 'copy') * pinned), SUM((kind = 'copy') * pinned * size) FROM rows WHERE "
        )
        with self._lock:
            found = [int(value or 0) for value in self._db.execute(query + where, values).fetchone()]
        return {"own": (found[0], found[1]), "copies": (found[2], found[3]), "pinned": (found[4], found[5])}

    def partial_cids(self, path: str, cid: str = "") -> list[str]:
        """The contents of which there are parts at and beneath a path."""
        where, values = _files(path, cid)
        query = f"SELECT DISTINCT cid FROM rows WHERE {where} AND kind = 'partial'"
        with self._lock:
            return [cid for (cid,) in self._db.execute(query, values)]

    def pins(self) -> list[str]:
        """The pinned paths, sorted."""
        with self._lock:
            return [path for (path,) in self._db.execute("SELECT path FROM pins ORDER BY path")]

    def totals(self) -> tuple[int, int, int, int]:
        """(own files, their bytes, copies, their bytes)."""
        query = (
            "SELECT kind, COUNT(*), SUM(size) FROM rows WHERE kind IN ('own', 'copy') AND state = 'ok' GROUP BY kind"
        )
        with self._lock:
            found = {kind: (int(count), int(size)) for kind, count, size in self._db.execute(query)}
        return (*found.get("own", (0, 0)), *found.get("copy", (0, 0)))


def _files(path: str, cid: str) -> tuple[str, list[object]]:
    """A condition for files at and beneath a path, of one content if that is given, and its values."""
    where, values = beneath(path)
    where = f"kind IN ('own', 'copy', 'partial') AND sha1 != '' AND {where}"
    return (f"{where} AND cid = ?", [*values, cid]) if cid else (where, [*values])


def beneath(prefix: str) -> tuple[str, tuple[str, ...]]:
    """A condition for paths at and beneath a prefix ("": all), and its values."""
    if not prefix:
        return "1", ()
    return "(path = ? OR (path > ? AND path < ?))", (prefix, prefix + "/", prefix + "0")  # "0" follows "/"
