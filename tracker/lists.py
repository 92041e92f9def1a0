"""A peer's list as it changes: by a delta, or whole, in parts. Pure; works on rows, and touches no catalogue."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from shoal.errors import DataError
from shoal.wire import Announce, Digest, Item
from tracker import rows
from tracker.listing import Listing

MAX_ROWS_AT_PATH = 16
"""Versions of one path in one peer's list at most."""


@dataclass
class Parts:
    """A whole list under way: the parts that came so far; `cost` is what they count, `latest` when one came last."""

    epoch: int
    sequence: int
    next: int = 0
    rows: dict[str, bytes | tuple[bytes, ...]] = field(default_factory=dict)
    digest: Digest = field(default_factory=Digest)
    cost: int = 0
    latest: float = 0.0

    def at(self, path: str) -> tuple[bytes, ...]:
        """The rows at a path so far."""
        found = self.rows.get(path)
        return () if found is None else (found,) if isinstance(found, bytes) else found

    def add(self, items: Iterable[Item], listing: Listing, now_ns: int) -> None:
        """Takes in a part of the list of `listing`, whose old rows lend their cut mtimes.

        Raises:
            DataError: more versions of a path than a list may have.
        """
        for item in items:
            held = self.at(item.path)
            new, gone = _with(held, item, _row(listing, item, now_ns))
            for row in gone:
                self.digest.remove(rows.unpack(item.path, row, announced=True))
            self.digest.add(item)
            self.cost += cost(item.path, new) - cost(item.path, held)
            self.rows[item.path] = new if len(new) > 1 else new[0]


@dataclass
class Delta:
    """The paths that a delta changes, with their rows after it; the list's digest then; what it costs more."""

    changed: dict[str, tuple[bytes, ...]]
    digest: Digest
    cost: int


def cost(path: str, held: Iterable[bytes]) -> int:
    """What the rows of a path count."""
    return sum(rows.cost(path, row) for row in held)


def applied(message: Announce, listing: Listing, known: Digest, now_ns: int) -> Delta:
    """What a delta makes of the list of `listing`, whose digest is `known`; changes neither.

    Raises:
        DataError: more versions of a path than a list may have.
    """
    changed: dict[str, tuple[bytes, ...]] = {}
    digest = Digest(str(known))
    for path, hex_cid in message.drop:
        held = changed.get(path, listing.at(path))
        cid = bytes.fromhex(hex_cid)
        for row in held:
            if rows.cid_of(row) == cid:
                digest.remove(rows.unpack(path, row, announced=True))
                changed[path] = tuple(other for other in held if other is not row)
    for item in message.put:
        held = changed.get(item.path, listing.at(item.path))
        changed[item.path], gone = _with(held, item, _row(listing, item, now_ns))
        for row in gone:
            digest.remove(rows.unpack(item.path, row, announced=True))
        digest.add(item)
    more = sum(cost(path, held) - cost(path, listing.at(path)) for path, held in changed.items())
    return Delta(changed, digest, more)


def _row(listing: Listing, item: Item, now_ns: int) -> bytes:
    row = rows.pack(item, now_ns)
    for known in listing.at(item.path):
        if rows.same_but_cut(known, row):
            return known  # keeps the cut that its mtime got at first, and shares the memory
    return row


def _with(held: tuple[bytes, ...], item: Item, row: bytes) -> tuple[tuple[bytes, ...], list[bytes]]:
    """The rows of a path with one more, and those that it replaces: of the same cid, or the peer's last own word."""
    own, cid = rows.claims_path(row), rows.cid_of(row)
    gone = [other for other in held if rows.cid_of(other) == cid or (own and rows.claims_path(other))]
    new = (*(other for other in held if other not in gone), row)
    if len(new) > MAX_ROWS_AT_PATH:
        raise DataError(f"more than {MAX_ROWS_AT_PATH} versions of one path in a peer's list")
    return new, gone
