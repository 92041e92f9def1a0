"""Passthrough: the kernel reads files that are whole here by itself, without asking us.

An inode is either cached or passed through while anybody has it open; which,
the first open decides. One backing serves all opens of an inode, and is given
back with the last close.
"""

import errno
import fcntl
import logging

from peer.mount import protocol
from peer.mount.table import Known
from peer.vfs import Handle

LEAST = 1 << 20
"""Bytes of the smallest file that is passed through: of smaller ones the page cache is as fast, and opens faster. One's
own are all passed through, so that who has one open sees what is written to it."""
log = logging.getLogger(__name__)


class Backings:
    """The backings of one mount.

    Threading: called with the requests' lock held; nothing here waits for the network.
    """

    def __init__(self, device: int, offered: bool) -> None:
        """`device` is the mount's descriptor, `offered` whether the kernel can, and we may."""
        self._device = device
        self._why = "" if offered else "the kernel does not offer it, or only to root"
        self._open: dict[int, tuple[int, int]] = {}

    @property
    def why_not(self) -> str:
        """Why files are not passed through; "" if they are."""
        return self._why

    def take(self, known: Known, handle: Handle) -> int:
        """The id of the backing for an open of this node, or 0: it is cached. Give it back once for each id."""
        backing, opens = self._open.get(known.id, (0, 0))
        if not backing:
            if self._why or known.handles or handle.fd < 0 or handle.direct:
                return 0
            if handle.attributes.size < LEAST and not handle.follows:
                return 0
            backing = self._new(handle.fd)
            if not backing:
                return 0
        self._open[known.id] = backing, opens + 1
        return backing

    def give_back(self, known: Known) -> None:
        """An open of this node that had a backing ended."""
        backing, opens = self._open[known.id]
        if opens > 1:
            self._open[known.id] = backing, opens - 1
            return
        del self._open[known.id]
        try:
            fcntl.ioctl(self._device, protocol.IOCTL_BACKING_CLOSE, protocol.backing_id(backing))
        except OSError as error:
            log.debug("a backing cannot be given back: %s", error)

    def _new(self, fd: int) -> int:
        try:
            return int(fcntl.ioctl(self._device, protocol.IOCTL_BACKING_OPEN, protocol.backing_map(fd)))
        except OSError as error:
            if error.errno not in (errno.ENOMEM, errno.ENFILE):
                self._why = f"the kernel refuses: {error.strerror}"
                log.info("files that are here are not passed through: %s", self._why)
            return 0
