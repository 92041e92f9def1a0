"""Items as a tracker keeps them: one `bytes` object each, some 110 bytes where a `wire.Item` takes 600.

    flags    1 byte   kind (2 bits), x, has a sha1, has a cut, is of a peer of the seed's protocol, is pinned
    size     8 bytes  unsigned
    mtime    8 bytes  signed: as announced, because the digest covers it
    cid     32 bytes
    sha1    20 bytes  zeros if there is none
    revs     1 byte   how many, and for each: the owner's id (32 bytes), the rev (8 bytes)
    cut      8 bytes  only with its flag: the mtime as listed, when the announced one lay in the tracker's future
    link              the rest, UTF-8

A row without its path means nothing: whoever has a row knows its path. Pure.
"""

import hashlib
import struct
from typing import Final, get_args

from shoal.manifest import DIR_CID, NOTHING_CID
from shoal.wire import Item, Kind

_HEAD = struct.Struct("<BQq32s20sB")
_REV = struct.Struct("<32sQ")
_CUT = struct.Struct("<q")
_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}
_KIND, _X, _SHA1, _CUT_FLAG, _SEED, _PINNED = 3, 4, 8, 16, 32, 64
_CID = slice(17, 49)
_NO_FILES = frozenset(bytes.fromhex(cid) for cid in (DIR_CID, NOTHING_CID))


def pack(item: Item, now_ns: int, seed: bool = False) -> bytes:
    """The row of an item. An mtime later than `now_ns` (nanoseconds since 1970) is cut to it."""
    flags = _NUMBER[item.kind] | (_X if item.x else 0) | (_SHA1 if item.sha1 else 0) | (_SEED if seed else 0)
    flags |= _PINNED if item.pinned else 0
    cut = b""
    if item.mtime > now_ns:
        flags |= _CUT_FLAG
        cut = _CUT.pack(now_ns)
    sha1 = bytes.fromhex(item.sha1)
    row = _HEAD.pack(flags, item.size, item.mtime, bytes.fromhex(item.cid), sha1, len(item.revs))
    for owner, rev in item.revs.items():
        row += _REV.pack(bytes.fromhex(owner), rev)
    return row + cut + item.link.encode()


def unpack(path: str, row: bytes, announced: bool = False) -> Item:
    """The item of a row at its path, with the mtime as listed; with `announced`, as its peer said it."""
    flags, size, mtime, cid, sha1, count = _HEAD.unpack_from(row)
    at = _HEAD.size
    revs = {}
    for _ in range(count):
        owner, rev = _REV.unpack_from(row, at)
        revs[owner.hex()] = rev
        at += _REV.size
    if flags & _CUT_FLAG:
        if not announced:
            (mtime,) = _CUT.unpack_from(row, at)
        at += _CUT.size
    hex1 = sha1.hex() if flags & _SHA1 else ""
    kind, x, pinned = _KINDS[flags & _KIND], bool(flags & _X), bool(flags & _PINNED)
    return Item(path, cid.hex(), kind, size, mtime, hex1, x, row[at:].decode(), revs, pinned)


def same_but_cut(row: bytes, other: bytes) -> bool:
    """Whether two rows of one path say the same, whatever mtime they are listed with."""
    if row == other:
        return True
    if row[1:17] != other[1:17] or row[_CID] != other[_CID]:
        return False
    return unpack("-", row, announced=True) == unpack("-", other, announced=True)


def cid_of(row: bytes) -> bytes:
    """The 32 bytes of the row's cid."""
    return row[_CID]


def kind_of(row: bytes) -> Kind:
    """The item's kind."""
    return _KINDS[row[0] & _KIND]


def size_of(row: bytes) -> int:
    """The item's size in bytes."""
    return int.from_bytes(row[1:9], "little")


def is_seed(row: bytes) -> bool:
    """Whether it is of a peer of the seed's protocol: the size is unknown and the cid made up here, never shown."""
    return bool(row[0] & _SEED)


def is_content(row: bytes) -> bool:
    """Whether it is of a content that others can ask for by cid (or, of a seed's peer, by path): no link, no folder."""
    return bool(row[0] & _SHA1) and row[_CID] not in _NO_FILES


def claims_path(row: bytes) -> bool:
    """Whether it is its peer's own word on the path ("own" or "nothing"): a list has one of these a path at most."""
    return kind_of(row) in ("own", "nothing")


def cost(path: str, row: bytes) -> int:
    """What a row counts towards the quota of its source: one, and one more for each whole KiB it takes."""
    return 1 + (len(path) + len(row)) // 1024


def seed_cid(sha1: str) -> str:
    """The cid that stands, inside the tracker only, for the unknown one of a seed peer's file."""
    return hashlib.sha256(f"a seed's file {sha1}".encode()).hexdigest()
