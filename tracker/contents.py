"""Who has a content, by cid. Pure."""

from collections.abc import Iterable

from tracker.listing import Listing


class Contents:
    """For each cid its holders, with how many whole and how many partial rows each has of it.

    One holder with one whole row, by far the most common case, takes no more than the entry itself. Not thread-safe.
    """

    def __init__(self) -> None:
        self._holders: dict[bytes, Listing | dict[Listing, list[int]]] = {}

    def count(self, listing: Listing, cid: bytes, partial: bool, step: int) -> None:
        """Counts a row in (1) or out (-1)."""
        known = self._holders.get(cid)
        if known is None and not partial:
            self._holders[cid] = listing
            return
        if not isinstance(known, dict):
            known = self._holders[cid] = {known: [1, 0]} if known else {}
        counts = known.setdefault(listing, [0, 0])
        counts[partial] += step
        if counts == [0, 0]:
            del known[listing]
        if not known:
            del self._holders[cid]

    def of(self, cid: bytes) -> Iterable[tuple[Listing, list[int]]]:
        """The holders of a content, with the numbers of their whole and partial rows."""
        known = self._holders.get(cid)
        if known is None:
            return ()
        return known.items() if isinstance(known, dict) else ((known, [1, 0]),)
