"""What the kernel is told of a node: its attributes, and for how long it may believe them."""

import os
import threading
from stat import S_IFDIR, S_IFREG
from struct import Struct

from peer.catalogue.tree import File
from peer.mount.protocol import FOREVER, NOT_AT_ALL, ROOT
from peer.mount.table import Known
from peer.vfs import Attributes, Node, Vfs
from shoal.names import STATE_DIR

ENTRY = Struct("=4QII6Q10I")
"""ENTRY_OUT and ATTR."""
ATTRIBUTES = Struct("=QI4x6Q10I")
"""ATTR_OUT and ATTR."""
_TYPE = 0o170000
ROOT_VALID = (1, 0)
"""The root of a mount whose program is gone must not look alive."""


class Answers:
    """Threading: any thread. No handle of a node is closed while `lock` is held."""

    def __init__(self, vfs: Vfs, lock: threading.Lock) -> None:
        self._vfs, self._lock = vfs, lock
        self._uid, self._gid = os.getuid(), os.getgid()

    def entry(self, known: Known, node: Node) -> tuple[int, ...]:
        """The fields of `ENTRY`."""
        valid = self.valid(known)
        if known.handles:
            attr_valid, attributes = self._seen(known, node)
        else:  # as with thousands in a listing
            attr_valid, attributes = valid, self.of(known, node)
        return known.id, 0, valid[0], attr_valid[0], valid[1], attr_valid[1], *self.attr(known.id, attributes)

    def attributes(self, known: Known, node: Node) -> bytes:
        """`ATTRIBUTES`."""
        valid, attributes = self._seen(known, node)
        return ATTRIBUTES.pack(*valid, *self.attr(known.id, attributes))

    def of(self, known: Known, node: Node) -> Attributes:
        """What the kernel is to be told of a node. While a file of the network is open its time stays as it was told.

        Told another one, the kernel frees what it caches of the file, and whoever asked, `ls` for example, waits for
        each page that is being fetched just then.
        """
        attributes = self._vfs.attributes(node)
        if type(node) is File:
            if not known.handles:
                known.told = node.version
            elif known.told is not None:
                return attributes._replace(mtime=known.told.mtime)
        return attributes

    def attr(self, id: int, attributes: Attributes) -> tuple[int, ...]:
        """The fields of `protocol.ATTR`."""
        mode, size, mtime = attributes
        at, rest = divmod(mtime, 1_000_000_000)
        if mode & _TYPE == S_IFREG:
            links, blocks = 1, (size + 511) // 512
        else:
            links, blocks = 2 if mode & S_IFDIR else 1, 0
        return id, size, blocks, at, at, at, rest, rest, rest, mode, links, self._uid, self._gid, 0, 4096, 0

    def valid(self, known: Known) -> tuple[int, int]:
        """How long the kernel may believe a node, in seconds and nanoseconds."""
        if known.path.startswith(STATE_DIR):  # nobody tells when something changes there
            return NOT_AT_ALL
        return FOREVER if known.id != ROOT else ROOT_VALID

    def _seen(self, known: Known, node: Node) -> tuple[tuple[int, int], Attributes]:
        """A node's attributes, and how long they may be believed: an own file that is open is as it is on disk."""
        if known.handles:
            with self._lock:
                if known.handles and known.handles[-1].follows:
                    return NOT_AT_ALL, known.handles[-1].attributes
        return self.valid(known), self.of(known, node)
