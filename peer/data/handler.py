"""A connection: requests in, files out.

    HEAD, GET  /NAME                       the file announced at that path, percent-decoded once
               /v1/content/CID             the same by content; a download's bytes as far as they are here
               /v1/content/CID/manifest    its manifest
               /v1/content/CID/pieces      which of its pieces are here, a bitmap
               /v1/contents/CID,CID,…      several of one piece at once, see `peer.swarm.batch`
               /healthz                    {"ok", "name", "http"}

What is asked is understood here, and what is to be told along with the answer; `sending` has the way out.
"""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from peer import bitmap, news
from peer.data import ranges
from peer.data.askers import Askers
from peer.data.content import Content, Contents, NotHere
from peer.data.request import MAX_HEAD, BadRequest, Request, answer_head, parse
from peer.data.sending import Counter, Cut, Sending
from peer.data.turns import NO_PART, Part
from peer.data.uplink import Uplink, asker_of
from peer.news import News
from peer.swarm import batch
from shoal.errors import Busy, Gone, LocalError
from shoal.manifest import KIB, is_cid, piece_count, piece_size
from shoal.wire import Problem, encode

_DAWDLE = 1.0
"""Seconds from the connection to its first request, in which it does not give way to others."""
_KEPT = 1.0
"""Seconds for which a content stays open for the next request of the same reader."""
_BATCHES = threading.BoundedSemaphore(8)
"""Batches that are read and sent at one time at most: each is in memory while it is sent."""
_PATIENCE = 1.0
"""Seconds for which a batch waits for its turn."""
TOLD = 1024
"""Readers that one client was told of that are remembered, about: beyond, it is told of them again."""
_LINGER = 1.0
"""Seconds to wait for a refused client to read the answer and go."""
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
        self._limits, self._askers, self._uplink, self._rename = limits, askers, uplink, rename
        self._told = Told()
        self._buffer = b""  # received and not yet read as a request
        self._keep = True
        self._kept: Content | None = None  # what the last request asked for: a reader asks for run after run of it
        sock.setblocking(False)
        self._out = Sending(sock, counter, uplink, limits.stall, limits.window)
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)

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
                self._send_content(request, content, False)  # who asks by path may not ask again, nor anybody else
            return
        if name.startswith("v1/contents/"):
            self._send_several(request, batch.cids_of(name.removeprefix("v1/contents/")))
            return
        _, _, rest = name.partition("v1/content/")
        cid, _, part = rest.partition("/")
        if not is_cid(cid):
            raise NotHere("no such route")
        if not part and not rest.endswith("/"):
            self._send_content(request, self._content_of(cid), True)
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

    def _send_content(self, request: Request, content: Content, elsewhere: bool) -> None:
        """Answers with a file, or the range of it that was asked for; a large answer waits for its turn: for a moment
        if its asker can have it `elsewhere`, too.

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
            piece = piece_size(size)
            first, end = offset // piece, -(-(offset + length) // piece)
            part = Part(content.cid, first, end, content.lasting) if elsewhere else NO_PART
            self._out.take_turn(self.asker, length, part, self._limits.patience if elsewhere else self._limits.stall)
        try:
            fields += self._news(heard, content, offset // piece_size(size))  # not before: a 503 would tell nothing
            head = answer_head(206 if asked else 200, fields, length, self._keep)
            self._out.begin()
            if request.method == b"HEAD":
                self._out.send(head)
            else:
                self._out.send_file(head, content, offset, length)
        finally:
            self._out.end_turn()

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
            if len(mine.readers) > TOLD:
                mine.readers.clear()
            mine.readers.update(others)
            fields.append((b"Shoal-Readers", " ".join(others).encode()))
        return fields

    def _send_problem(
        self, status: int, error: str, fields: Iterable[tuple[bytes, bytes]] = (), body: bool = True
    ) -> None:
        data = encode(Problem(error))
        self._out.begin()
        head = answer_head(status, (*_JSON, *fields), len(data), self._keep)
        self._out.send(head + data if body else head)

    def _send(self, request: Request, body: bytes, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._out.begin()
        head = answer_head(200, fields, len(body), self._keep)
        if request.method == b"HEAD":
            self._out.send(head)
        else:
            self._out.send_body(head, body)

    def _linger(self) -> None:
        """Ends the connection so that the client gets the answer: unread bytes would turn the end into a reset."""
        self._sock.shutdown(socket.SHUT_WR)
        until = time.monotonic() + _LINGER
        while self._receive(until):
            pass


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
