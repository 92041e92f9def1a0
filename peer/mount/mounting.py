"""Before a mount and after: places checked, dead mounts cleaned, the kernel tuned, unmounting that always ends.

A mount of ours is told by its type, `fuse.shoal`. It is dead when its program
is gone and the kernel answers ENOTCONN for it.
"""

import ctypes
import errno
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shoal.errors import UsageError
from shoal.names import printable

TYPE = "fuse.shoal"
READ_AHEAD_KIB = 1024
_MNT_FORCE, _MNT_DETACH = 1, 2
_TOOL_TIMEOUT = 2.0
_libc = ctypes.CDLL(None, use_errno=True)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MountRow:
    """A line of /proc/self/mountinfo: what part (`root`) of which device (`major:minor`) is mounted where."""

    device: str
    root: str
    point: str
    type: str


def mount_rows(table: bytes) -> list[MountRow]:
    """The rows of a mountinfo, the oldest first; a later one covers an earlier one at the same point."""
    rows = []
    for line in table.splitlines():
        fields, _, rest = line.partition(b" - ")
        _, _, device, root, point, *_ = fields.split(b" ")
        rows.append(MountRow(device.decode(), _plain(root), _plain(point), rest.split(b" ")[0].decode()))
    return rows


def _plain(field: bytes) -> str:
    """A field with its octal escapes (space, tab, newline, backslash) undone."""
    head, *parts = field.split(b"\\")
    return os.fsdecode(head + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in parts))


def current_rows() -> list[MountRow]:
    """What is mounted now."""
    return mount_rows(Path("/proc/self/mountinfo").read_bytes())


def check_apart(local: Path, mount: Path) -> None:
    """Checks that MOUNT and LOCAL, which need not exist yet, do not contain each other.

    Raises:
        UsageError: one lies in the other, also by way of links and bind mounts.
    """
    if overlap(local, mount, current_rows()):
        raise UsageError(f"{_shown(mount)} and {_shown(local)} must not contain each other: choose another MOUNT")


def check_mountpoint(mount: Path) -> None:
    """Checks that MOUNT can be mounted on; cleans a dead mount of ours.

    Raises:
        UsageError: it is missing, no directory, not empty or mounted already.
    """
    real = os.path.realpath(mount)
    while row := _mounted_at(real):
        if row.type != TYPE or not _is_dead(real):
            raise UsageError(f"{_shown(mount)} is mounted already")
        log.warning("%s: taking away the mount of a program that is gone", _shown(mount))
        if not _unmount_lazily(real):
            raise UsageError(f"{_shown(mount)} is a dead mount that cannot be taken away: run fusermount3 -uz on it")
    try:
        with os.scandir(mount) as entries:
            empty = next(entries, None) is None
    except NotADirectoryError:
        raise UsageError(f"MOUNT is not a directory: {_shown(mount)}") from None
    except OSError as error:
        raise UsageError(f"MOUNT cannot be used: {_shown(mount)}: {error.strerror}") from None
    if not empty:
        raise UsageError(f"MOUNT is not empty: {_shown(mount)}")


def _mounted_at(point: str) -> MountRow | None:
    return next((row for row in reversed(current_rows()) if row.point == point), None)


def _is_dead(point: str) -> bool:
    try:
        os.statvfs(point)  # the kernel remembers what `stat` says of it
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def overlap(a: Path, b: Path, rows: list[MountRow]) -> bool:
    """Whether one directory is the other or lies in it: by path, or as places on the same device."""
    ours, theirs = os.path.realpath(a), os.path.realpath(b)
    places = [_place(path, rows) for path in (ours, theirs)]
    same_device = places[0][0] == places[1][0]
    return _within(ours, theirs) or (same_device and _within(places[0][1], places[1][1]))


def _within(a: str, b: str) -> bool:
    a, b = a.rstrip("/") + "/", b.rstrip("/") + "/"
    return a.startswith(b) or b.startswith(a)


def _place(real: str, rows: list[MountRow]) -> tuple[str, str]:
    """(device, path on that device) of an absolute path without links: the same however it was mounted."""
    holding = [row for row in rows if (real.rstrip("/") + "/").startswith(row.point.rstrip("/") + "/")]
    if not holding:
        return "", real
    longest = max(len(row.point) for row in holding)
    row = [row for row in holding if len(row.point) == longest][-1]
    return row.device, row.root.rstrip("/") + "/" + real[len(row.point) :].lstrip("/")


def tune(mount: Path) -> None:
    """Sets the read-ahead of a mount, which only root can; without it reads are slower, not wrong."""
    device = os.stat(mount).st_dev
    path = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        path.write_text(str(READ_AHEAD_KIB))
    except OSError as error:
        log.info("the mount reads ahead less than it could: %s: %s", path, error.strerror)


def unmount(point: str, device: int, ended: Callable[[float], bool]) -> None:
    """Takes our mount away, within some 4 s whatever hangs.

    `point` is its path without links, `device` its st_dev; `ended` waits so many seconds and says whether its
    program's loop has ended. First as it should be; if it is in use, its connection is ended, so that every call
    on it fails, and it is detached.
    """
    until = time.monotonic() + 0.5
    while not _unmount_now(point):
        if time.monotonic() > until:
            _abort(device)
            _unmount_lazily(point)
            break
        time.sleep(0.05)
    if not ended(1.0):
        _abort(device)
        ended(1.0)


def _unmount_now(point: str) -> bool:
    row = _mounted_at(point)
    if row is None or row.type != TYPE:
        return True
    if os.geteuid() == 0:
        return int(_libc.umount2(os.fsencode(point), 0)) == 0
    return _tool("-u", point)


def _unmount_lazily(point: str) -> bool:
    row = _mounted_at(point)
    if row is None or row.type != TYPE:
        return True
    if os.geteuid() == 0:
        # FORCE ends the connection where /sys/fs/fuse is missing; it may say EBUSY and have done so.
        _libc.umount2(os.fsencode(point), _MNT_FORCE)
        return _mounted_at(point) is None or int(_libc.umount2(os.fsencode(point), _MNT_DETACH)) == 0
    return _tool("-uz", point)


def _tool(option: str, point: str) -> bool:
    tool = shutil.which("fusermount3") or shutil.which("fusermount")
    if tool is None:
        return False
    try:
        done = subprocess.run([tool, option, "--", point], capture_output=True, timeout=_TOOL_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _abort(device: int) -> None:
    """Ends the connection between the kernel and the program: every call under way fails."""
    try:
        Path(f"/sys/fs/fuse/connections/{os.minor(device)}/abort").write_text("1")
    except OSError as error:
        log.debug("the connection could not be ended: %s", error)


def _shown(path: Path) -> str:
    return printable(os.fspath(path))
