"""What peers tell each other of their pieces along with every request for pieces and every answer. Pure.

    Shoal-Peer: ID                who asks, so that it can be asked in turn
    Shoal-Want: FIRST-END         the pieces that the sender's readers want next: FIRST ≤ n < END
    Shoal-Have: FIRST BITMAP      which pieces the sender has from piece FIRST on, a multiple of 8; in base64
    Shoal-Readers: ID ID …        answers only: who else asked for this content lately

Nothing of it has to arrive: the next news says what is true then, and `GET …/pieces` says all. What is in a bitmap is
there, what is not in it was not there a moment ago.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass

from peer import bitmap

MOST = 1024
"""Bytes of a bitmap at most, before base64."""
READERS = 16
"""Readers named in one answer at most."""
_ID = re.compile(rb"[0-9a-f]{64}")
_WANT = re.compile(rb"([0-9]{1,9})-([0-9]{1,9})")
_HAVE = re.compile(rb"([0-9]{1,9}) ([A-Za-z0-9+/=]{0,%d})" % (-(-MOST // 3) * 4))


@dataclass(frozen=True, slots=True)
class News:
    """What one side said. `want` is (0, 0) if it fetches nothing; `pieces` are some of those it has."""

    peer: str = ""
    want: tuple[int, int] = (0, 0)
    pieces: int = 0
    readers: tuple[str, ...] = ()


NOTHING = News()


def read(fields: Mapping[bytes, bytes], count: int) -> News:
    """The news of a content of `count` pieces in a head's fields (lower-case names); what cannot be is left out."""
    if b"shoal-want" not in fields and b"shoal-peer" not in fields and b"shoal-readers" not in fields:
        return NOTHING
    peer = fields.get(b"shoal-peer", b"")
    want = _WANT.fullmatch(fields.get(b"shoal-want", b""))
    readers = [word for word in fields.get(b"shoal-readers", b"").split()[:READERS] if _ID.fullmatch(word)]
    return News(
        peer.decode() if _ID.fullmatch(peer) else "",
        (int(want[1]), min(int(want[2]), count)) if want else (0, 0),
        _pieces(fields.get(b"shoal-have", b""), count),
        tuple(word.decode() for word in readers),
    )


def have(pieces: int, told: int) -> tuple[bytes, int]:
    """(the field's value that tells of pieces not told before, all that was told then); b"" if there are none."""
    new = pieces & ~told
    if not new:
        return b"", told
    first = bitmap.lowest(new) & ~7
    end = min(bitmap.highest(new) + 1, first + 8 * MOST)
    part = (pieces >> first) & ((1 << (end - first)) - 1)
    text = base64.b64encode(bitmap.to_wire(part, end - first))
    return b"%d %b" % (first, text), told | (pieces & bitmap.span(first, end))


def _pieces(value: bytes, count: int) -> int:
    match = _HAVE.fullmatch(value)
    if match is None or (first := int(match[1])) >= count:  # else a short line could make a huge number
        return 0
    try:
        body = base64.b64decode(match[2], validate=True)
    except binascii.Error:
        return 0
    return (bitmap.from_wire(body, 8 * len(body)) << first) & bitmap.span(0, count)
