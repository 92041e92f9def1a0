"""Manifests: all that is needed to check a file's bytes.

    shoal 1\\n
    size N\\n
    piece N\\n
    sha1 HEX\\n
    sha256 HEX\\n
    \\n
    20 bytes of SHA-1 for each piece, one after the other

The content id (`cid`) is the hex SHA-256 of these bytes: the identity of a
file's bytes, whatever its path. Everything here is pure.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NewType

from shoal.errors import BadManifest

Cid = NewType("Cid", str)
"""64 lower-case hex digits: the SHA-256 of a manifest (of a link's or directory's description)."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
MAX_SIZE = 1 << 44
"""Bytes of a file at most: 16 TiB, ext4's own limit. A manifest has then 80 MiB at most."""
_CID = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEAD = re.compile(
    rb"shoal 1\nsize (0|[1-9][0-9]{0,15})\npiece ([1-9][0-9]{0,7})\nsha1 ([0-9a-f]{40})\nsha256 ([0-9a-f]{64})\n\n"
)


def piece_size(size: int) -> int:
    """Bytes of a piece of a file of `size` bytes: from the size alone, so that equal bytes have an equal cid."""
    if size <= 256 * MIB:
        return 256 * KIB
    return MIB if size <= 16 * GIB else 4 * MIB


def piece_count(size: int) -> int:
    """How many pieces a file of `size` bytes has; an empty file has none."""
    return -(-size // piece_size(size))


def manifest_length(size: int) -> int:
    """Bytes of the manifest of a file of `size` bytes, known before it is fetched."""
    head = f"shoal 1\nsize {size}\npiece {piece_size(size)}\nsha1 {'0' * 40}\nsha256 {'0' * 64}\n\n"
    return len(head) + 20 * piece_count(size)


def is_cid(text: str) -> bool:
    """Whether the text has the form of a content id."""
    return _CID.fullmatch(text) is not None


def link_cid(target: str) -> Cid:
    """The cid of a symlink with this target."""
    return Cid(hashlib.sha256(b"shoal link\n" + target.encode()).hexdigest())


DIR_CID = Cid(hashlib.sha256(b"shoal dir\n").hexdigest())
"""The cid of an empty directory."""
NOTHING_CID = Cid(hashlib.sha256(b"shoal nothing\n").hexdigest())
"""The cid of "nothing": a path that its owner withdrew from the network."""


@dataclass(frozen=True, slots=False)
class Manifest:
    """A file's size and hashes. `pieces` is the concatenated 20-byte SHA-1 of every piece."""

    size: int
    sha1: str
    sha256: str
    pieces: bytes

    @property
    def piece(self) -> int:
        """Bytes of a piece (the last one may be shorter)."""
        return piece_size(self.size)

    @property
    def count(self) -> int:
        """The number of pieces."""
        return piece_count(self.size)

    def span(self, number: int) -> tuple[int, int]:
        """(offset, length) in bytes of piece `number`, 0 ≤ number < count."""
        offset = number * self.piece
        return offset, min(self.piece, self.size - offset)

    def hash_of(self, number: int) -> bytes:
        """The 20-byte SHA-1 that piece `number` must have."""
        return self.pieces[20 * number : 20 * number + 20]

    def encode(self) -> bytes:
        """The manifest's bytes; its SHA-256 is the cid."""
        head = f"shoal 1\nsize {self.size}\npiece {self.piece}\nsha1 {self.sha1}\nsha256 {self.sha256}\n\n"
        return head.encode() + self.pieces

    @cached_property
    def cid(self) -> Cid:
        """The content id."""
        return Cid(hashlib.sha256(self.encode()).hexdigest())

    @classmethod
    def decode(cls, body: bytes, cid: Cid) -> "Manifest":
        """The manifest that `body` is.

        Raises:
            BadManifest: the bytes are not the manifest of `cid`, or break a rule of the format.
        """
        if hashlib.sha256(body).hexdigest() != cid:
            raise BadManifest(f"not the manifest of {cid[:12]}: its SHA-256 differs")
        head = _HEAD.match(body)
        if head is None:
            raise BadManifest(f"the manifest of {cid[:12]} is not of version 1")
        size, piece = int(head[1]), int(head[2])
        if size > MAX_SIZE or piece != piece_size(size) or len(body) != manifest_length(size):
            raise BadManifest(f"the manifest of {cid[:12]} contradicts its own size")
        return cls(size, head[3].decode(), head[4].decode(), body[head.end() :])


class ManifestBuilder:
    """Builds a manifest from a file's bytes, fed in order.

    `size` must be known first, because it chooses the piece. Not thread-safe.
    """

    def __init__(self, size: int) -> None:
        self._size, self._piece = size, piece_size(size)
        self._seen = 0
        self._whole1, self._whole256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
        self._current = hashlib.sha1(usedforsecurity=False)
        self._pieces = bytearray()

    def update(self, data: bytes | memoryview) -> None:
        """Takes the next bytes of the file."""
        view = memoryview(data)
        while view:
            part = view[: self._piece - self._seen % self._piece]
            self._whole1.update(part)
            self._whole256.update(part)
            self._current.update(part)
            self._seen += len(part)
            view = view[len(part) :]
            if self._seen % self._piece == 0:
                self._end_piece()

    def _end_piece(self) -> None:
        self._pieces += self._current.digest()
        self._current = hashlib.sha1(usedforsecurity=False)

    def finish(self) -> Manifest:
        """The manifest.

        Raises:
            BadManifest: more or fewer bytes came than the size said.
        """
        if self._seen != self._size:
            raise BadManifest(f"{self._seen} bytes came where {self._size} were said")
        if self._seen % self._piece:
            self._end_piece()
        return Manifest(self._size, self._whole1.hexdigest(), self._whole256.hexdigest(), bytes(self._pieces))


def manifest_of(data: bytes | Iterable[bytes], size: int | None = None) -> Manifest:
    """The manifest of bytes at hand, or of chunks whose total `size` is given."""
    if isinstance(data, bytes):
        size, data = len(data), [data]
    assert size is not None, "chunks need a size"
    builder = ManifestBuilder(size)
    for chunk in data:
        builder.update(chunk)
    return builder.finish()
