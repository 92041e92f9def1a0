"""Watches directories by inotify as programs do, and keeps what it was told."""

import ctypes
import os
import select
import struct
import threading
from pathlib import Path
from typing import Self

from tests.support.patience import until

NAMES = {
    0x2: "MODIFY",
    0x4: "ATTRIB",
    0x8: "CLOSE_WRITE",
    0x40: "MOVED_FROM",
    0x80: "MOVED_TO",
    0x100: "CREATE",
    0x200: "DELETE",
    0x400: "DELETE_SELF",
}
_ISDIR, _OVERFLOW = 0x40000000, 0x4000
_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Watching:
    """Watches some directories. `told`: "NAME path" of each event in its order, with a `/` after a directory's path."""

    def __init__(self, *directories: Path) -> None:
        self.told: list[str] = []
        self.overflowed = False
        self._fd = int(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        self._directories: dict[int, Path] = {}
        self._end, end = os.pipe()
        for directory in directories:
            self.add(directory)
        self._thread = threading.Thread(target=self._run, args=(end,))
        self._thread.start()

    def add(self, directory: Path) -> None:
        """Watches this one too."""
        number = int(_libc.inotify_add_watch(self._fd, os.fsencode(directory), sum(NAMES)))
        if number < 0:
            raise OSError(ctypes.get_errno(), "it cannot be watched", str(directory))
        self._directories[number] = directory

    def wait_for(self, *events: str, seconds: float = 20.0) -> None:
        """Waits until all of these were told."""
        until(lambda: set(events) <= set(self.told), seconds, f"{events} in {self.told}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._fd)

    def _run(self, end: int) -> None:
        while True:
            ready, _, _ = select.select([self._fd, end], [], [])
            if end in ready:
                os.close(end)
                return
            data = os.read(self._fd, 1 << 16)
            while data:
                number, mask, _, length = _EVENT.unpack_from(data)
                name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
                self._take(number, mask, os.fsdecode(name))
                data = data[_EVENT.size + length :]

    def _take(self, number: int, mask: int, name: str) -> None:
        if mask & _OVERFLOW:
            self.overflowed = True
        elif mask & sum(NAMES):
            path = f"{self._directories[number].name}/{name}"
            self.told.append(f"{NAMES[mask & sum(NAMES)]} {path}{'/' if mask & _ISDIR else ''}")
