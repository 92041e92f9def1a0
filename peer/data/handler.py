"""A connection: requests in, files out.

    HEAD, GET  /NAME                       the file announced at that path, percent-decoded once
               /v1/content/CID             the same by content; a download's bytes as far as they are here
               /v1/content/CID/manifest    its manifest
               /v1/content/CID/pieces      which of its pieces are here, a bitmap
               /healthz                    {"ok", "name", "http"}

A large answer goes from the page cache to the socket by sendfile; a small one, and the last part of each, is read
first and sent only if the file is then still unchanged. A file that changed under an answer therefore ends it short
of its Content-Length, which no reader takes for whole. What remains: sendfile hands pages over by reference, so a
change made after the check, while they wait in the socket, is sent. Readers check every piece, and find that.
"""

import fcntl
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

from peer import bitmap, news
from peer.data import ranges
from peer.data.askers import Askers
from peer.data.content import Content, Contents, NotHere
from peer.data.pace import Pace
from peer.data.request import MAX_HEAD, BadRequest, Request, answer_head, parse
from shoal.errors import Busy, Gone, LocalError
from shoal.manifest import KIB, MIB, is_cid, piece_count, piece_size
from shoal.wire import Problem, encode

_CHUNK = 4 * MIB
_TAIL = 64 * KIB
"""Bytes at the end of an answer that go through memory: a small file goes out together with its head."""
_KEPT = 1.0
"""Seconds for which a content stays open for the next request of the same reader."""
_LINGER = 1.0
"""Seconds to wait for a refused client to read the answer and go."""
_INT = struct.Struct("i")
Field = tuple[bytes, bytes]
_JSON = ((b"Content-Type", b"application/json"),)
_BYTES = (
    (b"Content-Type", b"application/octet-stream"),
    # What a share holds may be a page with a script: no browser is to show it, or run it on this origin.
    (b"Content-Disposition", b"attachment"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"sandbox; default-src 'none'"),
)


@dataclass(frozen=True)
class Limits:
    """How long a client may take, in seconds, and how many there may be."""

    idle: float = 60.0
    """Until the first byte of a next request."""
    head: float = 10.0
    """From a head's first byte to its last."""
    stall: float = 30.0
    """Without a byte being taken."""
    window: float = 60.0
    """Over which the average must be `pace.LOWEST`."""
    connections: int = 512
    per_address: int = 128


class Counter(Protocol):
    """Takes count of what was sent; any thread."""

    def sent(self, bytes: int, requests: int = 0) -> None:
        """So many bytes of bodies, and so many answers begun."""


class Cut(Exception):
    """The connection must end now, in the middle of whatever is under way."""


class Told:
    """What one client was told of one content: the pieces that are here, and who else reads it."""

    def __init__(self, cid: str = "") -> None:
        self.cid = cid
        self.pieces = 0
        self.readers: set[str] = set()


class Connection:
    """One client, served by one thread until it goes, is cut, or breaks the rules."""

    def __init__(
        self,
        sock: socket.socket,
        contents: Contents,
        health: bytes,
        counter: Counter,
        limits: Limits,
        askers: Askers,
        address: str = "",
    ) -> None:
        self._sock, self._contents, self._health = sock, contents, health
        self._counter, self._limits = counter, limits
        self._askers, self._address = askers, address
        self._told = Told()
        self._buffer = b""  # received and not yet read as a request
        self._keep = True
        self._sent = 0  # bytes that the kernel took over
        self._pace: Pace | None = None  # of the answer under way, once its reader let us wait
        self._kept: Content | None = None  # what the last request asked for: a reader asks for run after run of it
        sock.setblocking(False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable.register(sock, select.POLLOUT)

    def serve(self) -> None:
        """Answers requests until the connection is to end; the caller closes the socket."""
        try:
            while self._keep:
                head = self._receive_head()
                if not head:
                    return
                self._answer(head)
            self._linger()
        except (OSError, Cut):
            pass  # the client went, or was cut: there is nobody to tell
        finally:
            self._let_go()

    def _receive_head(self) -> bytes:
        """The next head without its last empty line; empty when the client went, was idle or too slow.

        Raises:
            OSError: the connection broke.
        """
        buffer = self._buffer.lstrip(b"\r\n")
        begun = bool(self._buffer)
        until = time.monotonic() + (self._limits.head if begun else self._limits.idle)
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            if len(buffer) > MAX_HEAD:
                return buffer  # the parser says that it is too long
            data = self._receive(until)
            if not data:
                return b""
            if not begun:
                begun, until = True, time.monotonic() + self._limits.head
            buffer = (buffer + data).lstrip(b"\r\n")
        self._buffer = buffer[end + 4 :]
        return buffer[:end]

    def _receive(self, until: float) -> bytes:
        """What came, at most 64 KiB; empty when nothing did until then, or nothing will."""
        left = until - time.monotonic()
        if self._kept is not None and left > _KEPT and not self._readable.poll(_KEPT * 1000):
            self._let_go()
            left -= _KEPT
        if left > 0 and self._readable.poll(left * 1000):
            return self._sock.recv(64 * KIB)
        return b""

    def _answer(self, head: bytes) -> None:
        try:
            request = parse(head)
        except BadRequest as error:
            self._keep = False
            self._send_problem(error.status, str(error))
            return
        self._keep = request.keep
        with_body = request.method != b"HEAD"
        try:
            if request.method not in (b"GET", b"HEAD"):
                self._send_problem(405, "only GET and HEAD are served here", [(b"Allow", b"GET, HEAD")])
            elif request.has_body:
                self._send_problem(400, "no request here takes a body")
            else:
                self._route(request, _name(request.target))
        except NotHere as error:
            self._send_problem(404, str(error), body=with_body)
        except Gone as error:
            self._send_problem(410, str(error), body=with_body)
        except Busy as error:
            self._send_problem(503, str(error), [(b"Retry-After", b"1")], body=with_body)
        except LocalError as error:
            self._send_problem(500, str(error), body=with_body)

    def _route(self, request: Request, name: str) -> None:
        if name == "healthz":
            self._send(request, self._health, _JSON)
            return
        if not name.startswith("v1/"):
            with self._contents.at(name) as content:
                self._send_content(request, content)
            return
        _, _, rest = name.partition("v1/content/")
        cid, _, part = rest.partition("/")
        if not is_cid(cid):
            raise NotHere("no such route")
        if not part and not rest.endswith("/"):
            self._send_content(request, self._content_of(cid))
        elif part == "manifest":
            self._send(request, self._contents.manifest(cid), _BYTES)
        elif part == "pieces":
            with self._contents.of(cid) as content:
                count = piece_count(content.size)
                fields = (*_BYTES, *self._exchange(request, content, 0, all_told=True))
                self._send(request, bitmap.to_wire(content.pieces(), count), fields)
        else:
            raise NotHere("no such route")

    def _content_of(self, cid: str) -> Content:
        """The content, which stays open until `_let_go`. Raises as `Contents.of`."""
        kept = self._kept
        if kept is None or kept.cid != cid or not kept.lasting or not kept.still():
            self._let_go()
            kept = self._kept = self._contents.of(cid)
        return kept

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _send_content(self, request: Request, content: Content) -> None:
        """Answers with a file, or the range of it that was asked for.

        Raises:
            NotHere, Gone, LocalError: before anything was sent.
            Cut, OSError: after that.
        """
        etag, modified, size = b'"%b"' % content.cid.encode(), content.modified.encode(), content.size
        fields = [*_BYTES, (b"Accept-Ranges", b"bytes"), (b"ETag", etag)]
        fields.append((b"Repr-Digest", b"sha-256=:%b:" % content.digest.encode()))
        if modified:
            fields.append((b"Last-Modified", modified))
        asked = None
        if request.method == b"GET" and ranges.holds(request.fields.get(b"if-range"), etag, modified):
            try:
                asked = ranges.span(request.fields.get(b"range"), size)
            except ranges.Unsatisfiable:
                self._send_problem(416, "the file ends before that", [(b"Content-Range", b"bytes */%d" % size)])
                return
        offset, length = asked or (0, size)
        if not content.covers(offset, length):
            raise NotHere("these bytes are not here")
        if asked:
            fields.append((b"Content-Range", b"bytes %d-%d/%d" % (offset, offset + length - 1, size)))
        if b"shoal-peer" in request.fields:
            fields += self._exchange(request, content, offset // piece_size(size))
        head = answer_head(206 if asked else 200, fields, length, self._keep)
        self._begin()
        if request.method == b"HEAD":
            self._send_bytes(head)
        else:
            self._send_file(head, content, offset, length)

    def _exchange(
        self, request: Request, content: Content, near: int, all_told: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """Takes the news that came with a request; the fields that tell ours. Of very many pieces only those around
        `near` are looked at; with `all_told` the answer's body tells of all that are here.
        """
        heard = news.read(request.fields, piece_count(content.size))
        if not heard.peer:
            return []
        cid, fields, mine = content.cid, [], self._told
        if mine.cid != cid:
            mine = self._told = Told(cid)
        self._askers.asked(cid, self._address, heard, not content.lasting)
        if not content.lasting:
            fields.append((b"Shoal-Want", b"%d-%d" % content.want()))
            pieces = content.pieces_around(near)
            value, mine.pieces = news.have(pieces, mine.pieces | (pieces if all_told else 0))
            if value:
                fields.append((b"Shoal-Have", value))
        others = self._askers.others(cid, heard.peer, mine.readers)
        if others:
            mine.readers.update(others)
            fields.append((b"Shoal-Readers", " ".join(others).encode()))
        return fields

    def _send_file(self, head: bytes, content: Content, offset: int, length: int) -> None:
        tail = min(length, _TAIL)
        until = offset + length - tail
        if offset < until:
            self._send_bytes(head, socket.MSG_MORE)
            head = b""
            while offset < until:
                offset += self._send_chunk(content, offset, min(_CHUNK, until - offset))
        try:
            data = os.pread(content.fd, tail, until)
        except OSError as error:
            raise _broken(head, LocalError(f"the file cannot be read: {error}")) from None
        if len(data) < tail or not content.still():
            raise _broken(head, Gone("the file changed since it was announced"))
        self._send_bytes(head + data)
        self._counter.sent(tail)

    def _send_chunk(self, content: Content, offset: int, size: int) -> int:
        """Sends some bytes of the file, at most `size`; how many."""
        if not content.still():
            raise Cut
        while True:
            try:
                sent = os.sendfile(self._sock.fileno(), content.fd, offset, size)
            except BlockingIOError:
                self._wait()
                continue
            if not sent:  # the file is shorter than it was
                raise Cut
            self._sent += sent
            self._counter.sent(sent)
            return sent

    def _send_problem(
        self, status: int, error: str, fields: Iterable[tuple[bytes, bytes]] = (), body: bool = True
    ) -> None:
        data = encode(Problem(error))
        self._begin()
        head = answer_head(status, (*_JSON, *fields), len(data), self._keep)
        self._send_bytes(head + data if body else head)

    def _send(self, request: Request, body: bytes, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._begin()
        head = answer_head(200, fields, len(body), self._keep)
        if request.method == b"HEAD":
            self._send_bytes(head)
            return
        self._send_bytes(head + body)
        self._counter.sent(len(body))

    def _begin(self) -> None:
        self._pace = None
        self._counter.sent(0, requests=1)

    def _send_bytes(self, data: bytes, flags: int = 0) -> None:
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send(view, flags)
            except BlockingIOError:
                self._wait()
                continue
            self._sent += sent
            view = view[sent:]

    def _wait(self) -> None:
        """Waits until the socket takes more.

        Raises:
            Cut: the client reads too slowly. What counts is what its machine acknowledged, not what ours took over.
        """
        if self._pace is None:
            self._pace = Pace(time.monotonic(), self._taken(), self._limits.stall, self._limits.window)
        ready = False
        while not ready:
            ready = bool(self._writable.poll(self._limits.stall * 1000 / 8))
            if self._pace.too_slow(time.monotonic(), self._taken()):
                raise Cut

    def _taken(self) -> int:
        (queued,) = _INT.unpack(fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(_INT.size)))
        return self._sent - int(queued)

    def _linger(self) -> None:
        """Ends the connection so that the client gets the answer: unread bytes would turn the end into a reset."""
        self._sock.shutdown(socket.SHUT_WR)
        until = time.monotonic() + _LINGER
        while self._receive(until):
            pass


def _broken(head: bytes, error: LocalError | Gone) -> Exception:
    """The error itself as long as it can still be the answer, because the head was not sent; else the end."""
    return error if head else Cut()


def _name(target: bytes) -> str:
    """What is asked for: the target's path, percent-decoded once, without the leading slash.

    Raises:
        NotHere: it is no path, or not UTF-8.
    """
    path, _, _ = target.partition(b"?")
    if not path.startswith(b"/"):  # the absolute form, which servers must take: scheme://host/path
        scheme, _, rest = path.partition(b"://")
        path = b"/" + rest.partition(b"/")[2] if scheme.lower() == b"http" else b""
    try:
        return unquote_to_bytes(path[1:]).decode()
    except UnicodeDecodeError:
        raise NotHere("a name is UTF-8") from None
