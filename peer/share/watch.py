"""File system events, as hints: which names to look at again.

One inotify instance, through watchdog's binding of the system calls. Its
observer is not used: it watches the program's own directory too, holds events
back for half a second, and goes by names where the walk has descriptors.

The walk adds a watch to each directory before it lists it, so nothing falls
between. A directory that moved is watched under its new name once it is walked
there; until then its events name the old place, which costs a look. When events
are lost, or there are more watches than the system allows, `lost` says so and
the rescan does the rest.

Threading: one thread reads; `add`, `take`, `begin`, `sweep` are for the thread that walks; one lock guards the state.
"""

import ctypes
import errno
import logging
import os
import select
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from watchdog.observers.inotify_c import (
    InotifyConstants,
    inotify_add_watch,
    inotify_init,
    inotify_rm_watch,
)

from shoal.names import STATE_DIR

HINTS_MAX = 100_000
"""Names that wait to be looked at; more are taken for a loss."""
COALESCE = 0.05
"""Seconds for which events are gathered after the first."""
_I = InotifyConstants
_MASK = (
    _I.IN_CREATE | _I.IN_CLOSE_WRITE | _I.IN_ATTRIB | _I.IN_DELETE | _I.IN_MOVED_FROM | _I.IN_MOVED_TO | _I.IN_ONLYDIR
)
_EVENT = struct.Struct("iIII")
_READ = 1 << 20
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Hints:
    """Names on disk, relative to the root: `files` with whether a writer closed them, `trees` to walk."""

    files: dict[str, bool] = field(default_factory=dict)
    trees: set[str] = field(default_factory=set)
    lost: bool = False


class Watch:
    """Watches directories; `wake` is called when there are hints."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._fd = inotify_init()
        if self._fd < 0:
            code = ctypes.get_errno()
            log.warning("changes are found by rescans only: no inotify: %s", os.strerror(code))
        else:
            os.set_blocking(self._fd, False)
            os.set_inheritable(self._fd, False)
        self._stop_read, self._stop_write = os.pipe()
        self._lock = threading.Lock()
        self._paths: dict[int, str] = {}
        self._walked: set[int] | None = None
        self._hints = Hints()
        self._full = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Starts to read events."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch and gives its descriptors back."""
        os.close(self._stop_write)
        self._thread.join()
        os.close(self._stop_read)
        if self._fd >= 0:
            os.close(self._fd)

    def add(self, directory: int, disk: str) -> None:
        """Watches the open directory, whose name beneath the root is `disk`."""
        if self._fd < 0 or self._full:
            return
        # Through the descriptor: no link that was put in its place can be followed.
        number = inotify_add_watch(self._fd, f"/proc/self/fd/{directory}".encode(), _MASK)
        if number < 0:
            code = ctypes.get_errno()
            if code not in (errno.ENOSPC, errno.ENOMEM):
                log.warning("no watch on a directory: %s", os.strerror(code))
                return
            self._full = True
            log.warning(
                "no more watches (%d directories; fs.inotify.max_user_watches): other changes are found by rescans",
                len(self._paths),
            )
            return
        with self._lock:
            self._paths[number] = disk
            if self._walked is not None:
                self._walked.add(number)

    def begin(self) -> None:
        """A walk over everything begins."""
        with self._lock:
            self._walked = set()

    def sweep(self) -> None:
        """A walk over everything ended: watches on what it did not see are given back."""
        with self._lock:
            walked, self._walked = self._walked or set(), None
            stale = [number for number in self._paths if number not in walked]
            for number in stale:
                del self._paths[number]
        for number in stale:
            inotify_rm_watch(self._fd, number)  # type: ignore[arg-type]  # it may be gone already: then there is nothing to give back
        self._full = False

    def take(self) -> Hints:
        """The hints since the last call."""
        with self._lock:
            hints, self._hints = self._hints, Hints()
        return hints

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._stop_read, select.POLLIN)
        if self._fd >= 0:
            poller.register(self._fd, select.POLLIN)
        gathering = select.poll()
        gathering.register(self._stop_read, select.POLLIN)
        while True:
            if any(fd == self._stop_read for fd, _ in poller.poll()):
                return
            self._read()
            gathering.poll(COALESCE * 1000)
            self._read()
            self._wake()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return
        offset = 0
        with self._lock:
            while offset < len(data):
                number, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                name = data[offset : offset + length].rstrip(b"\0")
                offset += length
                self._take_event(number, mask, os.fsdecode(name))
            if len(self._hints.files) + len(self._hints.trees) > HINTS_MAX:
                self._hints = Hints(lost=True)

    def _take_event(self, number: int, mask: int, name: str) -> None:
        if mask & _I.IN_Q_OVERFLOW:
            self._hints.lost = True
            return
        if mask & _I.IN_IGNORED:  # the directory was removed
            self._paths.pop(number, None)
            return
        directory = self._paths.get(number)
        if directory is None or not name or (not directory and name == STATE_DIR):
            return
        disk = f"{directory}/{name}" if directory else name
        if mask & _I.IN_ISDIR:
            if not mask & _I.IN_ATTRIB:
                self._hints.trees.add(disk)
        else:
            closed = bool(mask & (_I.IN_CLOSE_WRITE | _I.IN_MOVED_TO))
            self._hints.files[disk] = closed or self._hints.files.get(disk, False)
