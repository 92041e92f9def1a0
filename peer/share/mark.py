"""The mark on a copy: an xattr that says so, and stays true without the index.

`user.shoal.copy` holds, as JSON, a binding of (peer, path, cid, mtime_ns), the
cid and the revs that the copy remembers. A file that the user moved, changed or
copied over no longer matches its binding, and is an original. Directories that
were made for copies carry a mark too: empty, they are nobody's entry and may go.

Where the file system has no xattrs, or no room for this one, there is no mark.
"""

import errno
import hashlib
import logging
import os
from dataclasses import dataclass

import msgspec

NAME = "user.shoal.copy"
MAX_BYTES = 8192
_NO_ROOM = (errno.ENOTSUP, errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.EPERM, errno.EDQUOT)
_NO_MARK = (errno.ENODATA, errno.ENOTSUP, errno.EPERM, errno.EACCES)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """What a matching mark says: the content that was kept, and the owners' revs."""

    cid: str
    revs: dict[str, int]


def _binding(peer: str, path: str, cid: str, mtime: int) -> str:
    return hashlib.blake2b(f"{peer}\n{cid}\n{mtime}\n{path}".encode(), digest_size=32).hexdigest()


def set_mark(fd: int, peer: str, path: str, cid: str, mtime: int, revs: dict[str, int]) -> None:
    """Marks the open file as this peer's copy (with cid "", a directory as made for copies), where that is possible.

    `mtime` in nanoseconds, as the file will report it.
    """
    for kept in (revs, {}):  # ext4 has some 4 KB for all xattrs of a file: rather without revs than without a mark
        value = msgspec.json.encode((_binding(peer, path, cid, mtime), cid, kept))
        try:
            os.setxattr(fd, NAME, value)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
        else:
            return


def get_mark(fd: int, peer: str, path: str, mtime: int) -> Mark | None:
    """The open file's mark, if it matches this peer, path and mtime (nanoseconds)."""
    try:
        value = os.getxattr(fd, NAME)
    except OSError as error:
        if error.errno in _NO_MARK:
            return None
        raise
    try:
        binding, cid, revs = msgspec.json.decode(value[:MAX_BYTES], type=tuple[str, str, dict[str, int]])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # not written by us
    return Mark(cid, revs) if binding == _binding(peer, path, cid, mtime) else None


def has_mark(fd: int) -> bool:
    """Whether the open file carries a mark, matching or not."""
    try:
        os.getxattr(fd, NAME)
    except OSError as error:
        if error.errno in _NO_MARK:
            return False
        raise
    return True
