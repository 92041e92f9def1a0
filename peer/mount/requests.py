"""The kernel's requests, translated for the vfs, and answered.

What can be answered from memory is, at once: names and attributes here, lists
in `directories`. What may wait is in `files`.

Threading: any thread.
"""

import errno
import os
import threading
from collections.abc import Callable

from peer.mount import protocol
from peer.mount.answers import ENTRY, Answers
from peer.mount.directories import Directories
from peer.mount.errnos import answer as errno_for
from peer.mount.files import Files, Write
from peer.mount.protocol import FOREVER, BadMessage, Op, Request, fixed
from peer.mount.stage import Stage
from peer.mount.table import Stale, Table
from peer.vfs import Node, Vfs
from shoal.names import STATE_DIR


class Requests:
    """Answers requests, each with one `write`; from any thread, also after `answer` returned."""

    def __init__(
        self,
        vfs: Vfs,
        table: Table,
        write: Write,
        later: Callable[[Callable[[], object]], object],
        give_way: Callable[[], None] = lambda: None,
    ) -> None:
        """`later` has something done by another thread that may wait; `give_way` is called before the disk is asked."""
        self._vfs, self._table, self._write = vfs, table, write
        lock = threading.Lock()
        self._answers = Answers(vfs, lock)
        self.stage = Stage(vfs, table, self._answers)
        self._directories = Directories(vfs, table, self._answers)
        self.files = Files(vfs, table, lock, write, self._fail, later, give_way)
        self._calls: dict[int, Callable[[Request], bytes]] = {
            Op.LOOKUP: self._lookup,
            Op.GETATTR: self._getattr,
            Op.READLINK: self._readlink,
            Op.GETXATTR: self._getxattr,
            Op.LISTXATTR: self._listxattr,
            Op.STATFS: self._statfs,
            Op.ACCESS: self._access,
            **self._directories.calls,
        }
        self._others: dict[int, Callable[[Request], None]] = {
            Op.FORGET: self._forget,
            Op.BATCH_FORGET: self._forget_many,
            **self.files.calls,
        }

    @property
    def open_count(self) -> int:
        """How many files and directories are open."""
        return len(self.files) + len(self._directories)

    def answer(self, request: Request) -> None:
        """Answers a request, or sees to it that it is answered. Never raises, never waits for the network."""
        try:
            call = self._calls.get(request.opcode)
            if request.pid == self.stage.pid and (played := self.stage.answer(request)) is not None:
                self._write(protocol.answer(request.unique, played), ())
            elif call is not None:
                self._write(protocol.answer(request.unique, call(request)), ())
            elif (other := self._others.get(request.opcode)) is not None:
                other(request)
            else:
                number = errno.EROFS if request.opcode in protocol.WRITES else errno.ENOSYS
                self._write(protocol.failure(request.unique, number), ())
        except BaseException as error:  # noqa: BLE001 - who asked would hang; `_fail` logs what nobody thought of
            self._fail(request.unique, error, self._path_of(request.node))

    def close(self) -> None:
        """Closes what is open; nothing is asked any more."""
        self.files.close()

    def _fail(self, unique: int, error: BaseException, path: str) -> None:
        if isinstance(error, Stale):
            number = errno.ESTALE
        elif isinstance(error, BadMessage):
            number = errno.EINVAL
        else:
            number = errno_for(error, path)
        self._write(protocol.failure(unique, number), ())

    def _path_of(self, node: int) -> str:
        try:
            return self._table.known(node).path
        except Stale:
            return ""

    # Nodes

    def _node(self, request: Request) -> Node:
        return self._table.node(self._table.known(request.node))

    def _lookup(self, request: Request) -> bytes:
        path = self._table.known(request.node).child(protocol.name(request.body))
        found = self._table.look_up(path)
        if found is not None:
            return ENTRY.pack(*self._answers.entry(*found))
        if path.startswith(STATE_DIR) or not self._table.absent(path):
            raise FileNotFoundError(errno.ENOENT, "no such path")
        return ENTRY.pack(0, 0, FOREVER[0], *(0,) * 19)

    def _forget(self, request: Request) -> None:
        (lookups,) = fixed(protocol.FORGET_IN, request.body)
        self._table.forget(request.node, lookups)

    def _forget_many(self, request: Request) -> None:
        for node, lookups in protocol.forgets(request.body):
            self._table.forget(node, lookups)

    def _getattr(self, request: Request) -> bytes:
        known = self._table.known(request.node)
        return self._answers.attributes(known, self._table.node(known))

    def _readlink(self, request: Request) -> bytes:
        return os.fsencode(self._vfs.readlink(self._node(request)))

    def _getxattr(self, request: Request) -> bytes:
        (size,) = fixed(protocol.XATTR_IN, request.body)
        name = protocol.name(request.body[protocol.XATTR_IN.size :])
        if not name.startswith(b"user.shoal."):
            raise OSError(errno.EOPNOTSUPP, "no such namespace")
        return _given(self._vfs.xattr(self._node(request), os.fsdecode(name)).encode(), size)

    def _listxattr(self, request: Request) -> bytes:
        (size,) = fixed(protocol.XATTR_IN, request.body)
        names = self._vfs.xattrs(self._node(request))
        return _given(b"".join(name.encode() + b"\0" for name in names), size)

    def _statfs(self, request: Request) -> bytes:
        return protocol.STATFS_OUT.pack(0, 0, 0, 0, 0, 4096, 255, 4096, 0)

    def _access(self, request: Request) -> bytes:
        (mask,) = fixed(protocol.ACCESS_IN, request.body)
        mode = self._vfs.attributes(self._node(request)).mode
        if mask & os.W_OK:
            raise OSError(errno.EROFS, "nothing is written here")
        if mask & os.X_OK and not mode & 0o111:
            raise PermissionError(errno.EACCES, "not a program")
        return b""


def _given(data: bytes, size: int) -> bytes:
    """An attribute's bytes, or how many there are when the asker has no room."""
    if size == 0:
        return protocol.XATTR_OUT.pack(len(data))
    if len(data) > size:
        raise OSError(errno.ERANGE, "too long")
    return data
