"""Several contents of one piece in one answer: what is asked, and how the answer is laid out. Both sides use this.

    GET /v1/contents/CID,CID,…     at most `MOST_FILES` of them

The body is a table, 4 bytes for each content in the order asked (its length, big-endian, or `NOT_GIVEN`), and then the
bytes of those that are given, one after the other. A content is not given if it is not here, if its file changed, if it
is longer than a piece, or if the bytes given would be more than `MOST_BYTES`.
"""

import struct
from collections.abc import Iterator, Sequence

from peer.swarm.source import Source
from shoal.errors import Misbehaved
from shoal.manifest import KIB, MIB, is_cid

PREFIX = "/v1/contents/"
MOST_FILES = 128
MOST_BYTES = 4 * MIB
LONGEST = 256 * KIB
"""Bytes of the longest content of one piece."""
NOT_GIVEN = 0xFFFFFFFF


def cids_of(text: str) -> list[str] | None:
    """The contents that a request asks for, by what stands after `PREFIX`; None if it is no such request."""
    cids = text.split(",", MOST_FILES)
    return cids if len(cids) <= MOST_FILES and all(map(is_cid, cids)) else None


def table_of(given: Sequence[bytes | None]) -> bytes:
    """The table that stands before these bytes; None for a content that is not given."""
    return struct.pack(f">{len(given)}I", *[NOT_GIVEN if data is None else len(data) for data in given])


def fetch(source: Source, wanted: Sequence[tuple[str, int]]) -> Iterator[tuple[int, bytes | None]]:
    """Asks a holder for contents, each with the size that it must have, and gives them as they come: unverified.

    Yields (the number of the wanted one, its bytes or None if it is not given), in order. Close the generator if not
    all of it is taken.

    Raises:
        Gone, Refused: the holder does not know this request.
        Misbehaved: the answer is not laid out so, or a length is not the content's.
        RemoteError: see `Source.get`.
    """
    assert 0 < len(wanted) <= MOST_FILES
    length = 4 * len(wanted)
    with source.get(PREFIX + ",".join([cid for cid, _ in wanted])) as body:
        if not length <= body.size <= length + sum([size for _, size in wanted]):
            raise Misbehaved(f"{source.name} sends {body.size} bytes, which cannot be what was asked for")
        buffer = memoryview(bytearray(body.size))
        here = body.readinto(buffer)
        while here < length:
            here += body.readinto(buffer[here:])
        sizes = struct.unpack(f">{len(wanted)}I", buffer[:length])
        for given, (cid, size) in zip(sizes, wanted, strict=True):
            if given not in (size, NOT_GIVEN):
                raise Misbehaved(f"{source.name} says that {cid[:12]} has {given} bytes")
        if length + sum([given for given in sizes if given != NOT_GIVEN]) != body.size:
            raise Misbehaved(f"{source.name} sends {body.size} bytes, and says otherwise in them")
        end = length
        for number, given in enumerate(sizes):
            if given == NOT_GIVEN:
                yield number, None
                continue
            begin, end = end, end + given
            while here < end:
                here += body.readinto(buffer[here:])
            yield number, bytes(buffer[begin:end])
