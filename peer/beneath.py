"""Opening files beneath a directory, and nowhere else.

Every file of a share is opened through one descriptor of its root, with
`openat2` and RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS; where the kernel
has no `openat2`, directory by directory with O_NOFOLLOW, which is equally safe:
each step is made from a descriptor that is held, so nothing can be swapped
between check and use.

Paths are given as `str` in the file system's encoding (surrogateescape).
Thread-safe: it holds nothing but the descriptor.
"""

import ctypes
import errno
import os
import stat
import struct
from pathlib import Path
from typing import Self

_SYS_OPENAT2 = 437
_RESOLVE = 0x08 | 0x04 | 0x02  # BENEATH | NO_SYMLINKS | NO_MAGICLINKS
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2


class Beneath:
    """A directory whose files, and no others, can be opened.

    Raises (all methods): OSError, as `open` does; ELOOP or EXDEV where a link or `..` would lead elsewhere.
    """

    def __init__(self, root: Path | str, use_openat2: bool = True) -> None:
        self.fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._openat2 = use_openat2

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """A descriptor of the file at `path`; never follows a link, never blocks on a FIFO."""
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW | (0 if flags & os.O_PATH else os.O_NONBLOCK)
        _check(path)
        if self._openat2:
            try:
                return self._open_at_once(path, flags, mode)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EPERM):  # EPERM: a seccomp filter of old
                    raise
                self._openat2 = False
        return self._open_by_steps(path, flags, mode)

    def open_file(self, path: str) -> int:
        """A descriptor of the regular file at `path`, for reading; EINVAL if it is anything else.

        Anything else is not even opened: that alone can wake who waits at a FIFO, or set a device to work.
        """
        place = self.open(path, os.O_PATH)
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)  # the very inode that was checked
        finally:
            os.close(place)

    def open_dir(self, path: str) -> int:
        """A descriptor of the directory at `path`; "" is the root."""
        return self.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)

    def parent(self, path: str, make: bool = False) -> tuple[int, str]:
        """(a descriptor of the directory that `path` is in, the last part); with `make`, missing ones are made."""
        head, _, last = path.rpartition("/")
        if not make:
            return self.open_dir(head), last
        _check(path)
        fd = os.dup(self.fd)
        for part in filter(None, head.split("/")):
            try:
                os.mkdir(part, 0o755, dir_fd=fd)
            except FileExistsError:
                pass
            try:
                deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            fd = deeper
        return fd, last

    def lstat(self, path: str) -> os.stat_result:
        """The status of what is at `path`, a link itself and not its target."""
        fd, last = self.parent(path)
        try:
            return os.stat(last, dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)

    def _open_at_once(self, path: str, flags: int, mode: int) -> int:
        how = struct.pack("<QQQ", flags, mode if flags & os.O_CREAT else 0, _RESOLVE)
        name = os.fsencode(path)
        fd = _libc.syscall(_SYS_OPENAT2, self.fd, name, how, len(how))
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
        return int(fd)

    def _open_by_steps(self, path: str, flags: int, mode: int) -> int:
        parts = path.split("/")
        if "" in parts:
            raise OSError(errno.EXDEV, "a path that leads elsewhere", path)
        fd = os.dup(self.fd)
        for part in parts[:-1]:
            try:
                deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            fd = deeper
        try:
            return os.open(parts[-1], flags, mode, dir_fd=fd)
        finally:
            os.close(fd)


def _check(path: str) -> None:
    """Raises OSError for what no open may be given: `..`, which leads up, and a NUL, which ends a name early."""
    if "\0" in path:
        raise OSError(errno.EINVAL, "a NUL in the path", path)
    if ".." in path.split("/"):
        raise OSError(errno.EXDEV, "a path that leads elsewhere", path)


def rename_noreplace(source_dir: int, source: str, target_dir: int, target: str) -> None:
    """Renames, unless something is at the target: FileExistsError. Raises OSError."""
    try:
        _renameat2(source_dir, source, target_dir, target, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        # NFS, and some FUSE file systems: a second name is not made where there is one either.
        os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
        os.unlink(source, dir_fd=source_dir)
        # A FUSE file system's kernel made up the ctime of that; so it asks for the right one.
        os.chmod(target, os.stat(target, dir_fd=target_dir).st_mode & 0o7777, dir_fd=target_dir)


def rename_exchange(source_dir: int, source: str, target_dir: int, target: str) -> None:
    """Swaps two names in one step; both must exist. Raises OSError."""
    _renameat2(source_dir, source, target_dir, target, _RENAME_EXCHANGE)


def _renameat2(source_dir: int, source: str, target_dir: int, target: str, flags: int) -> None:
    if _libc.renameat2(source_dir, os.fsencode(source), target_dir, os.fsencode(target), flags) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source, None, target)
