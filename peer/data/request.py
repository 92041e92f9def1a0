"""One request's head, read strictly and within bounds, and the answer's head. Pure: bytes in, bytes out.

What is not exactly as RFC 9112 has it is refused and the connection closed: nothing may be taken for a request
that was meant as something else (a body, the rest of a line).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

MAX_HEAD = 16 * 1024
"""Bytes of a head at most."""
MAX_LINES = 100
_USUAL = 512
"""Bytes of the fields of requests like those that peers send: such are remembered."""

_LINE = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class BadRequest(Exception):
    """A head that is refused; `status` is the answer's, and the connection ends with it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Request:
    """A request without a body. `fields` has lower-case names; repeated ones are joined by ", "."""

    method: bytes
    target: bytes
    fields: Mapping[bytes, bytes]
    keep: bool
    """Whether the connection goes on after the answer."""
    has_body: bool
    """Whether a body follows, which nothing here takes."""


def parse(head: bytes) -> Request:
    """The request of a head, without its last empty line.

    Raises:
        BadRequest: it is not one, or too long.
    """
    if len(head) > MAX_HEAD or head.count(b"\r\n") >= MAX_LINES:
        raise BadRequest(431, f"a head of at most {MAX_HEAD} bytes and {MAX_LINES} lines is taken")
    first, _, rest = head.partition(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise BadRequest(400, "not a request line")
    if line[3] != b"1":
        raise BadRequest(505, "HTTP/1.1 and HTTP/1.0 are spoken here")
    fields = _fields(rest) if len(rest) <= _USUAL else _fields.__wrapped__(rest)
    newer = line[4] != b"0"
    if b"," in fields.get(b"host", b"," if newer else b""):
        raise BadRequest(400, "a request has one Host")
    has_body = b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0"
    return Request(line[1], line[2], fields, not has_body and _keeps(fields.get(b"connection"), newer), has_body)


@lru_cache(64)
def _fields(lines: bytes) -> Mapping[bytes, bytes]:
    """The fields; remembered, because a client sends the same ones with every request. Raises BadRequest."""
    fields: dict[bytes, bytes] = {}
    for text in lines.split(b"\r\n") if lines else ():
        field = _FIELD.fullmatch(text)
        if field is None:
            raise BadRequest(400, "not a header field")
        name, value = field[1].lower(), field[2].rstrip(b" \t")
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def _keeps(connection: bytes | None, newer: bool) -> bool:
    if connection is None:
        return newer
    options = {option.strip() for option in connection.lower().split(b",")}
    return b"close" not in options and (newer or b"keep-alive" in options)


def answer_head(status: int, fields: Iterable[tuple[bytes, bytes]], length: int, keep: bool) -> bytes:
    """The head of an answer whose body has `length` bytes; `keep` as the connection goes on."""
    parts = [_STATUS[status]]
    for name, value in fields:
        parts.append(b"%b: %b\r\n" % (name, value))
    parts.append(b"Content-Length: %d\r\nConnection: %b\r\n\r\n" % (length, b"keep-alive" if keep else b"close"))
    return b"".join(parts)
