"""A connection: requests in, files out.

    HEAD, GET  /NAME                       the file announced at that path, percent-decoded once
               /v1/content/CID             the same by content; a download's bytes as far as they are here
               /v1/content/CID/manifest    its manifest
               /v1/content/CID/pieces      which of its pieces are here, a bitmap
               /v1/contents/CID,CID,…      several of one piece at once, see `peer.swarm.batch`
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
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

from peer import bitmap, news
from peer.data import ranges
from peer.data.askers import Askers
from peer.data.content import Content, Contents, NotHere
from peer.data.pace import Pace
from peer.data.request import MAX_HEAD, BadRequest, Request, answer_head, parse
from peer.data.turns import TURN, Turn
from peer.data.uplink import Uplink, asker_of
from peer.news import News
from peer.swarm import batch
from shoal.errors import Busy, Gone, LocalError
from shoal.manifest import KIB, MIB, is_cid, piece_count, piece_size
from shoal.wire import Problem, encode

_CHUNK = 4 * MIB
_TAIL = 64 * KIB
"""Bytes at the end of an answer that go through memory: a small file goes out together with its head.

What is larger waits for its turn.
"""
_DRAINED = 256 * KIB
"""Bytes in the socket under which an answer makes room for the next one."""
_DRAIN_PAUSE = 0.005
_DAWDLE = 1.0
"""Seconds from the connection to its first request, in which it does not give way to others."""
_KEPT = 1.0
"""Seconds for which a content stays open for the next request of the same reader."""
_BATCHES = threading.BoundedSemaphore(8)
"""Batches that are read and sent at one time at most: each is in memory while it is sent."""
_PATIENCE = 1.0
"""Seconds for which a batch waits for its turn."""
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
    patience: float = 0.5
    """Until a large answer's turn comes, for peers, who ask again; they take 1.0 for a stall."""
    connections: int = 200
    per_address: int = 50


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
    """One client, served by one thread until it goes, is cut, or breaks the rules.

    `asker` is on whose account it is: its address, on loopback with the id that it claims. `idle`: since when it waits
    for a request, by the monotonic clock, at first with some grace; None while it has one. Others read both, and `cut`.
    """

    def __init__(
        self,
        sock: socket.socket,
        contents: Contents,
        health: bytes,
        counter: Counter,
        limits: Limits,
        askers: Askers,
        uplink: Uplink,
        address: str,
        rename: Callable[["Connection", str], bool],
    ) -> None:
        """`rename` puts it on another account; False if there is no room for that."""
        self.asker = self._address = address
        self.idle: float | None = time.monotonic() + _DAWDLE
        self._sock, self._contents, self._health = sock, contents, health
        self._counter, self._limits, self._askers, self._uplink = counter, limits, askers, uplink
        self._rename = rename
        self._turn: Turn | None = None  # of the answer under way, if it is a large one
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
        self._leaving = select.poll()
        self._leaving.register(sock, select.POLLRDHUP)

    def serve(self) -> None:
        """Answers requests until the connection is to end; the caller closes the socket."""
        try:
            while self._keep:
                head = self._receive_head()
                if not head:
                    return
                self.idle = None
                self._answer(head)
                self.idle = time.monotonic()
            self._linger()
        except (OSError, Cut):
            pass  # the client went, or was cut: there is nobody to tell
        finally:
            self._let_go()

    def cut(self) -> None:
        """Ends it, from any thread."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was first

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
        claimed = request.fields.get(b"shoal-peer")
        asker = self.asker if claimed is None else asker_of(self._address, claimed)
        try:
            if asker != self.asker and not self._rename(self, asker):
                self._keep = False
                raise Busy("too many connections")
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
                self._send_content(request, content, self._limits.stall)  # who asks by path may not ask again
            return
        if name.startswith("v1/contents/"):
            self._send_several(request, batch.cids_of(name.removeprefix("v1/contents/")))
            return
        _, _, rest = name.partition("v1/content/")
        cid, _, part = rest.partition("/")
        if not is_cid(cid):
            raise NotHere("no such route")
        if not part and not rest.endswith("/"):
            self._send_content(request, self._content_of(cid), self._limits.patience)
        elif part == "manifest":
            body = self._contents.manifest(cid)
            if request.method == b"GET":
                self._uplink.small(self.asker, len(body))
            self._send(request, body, _BYTES)
        elif part == "pieces":
            with self._contents.of(cid) as content:
                count = piece_count(content.size)
                fields = (*_BYTES, *self._news(self._hear(request, content), content, 0, all_told=True))
                self._send(request, bitmap.to_wire(content.pieces(), count), fields)
        else:
            raise NotHere("no such route")

    def _send_several(self, request: Request, cids: list[str] | None) -> None:
        if cids is None:
            error = f"at most {batch.MOST_FILES} content ids, with commas between them, are taken"
            self._send_problem(400, error, body=request.method != b"HEAD")
            return
        if not _BATCHES.acquire(timeout=_PATIENCE):
            raise Busy("many batches are under way")
        try:
            given = self._contents.several(cids, batch.LONGEST, batch.MOST_BYTES)
            body = b"".join([batch.table_of(given), *[data for data in given if data]])
            if request.method == b"GET":
                self._uplink.small(self.asker, len(body))
            self._send(request, body, _BYTES)
        finally:
            _BATCHES.release()

    def _content_of(self, cid: str) -> Content:
        """The content, which stays open until `_let_go`. Raises as `Contents.of`."""
        kept = self._kept
        if kept is None or kept.cid != cid or not kept.lasting or not self._contents.stands(kept):
            self._let_go()
            kept = self._kept = self._contents.of(cid)
        return kept

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _send_content(self, request: Request, content: Content, patience: float) -> None:
        """Answers with a file, or the range of it that was asked for; a large answer waits so long for its turn.

        Raises:
            NotHere, Gone, Busy, LocalError: before anything was sent.
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
        heard = self._hear(request, content)
        if not content.covers(offset, length):
            raise NotHere("these bytes are not here")
        if asked:
            fields.append((b"Content-Range", b"bytes %d-%d/%d" % (offset, offset + length - 1, size)))
        if request.method == b"GET":
            if length <= _TAIL:
                self._uplink.small(self.asker, length)
            else:
                self._turn = self._uplink.begin(self.asker, length, patience, self._is_gone)
        try:
            fields += self._news(heard, content, offset // piece_size(size))  # not before: a 503 would tell nothing
            head = answer_head(206 if asked else 200, fields, length, self._keep)
            self._begin()
            if request.method == b"HEAD":
                self._send_bytes(head)
                return
            self._send_file(head, content, offset, length)
            if self._turn is not None:
                self._drain()
        finally:
            if self._turn is not None:
                self._uplink.end(self._turn)
            self._turn = None

    def _hear(self, request: Request, content: Content) -> News:
        """Takes the news that came with a request."""
        heard = news.read(request.fields, piece_count(content.size))
        if heard.peer:
            self._askers.asked(content.cid, self._address, heard, not content.lasting)
        return heard

    def _news(self, heard: News, content: Content, near: int, all_told: bool = False) -> list[Field]:
        """The fields that tell whoever was heard our own. Of very many pieces only those around `near` are looked at;
        with `all_told` the answer's body tells of all that are here.
        """
        if not heard.peer:
            return []
        cid, fields, mine = content.cid, [], self._told
        if mine.cid != cid:
            mine = self._told = Told(cid)
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
                end = min(offset + TURN, until)
                self._send_part(content, offset, end)
                offset = end
                if offset < until:
                    self._turn_again()
            self._allowed(tail)
        try:
            data = os.pread(content.fd, tail, until)
        except OSError as error:
            raise _broken(head, LocalError(f"the file cannot be read: {error}")) from None
        if len(data) < tail or not content.still():
            raise _broken(head, Gone("the file changed since it was announced"))
        self._send_bytes(head + data)
        self._counter.sent(tail)

    def _send_part(self, content: Content, offset: int, end: int) -> None:
        """Sends the bytes offset ≤ n < end, as fast as the limit allows."""
        while offset < end:
            allowed = offset + self._allowed(min(_CHUNK, end - offset), whole=False)
            while offset < allowed:
                offset += self._send_chunk(content, offset, allowed - offset)

    def _allowed(self, want: int, whole: bool = True) -> int:
        """Waits until so many bytes of a large answer may be sent: how many, all of them if it is to be `whole`."""
        assert self._turn is not None
        allowed = self._uplink.chunk(self._turn, want)
        while whole and allowed < want:
            allowed += self._uplink.chunk(self._turn, want - allowed)
        if self._uplink.rate:
            self._pace = None  # it was not the client that took its time
        return allowed

    def _turn_again(self) -> None:
        """A long answer lets others go first, if any wait. Raises Cut when its turn does not come again."""
        assert self._turn is not None
        self._drain()
        turn, self._turn = self._turn, None
        try:
            self._turn = self._uplink.again(turn, self._limits.stall, self._is_gone)
        except Busy:
            raise Cut from None
        self._pace = None

    def _is_gone(self) -> bool:
        """Whether the client ended the connection; one that only will not ask again counts as gone, too."""
        return bool(self._leaving.poll(0))

    def _drain(self) -> None:
        """Waits, if others wait, until most of what was sent is through: what lies in the socket has a turn still."""
        while self._uplink.contended and self._sent - self._taken() > _DRAINED:
            time.sleep(_DRAIN_PAUSE)
            self._check_pace()

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
            if self._turn is not None:
                self._turn.moved += sent
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
        ready = False
        if self._pace is None:
            self._check_pace()
        while not ready:
            ready = bool(self._writable.poll(self._limits.stall * 1000 / 8))
            self._check_pace()

    def _check_pace(self) -> None:
        """Raises Cut if the client reads too slowly, or crawls and is in others' way."""
        now, taken = time.monotonic(), self._taken()
        if self._pace is None:
            self._pace = Pace(now, taken, self._limits.stall, self._limits.window)
        if self._pace.too_slow(now, taken) or (self._turn is not None and self._turn.cut):
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
