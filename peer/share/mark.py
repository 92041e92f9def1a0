"""The mark on a copy: an xattr that says so, and stays true without the index.

    user.shoal.copy   8 bytes of BLAKE2b of peer, path and mtime_ns
                      8 bytes of BLAKE2b of the cid
                      for each owner that the copy remembers: 32 bytes id, 8 bytes rev

A file that the user moved, changed or copied over no longer matches, and is an
original. Directories that were made for copies carry a mark too: empty, they
are nobody's entry and may go. The mark of one owner fits into ext4's inodes; a
longer one costs a block a file.

Where the file system has no xattrs, or no room for this one, there is no mark.
"""

import errno
import hashlib
import os
import struct
from dataclasses import dataclass

NAME = "user.shoal.copy"
_HEAD = struct.Struct(">8s8s")
_REV = struct.Struct(">32sQ")
_NO_ROOM = (errno.ENOTSUP, errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.EPERM, errno.EDQUOT)
_NO_MARK = (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES)


@dataclass(frozen=True)
class Mark:
    """A mark that belongs to its file: a hash of the content that was kept, and the owners' revs."""

    content: bytes
    revs: dict[str, int]

    def is_of(self, cid: str) -> bool:
        """Whether this is the content that was kept."""
        return self.content == _hash(cid)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _place(peer: str, path: str, mtime: int) -> bytes:
    return _hash(f"{peer}\n{mtime}\n{path}")


def set_mark(fd: int, peer: str, path: str, cid: str, mtime: int, revs: dict[str, int]) -> None:
    """Marks the open file as this peer's copy (with cid "", a directory as made for copies), where that is possible.

    `mtime` in nanoseconds, as the file will report it.
    """
    head = _HEAD.pack(_place(peer, path, mtime), _hash(cid))
    for kept in (revs, {}):  # some file systems have little room: rather without revs than without a mark
        value = head + b"".join(_REV.pack(bytes.fromhex(owner), rev) for owner, rev in kept.items())
        try:
            os.setxattr(fd, NAME, value)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
        else:
            return


def get_mark(fd: int, peer: str, path: str, mtime: int) -> Mark | None:
    """The open file's mark, if it matches this peer, path and mtime (nanoseconds)."""
    value = _read(fd)
    if value is None or len(value) < _HEAD.size or (len(value) - _HEAD.size) % _REV.size:
        return None
    place, content = _HEAD.unpack_from(value)
    if place != _place(peer, path, mtime):
        return None
    return Mark(content, {owner.hex(): rev for owner, rev in _REV.iter_unpack(value[_HEAD.size :])})


def has_mark(fd: int) -> bool:
    """Whether the open file carries a mark, matching or not."""
    return _read(fd) is not None


def _read(fd: int) -> bytes | None:
    try:
        return os.getxattr(fd, NAME)
    except OSError as error:
        if error.errno in _NO_MARK:
            return None
        raise
