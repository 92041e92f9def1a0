"""The vfs mounted through libfuse: each call of the kernel translated, and nothing else.

Why one kernel inode never has two versions is told in `versions`. What that
asks of libfuse is a way to give an open inode another path: `_move` has the
library carry out a RENAME that the kernel never sent, from the path that shows
another version now to a hidden one. The kernel ignores the answer, keeps the
inode with its handles and page cache, and makes a new one at its next lookup,
a tenth of a second later at most. Measured without it: with the old version
open and the new one opened with direct I/O, `open` itself empties the page
cache, and `mmap` and `sendfile` fill it with the wrong one's bytes.

A directory is listed with its entries' attributes (readdirplus), so that
`ls -l` needs one call for some dozens of files.

Threading: libfuse's own threads call the functions here, any number at a time;
one that waits for the network holds none of our locks and none of libfuse's.
One thread of ours runs libfuse's loop, one watches versions.
"""

import ctypes
import errno
import functools
import logging
import os
import shutil
import signal
import struct
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from peer.mount.binding import load
from peer.mount.errnos import answer
from peer.mount.mounting import check_mountpoint, tune, unmount
from peer.mount.versions import HIDDEN, Again, Pin, Versions, Waits
from peer.vfs import Attributes, Node, Vfs, version_of
from shoal.errors import LocalError
from shoal.names import printable

_OPTIONS = "ro,nosuid,nodev,noatime,fsname=shoal,subtype=shoal,default_permissions"
_TIMEOUTS = "entry_timeout=0.1,attr_timeout=0.1,negative_timeout=0"
_THREADS, _BACKGROUND = 512, 4096
_STARTING = 10.0
_LEAVING = 0.5
"""Seconds that a lookup waits for a path's old inode to be moved away."""
_FILL_PLUS = 2
_RENAME = struct.Struct("=IIQQIIIIQ")
_RENAME_OPCODE, _UNIQUE, _ROOT = 12, 1 << 62, 1
_P, _S, _I, _N = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t
_FILLERS = {
    2: ctypes.CFUNCTYPE(_I, _P, _S, _S, ctypes.c_int64),
    3: ctypes.CFUNCTYPE(_I, _P, _S, _S, ctypes.c_int64, _I),
}
_libc = ctypes.CDLL(None, use_errno=True)
# For a thread that is not Python's, Python makes its own state at each callback and unmakes it after it, which takes
# half of a call's time. Once it was asked for one time more than it is given back, it stays.
_keep_thread_state = ctypes.PyDLL(None).PyGILState_Ensure
_pread = _libc.pread
_pread.restype, _pread.argtypes = ctypes.c_ssize_t, [_I, _P, _N, ctypes.c_int64]
log = logging.getLogger(__name__)


class Mount:
    """A mounted vfs."""

    def __init__(self, vfs: Vfs, mountpoint: Path, unblock: Callable[[], object] = lambda: None) -> None:
        """`unblock` is called when the mount ends: it makes every waiting read fail."""
        self._vfs, self._unblock = vfs, unblock
        self._point = os.path.realpath(mountpoint)
        self._versions = Versions()
        self._listings: dict[int, list[tuple[bytes, bytes, Node]]] = {}
        self._numbers, self._hidden = count(1), count(1)
        self._threads = threading.local()
        self._moving: tuple[bytes, bytes] | None = None
        self._changed, self._stopping, self._ready = threading.Event(), threading.Event(), threading.Event()
        self._device = 0
        self._fuse = 0
        self._failed = 0
        self._loop = threading.Thread(target=self._run, name="mount-loop", daemon=True)
        self._watch = threading.Thread(target=self._follow, name="mount-versions", daemon=True)

    @property
    def mode(self) -> str:
        """How it is mounted: the library and what binds it."""
        return self._binding.name

    @property
    def alive(self) -> bool:
        """Whether it is mounted, as far as one knows without asking the kernel."""
        return self._loop.is_alive()

    def start(self) -> None:
        """Mounts; returns when it answers.

        Raises:
            UsageError: the mountpoint cannot be used.
            LocalError: FUSE is missing, or refuses; says what to do.
        """
        check_mountpoint(Path(self._point))
        if not os.path.exists("/dev/fuse"):
            raise LocalError("there is no /dev/fuse: load the kernel's fuse module, or run with --no-mount")
        self._binding = load()
        if os.geteuid() != 0 and not (shutil.which("fusermount3") or shutil.which("fusermount")):
            raise LocalError("only root can mount without fusermount3: install it (Debian: apt install fuse3)")
        # Those that nobody handles libfuse would take for itself.
        self._free_signals = [
            number
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
            if signal.getsignal(number) == signal.SIG_DFL
        ]
        self._loop.start()
        until = time.monotonic() + _STARTING
        while not self._ready.wait(0.02):
            if not self._loop.is_alive() or time.monotonic() > until:
                unmount(self._point, 0, self.wait)
                raise LocalError(f"{printable(self._point)} cannot be mounted; the line above from libfuse says why")
        self._device = os.stat(self._point).st_dev
        tune(Path(self._point))
        self._vfs.changed_by(self._changed.set)
        self._watch.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the mount has ended, whoever ended it; whether it has."""
        self._loop.join(timeout)
        return not self._loop.is_alive()

    def stop(self) -> None:
        """Ends waiting reads with an error, unmounts, and closes what is open; within 5 s. Again is harmless."""
        self._stopping.set()
        self._changed.set()
        self._unblock()
        if self._device:
            unmount(self._point, self._device, self.wait)
        if self._watch.ident is not None:
            self._watch.join(1)
        if self._loop.ident is not None and not self.wait(0):
            log.error("the mount at %s does not end", printable(self._point))
            return
        for handle in self._versions.close():
            handle.close()

    # The loop

    def _run(self) -> None:
        binding = self._binding
        module = binding.module
        operations, kept = binding.operations(self._functions())
        options = [_OPTIONS, _TIMEOUTS]
        if os.geteuid() == 0:
            options.append("allow_other")
        if binding.threads_stay:
            options.append(f"max_threads={_THREADS},max_idle_threads={_THREADS}")
        elif not binding.three:
            options.append(f"max_background={_BACKGROUND}")
        words = [b"shoal", b"-f", b"-o", ",".join(options).encode(), os.fsencode(self._point)]
        argv = (ctypes.c_char_p * len(words))(*words)
        main = module._libfuse.fuse_main_real
        self._failed = main(len(words), argv, ctypes.pointer(operations), ctypes.sizeof(operations), None)
        del kept
        if not self._stopping.is_set():
            log.warning("the mount at %s has ended", printable(self._point))
        self._changed.set()

    def _functions(self) -> dict[str, Any]:
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
        guarded = {name: (self._guard(call), *types) for name, (call, *types) in functions.items()}
        # Its result is not an errno: libfuse hands it on to those who ask for it.
        return {**guarded, "init": (self._init, _P, [_P, *(info if three else [])])}

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

    def _init(self, connection: int, config: int = 0) -> None:
        try:
            self._fuse = self._binding.context()
            if config:
                module = self._binding.module
                conn = module.fuse_conn_info.from_address(connection)
                conn.max_background, conn.congestion_threshold = _BACKGROUND, _BACKGROUND * 3 // 4
                # A read then holds no path in libfuse, and a path whose reader waits can be moved.
                module.fuse_config.from_address(config).nullpath_ok = 1
            for number in self._free_signals:
                _libc.signal(number, ctypes.c_void_p(0))
        except Exception:
            log.exception("the mount could not be set up")
        self._ready.set()

    # Calls on paths

    def _find(self, path: bytes) -> Node | None:
        return self._vfs.find(os.fsdecode(path[1:]))

    def _attributes(self, path: bytes) -> Attributes | None:
        pins = self._versions.pins
        pin = pins.get(path) if pins else None
        if pin is not None and (leaving := pin.leaving) is not None:
            leaving.wait(_LEAVING)
            pin = pins.get(path)
        node = self._find(path)
        if node is not None:
            return self._versions.tell(path, self._vfs.attributes(node))
        if pin is None and path.startswith(HIDDEN):
            raise Again
        # What is open keeps its attributes after it went from the network, until it is moved.
        pinned = pin.attributes if pin is not None else None
        return self._versions.tell(path, pinned) if pinned is not None else None

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
        node = pin.node if pin is not None else self._find(path)
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
        node = self._find(path)
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
        node = self._there(path) if path.startswith(HIDDEN) else self._find(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such path")
        handle = versions.claim_spare(path, version_of(node)) or self._vfs.open(node, flags)
        try:
            return versions.bind(path, node, handle, time.monotonic())
        except Again as again:
            if not isinstance(again, Waits):
                handle.close()
            self._changed.set()  # there is something to move, or to expire
            raise

    def _read(self, path: bytes | None, buffer: int, size: int, offset: int, info: int) -> int:
        handle = self._versions.handles[self._number(info)]
        fd = handle.fd
        if fd < 0:
            data = handle.read(offset, size)
            ctypes.memmove(buffer, data, len(data))
            return len(data)
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

    # Versions

    def _follow(self) -> None:
        while not self._stopping.is_set() and self.alive:
            self._changed.wait(1.0 if self._versions.waiting else None)
            self._changed.clear()
            for handle in self._versions.expire(time.monotonic()):
                handle.close()
            for pin in self._versions.outdated(self._shows):
                if not self._stopping.is_set():
                    self._move(pin)

    def _shows(self, pin: Pin) -> bool:
        return version_of(self._find(pin.path)) == version_of(pin.node)

    def _move(self, pin: Pin) -> None:
        """Gives the open inode of a path a hidden one."""
        folder, _, name = pin.path.rpartition(b"/")
        hidden = HIDDEN + str(next(self._hidden)).encode()
        try:
            # Without inode numbers of our own, libfuse shows its own: what a request names a directory by.
            status = os.stat(os.fsencode(self._point) + folder)
        except OSError as error:  # the directory went too: nobody can get at the path
            log.debug("not moved: %s: %s", printable(_text(pin.path)), error)
            self._versions.stay(pin)
            return
        if status.st_dev == self._device:
            self._moving = pin.path, hidden
            names = name + b"\0" + hidden[1:] + b"\0"
            length = _RENAME.size + len(names)
            unique = _UNIQUE + 2 * next(self._numbers)
            head = _RENAME.pack(length, _RENAME_OPCODE, unique, status.st_ino, 0, 0, os.getpid(), 0, _ROOT)
            self._binding.process(self._fuse, head + names)
        self._versions.stay(pin)

    def _rename(self, old: bytes, new: bytes, flags: int = 0) -> int:
        """Only `_move` gets here: the mount is read-only."""
        if (old, new) != self._moving:
            return -errno.EROFS
        self._versions.move(old, new)
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
