"""The FUSE library, chosen before anything is imported, and the layouts of its structures.

mfusepy knows the layouts of libfuse 2 and of all versions of libfuse 3, but
looks for libfuse 2 first; so the library is named before it is imported.
fusepy, where only that is installed, knows libfuse 2. Both are used for their
ctypes declarations alone: their own loops spend more time around each call than
the call takes.
"""

import ctypes
import importlib
import importlib.util
import os
import stat
import struct
import time
from operator import itemgetter
from types import ModuleType
from typing import Any

from shoal.errors import LocalError

_MODULES = {"mfusepy": ("libfuse3.so.4", "libfuse3.so.3", "libfuse.so.2"), "fuse": ("libfuse.so.2",)}
"""What binds FUSE, the best first, and the libraries whose layouts it knows."""
_PAUSE = 0.02
"""Seconds in which an answer that was given reaches the kernel."""
_INSTALL = "install it (Debian: apt install fuse3 libfuse3-3), or run with --no-mount"


class FuseBuf(ctypes.Structure):
    """`struct fuse_buf`, the same in libfuse 2.9 and 3."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("mem", ctypes.c_void_p),
        ("fd", ctypes.c_int),
        ("pos", ctypes.c_int64),
    ]


class Binding:
    """A loaded library: its functions, its version, and how its structures are filled."""

    def __init__(self, module: ModuleType) -> None:
        self.module: Any = module
        self.library: Any = module._libfuse
        version = self.library.fuse_version()
        self.version = divmod(version, 10 if version < 100 else 100)
        """(major, minor)."""
        self.name = f"libfuse {self.version[0]}.{self.version[1]} ({module.__name__})"
        self.pack_stat = _stat_packer(module.c_stat)
        info = module.fuse_file_info
        self.info: Any = info
        self.fh_offset: int = info.fh.offset
        self._fuse: int | None = None
        self._context = self.library.fuse_get_context
        self.library.fuse_get_session.restype = ctypes.c_void_p
        self.library.fuse_get_session.argtypes = [ctypes.c_void_p]
        self._invalidate = getattr(self.library, "fuse_invalidate_path", None)

    @property
    def three(self) -> bool:
        """Whether it is libfuse 3."""
        return bool(self.version[0] == 3)

    @property
    def threads_stay(self) -> bool:
        """Whether it can be told not to end its idle threads."""
        return bool(self.version >= (3, 12))

    def operations(self, functions: dict[str, Any]) -> tuple[Any, list[Any]]:
        """`struct fuse_operations` with these, and what must be kept alive with it.

        `functions` maps a name to (function, result type, argument types).
        """
        operations = self.module.fuse_operations()
        fields = {field[0]: field[1] for field in operations._fields_}
        kept = []
        for name, (function, result, arguments) in functions.items():
            callback = ctypes.CFUNCTYPE(result, *arguments)(function)
            kept.append(callback)
            setattr(operations, name, ctypes.cast(callback, fields[name]))
        return operations, kept

    def attach(self) -> None:
        """Remembers the `struct fuse` of this callback."""
        self._fuse = int(self._context().contents.fuse)

    def caller(self) -> int:
        """The kernel's number of the thread whose call this callback is; 0 when it is in a container of its own."""
        return int(self._context().contents.pid)

    def make_void(self, path: bytes) -> None:
        """Empties the kernel's page cache of a path, and makes it ask for its attributes anew.

        Answers to what it asked for before, and has not seen yet, it then ignores. libfuse before 3.2 does not
        offer that: there they are given the time to arrive.
        """
        if self._invalidate is None:
            time.sleep(_PAUSE)
        else:
            self._invalidate(ctypes.c_void_p(self._fuse), ctypes.c_char_p(path))

    def process(self, request: bytes) -> None:
        """Has the library carry out a request as if the kernel had sent it. The kernel ignores the answer."""
        session = self.library.fuse_get_session(self._fuse)
        data = ctypes.create_string_buffer(request, len(request))
        buffer = FuseBuf(size=len(request), flags=0, mem=ctypes.addressof(data), fd=-1)
        call = self.library.fuse_session_process_buf
        call.restype = None
        if self.three:
            call(ctypes.c_void_p(session), ctypes.byref(buffer))
            return
        channel = self.library.fuse_session_next_chan
        channel.restype = ctypes.c_void_p
        call(ctypes.c_void_p(session), ctypes.byref(buffer), ctypes.c_void_p(channel(ctypes.c_void_p(session), None)))


def load() -> Binding:
    """The best library that is here.

    Raises:
        LocalError: there is none, or Python cannot use it; says what to install.
    """
    name = next((name for name in _MODULES if importlib.util.find_spec(name) is not None), None)
    if name is None:
        raise LocalError("Python's side of FUSE is missing: pip install mfusepy, or run with --no-mount")
    if "FUSE_LIBRARY_PATH" not in os.environ and "FUSE_LIBRARY_NAME" not in os.environ:
        found = next(filter(_loads, _MODULES[name]), None)
        if found is None:
            raise LocalError(f"there is no FUSE library on this machine: {_INSTALL}")
        os.environ["FUSE_LIBRARY_PATH"] = found
    try:
        return Binding(importlib.import_module(name))
    except (OSError, AttributeError) as error:
        raise LocalError(f"the FUSE library cannot be used ({error}): {_INSTALL}") from None


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _stat_packer(layout: type[ctypes.Structure]) -> Any:
    """A function of (mode, size, mtime) that gives the bytes of this machine's `struct stat`.

    One call of `struct` fills all; setting a ctypes structure field by field takes five times longer.
    """
    values = {"st_mode": 0, "st_nlink": 1, "st_uid": 2, "st_gid": 3, "st_size": 4, "st_blksize": 5, "st_blocks": 6}
    times = {"st_atimespec": (7, 8), "st_mtimespec": (7, 8), "st_ctimespec": (7, 8)}
    codes = {4: "I", 8: "q"}
    found: list[tuple[int, int, str]] = []  # offset, which value, code
    for name, *_ in layout._fields_:
        field = getattr(layout, name)
        if name in values:
            found.append((field.offset, values[name], codes[field.size]))
        elif name in times:
            found += [(field.offset + 8 * i, value, "q") for i, value in enumerate(times[name])]
    text, order, at = "=", [], 0
    for offset, value, code in sorted(found):
        text += f"{offset - at}x{code}"
        at = offset + struct.calcsize("=" + code)
        order.append(value)
    pack = struct.Struct(f"{text}{ctypes.sizeof(layout) - at}x").pack
    ordered = itemgetter(*order)
    uid, gid = os.getuid(), os.getgid()

    def pack_stat(mode: int, size: int, mtime: int) -> bytes:
        seconds, rest = divmod(mtime, 1_000_000_000)
        blocks = -(-size // 512) if stat.S_ISREG(mode) else 0
        links = 2 if stat.S_ISDIR(mode) else 1
        return pack(*ordered((mode, links, uid, gid, size, 4096, blocks, seconds, rest)))

    return pack_stat
