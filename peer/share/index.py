"""The index's only writer.

A `Change` is all that happens to one path in one step: rows put, rows gone, a
manifest stored. `Index.apply` makes any number of them in one transaction, in
which sequence and digest move along, so a crash leaves all of it or nothing.

A change is made from the rows that its maker saw; when they are others by the
time it is applied, it is refused and its maker looks again. So nobody holds
the writer while looking at the disk.

Threading: any thread may call anything; one lock guards the connection and is
held for one transaction at most.
"""

import sqlite3
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

import msgspec

from peer.share.pins import covers
from peer.share.rows import COLUMNS, SCHEMA, IndexReader, Row, beneath, row_of
from shoal.errors import LocalError
from shoal.manifest import Manifest
from shoal.wire import Digest

GONE_MAX = 20_000
"""Rows that are "gone" are kept for deltas up to this number; then the older half is pruned."""
PAGE = 1000
_PINNED = ("own", "copy", "partial")

_INDEXES = """
CREATE INDEX IF NOT EXISTS rows_gone ON rows (sequence) WHERE kind = 'gone';
CREATE INDEX IF NOT EXISTS rows_nothing ON rows (path) WHERE kind = 'nothing';
CREATE INDEX IF NOT EXISTS rows_moving ON rows (path) WHERE state = 'moving';
CREATE INDEX IF NOT EXISTS rows_copies ON rows (sequence) WHERE kind = 'copy';
CREATE INDEX IF NOT EXISTS rows_partial ON rows (cid) WHERE kind = 'partial';
CREATE INDEX IF NOT EXISTS rows_pinned ON rows (path) WHERE pinned = 1;
CREATE INDEX IF NOT EXISTS rows_inside ON rows (path) WHERE place = 'inside';
CREATE INDEX IF NOT EXISTS rows_rotten ON rows (path) WHERE state = 'rotten';
"""
_VALUES = attrgetter(*COLUMNS.split(", "))
_PUT = f"INSERT OR REPLACE INTO rows ({COLUMNS}) VALUES ({', '.join('?' * 17)})"


@dataclass(slots=True)
class Change:
    """What happens to one path: `put` before `gone` (cids), if its rows still are those `seen`.

    `manifest` is stored along; manifests that no row needs any more are removed.
    """

    path: str
    seen: list[Row]
    put: list[Row] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    manifest: Manifest | None = None


@dataclass(slots=True, frozen=True)
class Known:
    """The part of a row that a scan compares with the disk."""

    path: str
    disk: str
    kind: str
    place: str
    state: str
    cid: str
    identity: tuple[int, ...]
    """dev, ino, size, mtime, ctime, as `peer.share.local.identity`."""


class Index(IndexReader):
    """Reads and writes the index; makes the file if there is none.

    Raises (all writing methods): LocalError when the disk refuses; nothing is changed then.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._lock = threading.Lock()
        self.on_commit: Callable[[], None] = lambda: None
        """Called after every transaction that changed something, on the thread that made it."""
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)
        if "pinned" not in {column[1] for column in self._db.execute("PRAGMA table_info(rows)")}:  # from before pins
            self._db.execute("ALTER TABLE rows ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0")
        self._db.executescript(_INDEXES)
        self._db.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('digest', ?)", (str(Digest()),))
        self._load()

    def _load(self) -> None:
        meta = dict(self._db.execute("SELECT key, value FROM meta"))
        self.sequence = int(meta.get("sequence", 0))
        self._digest = Digest(meta.get("digest", ""))
        self._oldest = int(meta.get("oldest", 0))
        (self._gone,) = self._db.execute("SELECT COUNT(*) FROM rows WHERE kind = 'gone'").fetchone()
        self._pins = frozenset(path for (path,) in self._db.execute("SELECT path FROM pins"))

    def apply(self, changes: Sequence[Change]) -> list[Change]:
        """Makes the changes in one transaction, and returns those refused because their rows are others now."""
        before = self.sequence
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                refused = [change for change in changes if not self._apply(change)]
                if self._gone > GONE_MAX:
                    self._prune()
                if self.sequence != before:
                    self._save("sequence", str(self.sequence))
                    self._save("digest", str(self._digest))
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._load()
                if isinstance(error, sqlite3.OperationalError):
                    raise LocalError(f"the index cannot be written: {error}") from error
                raise
        if self.sequence != before:
            self.on_commit()
        return refused

    def _apply(self, change: Change) -> bool:
        found = self._db.execute(f"SELECT {COLUMNS} FROM rows WHERE path = ?", (change.path,)).fetchall()
        rows = [row_of(values) for values in found]
        if rows != change.seen:
            return False
        known = {row.cid: row for row in rows}
        for row in change.put:
            self._put(known.get(row.cid), row)
            known[row.cid] = row
        if change.manifest is not None:
            body = (change.manifest.cid, change.manifest.encode())
            self._db.execute("INSERT OR IGNORE INTO manifests (cid, body) VALUES (?, ?)", body)
        for cid in change.gone:
            row = known[cid]
            self._put(row, Row(row.path, cid, "gone", 0, 0, revs=row.revs))
            self._db.execute(
                "DELETE FROM manifests WHERE cid = ? AND NOT EXISTS"
                " (SELECT 1 FROM rows WHERE cid = ? AND kind IN ('own', 'copy'))",
                (cid, cid),
            )
        return True

    def _put(self, old: Row | None, new: Row) -> None:
        new.pinned = new.kind in _PINNED and covers(self._pins, new.path)
        was = old.item() if old is not None and old.announced else None
        now = new.item() if new.announced else None
        if old is not None and was is not None and was == now:
            sequence = old.sequence  # only where it is on this disk changed: nothing to tell
        else:
            self.sequence += 1
            sequence = self.sequence
            if was is not None:
                self._digest.remove(was)
            if now is not None:
                self._digest.add(now)
        self._gone += (new.kind == "gone") - (old is not None and old.kind == "gone")
        values = list(_VALUES(new))
        values[8:10] = msgspec.json.encode(new.revs).decode(), sequence
        self._db.execute(_PUT, values)

    def _prune(self) -> None:
        query = "SELECT sequence FROM rows WHERE kind = 'gone' ORDER BY sequence DESC LIMIT 1 OFFSET ?"
        (self._oldest,) = self._db.execute(query, (GONE_MAX // 2,)).fetchone()
        self._db.execute("DELETE FROM rows WHERE kind = 'gone' AND sequence <= ?", (self._oldest,))
        (self._gone,) = self._db.execute("SELECT COUNT(*) FROM rows WHERE kind = 'gone'").fetchone()
        self._save("oldest", str(self._oldest))

    def _save(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))

    def pin(self, path: str, pinned: bool) -> None:
        """Pins a path, or takes all pins at and beneath it away; all rows then say so."""
        with self._lock:
            try:
                if pinned:
                    self._db.execute("INSERT OR IGNORE INTO pins (path) VALUES (?)", (path,))
                else:
                    where, values = beneath(path)
                    self._db.execute(f"DELETE FROM pins WHERE {where}", values)
            except sqlite3.OperationalError as error:
                raise LocalError(f"the index cannot be written: {error}") from error
            self._pins = frozenset(path for (path,) in self._db.execute("SELECT path FROM pins"))
        self.repin()

    def repin(self) -> None:
        """Has all rows say whether they are pinned, as they do unless a crash came between."""
        paths = {row.path for row in self._rows("pinned = 1") if not covers(self._pins, row.path)}
        for pin in self._pins:
            kinds = ", ".join(f"'{kind}'" for kind in _PINNED)
            where, values = beneath(pin)
            paths |= {row.path for row in self._rows(f"pinned = 0 AND kind IN ({kinds}) AND {where}", *values)}
        todo = sorted(paths)
        while todo:
            batch, todo = todo[:PAGE], todo[PAGE:]
            changes = []
            for path in batch:
                rows = self.at(path)
                changes.append(Change(path, rows, [replace(row) for row in rows if row.kind != "gone"]))
            todo += [change.path for change in self.apply(changes)]

    def note(self, key: str, value: str) -> None:
        """Remembers a word beside the rows ("boot", "synced")."""
        with self._lock:
            try:
                self._save(key, value)
            except sqlite3.OperationalError as error:
                raise LocalError(f"the index cannot be written: {error}") from error

    def noted(self, key: str) -> str:
        """What was noted under this key, or ""."""
        with self._lock:
            found = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(found[0]) if found else ""

    def known(self, prefix: str) -> Generator[list[Known], None, None]:
        """All rows at and beneath `prefix` ("": everything) by path, the rows of one path together; no "gone" ones."""
        columns = "path, disk, kind, place, state, cid, dev, ino, size, mtime, ctime"
        query = (
            f"SELECT {columns} FROM rows WHERE (path, cid) > (?, ?) AND path < ?"
            " AND kind != 'gone' ORDER BY path, cid LIMIT ?"
        )
        path, cid, group = prefix, "", list[Known]()
        end = prefix + "0" if prefix else "\U0010ffff"  # "0" follows "/", so this ends all that is beneath
        while True:
            with self._lock:
                page = self._db.execute(query, (path, cid, end, PAGE)).fetchall()
            for row in page:
                where, disk, kind, place, state, cid, *identity = row
                known = Known(where, disk, kind, place, state, cid, tuple(identity))
                if prefix and known.path != prefix and not known.path.startswith(prefix + "/"):
                    continue  # "a-b" and "a.b" sort between "a" and "a/b"
                if group and group[0].path != known.path:
                    yield group
                    group = []
                group.append(known)
            if len(page) < PAGE:
                break
            path, cid = page[-1][0], page[-1][5]
        if group:
            yield group

    def has_below(self, path: str) -> bool:
        """Whether anything announced is beneath this directory."""
        announced = "kind NOT IN ('gone', 'nothing') AND state = 'ok'"
        query = f"SELECT 1 FROM rows WHERE path > ? AND path < ? AND {announced} LIMIT 1"
        with self._lock:
            return self._db.execute(query, (path + "/", path + "0")).fetchone() is not None

    def moving(self) -> list[Row]:
        """Rows whose file is on its way, or not proved yet."""
        return self._rows("state = 'moving' ORDER BY path")

    def withdrawn(self) -> list[Row]:
        """All rows of kind "nothing"."""
        return self._rows("kind = 'nothing' ORDER BY path")

    def inside(self) -> list[Row]:
        """All rows whose file is inside `.shoal/copies`."""
        return self._rows("place = 'inside' ORDER BY path")

    def partials(self, cid: str = "") -> list[Row]:
        """The rows of kind "partial" of this content, or of all."""
        if cid:
            return self._rows("kind = 'partial' AND cid = ? ORDER BY path", cid)
        return self._rows("kind = 'partial' ORDER BY path")

    def copies_after(self, sequence: int, limit: int = -1) -> list[Row]:
        """Copies whose rows changed after that sequence number; at most `limit`, if that is given."""
        return self._rows("kind = 'copy' AND sequence > ? ORDER BY sequence LIMIT ?", sequence, limit)
