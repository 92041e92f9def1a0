"""Peers as the catalogue sees them, one by one and together at a path. Pure."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice

from shoal.wire import PeerRow
from tracker import rows

FEED_HOLDERS = 3
"""Holders of an entry named in the feed; the others are asked for by cid."""
FEED_GROUPS = 512
"""Different rows at one path that the feed looks at: those that came first. A flood of more costs no more than that."""


class Listing:
    """One peer as listed: who, where, and its rows by path. The catalogue alone changes `rows` and the totals."""

    __slots__ = ("bytes", "files", "id", "name", "rows", "seed", "url")

    def __init__(self, id: str, name: str, url: str, seed: bool = False) -> None:
        self.id, self.name, self.url, self.seed = id, name, url, seed
        self.rows: dict[str, bytes | tuple[bytes, ...]] = {}
        self.files = 0
        self.bytes = 0

    def at(self, path: str) -> tuple[bytes, ...]:
        """Its rows at a path; mostly none or one."""
        held = self.rows.get(path)
        return () if held is None else (held,) if isinstance(held, bytes) else held

    def row(self) -> PeerRow:
        """The peer's row in the feed."""
        return PeerRow(self.id, self.name, self.url, self.seed)


class Crowd:
    """The listings at one path, grouped by row; each group sorted by peer id.

    What a listing says of its own versions is in a group of its own, for there it matters who says it.
    """

    __slots__ = ("groups", "seeds")

    def __init__(self) -> None:
        self.groups: dict[tuple[bytes, str], list[Listing]] = {}
        self.seeds = 0

    @staticmethod
    def key(listing: Listing, row: bytes) -> tuple[bytes, str]:
        """The group that this listing's row is in."""
        mine = rows.kind_of(row) == "own" or (rows.kind_of(row) == "nothing" and bytes.fromhex(listing.id) in row)
        return row, listing.id if mine else ""

    def add(self, listing: Listing, row: bytes) -> None:
        """Takes in a row of a listing."""
        insort(self.groups.setdefault(self.key(listing, row), []), listing, key=_id)
        self.seeds += rows.is_seed(row)

    def remove(self, listing: Listing, row: bytes) -> None:
        """Takes out a row that was taken in."""
        key = self.key(listing, row)
        group = self.groups[key]
        del group[bisect_left(group, listing.id, key=_id)]
        if not group:
            del self.groups[key]
        self.seeds -= rows.is_seed(row)

    def simplest(self) -> "Held | None":
        """This crowd; the one listing with one row that it has come down to; or None when it is empty."""
        if len(self.groups) > 1:
            return self
        group = next(iter(self.groups.values()), [])
        return self if len(group) > 1 else group[0] if group else None

    def hides(self, listing: Listing, row: bytes) -> bool:
        """Whether nothing in the feed depends on this listing's row being there or not.

        So it is when enough peers with a lower id, and one with a higher, say the very same.
        """
        group = self.groups.get(self.key(listing, row), [])
        at = bisect_left(group, listing.id, key=_id)
        if at < FEED_HOLDERS:
            return False
        return at + (at < len(group) and group[at] is listing) < len(group)

    def lines(self, everybody: bool) -> Iterator[tuple[Listing, bytes]]:
        """All rows with their listings, or of each group only those that the feed depends on."""
        for (row, _), group in islice(self.groups.items(), None if everybody else FEED_GROUPS):
            some = group if everybody or len(group) <= FEED_HOLDERS + 1 else [*group[:FEED_HOLDERS], group[-1]]
            for listing in some:
                yield listing, row


def _id(listing: Listing) -> str:
    return listing.id


Held = Listing | Crowd
"""Who is at a path: one listing (by far the most common case) or several."""
