"""The vfs mounted through libfuse: begun, ended, and its inodes moved.

Why one kernel inode never has two versions is told in `versions`. What that
asks of libfuse is a way to give an open inode another path: `_move` has the
library carry out a RENAME that the kernel never sent, from the path that shows
another version now to a hidden one. The kernel ignores the answer, keeps the
inode with its handles and page cache, and makes a new one at its next lookup,
a tenth of a second later at most. Measured without it: with the old version
open and the new one opened with direct I/O, `open` itself empties the page
cache, and `mmap` and `sendfile` fill it with the wrong one's bytes.

Threading: one thread runs libfuse's loop, which starts its own for the calls;
one moves what must be moved. `start` and `stop` belong to one other.
"""

import ctypes
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

from peer.mount.binding import load
from peer.mount.calls import Calls
from peer.mount.mounting import check_mountpoint, tune, unmount
from peer.mount.versions import HIDDEN, Pin, Versions
from peer.vfs import Vfs, version_of
from shoal.errors import LocalError
from shoal.names import printable

_OPTIONS = "ro,nosuid,nodev,noatime,fsname=shoal,subtype=shoal,default_permissions"
_TIMEOUTS = "entry_timeout=0.1,attr_timeout=0.1,negative_timeout=0"
_THREADS, _BACKGROUND = 512, 4096
_STARTING = 10.0
_RENAME = struct.Struct("=IIQQIIIIQ")
_RENAME_OPCODE, _UNIQUE, _ROOT = 12, 1 << 62, 1
_libc = ctypes.CDLL(None, use_errno=True)
log = logging.getLogger(__name__)


class LibfuseMount:
    """A mounted vfs."""

    def __init__(self, vfs: Vfs, mountpoint: Path, unblock: Callable[[], object] = lambda: None) -> None:
        """`unblock` is called when the mount ends: it makes every waiting read fail."""
        self._vfs, self._unblock = vfs, unblock
        self._point = os.path.realpath(mountpoint)
        self._versions = Versions()
        self._hidden = count(1)
        self._changed, self._stopping, self._ready = threading.Event(), threading.Event(), threading.Event()
        self._device = 0
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
        self._calls = Calls(self._vfs, self._versions, self._binding, self._changed.set)
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
        # Its result is not an errno: libfuse hands it on to those who ask for it.
        init = (self._init, ctypes.c_void_p, [ctypes.c_void_p] * (2 if binding.three else 1))
        operations, kept = binding.operations({**self._calls.functions(), "init": init})
        options = [_OPTIONS, _TIMEOUTS]
        if os.geteuid() == 0:
            options.append("allow_other")
        if binding.threads_stay:
            options.append(f"max_threads={_THREADS},max_idle_threads={_THREADS}")
        elif not binding.three:
            options.append(f"max_background={_BACKGROUND}")
        words = [b"shoal", b"-f", b"-o", ",".join(options).encode(), os.fsencode(self._point)]
        argv = (ctypes.c_char_p * len(words))(*words)
        main = binding.library.fuse_main_real
        code = main(len(words), argv, ctypes.pointer(operations), ctypes.sizeof(operations), None)
        del kept
        if not self._stopping.is_set():
            log.warning("the mount at %s has ended, with code %d", printable(self._point), code)
        self._changed.set()

    def _init(self, connection: int, config: int = 0) -> None:
        try:
            self._binding.attach()
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

    # Versions

    def _follow(self) -> None:
        while not self._stopping.is_set() and self.alive:
            self._changed.wait(1.0 if self._versions.waiting else None)
            self._changed.clear()
            try:
                self._look()
            except Exception:  # without this thread no path would ever show its new version while it is open
                log.exception("versions could not be moved")

    def _look(self) -> None:
        for handle in self._versions.expire(time.monotonic()):
            handle.close()
        for pin in self._versions.outdated(self._shows):
            if not self._stopping.is_set():
                self._move(pin)

    def _shows(self, pin: Pin) -> bool:
        return version_of(self._calls.find(pin.path)) == version_of(pin.node)

    def _move(self, pin: Pin) -> None:
        """Gives the open inode of a path a hidden one."""
        folder, _, name = pin.path.rpartition(b"/")
        number = next(self._hidden)
        hidden = HIDDEN + str(number).encode()
        try:
            # Without inode numbers of our own, libfuse shows its own: what a request names a directory by.
            status = os.stat(os.fsencode(self._point) + folder)
        except OSError as error:  # the directory went too: nobody can get at the path
            log.debug("not moved: %s: %s", printable(os.fsdecode(pin.path)), error)
            self._versions.stay(pin)
            return
        if status.st_dev != self._device or not self._versions.move(pin, hidden):
            self._versions.stay(pin)
            return
        done = False
        try:
            self._calls.moving = pin.path, hidden
            names = name + b"\0" + hidden[1:] + b"\0"
            length = _RENAME.size + len(names)
            unique = _UNIQUE + 2 * number
            head = _RENAME.pack(length, _RENAME_OPCODE, unique, status.st_ino, 0, 0, os.getpid(), 0, _ROOT)
            self._binding.process(head + names)
            done = self._calls.moving is None
        finally:
            self._versions.moved(pin, hidden, done)
