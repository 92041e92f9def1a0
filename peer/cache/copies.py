"""The copies that the index has, counted in the room as they come and go.

Threading: one thread at a time.
"""

from peer.cache.room import Room
from peer.share.rows import IndexReader

_PAGE = 1000


class Copies:
    """Follows the index."""

    def __init__(self, index: IndexReader, room: Room) -> None:
        self._index, self._room = index, room
        self._sequence = index.state()[0]
        for cid, size in index.copies():
            room.found("copy", cid, size)
        room.remember()

    def follow(self) -> None:
        """Takes over what changed since the last time."""
        while rows := self._index.changes(self._sequence, _PAGE):
            for cid in {row.cid for row in rows if row.kind in ("copy", "own", "gone")}:
                size = dict(self._index.copies(cid)).get(cid)
                if size is None:
                    self._room.gone("copy", cid)
                else:
                    self._room.found("copy", cid, size)
            self._sequence = rows[-1].sequence
