"""Contents of one piece whose bytes are in memory when they are opened: read at once, by the thread that asks."""

from peer.messages import Kept
from peer.swarm.ahead import Arrived
from peer.swarm.commons import Commons
from peer.swarm.content import Content
from peer.swarm.pending import Done, Pending
from peer.swarm.plan import Window
from peer.swarm.small import take_in
from shoal.names import SafePath
from shoal.wire import Entry


class Ready(Content):
    """One handle's content. The handle has the bytes, whatever becomes of them elsewhere.

    Threading: as `Content`; that it is kept is seen to by the first read.
    """

    active, partly_here, lingers = False, True, False

    def __init__(self, path: SafePath, entry: Entry, arrived: Arrived | None, data: bytes, commons: Commons) -> None:
        """`arrived`: it was fetched ahead, and nobody read it yet; else `data` is kept already, or will be."""
        self.cid, self.size = entry.cid, len(data)
        self._path, self._entry, self._arrived, self._data, self._commons = path, entry, arrived, data, commons

    def begin(self, window: Window, offset: int, size: int, done: Done) -> Pending | None:
        """See `Content.begin`."""
        self._commons.check_open()
        if self._arrived is not None:
            self._keep()
        done((memoryview(self._data)[offset : offset + size],), None)
        return None

    def _keep(self) -> None:
        """Somebody reads it: from now on it is as any small file that was read."""
        commons, arrived, self._arrived = self._commons, self._arrived, None
        if arrived is None:  # another thread was first
            return
        commons.ahead.take(self.cid)
        take_in(self._path, self._entry, arrived.manifest, arrived.data, commons)

    def kept(self, message: Kept) -> None:
        """See `Content.kept`."""

    def dispose(self, wait: float = 0.0) -> bool:
        """See `Content.dispose`."""
        return True
