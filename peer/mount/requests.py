"""The kernel's requests, translated for the vfs, and answered.

What can be answered from memory is, at once. A READ that must wait for the
network is parked: it holds no thread; it is answered when its bytes are here,
or with EINTR when INTERRUPT comes for it, whichever is first. So is an OPEN of
a file whose size nobody knows yet.

Threading: any thread. One lock guards the tables, and is never held while anything waits.
"""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from stat import S_IFDIR
from struct import Struct

from peer.mount import protocol
from peer.mount.answers import ENTRY, Answers
from peer.mount.backing import LEAST, Backings
from peer.mount.errnos import answer as errno_for
from peer.mount.protocol import FOREVER, BadMessage, Op, Open, Request, fixed
from peer.mount.stage import PLAYED, Stage
from peer.mount.table import Known, Stale, Table
from peer.swarm.pending import Parts
from peer.vfs import Handle, Node, Vfs
from shoal.names import STATE_DIR

Write = Callable[[bytes, Parts], object]
"""Gives the kernel an answer: its head, and data of which there may be none."""
PLUS = Struct("=4QII6Q10IQQII")
"""ENTRY_OUT, ATTR and DIRENT."""
_NOBODY = ENTRY.pack(*(0,) * 22)
_UNKNOWN = 0xFFFFFFFF
"""The inode number of what is listed and was never looked up."""
_SENT_BACK = 4096
_DOTS = ((".", S_IFDIR), ("..", S_IFDIR))


@dataclass(eq=False)
class OpenFile:
    """A handle, and the node that it was opened by."""

    handle: Handle
    known: Known
    backing: int
    """Its backing's id, 0 if it has none."""


@dataclass(eq=False)
class OpenDir:
    """A directory's names as of one moment: when they were first asked for, at this turn of its node."""

    known: Known
    turn: int = 0
    names: list[tuple[str, Node]] | None = None


@dataclass(eq=False)
class Parked:
    """A request that waits. `forget` is called when it is interrupted."""

    forget: Callable[[], None] = field(default=lambda: None)


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
        self._vfs, self._table, self._write, self._later, self._give_way = vfs, table, write, later, give_way
        self._lock = threading.Lock()
        self._files: dict[int, OpenFile] = {}
        self._dirs: dict[int, OpenDir] = {}
        self._parked: dict[int, Parked] = {}
        self._sent_back: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._numbers = count(1)
        self.backings: Backings | None = None
        """Set before the first OPEN, where files can be passed through."""
        self._answers = Answers(vfs, self._lock)
        self.stage = Stage(vfs, table, self._answers)
        self._calls: dict[int, Callable[[Request], bytes]] = {
            Op.LOOKUP: self._lookup,
            Op.GETATTR: self._getattr,
            Op.READLINK: self._readlink,
            Op.GETXATTR: self._getxattr,
            Op.LISTXATTR: self._listxattr,
            Op.STATFS: self._statfs,
            Op.ACCESS: self._access,
            Op.OPENDIR: self._opendir,
            Op.READDIR: self._readdir,
            Op.READDIRPLUS: self._readdirplus,
            Op.RELEASEDIR: self._releasedir,
            Op.RELEASE: self._release,
        }
        self._others: dict[int, Callable[[Request], None]] = {
            Op.READ: self._read,
            Op.OPEN: self._open,
            Op.FORGET: self._forget,
            Op.BATCH_FORGET: self._forget_many,
            Op.INTERRUPT: self._interrupt,
        }

    @property
    def open_count(self) -> int:
        """How many files and directories are open."""
        return len(self._files) + len(self._dirs)

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
        with self._lock:
            files, self._files = list(self._files.values()), {}
            self._parked.clear()
        for file in files:
            file.handle.close()

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

    # Directories

    def _opendir(self, request: Request) -> bytes:
        known = self._table.known(request.node)
        self._vfs.children(self._table.node(known))  # raises if it is none
        keep = self._table.keeps_listing(known)
        number = next(self._numbers)
        self._dirs[number] = OpenDir(known)
        cached = Open.CACHE_DIR if self._answers.valid(known) == FOREVER else 0
        return protocol.OPEN_OUT.pack(number, cached | (Open.KEEP_CACHE if keep else 0), 0)

    def _names(self, directory: OpenDir, offset: int) -> list[tuple[str, Node]]:
        if directory.names is None or offset == 0:
            directory.turn = directory.known.turn
            directory.names = list(self._vfs.children(self._table.node(directory.known)))
        return directory.names

    def _readdir(self, request: Request) -> bytes:
        number, offset, size, *_ = fixed(protocol.READ_IN, request.body)
        names = self._names(self._dirs[number], offset)
        parts, room = [], size
        for at in range(offset, len(names) + 2):
            name, node = names[at - 2] if at >= 2 else (_DOTS[at][0], None)
            mode = S_IFDIR if node is None else self._vfs.attributes(node).mode
            part = protocol.dirent(_UNKNOWN, at + 1, mode, name.encode())
            room -= len(part)
            if room < 0:
                break
            parts.append(part)
        return b"".join(parts)

    def _readdirplus(self, request: Request) -> bytes:
        number, offset, size, *_ = fixed(protocol.READ_IN, request.body)
        directory = self._dirs[number]
        names = self._names(directory, offset)
        parts, room = [], size
        for at in range(offset, 2):
            parts.append(_NOBODY + protocol.dirent(_UNKNOWN, at + 1, S_IFDIR, _DOTS[at][0].encode()))
            room -= len(parts[-1])
        first = at = max(offset, 2) - 2
        encoded: list[bytes] = []
        while at < len(names):
            name = names[at][0].encode()
            room -= PLUS.size + -(-len(name) // 8) * 8
            if room < 0:
                break
            encoded.append(name)
            at += 1
        entered = self._table.enter(directory.known, directory.turn, names[first:at])
        parts += self._plus(entered, encoded, first + 3)
        return b"".join(parts)

    def _plus(self, entered: Iterable[tuple[Known, Node] | None], encoded: list[bytes], offset: int) -> Iterable[bytes]:
        for at, (found, name) in enumerate(zip(entered, encoded, strict=True), offset):
            if found is None:  # it went since the names were taken: listed, as of then, and not known
                yield _NOBODY + protocol.dirent(_UNKNOWN, at, 0, name)
                continue
            entry = self._answers.entry(*found)
            kind = (entry[15] >> 12) & 15
            yield PLUS.pack(*entry, found[0].id, at, len(name), kind) + name + bytes(-len(name) % 8)

    def _releasedir(self, request: Request) -> bytes:
        number, *_ = fixed(protocol.RELEASE_IN, request.body)
        directory = self._dirs.pop(number)
        self._table.listed(directory.known, directory.turn if directory.names is not None else None)
        return b""

    # Files

    def _open(self, request: Request) -> None:
        flags, _ = fixed(protocol.OPEN_IN, request.body)
        known, unique = self._table.known(request.node), request.unique
        node = self._table.shown(known)
        if node is None:
            node = known.node
            if node is None or not self._comes_back(request.pid, known.id):
                raise Stale
        if not self._vfs.open_waits(node):
            self._write(protocol.answer(unique, self._bind(known, node, flags)), ())
            return
        self._park(unique)

        def bind() -> None:
            try:
                body = self._bind(known, node, flags)
            except BaseException as error:  # noqa: BLE001 - as in `answer`
                if self._unpark(unique):
                    self._fail(unique, error, known.path)
                return
            if self._unpark(unique):
                self._write(protocol.answer(unique, body), ())
            else:
                number, *_ = protocol.OPEN_OUT.unpack(body)
                self._close(number)

        self._later(bind)

    def _comes_back(self, pid: int, node: int) -> bool:
        """Who asks for an old version twice has a descriptor of it: a path leads elsewhere the second time."""
        with self._lock:
            if (pid, node) in self._sent_back:
                del self._sent_back[pid, node]
                return True
            self._sent_back[pid, node] = None
            if len(self._sent_back) > _SENT_BACK:
                self._sent_back.popitem(last=False)
            return False

    def _bind(self, known: Known, node: Node, flags: int) -> bytes:
        again = self._reopen(known, node, flags)
        if again is None:
            self._give_way()
        handle = again or self._vfs.open(node, flags)
        number = next(self._numbers)
        with self._lock:
            same = not known.handles or known.handles[-1].source == handle.source
            if same:
                backing = self.backings.take(known, handle) if self.backings is not None else 0
                known.handles, known.node = (*known.handles, handle), node
                self._files[number] = OpenFile(handle, known, backing)
        if not same:  # a file on this disk that was replaced, and the index does not know: another node
            handle.close()
            self._table.renew(known)
            raise Stale
        if (handle.follows and again is None) or self._vfs.open_waits(node):
            self._write(protocol.inval_inode(known.id, -1), ())  # what the kernel believes of it may be wrong
        if backing:
            known.pages, known.seen = False, handle.seen if handle.follows else None
            return protocol.OPEN_OUT.pack(number, Open.PASSTHROUGH, backing)
        if handle.direct:
            return protocol.OPEN_OUT.pack(number, Open.DIRECT_IO, 0)
        keep, known.unsettled, known.seen = not known.unsettled, False, handle.seen
        known.pages = self._vfs.attributes(node).size >= LEAST
        return protocol.OPEN_OUT.pack(number, Open.KEEP_CACHE if keep else 0, 0)

    def _reopen(self, known: Known, node: Node, flags: int) -> Handle | None:
        """The file as it was open before, if it is one's own, or the kernel may have all of it in its cache."""
        seen = known.seen
        if seen is None or known.unsettled or flags & os.O_ACCMODE:
            return None
        passed = self.backings is not None and not self.backings.why_not
        if passed and not seen.own and self._vfs.attributes(node).size >= LEAST:
            return None
        return self._vfs.reopen(node, seen)

    def _read(self, request: Request) -> None:
        number, offset, size, *_ = fixed(protocol.READ_IN, request.body)
        unique, file = request.unique, self._files[number]
        self._give_way()
        handle = file.handle
        if handle.fd >= 0:
            data = os.pread(handle.fd, size, offset)
            if len(data) < size:
                handle.check_end(offset + len(data))
            self._write(protocol.data_head(unique, len(data)), (data,))
            return
        parked = self._park(unique)

        def done(parts: Parts, error: BaseException | None) -> None:
            if not self._unpark(unique):
                return
            if error is None:
                self._write(protocol.data_head(unique, sum(map(len, parts))), parts)
            else:
                self._fail(unique, error, file.known.path)

        pending = handle.begin(offset, size, done)
        if pending is not None:
            parked.forget = pending.forget

    def _release(self, request: Request) -> bytes:
        number, *_ = fixed(protocol.RELEASE_IN, request.body)
        if number != PLAYED:
            self._close(number)
        return b""

    def _close(self, number: int) -> None:
        with self._lock:
            file = self._files.pop(number)
            file.known.handles = tuple(handle for handle in file.known.handles if handle is not file.handle)
            if not file.known.handles:
                file.known.node = None
            if file.backing and self.backings is not None:
                self.backings.give_back(file.known)
        if not file.handle.direct and not file.handle.settled:
            file.known.unsettled = True  # what was read may have been something else
        file.handle.close()
        if file.known.pages and not file.known.handles:
            self._later(lambda: self.free_pages(file.known))

    def free_pages(self, known: Known) -> None:
        """Has the kernel free what it caches of a file that will be passed through from now on.

        It would when the file is opened, and keep the program that opens it waiting meanwhile.
        """
        if not known.pages or known.handles or self.backings is None or self.backings.why_not:
            return
        node = self._table.shown(known)
        if node is None or not self._vfs.is_here(node):
            return
        known.pages = False
        self._write(protocol.inval_inode(known.id, 0), ())

    # What waits

    def _park(self, unique: int) -> Parked:
        parked = Parked()
        with self._lock:
            self._parked[unique] = parked
        return parked

    def _unpark(self, unique: int) -> bool:
        """Whether it still waits to be answered; from now on it does not."""
        with self._lock:
            return self._parked.pop(unique, None) is not None

    def _interrupt(self, request: Request) -> None:
        (unique,) = fixed(protocol.INTERRUPT_IN, request.body)
        with self._lock:
            parked = self._parked.pop(unique, None)
        if parked is None:
            # It is being answered just now, or it was not read yet: the kernel asks again while it waits.
            self._write(protocol.failure(request.unique, errno.EAGAIN), ())
            return
        parked.forget()
        self._write(protocol.failure(unique, errno.EINTR), ())


def _given(data: bytes, size: int) -> bytes:
    """An attribute's bytes, or how many there are when the asker has no room."""
    if size == 0:
        return protocol.XATTR_OUT.pack(len(data))
    if len(data) > size:
        raise OSError(errno.ERANGE, "too long")
    return data
