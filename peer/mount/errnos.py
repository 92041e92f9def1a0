"""The one table from errors to errno: what a program sees when a call on the mount fails.

    no such path                                     ENOENT
    nobody alive has it, or it came too slowly       EHOSTUNREACH
    a version that left the network while open       ESTALE
    all who have it lie or fail, this disk fails,
    and whatever nobody thought of                   EIO

What the vfs answers about the call itself (EROFS, ENODATA, EOPNOTSUPP, EISDIR …) passes as it is.
"""

import errno
import logging

from shoal.errors import BadName, Busy, Gone, ShoalError, Unreachable
from shoal.names import printable

_TABLE: dict[type[BaseException], int] = {
    BadName: errno.ENOENT,
    Unreachable: errno.EHOSTUNREACH,
    Busy: errno.EHOSTUNREACH,
    Gone: errno.ESTALE,
    ShoalError: errno.EIO,
}
_PASSING = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.EROFS, errno.ENODATA),
    *(errno.EOPNOTSUPP, errno.ERANGE, errno.ESTALE, errno.EINTR, errno.EMFILE, errno.ENFILE),
}
_MAX_SAID = 1000
_said: set[tuple[type[BaseException], str]] = set()
log = logging.getLogger(__name__)


def errno_of(error: BaseException) -> int:
    """The errno, a positive number, that stands for an error."""
    for kind in type(error).__mro__:
        if kind in _TABLE:
            return _TABLE[kind]
    number = error.errno if isinstance(error, OSError) else None
    return number if number is not None and number in _PASSING else errno.EIO


def answer(error: BaseException, path: str) -> int:
    """The errno of an error met at a path. What nobody thought of is logged, once for each path."""
    number, key = errno_of(error), (type(error), path)
    unexpected = number == errno.EIO and not isinstance(error, ShoalError)
    if unexpected and key not in _said and len(_said) < _MAX_SAID:
        _said.add(key)
        log.error("%s: %s", printable(path), printable(repr(error)), exc_info=not isinstance(error, OSError))
    return number
