"""A whole file, or a download's pieces, read again from the disk and compared with their hashes.

It is read piece by piece, each against its SHA-1: so a check can be left in the middle of 100 GB and gone on with,
and a rotten piece is known by its number. (Rot makes no collisions; what comes from others is checked otherwise.)
The page cache is passed by where the file system can do that (O_DIRECT): a page in memory says nothing about the disk,
and what others have in the cache stays there. A piece that is wrong is read a second time before anything is said.

Rot is told from a change by the file's identity: who writes moves the ctime. (Only a write through a map that was
open while the file was hashed leaves no trace, as long as the kernel has not written that page back.)

Threading: none; all of it belongs to the thread that checks.
"""

import errno
import fcntl
import hashlib
import mmap
import os
from typing import Literal

from peer.beneath import Beneath
from peer.share.local import unchanged
from peer.share.rows import Row
from shoal.manifest import MIB, Manifest

PIECE_MAX = 4 * MIB
_BLOCK = 4096


class Disk:
    """Reads files past the page cache, one piece at a time, into a buffer of its own."""

    def __init__(self) -> None:
        self._buffer = memoryview(mmap.mmap(-1, PIECE_MAX))  # a map's memory is aligned, as O_DIRECT wants it

    def read(self, fd: int, offset: int, size: int) -> memoryview:
        """Up to `size` bytes from `offset`, fewer only at the file's end; valid until the next read.

        Raises:
            OSError: the disk fails.
        """
        done = 0
        while done < size:
            room = self._buffer[done : -(-size // _BLOCK) * _BLOCK]
            try:
                got = os.preadv(fd, [room], offset + done)
            except OSError as error:
                flags = fcntl.fcntl(fd, fcntl.F_GETFL)
                if error.errno != errno.EINVAL or not flags & os.O_DIRECT:
                    raise
                fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)  # this file system cannot, or not from here
                continue
            done += got
            if not got or got % _BLOCK:  # a short read that does not end at a block is the file's end
                break
        return self._buffer[: min(done, size)]


def pass_cache(fd: int) -> None:
    """Has an open file read past the page cache, if its file system can."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def piece_is_right(disk: Disk, fd: int, manifest: Manifest, number: int) -> str:
    """Why a piece on disk is not what its hash says, or ""; read twice before it is called wrong.

    Raises:
        OSError: the disk fails, but not by a sector that cannot be read: that is a reason.
    """
    offset, length = manifest.span(number)
    why = ""
    for _ in range(2):
        try:
            data = disk.read(fd, offset, length)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            why = f"piece {number} of {manifest.count} cannot be read"
            continue
        if len(data) == length and hashlib.sha1(data, usedforsecurity=False).digest() == manifest.hash_of(number):
            return ""
        why = f"piece {number} of {manifest.count} is not what it was"
    return why


Verdict = Literal["", "right", "rotten", "changed"]


class Check:
    """The check of one row's file. `verdict` is "" until it is known; then `why` says what is rotten.

    "changed": the file is another than the row says, or cannot be opened; that is not for a check to judge.
    """

    def __init__(self, root: Beneath, row: Row, name: str, manifest: Manifest | None, piece: int, disk: Disk) -> None:
        """`name` is where the row's file is beneath `root`, and its manifest, if there is one; `piece` the first."""
        self.row, self.piece = row, piece
        self.verdict: Verdict = ""
        self.why = ""
        self._disk, self._fd = disk, -1
        if manifest is None:
            self._end("changed")
            return
        self._manifest = manifest
        try:
            self._fd = root.open_file(name)
            pass_cache(self._fd)
        except OSError:
            self._end("changed")
        else:
            self._look()

    def step(self) -> int:
        """Reads the next piece, and gives the verdict after the last one; how many bytes."""
        if self.verdict:
            return 0
        if self.piece >= self._manifest.count:
            self._end("right")
            return 0
        size = self._manifest.span(self.piece)[1]
        try:
            why = piece_is_right(self._disk, self._fd, self._manifest, self.piece)
        except OSError:
            self._end("changed")
            return 0
        self.piece += 1
        self._look()
        if why and not self.verdict:
            self.why = why
            self._end("rotten")
        return size

    def close(self) -> None:
        """Gives the descriptor back; again is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _look(self) -> None:
        if not unchanged(self.row, os.fstat(self._fd)):
            self._end("changed")

    def _end(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.close()
