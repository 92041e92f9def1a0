"""One's own index in the catalogue, and what the catalogue asks of it in return."""

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
    """Hands the index's rows to the catalogue, and tells the scanner its duties.

    `take` gets rows as they change; `look` gets paths that changed in the catalogue (it fits
    `Catalogue.changed_by`); `look_at_all` is called when the catalogue has settled (it fits `Follower`).

    Threading: any thread may call anything; nothing is kept here.
    """

    def __init__(self, catalogue: Catalogue, index: Index, send: Callable[[Seen | Supersede], object]) -> None:
        self._catalogue, self._index, self._send = catalogue, index, send

    def take(self, rows: list[Row]) -> None:
        """Takes over rows of the index, in the order of their changes."""
        self._catalogue.apply_rows(rows)
        # A row can make a duty without changing what is shown: a whole newer version of a path that was listed.
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
