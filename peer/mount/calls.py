"""Each call of libfuse, translated for the vfs, and back.

A directory is listed with its entries' attributes (readdirplus), so that
`ls -l` needs one call for some dozens of files.

Threading: libfuse's own threads call the functions here, any number at a time;
one that waits for the network holds none of our locks and none of libfuse's.
"""

import ctypes
import errno
import functools
import os
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from peer.mount.binding import Binding
from peer.mount.errnos import answer
from peer.mount.versions import HIDDEN, Again, Untold, Versions, Waits
from peer.vfs import Attributes, Node, Vfs, version_of

_LEAVING = 2.0
"""Seconds that a lookup waits for a path's old inode to be moved away. Only that of a thread that opens waits: libfuse
moves nothing while somebody asks for the attributes of what is open, and cannot tell us which of the two it is."""
_FILL_PLUS = 2
_P, _S, _I, _N = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_FILLERS = {
    2: ctypes.CFUNCTYPE(_I, _P, _S, _S, ctypes.c_int64),
    3: ctypes.CFUNCTYPE(_I, _P, _S, _S, ctypes.c_int64, _I),
}
# For a thread that is not Python's, Python makes its own state at each callback and unmakes it after it, which takes
# half of a call's time. Once it was asked for one time more than it is given back, it stays.
_keep_thread_state = ctypes.PyDLL(None).PyGILState_Ensure
_pread = ctypes.CDLL(None, use_errno=True).pread
_pread.restype, _pread.argtypes = ctypes.c_ssize_t, [_I, _P, _N, ctypes.c_int64]


class Calls:
    """What libfuse calls. Paths are bytes that begin with `/`; results are counts, 0, or negative errnos."""

    def __init__(self, vfs: Vfs, versions: Versions, binding: Binding, wake: Callable[[], object]) -> None:
        """`wake` is called when there may be something to move, or to expire, in `versions`."""
        self._vfs, self._versions, self._binding, self._wake = vfs, versions, binding, wake
        self._listings: dict[int, list[tuple[bytes, bytes, Node]]] = {}
        self._numbers = count(1)
        self._threads = threading.local()
        self.moving: tuple[bytes, bytes] | None = None
        """The one rename that is let through, once."""

    def find(self, path: bytes) -> Node | None:
        """What the vfs shows at a path."""
        return self._vfs.find(os.fsdecode(path[1:]))

    def functions(self) -> dict[str, Any]:
        """Name → (function, result type, argument types), for `Binding.operations`."""
        three = self._binding.three
        info: list[Any] = [_P]
        functions: dict[str, Any] = {
            "getattr": (self._getattr, _I, [_S, _P, *(info if three else [])]),
            "readlink": (self._readlink, _I, [_S, _P, _N]),
            "open": (self._open, _I, [_S, _P]),
            "read": (self._read, _I, [_S, _P, _N, ctypes.c_int64, _P]),
            "release": (self._release, _I, [_S, _P]),
            "opendir": (self._opendir, _I, [_S, _P]),
            "readdir": (self._readdir, _I, [_S, _P, _P, ctypes.c_int64, _P, *([_I] if three else [])]),
            "releasedir": (self._releasedir, _I, [_S, _P]),
            "getxattr": (self._getxattr, _I, [_S, _S, _P, _N]),
            "listxattr": (self._listxattr, _I, [_S, _P, _N]),
            "statfs": (self._statfs, _I, [_S, _P]),
            "rename": (self._rename, _I, [_S, _S, *([ctypes.c_uint] if three else [])]),
        }
        return {name: (self._guard(call), *types) for name, (call, *types) in functions.items()}

    def _guard(self, call: Callable[..., int]) -> Callable[..., int]:
        threads = self._threads

        @functools.wraps(call)
        def guarded(path: bytes | None, *rest: Any) -> int:
            if not hasattr(threads, "known"):
                threads.known = True
                if self._binding.threads_stay:
                    _keep_thread_state()
            try:
                return call(path, *rest)
            except Again:
                return -errno.ESTALE
            except BaseException as error:  # noqa: BLE001 - nothing may reach libfuse's loop; `answer` logs it
                return -answer(error, "" if path is None else _text(path))

        return guarded

    # Calls on paths

    def _attributes(self, path: bytes) -> Attributes | None:
        versions = self._versions
        if path in versions.pins and (leaving := versions.leaving(path, self._binding.caller())) is not None:
            leaving.wait(_LEAVING)
        node = self.find(path)
        # What is open keeps its attributes after it went from the network, until it is moved.
        attributes = self._vfs.attributes(node) if node is not None else versions.held(path)
        if attributes is not None:
            return versions.tell(path, attributes)
        if path.startswith(HIDDEN):
            raise Again
        return None

    def _getattr(self, path: bytes | None, stat: int, info: int | None = None) -> int:
        attributes = self._versions.handles[self._number(info)].attributes if path is None else self._attributes(path)
        if attributes is None:
            return -errno.ENOENT
        data = self._binding.pack_stat(*attributes)
        ctypes.memmove(stat, data, len(data))
        return 0

    def _readlink(self, path: bytes, buffer: int, size: int) -> int:
        target = os.fsencode(self._vfs.readlink(self._there(path)))[: size - 1] + b"\0"
        ctypes.memmove(buffer, target, len(target))
        return 0

    def _getxattr(self, path: bytes, name: bytes, buffer: int | None, size: int) -> int:
        if not name.startswith(b"user."):
            return -errno.EOPNOTSUPP
        return _give(self._vfs.xattr(self._there(path), os.fsdecode(name)).encode(), buffer, size)

    def _listxattr(self, path: bytes, buffer: int | None, size: int) -> int:
        return _give(b"".join(name.encode() + b"\0" for name in self._vfs.xattrs(self._there(path))), buffer, size)

    def _there(self, path: bytes) -> Node:
        """What is open at a path, or shown there.

        Raises:
            Again: it is a moved inode's, which nobody has open any more; the kernel has yet to see the new one.
            OSError: ENOENT.
        """
        pin = self._versions.pins.get(path)
        if pin is None and path.startswith(HIDDEN):
            raise Again
        node = pin.node if pin is not None else self.find(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such path")
        return node

    def _statfs(self, path: bytes, stat: int) -> int:
        module = self._binding.module
        found = module.c_statvfs.from_address(stat)
        found.f_bsize = found.f_frsize = 4096
        found.f_namemax = 255
        return 0

    # Directories

    def _opendir(self, path: bytes, info: int) -> int:
        node = self.find(path)
        if node is None:
            return -errno.ENOENT
        before = path if path == b"/" else path + b"/"
        entries = ((os.fsencode(name), child) for name, child in self._vfs.children(node))
        number = next(self._numbers)
        self._listings[number] = [(name, before + name, child) for name, child in entries]
        self._binding.info.from_address(info).fh = number
        return 0

    def _readdir(self, path: bytes | None, buffer: int, filler: int, offset: int, info: int, flags: int = 0) -> int:
        listing = self._listings[self._number(info)]
        plus = (_FILL_PLUS,) if self._binding.three else ()
        plain = (0,) if self._binding.three else ()
        fill = _FILLERS[self._binding.version[0]](filler)
        for at in range(offset, 2):
            if fill(buffer, (b".", b"..")[at], None, at + 1, *plain):
                return 0
        pack, tell, attributes_of = self._binding.pack_stat, self._versions.tell, self._vfs.attributes
        for at in range(max(offset, 2), len(listing) + 2):
            name, whole, node = listing[at - 2]
            # Told before it is known whether it fits: then the kernel asks again, and is told again.
            if fill(buffer, name, pack(*tell(whole, attributes_of(node))), at + 1, *plus):
                break
        return 0

    def _releasedir(self, path: bytes | None, info: int) -> int:
        del self._listings[self._number(info)]
        return 0

    # Files

    def _open(self, path: bytes, info: int) -> int:
        opened = self._binding.info.from_address(info)
        number, keep = self._bind(path, opened.flags)
        opened.fh = number
        opened.keep_cache = keep
        opened.direct_io = self._versions.handles[number].direct
        return 0

    def _bind(self, path: bytes, flags: int) -> tuple[int, bool]:
        versions = self._versions
        opener = self._binding.caller()
        try:
            node = self._there(path) if path.startswith(HIDDEN) else self.find(path)
        except Again:
            versions.send_back(opener)
            raise
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such path")
        handle = versions.claim_spare(path, version_of(node), opener) or self._vfs.open(node, flags)
        try:
            return versions.bind(path, node, handle, opener, time.monotonic())
        except Again as again:
            if not isinstance(again, Waits):
                handle.close()
            elif isinstance(again, Untold):
                self._binding.make_void(path)
            self._wake()  # there is something to move, or to expire
            raise

    def _read(self, path: bytes | None, buffer: int, size: int, offset: int, info: int) -> int:
        handle = self._versions.handles[self._number(info)]
        fd = handle.fd
        if fd < 0:
            return handle.read_into(offset, memoryview((ctypes.c_char * size).from_address(buffer)).cast("B"))
        got = int(_pread(fd, buffer, size, offset))
        if got < size:
            if got < 0:
                raise OSError(ctypes.get_errno(), "cannot read from this disk")
            handle.check_end(offset + got)
        return got

    def _release(self, path: bytes | None, info: int) -> int:
        self._versions.release(self._number(info)).close()
        return 0

    def _number(self, info: int | None) -> int:
        assert info is not None
        return ctypes.c_uint64.from_address(info + self._binding.fh_offset).value

    def _rename(self, old: bytes, new: bytes, flags: int = 0) -> int:
        """The kernel never asks for one, as the mount is read-only."""
        if (old, new) != self.moving:
            return -errno.EROFS
        self.moving = None
        return 0


def _give(data: bytes, buffer: int | None, size: int) -> int:
    """An attribute's bytes, or how many there are when `size` is 0."""
    if size == 0:
        return len(data)
    if len(data) > size:
        return -errno.ERANGE
    ctypes.memmove(buffer or 0, data, len(data))
    return len(data)


def _text(path: bytes) -> str:
    return os.fsdecode(path[1:])
