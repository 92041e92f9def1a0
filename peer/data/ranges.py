"""Range and If-Range, as RFC 9110 §13.1.5 and §14 have them. Pure.

One range of bytes is served; several, another unit and what cannot be read as a range are ignored, which gives the
whole file, as the RFC allows.
"""

import re

_RANGE = re.compile(rb"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)


class Unsatisfiable(Exception):
    """No byte of the file is in the range: the answer is 416."""


def span(value: bytes | None, size: int) -> tuple[int, int] | None:
    """(offset, length) in bytes of what a Range header asks of a file of `size` bytes; None for the whole file.

    Raises:
        Unsatisfiable: it begins behind the end, or is the last 0 bytes.
    """
    match = _RANGE.fullmatch(value) if value else None
    if match is None:
        return None
    first, last = match[1], match[2]
    if not first:
        if not last:
            return None
        length = min(_number(last), size)
        if length:
            return size - length, length
        if size == 0 and _number(last):  # the last bytes of an empty file are the whole of it
            return None
        raise Unsatisfiable
    start, end = _number(first), _number(last) if last else size
    if end < start and last:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(end + 1, size) - start


def holds(if_range: bytes | None, etag: bytes, modified: bytes) -> bool:
    """Whether a Range may be taken: no If-Range, or one that is the strong ETag or, exactly, the Last-Modified.

    `etag` has its quotes. A weak tag never holds.
    """
    return if_range is None or if_range == etag or (bool(modified) and if_range == modified)


def _number(digits: bytes) -> int:
    """The number, or one beyond any file's size: int() of thousands of digits is slow, or refused."""
    return int(digits) if len(digits) < 20 else int(digits.lstrip(b"0")[:20] or b"0")
