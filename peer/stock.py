"""What of others' files is kept here, given up by path, or by how many others have it; and how much there is of it.

What takes long comes in pages: an answer with `next` is continued after that.

Threading: any thread.
"""

import time
from collections.abc import Callable
from typing import Any

from peer.cache.room import Room
from peer.catalogue.catalogue import Catalogue
from peer.catalogue.tree import File
from peer.evict import Evictor, Outcome
from peer.pins import Pins
from peer.share.rows import IndexReader
from shoal.errors import Busy, DataError, Gone
from shoal.names import printable
from shoal.wire import PeerRow

LONG = 5.0
"""Seconds after which a page ends."""
MANY = 500
"""Lines of a page at most."""


class Stock:
    """The http port's view of the cache."""

    def __init__(
        self,
        catalogue: Catalogue,
        index: IndexReader,
        room: Room,
        evictor: Evictor,
        pins: Pins,
        discard: Callable[[str], bool],
        whole_holders: Callable[[str], list[PeerRow]],
        connected: Callable[[], bool],
    ) -> None:
        """`discard` takes the pieces of a download away; `connected`: whether a tracker answers."""
        self._catalogue, self._index, self._room, self._evictor = catalogue, index, room, evictor
        self._discard, self._holders, self._connected = discard, whole_holders, connected
        self.pin, self.unpin = pins.pin, pins.unpin

    def evict(self, path: str, after: str = "") -> dict[str, Any]:
        """Gives up the copies and pieces at and beneath a shown path; what became of each.

        Raises:
            Gone: there is no such path. Busy: perhaps it is not known yet.
        """
        path, cid = self._place(path)
        rows = self._index.beneath(path, cid, after, MANY)
        if full := len(rows) == MANY:  # a page ends with all versions of a path
            rows = [row for row in rows if row.path != rows[-1].path]
        results: list[dict[str, Any]] = []
        done: dict[str, Outcome] = {}
        next, until = rows[-1].path if full else "", time.monotonic() + LONG
        before = ""
        for row in rows:
            if row.path != before and time.monotonic() > until:
                next = before
                break
            before = row.path
            if row.kind != "own" and row.cid not in done:
                done[row.cid] = self._give_up(row.cid, row.kind)
            if row.kind != "own" or row.path == path:
                outcome = done.get(row.cid, "own")
                results.append({"path": row.path, "cid": row.cid, "bytes": row.size, "outcome": outcome})
        if not rows and not after:
            results.append({"path": path, "cid": cid or None, "bytes": 0, "outcome": "absent"})
        return {"path": path, "results": results} | ({"next": next} if next else {})

    def _give_up(self, cid: str, kind: str) -> Outcome:
        if kind == "copy":
            return self._evictor.give_up(cid)
        if self._room.is_pinned(cid):
            return "pinned"
        return "evicted" if self._discard(cid) else "open"

    def free(self, keep: int, after: str = "") -> dict[str, Any]:
        """Gives up the copies that at least `keep` others have whole; what became of those, and how many stay.

        Raises:
            DataError: `keep` is less than 1. Busy: no tracker answers.
        """
        if keep < 1:
            raise DataError("at least 1 other must have it: the last copy is never given up")
        if not self._connected():
            raise Busy("no tracker answers; try again")
        results: list[dict[str, Any]] = []
        kept, next, until = 0, "", time.monotonic() + LONG
        for cid, size, pinned in sorted(self._index.copies()):
            if cid <= after or not size:
                continue
            rows = [row for row in self._index.of(cid) if row.kind == "copy"]
            if pinned or not rows or len(self._holders(cid)) < keep:
                kept += 1
            else:
                outcome = self._evictor.give_up(cid, keep)
                results.append({"path": rows[0].path, "cid": cid, "bytes": rows[0].size, "outcome": outcome})
            if time.monotonic() > until or len(results) == MANY:
                next = cid
                break
        return {"keep": keep, "results": results, "kept": kept} | ({"next": next} if next else {})

    def du(self, path: str) -> dict[str, Any]:
        """How many files there are at and beneath a shown path, and their bytes; of partial ones those on disk.

        Raises:
            Gone: there is no such path. Busy: perhaps it is not known yet.
        """
        path, cid = self._place(path)
        totals = self._index.held(path, cid)
        partial = self._index.partial_cids(path, cid)
        status = self._room.status()
        return {
            "path": path,
            **{name: {"files": files, "bytes": size} for name, (files, size) in totals.items()},
            "partial": {"files": len(partial), "bytes": sum(self._room.size("partial", cid) for cid in partial)},
            "limits": {name: status[name] for name in ("used", "limit", "free", "min_free")},
            "pins": self._index.pins(),
        }

    def _place(self, shown: str) -> tuple[str, str]:
        """(path of the network, the cid if a file is shown there) of a shown path."""
        path = shown.strip("/")
        found = self._catalogue.find(path)
        if isinstance(found, File):
            return found.path, found.version.cid
        if found is None and not self._index.beneath(path, "", "", 1):
            if not self._catalogue.settled:
                raise Busy(f"not known yet, as the catalogue is still coming in: {printable(path)}")
            raise Gone(f"no such path: {printable(path)}")
        return path, ""
