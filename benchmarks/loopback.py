"""mfusepy alone: a directory shown as it is, by the binding that the libfuse adapter uses too.

python -m benchmarks.loopback DIRECTORY MOUNT
"""

import os
import sys
from collections.abc import Sequence

from mfusepy import FUSE, Operations

KEYS = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_atime", "st_mtime", "st_ctime")


class Loopback(Operations):  # type: ignore[misc]
    """Reads only; everything is asked of the disk each time."""

    def __init__(self, root: str) -> None:
        self._root = root

    def getattr(self, path: str, fh: int | None = None) -> dict[str, object]:
        """As of `lstat`."""
        status = os.lstat(self._root + path)
        return {key: getattr(status, key) for key in KEYS}

    def readdir(self, path: str, fh: int) -> Sequence[str]:
        """As of `listdir`."""
        return [".", "..", *os.listdir(self._root + path)]

    def open(self, path: str, flags: int) -> int:
        """A descriptor."""
        return os.open(self._root + path, flags)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Bytes."""
        return os.pread(fh, size, offset)

    def release(self, path: str, fh: int) -> int:
        """Closes it."""
        os.close(fh)
        return 0


if __name__ == "__main__":
    FUSE(Loopback(sys.argv[1]), sys.argv[2], foreground=True, ro=True, max_read=1 << 20)
