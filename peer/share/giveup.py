"""Copies given up: hidden first, so that nobody is served or told of them any more, then unlinked or restored.

Between the two the peer makes sure that somebody else has the content. A hidden copy's row is "moving", so that a crash
anywhere leaves the copy, restored by `recover`, or nothing.

Threading: none; it belongs to the keeper's thread. Raises (all): LocalError when the index cannot be written.
"""

from dataclasses import replace

from peer.share.copies import Copies
from peer.share.index import Change
from peer.share.moves import Moves
from peer.share.rows import Row


class GivingUp:
    """Hides, takes and restores copies. `hidden` are those on their way, by (path, cid)."""

    def __init__(self, moves: Moves, copies: Copies) -> None:
        self._moves, self._copies, self._index = moves, copies, moves.index
        self.hidden: set[tuple[str, str]] = set()

    def hide(self, cid: str) -> list[str]:
        """Hides all copies of a content; their paths. Of what is pinned, none."""
        if any(row.pinned for row in self._index.of(cid)):
            return []
        for row in self._index.of(cid):
            if row.kind == "copy" and row.state == "ok" and self._turn(row, "moving"):
                self.hidden.add((row.path, cid))
        return self._paths(cid)

    def take(self, cid: str) -> list[str]:
        """Unlinks the copies that are hidden, and unchanged; their paths."""
        paths, taken = self._paths(cid), []
        for row in self._index.of(cid):
            if row.path not in paths or row.state != "moving":
                continue
            taken.append(row.path)
            if row.place == "local":
                self._moves.unlink_local(row)
            while self._index.apply([Change(row.path, self._index.at(row.path), gone=[cid])]):
                pass
            if row.place == "inside":
                self._copies.release(cid)
        self.hidden -= {(path, cid) for path in paths}
        return taken

    def restore(self, cid: str) -> list[str]:
        """The copies that are hidden are copies again; their paths. Whether they still are themselves is seen later."""
        paths = self._paths(cid)
        for row in self._index.of(cid):
            if row.path in paths and row.state == "moving":
                self._turn(row, "ok")
        self.hidden -= {(path, cid) for path in paths}
        return paths

    def _paths(self, cid: str) -> list[str]:
        return [path for path, of in self.hidden if of == cid]

    def _turn(self, row: Row, state: str) -> bool:
        """Changes the row's state, if the row is still the same."""
        while True:
            rows = self._index.at(row.path)
            now = next((other for other in rows if other.cid == row.cid), None)
            if now is None or (now.state, now.kind, now.ino) != (row.state, row.kind, row.ino):
                return False
            if not self._index.apply([Change(row.path, rows, [replace(now, state=state)])]):  # type: ignore[arg-type]
                return True
