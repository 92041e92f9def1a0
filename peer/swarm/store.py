"""Where the verified pieces of one content are: on disk, or, when there is no room on it, in the shared memory.

Each piece is asked room for. One that found none goes to disk later, should there be room then.
A piece can be read from the moment it is taken in, before it is written.

Threading: any thread; `_lock` guards the pieces that are not written yet and those in memory, and is held while bytes
are copied out of one of them; `_opening` is held while the files are made; the others have their own locks. `close`
when nothing else is under way.
"""

import logging
import threading
import time
from collections.abc import Callable

from peer import bitmap
from peer.swarm.commons import Commons
from peer.swarm.pending import Parts
from peer.swarm.pieces import SUSPECT, Pieces, PiecesReader, VerifiedPiece
from shoal.errors import LocalError
from shoal.manifest import Manifest

AGAIN = 1.0
"""Seconds until the files are tried to be made again after the disk refused."""
log = logging.getLogger(__name__)


class Lost(Exception):
    """The piece `number` was in memory, and had to go."""

    def __init__(self, number: int) -> None:
        self.number = number


class Store:
    """The verified pieces of one content.

    `here` are the pieces (as in `peer.bitmap`) that were on disk at the start; `doubtful` are those that may be, after
    the machine stopped uncleanly: `settle` tells. `diskless`: the last piece found no room on disk.
    """

    def __init__(self, commons: Commons, manifest: Manifest, begun: Callable[[], None] = lambda: None) -> None:
        """`begun` is called once there are files for the pieces."""
        self.manifest = manifest
        self.here = 0
        self.doubtful: set[int] = set()
        self.diskless = False
        self.pieces: Pieces | None = None
        self._commons, self._begun = commons, begun
        self._lock = threading.Lock()
        self._unwritten: dict[int, memoryview] = {}
        self._in_memory: set[int] = set()
        self._opening = threading.Lock()
        self._again = float("-inf")
        if self._open() is None:
            return
        found = PiecesReader.open(commons.layout, manifest.cid)
        if found is not None:
            flags = found.flags()
            found.close()
            self.here = bitmap.of_flags(flags)
            self.doubtful = {number for number, flag in enumerate(flags) if flag == SUSPECT}

    @property
    def complete(self) -> bool:
        """Whether all pieces are on disk."""
        return self.pieces is not None and self.pieces.complete

    @property
    def waits(self) -> bool:
        """Whether pieces are only in memory."""
        return bool(self._in_memory)

    def take(self, piece: VerifiedPiece) -> None:
        """Takes a piece in: it can be read. Its bytes must not change before `put` was called with it, and ended."""
        with self._lock:
            self._unwritten[piece.number] = piece.data

    def put(self, piece: VerifiedPiece) -> None:
        """Puts a piece where it stays; its bytes may change afterwards."""
        try:
            if not self._write(piece):
                with self._lock:
                    self._in_memory.add(piece.number)
                self._commons.memory.put(piece.cid, piece.number, bytes(piece.data))
                self._commons.room.not_kept(len(piece.data))
        finally:
            with self._lock:
                self._unwritten.pop(piece.number, None)

    def say_want(self, want: tuple[int, int]) -> None:
        """Has other peers told which pieces first ≤ n < end are wanted here next."""
        if self.pieces is not None:
            try:
                self.pieces.say_want(want)
            except LocalError as error:
                log.debug("%s", error)  # they are told less

    def write_back(self) -> None:
        """Writes what is only in memory to disk, as far as there is room."""
        with self._lock:
            numbers = sorted(self._in_memory)
        for number in numbers:
            data = self._commons.memory.get(self.manifest.cid, number)
            if data is not None:
                if not self._write(VerifiedPiece(self.manifest.cid, number, memoryview(data))):
                    return
                self._commons.memory.forget(self.manifest.cid, number)
            self.lost(number)

    def lost(self, number: int) -> bool:
        """A piece is not in memory any more; whether it is on disk."""
        with self._lock:
            self._in_memory.discard(number)
        return self.pieces is not None and self.pieces.has(number)

    def settle(self, number: int) -> bool:
        """Whether a doubtful piece is here; hashes it."""
        self.doubtful.discard(number)
        try:
            return self.pieces is not None and self.pieces.has(number)
        except LocalError as error:
            log.warning("%s", error)
            return False

    def read(self, offset: int, size: int, held: VerifiedPiece | None = None) -> Parts:
        """The bytes from `offset` on, of pieces that are here. Those of `held` are not copied.

        Raises:
            Lost: a piece is not in memory any more.
            LocalError: the disk fails.
        """
        # In this order: what is not in `_unwritten` any more is on disk, or in `_in_memory`.
        if not self._unwritten and not self._in_memory and self.pieces is not None:
            return (self.pieces.read(offset, size),)
        parts: list[bytes | memoryview] = []
        while size:
            number, skip = divmod(offset, self.manifest.piece)
            part = min(self.manifest.piece - skip, size)
            if held is not None and held.number == number:
                parts.append(held.data[skip : skip + part])
            else:
                parts.append(self._read_part(number, skip, part))
            offset, size = offset + part, size - part
        return parts

    def _read_part(self, number: int, skip: int, size: int) -> bytes | memoryview:
        """Bytes of one piece from its byte `skip` on."""
        with self._lock:
            fresh = self._unwritten.get(number)
            if fresh is not None:
                return bytes(fresh[skip : skip + size])
        data = self._commons.memory.get(self.manifest.cid, number)
        if data is not None:
            return memoryview(data)[skip : skip + size]
        if self.pieces is None or not self.pieces.has(number):
            raise Lost(number)
        return self.pieces.read(number * self.manifest.piece + skip, size)

    def close(self, remove: bool) -> None:
        """Gives descriptors and memory back. With `remove` the files go too, if the scanner did not move them."""
        for number in self._in_memory:
            self._commons.memory.forget(self.manifest.cid, number)
        if self.pieces is None:
            return
        try:
            if remove:
                self.pieces.remove()
            else:
                self.pieces.close()
        except LocalError as error:
            log.warning("%s", error)

    def _write(self, piece: VerifiedPiece) -> bool:
        """Whether the piece is on disk now."""
        room, cid, size = self._commons.room, piece.cid, len(piece.data)
        pieces = self._open()
        if pieces is not None and pieces.has(piece.number):
            return True
        if pieces is None or not room.take("partial", cid, size):
            self.diskless = True
            return False
        try:
            pieces.write(piece)
        except LocalError as error:
            room.give("partial", cid, size)
            self._refused(error)
            return False
        self.diskless = False
        return True

    def _open(self) -> Pieces | None:
        """The pieces' files, made now if they could not be before."""
        if self.pieces is not None:
            return self.pieces
        with self._opening:
            if self.pieces is not None or time.monotonic() < self._again:
                return self.pieces
            self._again = time.monotonic() + AGAIN
            room, cid, size = self._commons.room, self.manifest.cid, Pieces.overhead(self.manifest)
            known = room.size("partial", cid)
            if not known and not room.take("partial", cid, size):
                self.diskless = True
                return None
            try:
                self.pieces = Pieces.create_or_open(self._commons.layout, self.manifest)
            except LocalError as error:
                if not known:
                    room.gone("partial", cid)
                self._refused(error)
                return None
        self._begun()
        return self.pieces

    def _refused(self, error: LocalError) -> None:
        self.diskless = True
        self._commons.say_not_kept(str(error))
