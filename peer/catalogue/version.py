"""One version of a path as the tree keeps it: some 200 bytes where a `wire.Entry` takes 700.

`pack` makes the bytes of an entry, `Version.entry` the entry again. What many
versions have in common (who owns and holds them) is one shared `Who`.
"""

import struct
from typing import Self

from msgspec import Struct

from shoal.wire import Entry, Owner

_HEAD = struct.Struct("<B32s20sQq")  # flags, cid, sha1, size, mtime; then 8 bytes for each owner's rev, then the link
_STAT = struct.Struct("<B52xQq")
_X, _CID, _SIZE, _SHA1, _LINK, _DIR = 1, 2, 4, 8, 16, 32


class Who(Struct, frozen=True, gc=False):
    """Who has a version: (id, name) of its owners, and the ids of some holders."""

    owners: tuple[tuple[str, str], ...]
    holders: tuple[str, ...]


class Mine(Struct, frozen=True, gc=False):
    """What one's own index says of a version: the `rev` of one's own, or the (owner, rev) that a copy remembers."""

    own: bool
    x: bool
    mtime: int
    rev: int
    revs: tuple[tuple[str, int], ...]


class Version(Struct, frozen=True, gc=False):
    """A version of a path. `listed`: the sync in which a tracker last listed it, 0 if it does not."""

    data: bytes
    who: Who
    listed: int
    mine: Mine | None = None

    @property
    def key(self) -> bytes:
        """Its identity at its path: the cid, or the SHA-1 where no cid is known."""
        return self.data[1:33] if self.data[0] & _CID else self.data[33:53]

    @property
    def cid(self) -> str:
        """The cid, or ""."""
        return self.data[1:33].hex() if self.data[0] & _CID else ""

    @property
    def is_dir(self) -> bool:
        """Whether it is an empty directory."""
        return bool(self.data[0] & _DIR)

    @property
    def is_link(self) -> bool:
        """Whether it is a link."""
        return bool(self.data[0] & _LINK)

    def stat(self) -> tuple[bool, int | None, int]:
        """(whether it is a program, its size if that is known, its mtime)."""
        flags, size, mtime = _STAT.unpack_from(self.data)
        return bool(flags & _X), size if flags & _SIZE else None, mtime

    @property
    def size(self) -> int:
        """Bytes; 0 where that is not known."""
        return int.from_bytes(self.data[53:61], "little")

    @property
    def mtime(self) -> int:
        """In nanoseconds since 1970."""
        return int.from_bytes(self.data[61:69], "little", signed=True)

    @property
    def revs(self) -> dict[str, int]:
        """Each owner's rev of it."""
        return dict(zip((id for id, _ in self.who.owners), self._revs(), strict=True))

    def _revs(self) -> tuple[int, ...]:
        return struct.unpack_from(f"<{len(self.who.owners)}Q", self.data, _HEAD.size)

    @classmethod
    def of(cls, entry: Entry, listed: int = 0) -> Self:
        """The version that an entry is."""
        return cls(pack(entry), Who(tuple([(owner.id, owner.name) for owner in entry.owners]), entry.holders), listed)

    def entry(self) -> Entry:
        """The entry that it is."""
        flags, cid, sha1, size, mtime = _HEAD.unpack_from(self.data)
        link = self.data[_HEAD.size + 8 * len(self.who.owners) :].decode() if flags & _LINK else ""
        owners = tuple([Owner(*owner, rev) for owner, rev in zip(self.who.owners, self._revs(), strict=True)])
        return Entry(
            cid.hex() if flags & _CID else "",
            size if flags & _SIZE else None,
            mtime,
            sha1.hex() if flags & _SHA1 else "",
            bool(flags & _X),
            link,
            owners,
            self.who.holders,
        )

    def looks_like(self, other: Self) -> bool:
        """Whether nobody who reads the tree could tell them apart."""
        return self.data == other.data and self.who == other.who


def pack(entry: Entry) -> bytes:
    """The bytes of an entry, without its `Who`."""
    flags = (
        (_X if entry.x else 0)
        | (_CID if entry.cid else 0)
        | (_SIZE if entry.size is not None else 0)
        | (_SHA1 if entry.sha1 else 0)
        | (_LINK if entry.link else 0)
        | (_DIR if entry.is_dir else 0)
    )
    head = _HEAD.pack(flags, bytes.fromhex(entry.cid), bytes.fromhex(entry.sha1), entry.size or 0, entry.mtime)
    return head + struct.pack(f"<{len(entry.owners)}Q", *(owner.rev for owner in entry.owners)) + entry.link.encode()
