"""Where the verified pieces of one content are: on disk, or, when the disk has no room, in the shared memory.

A piece can be read from the moment it is taken in, before it is written.

Threading: any thread; `_lock` guards the pieces that are not written yet, and is held while bytes are copied out of
one of them; the others have their own locks. `close` when nothing else is under way.
"""

import logging
import threading

from peer import bitmap
from peer.swarm.commons import Commons
from peer.swarm.pending import Parts
from peer.swarm.pieces import SUSPECT, Pieces, PiecesReader, VerifiedPiece
from shoal.errors import LocalError
from shoal.manifest import Manifest

log = logging.getLogger(__name__)


class Lost(Exception):
    """The piece `number` was in memory, and had to go."""

    def __init__(self, number: int) -> None:
        self.number = number


class Store:
    """The verified pieces of one content.

    `here` are the pieces (as in `peer.bitmap`) that were on disk at the start; `doubtful` are those that may be, after
    the machine stopped uncleanly: `settle` tells. `diskless`: the disk refused a piece, and takes no more of this.
    """

    def __init__(self, commons: Commons, manifest: Manifest) -> None:
        self.manifest = manifest
        self.here = 0
        self.doubtful: set[int] = set()
        self.diskless = False
        self.pieces: Pieces | None = None
        self._commons = commons
        self._lock = threading.Lock()
        self._unwritten: dict[int, memoryview] = {}
        try:
            self.pieces = Pieces.create_or_open(commons.layout, manifest)
        except LocalError as error:
            self._no_room(error)
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
        return self.pieces is not None and not self.diskless and self.pieces.complete

    def take(self, piece: VerifiedPiece) -> None:
        """Takes a piece in: it can be read. Its bytes must not change before `put` was called with it, and ended."""
        with self._lock:
            self._unwritten[piece.number] = piece.data

    def put(self, piece: VerifiedPiece) -> None:
        """Puts a piece where it stays; its bytes may change afterwards."""
        try:
            if self.pieces is not None and not self.diskless:
                try:
                    self.pieces.write(piece)
                except LocalError as error:
                    self._no_room(error)
                else:
                    return
            self._commons.memory.put(piece.cid, piece.number, bytes(piece.data))
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
        # In this order: what is not in `_unwritten` any more is on disk, or `diskless` is set.
        if not self._unwritten and not self.diskless and self.pieces is not None:
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
        if self.pieces is not None and self.pieces.has(number):
            return self.pieces.read(number * self.manifest.piece + skip, size)
        data = self._commons.memory.get(self.manifest.cid, number)
        if data is None:
            raise Lost(number)
        return memoryview(data)[skip : skip + size]

    def close(self, remove: bool) -> None:
        """Gives descriptors and memory back. With `remove` the files go too, if the scanner did not move them."""
        if self.diskless:
            self._commons.memory.drop(self.manifest.cid, self.manifest.count)
        if self.pieces is None:
            return
        try:
            if remove:
                self.pieces.remove()
            else:
                self.pieces.close()
        except LocalError as error:
            log.warning("%s", error)

    def _no_room(self, error: LocalError) -> None:
        self.diskless = True
        self._commons.say_not_kept(str(error))
