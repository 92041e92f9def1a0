"""Finds what is shown at a path, lists it, and opens it.

Finding, listing and attributes answer from memory, always. Opening binds a
handle to the version shown at that moment, and reads no bytes; only for a file
of unknown size is a holder asked. Nothing here opens a path inside the mount.

Threading: any thread. No lock is held while anything waits.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterable
from functools import partial

from cachetools import LRUCache

from peer.beneath import Beneath
from peer.catalogue.catalogue import Catalogue
from peer.catalogue.difference import Difference
from peer.catalogue.tree import File, Folder
from peer.catalogue.version import Version
from peer.layout import Layout
from peer.share.local import LocalFiles, hashed, identity
from peer.share.rows import IndexReader, Row
from peer.vfs.handles import (
    DiskHandle,
    Handle,
    Opens,
    ReadyHandle,
    Reopened,
    Seen,
    StateHandle,
    Swarm,
    SwarmHandle,
)
from peer.vfs.nodes import (
    DIRECTORY,
    FILE,
    LINK,
    PROGRAM,
    Attributes,
    Node,
    StateDir,
    StateFile,
    leads_inside,
    shown,
    version_of,
)
from peer.vfs.sights import FOLDER, Sight, sight_of
from peer.vfs.state import State
from shoal.names import STATE_DIR
from shoal.wire import Entry

XATTRS = ("user.shoal.cid", "user.shoal.sha1", "user.shoal.owners", "user.shoal.holders", "user.shoal.state")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_TRUNC | os.O_CREAT
_OTHER = (0, 0, 0, 0, 0)
"""No file is this."""
_SIZES = 65536
"""How many sizes are remembered of files of whom no catalogue knows it."""


class Vfs:
    """The tree of one peer. Paths are shown paths without a leading `/`; "" is the root."""

    def __init__(
        self,
        catalogue: Catalogue,
        swarm: Swarm,
        files: LocalFiles,
        index: IndexReader,
        layout: Layout,
        status: Callable[[], bytes],
        rescan: Callable[[str], object],
        opens: Opens | None = None,
    ) -> None:
        """`status` gives the text of `.shoal/status`; `rescan` hears of own paths that differ from the index.

        `opens` hears of copies that are opened and closed.
        """
        self._catalogue, self._swarm, self._files, self._index, self._layout = catalogue, swarm, files, index, layout
        self._local = os.fspath(layout.local)
        self._rescan = rescan
        self._opens = opens
        self._state = State(catalogue, status)
        self._lock = threading.Lock()  # guards _sizes
        self._sizes: LRUCache[tuple[str, str], int] = LRUCache(_SIZES)

    def changed_by(self, callback: Callable[[], None]) -> None:
        """Has `callback` called after each change of the tree, with no lock held; it must be quick."""
        self._catalogue.changed_by(lambda changed: callback())

    def changed_at(self, callback: Callable[[Difference], None]) -> None:
        """Has `callback` called after each change, with the paths that may show something else; it must be quick."""
        self._catalogue.changed_by(callback)

    def sights(
        self, path: str, versions: tuple[Version, ...] | None = None, folder: bool | None = None
    ) -> dict[str, Sight]:
        """By shown path, what is to be seen of a path of the network: now, or when it had these versions.

        `folder`: whether there was a folder too, if that changed.
        """
        if versions is None:
            versions = self._catalogue.versions(path)
        if folder is None:
            folder = isinstance(self._catalogue.find(path), Folder)
        files = self._catalogue.shown_of(path, versions, folder) if versions else []
        above = path.rpartition("/")[0]
        seen = {
            f"{above}/{file.name}" if above else file.name: sight_of(file)
            for file in files
            if not file.entry.link or leads_inside(file)
        }
        return {**seen, path: FOLDER} if folder else seen

    def find(self, path: str) -> Node | None:
        """What is shown at a path."""
        if path.startswith(STATE_DIR) and (len(path) == len(STATE_DIR) or path[len(STATE_DIR)] == "/"):
            return self._state.find(path)
        node = self._catalogue.find(path)
        if type(node) is File and node.version.is_link and not leads_inside(node):
            return None
        return node

    def children(self, node: Node) -> Iterable[tuple[str, Node]]:
        """(name, child) of all that a directory shows, as of one moment.

        Raises:
            NotADirectoryError: it is none.
        """
        if isinstance(node, Folder):
            return shown(node.children)
        if isinstance(node, StateDir):
            return node.children().items()
        raise NotADirectoryError(errno.ENOTDIR, "not a directory")

    def attributes(self, node: Node) -> Attributes:
        """What `stat` shows of it. A file of unknown size has none until it was opened."""
        if type(node) is File:
            x, size, mtime = node.version.stat()
            if size is None or node.version.is_link:
                return self._attributes(node.path, node.entry)
            return Attributes(PROGRAM if x else FILE, size, mtime)
        if type(node) is Folder:
            return Attributes(DIRECTORY, 0, node.mtime)
        return Attributes(FILE if type(node) is StateFile else DIRECTORY, 0, 0)

    def _attributes(self, path: str, entry: Entry) -> Attributes:
        """Those of a link, or of a file of unknown size."""
        if entry.link:
            return Attributes(LINK, len(entry.link.encode()), entry.mtime)
        with self._lock:
            size = self._sizes.get((path, entry.sha1), 0)
        return Attributes(PROGRAM if entry.x else FILE, size, entry.mtime)

    def readlink(self, node: Node) -> str:
        """A link's target. Raises OSError (EINVAL) if it is none."""
        if isinstance(node, File) and node.entry.link:
            return node.entry.link
        raise OSError(errno.EINVAL, "not a link")

    def open(self, node: Node, flags: int = os.O_RDONLY) -> Handle:
        """A handle on this version.

        Raises:
            OSError: EROFS: for writing; EISDIR: a directory.
            ShoalError: its size is not known, and cannot be asked; or this disk fails.
        """
        if flags & _WRITING:
            raise OSError(errno.EROFS, "nothing is written here")
        if isinstance(node, StateFile):
            return StateHandle(version_of(node), node.content())
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, "a directory")
        if node.entry.link:
            raise OSError(errno.ELOOP, "a link")
        return self.open_ready(node, flags) or self._open_here(node) or self._open_there(node)

    def open_ready(self, node: Node, flags: int = os.O_RDONLY) -> Handle | None:
        """A handle on a version whose bytes are in memory; None: `open` it. Never asks the disk. Raises ShoalError."""
        if type(node) is not File or flags & _WRITING or not self._swarm.holds(node.version.cid):
            return None
        if any(owner == self._catalogue.id for owner, _ in node.version.who.owners):
            return None  # one's own file follows the disk
        reader = self._swarm.ready(node.path, node.entry)
        if reader is None:
            return None
        return ReadyHandle(node, version_of(node), self.attributes(node), reader, self._catalogue)

    def reopen(self, node: Node, seen: Seen) -> Handle | None:
        """A handle on what was open before, if it still is that. None: `open` it.

        One's own file is opened and looked at, anything else when it is read.
        """
        if not seen.own:
            return Reopened(seen, self.attributes(node), lambda: self.open(node), self._count(seen.version))
        try:
            fd = os.open(f"{self._local}/{seen.own}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        handle = DiskHandle(fd, seen.version, self.attributes(node), seen.hashed, seen.own)
        if handle.direct:  # another file, wherever the path led
            handle.close()
            return None
        return handle

    def open_waits(self, node: Node) -> bool:
        """Whether `open` may have to ask a holder."""
        return isinstance(node, File) and node.version.stat()[1] is None

    def _open_here(self, file: File) -> Handle | None:
        cid = file.entry.cid
        if not cid:
            return None
        attributes = self.attributes(file)
        if any(owner.id == self._catalogue.id for owner in file.entry.owners):
            own = [row for row in self._index.at(file.path) if _is_own(row)]
            for row in own:
                if row.cid == cid and row.is_file and (handle := self._open_own(row, cid, attributes)) is not None:
                    return handle
        else:
            own = []
        found = self._files.open(cid)
        if found is not None:
            return DiskHandle(found.fd, cid, attributes, hashed(found.row), closed=self._count(cid))
        if len(file.entry.owners) == 1:
            # The index has another version by now, the tree will in a moment, and nobody else has this one.
            for row in own:
                if row.cid != cid and row.is_file and (handle := self._open_own(row, cid, attributes)) is not None:
                    return handle
        return None

    def _count(self, cid: str) -> Callable[[], None]:
        """A copy is opened, and is not evicted until what is returned was called."""
        if self._opens is None:
            return lambda: None
        self._opens.opened(cid)
        return partial(self._opens.closed, cid)

    def _open_own(self, row: Row, cid: str, attributes: Attributes) -> Handle | None:
        """One's own file, as it is now; None if there is none any more."""
        try:
            with Beneath(self._layout.local) as root:
                fd = root.open_file(row.disk)
        except OSError:
            self._rescan(row.path)
            return None
        handle = DiskHandle(fd, cid, attributes, hashed(row) if row.cid == cid else _OTHER, own=row.disk)
        if handle.direct:
            self._rescan(row.path)
        return handle

    def _open_there(self, file: File) -> Handle:
        reader = self._swarm.open(file.path, file.entry)
        if file.entry.size is None:
            with self._lock:
                self._sizes[file.path, file.entry.sha1] = reader.size
        attributes = self.attributes(file)
        if (fd := reader.whole()) >= 0:
            reader.close()
            version = version_of(file)
            return DiskHandle(fd, version, attributes, identity(os.fstat(fd)), closed=self._count(version))
        return SwarmHandle(file, version_of(file), attributes, reader, self._catalogue)

    def xattrs(self, node: Node) -> list[str]:
        """The names of its extended attributes."""
        if not isinstance(node, File):
            return []
        entry = node.entry
        values = (entry.cid, entry.sha1, entry.owners, entry.holders, True)
        return [name for name, value in zip(XATTRS, values, strict=True) if value]

    def xattr(self, node: Node, name: str) -> str:
        """The value of an extended attribute; lists of peers' names are separated by commas.

        Raises:
            OSError: EOPNOTSUPP: another namespace; ENODATA: it has no such attribute.
        """
        if not name.startswith("user.shoal."):
            raise OSError(errno.EOPNOTSUPP, "no such namespace")
        if not isinstance(node, File) or name not in self.xattrs(node):
            raise OSError(errno.ENODATA, "no such attribute")
        entry = node.entry
        match name.removeprefix("user.shoal."):
            case "cid":
                return entry.cid
            case "sha1":
                return entry.sha1
            case "owners":
                return ",".join(owner.name for owner in entry.owners)
            case "holders":
                return ",".join(self._name_of(id) for id in entry.holders)
            case _:
                return self.state(node.path, entry)

    def is_here(self, node: Node) -> bool:
        """Whether it is a file that is whole on this disk."""
        return isinstance(node, File) and not node.entry.link and self.state(node.path, node.entry) == "here"

    def state(self, path: str, entry: Entry) -> str:
        """Where a version is: "here" (all of it), "partial", "remote", or "unreachable"."""
        if entry.link or entry.is_dir or (entry.cid and self._index.of(entry.cid, 1)):
            return "here"
        return self._swarm.state(entry)

    def _name_of(self, id: str) -> str:
        if id == self._catalogue.id:
            return self._catalogue.name
        peer = self._catalogue.peer(id)
        return peer.name if peer is not None else id[:12]


def _is_own(row: Row) -> bool:
    """Whether it is one's own file, and not a rotten one: of that the network may have the right bytes."""
    return row.kind == "own" and row.place == "local" and row.state != "rotten"
