"""A download's pieces on disk, in `.shoal/partial/`: one process writes them, any number read them.

    CID.manifest   the manifest's bytes
    CID.data       the file, sparse, of full size; a piece stands where it belongs
    CID.bits       magic (8 bytes), boot id (36), size (8, little endian), the pieces first ≤ n < end that the readers
                   here want next (4 each), 4 zeros; then one byte a piece: 0 missing, 1 checked, 2 suspect

A piece's byte becomes 1 after its bytes were written, so what says 1 can be read, by this process and by the data
server, also after the writer was killed. Not so when the machine stopped: then the kernel may have written the one
and not the other. The boot id tells: under another one all checked pieces become suspect, and a suspect piece counts
only after it was hashed again, which happens when it is first asked for.

The bytes are read and written by pread and pwrite and not through a map: all processes see the same pages either way,
but a full disk or a file cut short shows as an error there, and as SIGBUS (the end of the mount) in a map.
"""

import hashlib
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from peer import bitmap
from peer.layout import Layout
from shoal.errors import Lied, LocalError
from shoal.manifest import Cid, Manifest, is_cid, manifest_length, piece_count, piece_size

MISSING, CHECKED, SUSPECT = 0, 1, 2
AROUND = 4096
_HEAD = struct.Struct("<8s36sQII4x")
_WANT, _WANT_AT = struct.Struct("<II"), 52
_MAGIC = b"shoalb1\n"
_KNOWN = bytes(n if n in (CHECKED, SUSPECT) else MISSING for n in range(256))
_DOUBT = bytes(SUSPECT if n in (CHECKED, SUSPECT) else MISSING for n in range(256))
_MANIFEST_HEAD = 256  # bytes, more than a manifest's lines before the pieces' hashes can have
# Bytes of one pwrite. A longer one makes the kernel take larger blocks of fresh memory for the page cache; in a virtual
# machine those are the ones that went back to the host, and getting them again costs more than all the rest. A shorter
# one is one more hand-over of the interpreter to another thread. 1 GiB fetched and written, in MB/s, after a pause and
# right after so much memory was in use: 16 KiB 570-650 and 480, 64 KiB 380-470 and 590-640, 1 MiB 250-280 and 710-750.
_WRITE = 32 << 10


@cache
def boot_id() -> bytes:
    """The 36 characters that the kernel chose at boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip().ljust(36)[:36]


@dataclass(frozen=True)
class VerifiedPiece:
    """A piece whose bytes have their hash: made by `verify`, or by who hashed them as they arrived."""

    cid: Cid
    number: int
    data: memoryview


def verify(manifest: Manifest, number: int, data: bytes | bytearray | memoryview) -> VerifiedPiece:
    """The bytes as piece `number` of the manifest's file; not copied, so they must not change afterwards.

    Raises:
        Lied: they are not that piece.
    """
    _, length = manifest.span(number)
    if len(data) != length or hashlib.sha1(data, usedforsecurity=False).digest() != manifest.hash_of(number):
        raise Lied(f"piece {number} of {manifest.cid[:12]} is not what its hash says")
    return VerifiedPiece(manifest.cid, number, memoryview(data))


def paths_of(layout: Layout, cid: str) -> tuple[Path, Path, Path]:
    """The files of a content's pieces: (data, bits, manifest)."""
    assert is_cid(cid)  # it becomes a file's name
    return tuple(layout.partial / f"{cid}.{kind}" for kind in ("data", "bits", "manifest"))  # type: ignore[return-value]


@contextmanager
def _local(doing: str) -> Iterator[None]:
    """Turns this machine's errors into `LocalError`."""
    try:
        yield
    except OSError as error:
        raise LocalError(f"cannot {doing}: {error.strerror or error}") from error


def _write(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view[:_WRITE], offset)
        view, offset = view[done:], offset + done


class Pieces:
    """The writer's side: the pieces of one download.

    At most one `Pieces` of a cid is open at a time. `missing`, `has` and `read` hash a suspect piece before they
    answer. A range of pieces is half open: first ≤ n < end.

    Threading: any thread, any method, but `close` and `remove` only when no other than `say_want` is under way.
    `_lock` guards the flags and is never held during I/O; `_writing` is held for one write to the disk, and only that.
    """

    def __init__(self, layout: Layout, manifest: Manifest, data: int, bits: int, flags: bytearray) -> None:
        self.manifest = manifest
        self._layout = layout
        self._data, self._bits = data, bits
        self._flags = flags
        self._here = flags.count(CHECKED)
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    @classmethod
    def create_or_open(cls, layout: Layout, manifest: Manifest) -> Self:
        """The pieces of this manifest's file that are on disk already, or none. Files that do not fit begin anew.

        Raises:
            LocalError: the disk is full or broken.
        """
        data, bits, text = paths_of(layout, manifest.cid)
        with _local("keep pieces of a download"):
            body = manifest.encode()
            if _content(text) != body:
                _replace(text, body)
            found = _open_pair(data, bits, manifest)
            if found is None:
                _create_pair(data, bits, manifest)
                found = _open_pair(data, bits, manifest)
        if found is None:
            raise LocalError("cannot keep pieces of a download: its files change while they are made")
        return cls(layout, manifest, *found)

    @staticmethod
    def overhead(manifest: Manifest) -> int:
        """Bytes on disk of what stands beside the pieces."""
        return sum(-(-size // 4096) * 4096 for size in (manifest_length(manifest.size), _HEAD.size + manifest.count))

    @property
    def count_here(self) -> int:
        """How many pieces are checked; suspect ones do not count."""
        return self._here

    @property
    def complete(self) -> bool:
        """Whether all pieces are checked. After a crash of the machine only `missing` over all of them makes it so."""
        return self._here == self.manifest.count

    def has(self, number: int) -> bool:
        """Whether the piece is here, checked."""
        if self._flags[number] == SUSPECT:
            self._settle(number)
        return self._flags[number] == CHECKED

    def missing(self, first: int, end: int) -> list[int]:
        """Which of the pieces first ≤ n < end are not here, in order."""
        return [number for number in range(first, end) if not self.has(number)]

    def write(self, piece: VerifiedPiece) -> None:
        """Puts a piece in its place; from then on it is here, for other peers too. Again is harmless.

        Raises:
            LocalError: the disk is full or broken; the piece does not count as here.
        """
        assert piece.cid == self.manifest.cid
        if self._flags[piece.number] == CHECKED:
            return
        # One at a time: the kernel lets no two write to a file, and has the second spin until the first is done.
        with self._writing, _local("keep a piece of a download"):
            _write(self._data, piece.data, self.manifest.span(piece.number)[0])
        self._mark(piece.number)

    def read(self, offset: int, size: int) -> bytes:
        """The bytes from `offset` on; the range lies in the file.

        Raises:
            LocalError: the disk fails, or a piece of the range is not here.
        """
        piece, end = self.manifest.piece, offset + size
        if self.missing(offset // piece, -(-end // piece)):
            raise LocalError("a piece that is not here cannot be read")
        with _local("read a piece of a download"):
            data = os.pread(self._data, size, offset)
        if len(data) < size:
            raise LocalError("a download's file was cut short by somebody else")
        return data

    def say_want(self, want: tuple[int, int]) -> None:
        """Notes which pieces first ≤ n < end are wanted here next. Raises LocalError."""
        with self._writing, _local("note what is wanted of a download"):
            if self._bits >= 0:  # else it was closed, and the number may be another file's by now
                _write(self._bits, _WANT.pack(*want), _WANT_AT)

    def descriptor(self) -> int:
        """A new descriptor of the data."""
        return os.open(f"/proc/self/fd/{self._data}", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Gives the descriptors back; what is on disk stays."""
        with self._writing:
            os.close(self._data)
            os.close(self._bits)
            self._bits = -1

    def remove(self) -> None:
        """Closes, and takes the files away; those moved elsewhere already are none of ours.

        Raises:
            LocalError: the disk is broken.
        """
        self.close()
        data, bits, text = paths_of(self._layout, self.manifest.cid)
        with _local("remove a download"):
            for path in (bits, data, text):  # without bits the rest is not trusted
                path.unlink(missing_ok=True)

    def spoil(self, number: int) -> None:
        """The piece turned out to be rotten: it is missing. `mark_missing` comes first, for what is on disk."""
        with self._lock:
            if self._flags[number] == CHECKED:
                self._here -= 1
            self._flags[number] = MISSING

    def _settle(self, number: int) -> None:
        """Hashes a suspect piece again. On disk it stays suspect if it is wrong: nothing reads it there."""
        offset, length = self.manifest.span(number)
        with _local("read a piece of a download"):
            data = os.pread(self._data, length, offset)
        if hashlib.sha1(data, usedforsecurity=False).digest() == self.manifest.hash_of(number):
            self._mark(number)
            return
        with self._lock:
            if self._flags[number] == SUSPECT:  # and not written by another thread meanwhile
                self._flags[number] = MISSING

    def _mark(self, number: int) -> None:
        with _local("keep a piece of a download"):
            _write(self._bits, bytes([CHECKED]), _HEAD.size + number)
        with self._lock:
            if self._flags[number] != CHECKED:
                self._flags[number] = CHECKED
                self._here += 1


def mark_missing(layout: Layout, cid: str, number: int) -> None:
    """Has a piece count as missing on disk, and so for the data server; if the download is gone, that is right too.

    Raises:
        LocalError: the disk is broken.
    """
    with _local("mark a piece of a download"):
        try:
            fd = os.open(paths_of(layout, cid)[1], os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        try:
            _write(fd, bytes([MISSING]), _HEAD.size + number)
        finally:
            os.close(fd)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _replace(path: Path, body: bytes) -> None:
    """Puts a file there in one step, a new inode: who has the old one open goes on with it."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(body)
    new.rename(path)


def _create_pair(data: Path, bits: Path, manifest: Manifest) -> None:
    for path in (bits, data):
        path.unlink(missing_ok=True)
    fd = os.open(data, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, manifest.size)
    finally:
        os.close(fd)
    _replace(bits, _HEAD.pack(_MAGIC, boot_id(), manifest.size, 0, 0) + bytes(manifest.count))


def _open_pair(data: Path, bits: Path, manifest: Manifest) -> tuple[int, int, bytearray] | None:
    """(descriptor of the data, of the bits, flags), or None if they are not there or do not fit."""
    fds: list[int] = []
    flags = None
    try:
        for path in (data, bits):
            fds.append(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
        flags = _trusted(fds[0], fds[1], manifest)
    except FileNotFoundError:
        pass
    finally:
        if flags is None:
            for fd in fds:
                os.close(fd)
    return None if flags is None else (fds[0], fds[1], flags)


def _trusted(data: int, bits: int, manifest: Manifest) -> bytearray | None:
    """The flags on disk, suspect if the machine started since; None if the files are not those of this download."""
    status = os.fstat(data)
    body = os.pread(bits, _HEAD.size + manifest.count + 1, 0)
    if not stat.S_ISREG(status.st_mode) or status.st_size != manifest.size or len(body) != _HEAD.size + manifest.count:
        return None
    magic, boot, size, _, _ = _HEAD.unpack_from(body)
    if (magic, size) != (_MAGIC, manifest.size):
        return None
    if boot == boot_id():
        _write(bits, _WANT.pack(0, 0), _WANT_AT)  # what readers wanted who are no more
        return bytearray(body[_HEAD.size :].translate(_KNOWN))
    flags = bytearray(body[_HEAD.size :].translate(_DOUBT))
    _write(bits, flags, _HEAD.size)  # before the boot id: readers trust nothing under another one
    _write(bits, _HEAD.pack(_MAGIC, boot_id(), size, 0, 0), 0)
    return flags


class PiecesReader:
    """Another process's view of a download under way: which pieces are here now, and the file they stand in.

    `fd` is the data's descriptor, for sendfile; its offset is not used. Threading: any thread; `close` when no
    other is under way.
    """

    def __init__(self, data: int, bits: int, text: int, size: int) -> None:
        self.fd, self._bits, self._text = data, bits, text
        self.size = size

    @classmethod
    def open(cls, layout: Layout, cid: str) -> "PiecesReader | None":
        """The download of this content, or None if there is none, or none since the machine started."""
        fds: list[int] = []
        try:
            for path in paths_of(layout, cid):
                fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
            magic, boot, size, _, _ = _HEAD.unpack(os.pread(fds[1], _HEAD.size, 0))
        except (OSError, struct.error):
            magic, boot, size = b"", b"", 0
        if magic != _MAGIC or boot != boot_id():
            for fd in fds:
                os.close(fd)
            return None
        return cls(fds[0], fds[1], fds[2], size)

    def close(self) -> None:
        """Gives the descriptors back."""
        for fd in (self.fd, self._bits, self._text):
            os.close(fd)

    def flags(self) -> bytes:
        """One byte a piece: `CHECKED` for those that are here now."""
        return self._flags(0, piece_count(self.size))

    def want(self) -> tuple[int, int]:
        """The pieces first ≤ n < end that the readers of its peer want next; (0, 0): none. Raises OSError."""
        first, end = _WANT.unpack(os.pread(self._bits, _WANT.size, _WANT_AT))
        return first, end

    def pieces_around(self, number: int) -> int:
        """The pieces that are here, as in `peer.bitmap`; of very many only some thousands around this one."""
        count = piece_count(self.size)
        if count <= 8 * AROUND:
            return bitmap.of_flags(self.flags())
        first = max(0, min(number - AROUND, count - 2 * AROUND))
        return bitmap.of_flags(self._flags(first, first + 2 * AROUND)) << first

    def covers(self, offset: int, size: int) -> bool:
        """Whether all bytes of the range are in pieces that are here now (they stay so)."""
        piece = piece_size(self.size)
        first, end = offset // piece, -(-(offset + size) // piece)
        return offset + size <= self.size and self._flags(first, end).count(CHECKED) == end - first

    def manifest(self) -> bytes:
        """The manifest's bytes. Raises OSError."""
        return os.pread(self._text, manifest_length(self.size), 0)

    def manifest_head(self) -> bytes:
        """The manifest's first bytes: all lines before the pieces' hashes. Raises OSError."""
        return os.pread(self._text, _MANIFEST_HEAD, 0)

    def _flags(self, first: int, end: int) -> bytes:
        return os.pread(self._bits, end - first, _HEAD.size + first)
