"""One's own index in the catalogue, and what the catalogue asks of it in return."""

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from peer.catalogue.catalogue import Catalogue
from peer.messages import Seen, Supersede
from peer.share.rows import Row

_PAGE = 1000


class Index(Protocol):
    """What of `peer.share.rows.IndexReader` is used here."""

    def at(self, path: str) -> list[Row]:
        """All rows of a path."""

    def changes(self, after: int, limit: int) -> list[Row]:
        """Rows changed after that sequence number, oldest change first."""


class OwnShare:
    """Keeps the catalogue's view of one's own share up to date, and tells the scanner its duties.

    Call `update` once before the mount is there, and whenever the index has changed; `look` with paths that
    changed in the catalogue (it fits `Catalogue.changed_by`), `look_at_all` when the catalogue has settled (it
    fits `Follower`).

    Threading: any thread may call anything. Updates follow one another under a lock, held while SQLite is read;
    the catalogue's callbacks run in it, so they must not call `update`.
    """

    def __init__(self, catalogue: Catalogue, index: Index, send: Callable[[Seen | Supersede], object]) -> None:
        self._catalogue, self._index, self._send = catalogue, index, send
        self._sequence = 0
        self._lock = threading.Lock()

    def update(self) -> None:
        """Takes over what changed in the index since the last time."""
        with self._lock:
            while rows := self._index.changes(self._sequence, _PAGE):
                self._catalogue.apply_rows(rows)
                self._sequence = rows[-1].sequence
                # A row can make a duty without changing what is shown: a whole newer version that was listed.
                self.look({row.path for row in rows if row.announced})

    def look(self, paths: Iterable[str]) -> None:
        """Tells the scanner what follows, for these paths, from what the catalogue says now."""
        if self._catalogue.settled:
            for path in paths:
                for message in self._catalogue.duties(self._index.at(path)):
                    self._send(message)

    def look_at_all(self) -> None:
        """The same for all paths of the index."""
        after = 0
        while rows := self._index.changes(after, _PAGE):
            after = rows[-1].sequence
            self.look({row.path for row in rows if row.announced and row.revs})
