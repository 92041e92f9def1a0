"""The helper that does through the mount what happened elsewhere: the only process of ours that opens a path there.

Each act is done and answered before the next; whatever the kernel says to it,
it goes on.
"""

import ctypes
import errno
import os
from collections.abc import Iterator

from peer.mount.acts import Act, Acted, Acts
from peer.process import channel_to_peer
from shoal.names import printable

_UTIME_NOW, _UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
_AT_SYMLINK_NOFOLLOW = 0x100
_libc = ctypes.CDLL(None, use_errno=True)
_Times = ctypes.c_long * 4


def main() -> None:
    """Until the peer ends."""
    channel = channel_to_peer(Acts)
    while (message := channel.receive()) is not None:
        assert isinstance(message, Acts)
        for why in play(message):
            channel.send(Acted(why))


def play(message: Acts) -> Iterator[str]:
    """Does the acts; tells of each, when it is over, why it was not done."""
    try:
        root = os.open(message.point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        yield from [str(error.strerror)] * len(message.acts)
        return
    try:
        mounted = os.fstat(root).st_dev == message.device  # if not, what is there now is none of ours
        for act in message.acts:
            yield _result(root, act) if mounted else "it is not mounted any more"
    finally:
        os.close(root)


def _result(root: int, act: Act) -> str:
    try:
        _act(root, act)
    except FileExistsError:
        return "there"
    except OSError as error:
        return f"{act.kind} {printable(act.path)}: {error.strerror}"
    return ""


def _act(root: int, act: Act) -> None:
    match act.kind:
        case "create":
            os.close(os.open(act.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444, dir_fd=root))
        case "mkdir":
            os.mkdir(act.path, 0o555, dir_fd=root)
        case "symlink":
            os.symlink("-", act.path, dir_fd=root)
        case "unlink":
            os.unlink(act.path, dir_fd=root)
        case "rmdir":
            os.rmdir(act.path, dir_fd=root)
        case "modify":
            _modify(root, act.path)
        case "touch":
            _set_times(root, act.path, _UTIME_NOW)


def _modify(root: int, path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=root)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        fd = -1  # it is being executed, or passed through: nobody can open it for writing
    _set_times(root, path, _UTIME_OMIT)
    if fd >= 0:
        os.close(fd)


def _set_times(root: int, path: str, atime: int) -> None:
    """inotify calls a new mtime alone MODIFY, and both times ATTRIB."""
    times = _Times(0, atime, 0, _UTIME_NOW)
    if _libc.utimensat(root, os.fsencode(path), times, _AT_SYMLINK_NOFOLLOW):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
