"""Where the verified pieces of one content are: on disk, or, when the disk has no room, in the shared memory.

Threading: any thread; the pieces and the memory have their locks. `close` when nothing else is under way.
"""

import logging

from peer.swarm.commons import Commons
from peer.swarm.pieces import CHECKED, SUSPECT, Pieces, PiecesReader, VerifiedPiece
from shoal.errors import LocalError
from shoal.manifest import Manifest

log = logging.getLogger(__name__)


class Lost(Exception):
    """The piece `number` was in memory, and had to go."""

    def __init__(self, number: int) -> None:
        self.number = number


class Store:
    """The verified pieces of one content.

    `here` has a byte a piece, 1 for those that were on disk at the start; `doubtful` are those that may be, after
    the machine stopped uncleanly: `settle` tells. `diskless`: the disk refused a piece, and takes no more of this.
    """

    def __init__(self, commons: Commons, manifest: Manifest) -> None:
        self.manifest = manifest
        self.here = bytes(manifest.count)
        self.doubtful: set[int] = set()
        self.diskless = False
        self.pieces: Pieces | None = None
        self._commons = commons
        try:
            self.pieces = Pieces.create_or_open(commons.layout, manifest)
        except LocalError as error:
            self._no_room(error)
            return
        found = PiecesReader.open(commons.layout, manifest.cid)
        if found is not None:
            flags = found.flags()
            found.close()
            self.here = bytes(flag == CHECKED for flag in flags)
            self.doubtful = {number for number, flag in enumerate(flags) if flag == SUSPECT}

    def put(self, piece: VerifiedPiece) -> None:
        """Takes a piece in; its bytes may change afterwards."""
        if self.pieces is not None and not self.diskless:
            try:
                self.pieces.write(piece)
            except LocalError as error:
                self._no_room(error)
            else:
                return
        self._commons.memory.put(piece.cid, piece.number, bytes(piece.data))

    def settle(self, number: int) -> bool:
        """Whether a doubtful piece is here; hashes it."""
        self.doubtful.discard(number)
        try:
            return self.pieces is not None and self.pieces.has(number)
        except LocalError as error:
            log.warning("%s", error)
            return False

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, of pieces that are here.

        Raises:
            Lost: a piece is not in memory any more.
            LocalError: the disk fails.
        """
        if self.pieces is not None and not self.diskless:
            return self.pieces.read(offset, size)
        piece = self.manifest.piece
        parts = []
        end = offset + size
        while offset < end:
            number, skip = divmod(offset, piece)
            length = min(piece - skip, end - offset)
            data = self._commons.memory.get(self.manifest.cid, number)
            if data is not None:
                parts.append(data[skip : skip + length])
            elif self.pieces is not None and self.pieces.has(number):
                parts.append(self.pieces.read(offset, length))
            else:
                raise Lost(number)
            offset += length
        return b"".join(parts)

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
