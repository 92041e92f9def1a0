"""The copies that the index has, counted in the room as they come and go, and whether they are pinned.

Threading: any thread; a lock is held while SQLite is read.
"""

import threading

from peer.cache.room import Room
from peer.share.rows import IndexReader

_PAGE = 1000


class Copies:
    """Follows the index."""

    def __init__(self, index: IndexReader, room: Room) -> None:
        self._index, self._room = index, room
        self._lock = threading.Lock()
        self._sequence = index.state()[0]
        for cid, size, pinned in index.copies():
            self._take(cid, size, pinned)
        room.remember()

    def follow(self) -> None:
        """Takes over what changed since the last time."""
        with self._lock:
            while rows := self._index.changes(self._sequence, _PAGE):
                for cid in {row.cid for row in rows if row.kind != "nothing"}:
                    _, size, pinned = next(iter(self._index.copies(cid)), (cid, 0, False))
                    self._take(cid, size, pinned)
                self._sequence = rows[-1].sequence

    def _take(self, cid: str, size: int, pinned: bool) -> None:
        self._room.pin(cid, pinned)
        if size:
            self._room.found("copy", cid, size)
        else:
            self._room.gone("copy", cid)
