"""Manifests of files that hold still while they are read.

A file is hashed once its writer closed it, or when its size, mtime and ctime
are at least `SETTLE` seconds old; and only if its ctime lies further back than
the grain of the file system's clock, because a write within the same grain
would leave no trace (git's "racy" rule). It is the right manifest only if the
file's identity was the same before and after.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from peer.beneath import Beneath
from peer.priority import Patience
from peer.share.local import identity
from peer.share.mark import Mark, get_mark
from shoal.manifest import MAX_SIZE, MIB, Manifest, ManifestBuilder
from shoal.units import show_size

SETTLE = 2.0
"""Seconds for which a file that may still be open for writing must have been left alone."""
GRAIN = 0.02
"""Seconds: the coarsest clock tick of Linux is 10 ms; a file written within the same tick looks unchanged."""
COARSE_GRAIN = 2.0
"""Seconds: the grain of file systems that keep whole (FAT: even) seconds."""
EAGER = 16 * MIB
"""A larger file is hashed more slowly while others want the CPU; a smaller one is announced soon whatever they do."""
_SLICE = 64 * MIB
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file that held still: its status then, its manifest, and its mark if it matches."""

    disk: str
    status: os.stat_result
    manifest: Manifest
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class NotHashed:
    """A file without a manifest.

    `why`: "early": look again in `wait` seconds. "torn": it changed while it was read.
    "vanished": there is no such regular file. "stopped": the reader was told to. "failed": `error` says why.
    """

    disk: str
    why: Literal["early", "torn", "vanished", "stopped", "failed"]
    wait: float = 0.0
    error: str = ""


def settle_delay(mtime_ns: int, ctime_ns: int, closed: bool, now: float) -> float:
    """Seconds until a file with these times may be hashed; 0: now.

    `closed`: its writer is known to have closed it. `now` in seconds since 1970. A time
    in the future (set by hand, or the clock was) counts by its distance.
    """
    grain = COARSE_GRAIN if ctime_ns % 1_000_000_000 == 0 else GRAIN
    delay = max(0.0, grain - abs(now - ctime_ns / 1e9))
    if not closed:
        for time_ns in (mtime_ns, ctime_ns):
            delay = max(delay, SETTLE - abs(now - time_ns / 1e9))
    return delay


def hash_file(
    root: Beneath,
    disk: str,
    path: str,
    peer: str,
    closed: bool,
    clock: Callable[[], float],
    between: Callable[[int], bool],
) -> Hashed | NotHashed:
    """The manifest of the regular file `disk` beneath `root`, announced as `path`.

    `between` is called after every 64 MiB with the bytes left, and ends the reading by False.
    """
    try:
        fd = root.open_file(disk)
    except OSError as error:
        if error.errno in _VANISHED:
            return NotHashed(disk, "vanished")
        return NotHashed(disk, "failed", error=f"cannot be read: {os.strerror(error.errno or 0)}")
    try:
        before = os.fstat(fd)
        wait = settle_delay(before.st_mtime_ns, before.st_ctime_ns, closed, clock())
        if wait > 0:
            return NotHashed(disk, "early", wait)
        if before.st_size > MAX_SIZE:
            return NotHashed(disk, "failed", error=f"larger than {show_size(MAX_SIZE)}")
        manifest = _read(fd, before, between)
        if isinstance(manifest, str):
            return NotHashed(disk, manifest)
        mark = get_mark(fd, peer, path, before.st_mtime_ns)
        after = os.fstat(fd)
    except OSError as error:
        return NotHashed(disk, "failed", error=f"cannot be read: {os.strerror(error.errno or 0)}")
    finally:
        os.close(fd)
    if identity(before) != identity(after):
        return NotHashed(disk, "torn")
    return Hashed(disk, after, manifest, mark)


def _read(fd: int, before: os.stat_result, between: Callable[[int], bool]) -> Manifest | Literal["torn", "stopped"]:
    builder = ManifestBuilder(before.st_size)
    buffer = memoryview(bytearray(min(MIB, before.st_size + 1)))
    left, done = before.st_size, 0
    patience = Patience() if left > EAGER else None
    while count := os.readv(fd, [buffer]):
        if count > left:
            return "torn"
        builder.update(buffer[:count])
        left, done = left - count, done + count
        if patience is not None:
            patience.rest()
        if done >= _SLICE:
            done = 0
            if not between(left):
                return "stopped"
            if identity(os.fstat(fd)) != identity(before):
                return "torn"  # found now rather than after another 100 GB
    return "torn" if left else builder.finish()
