"""A swarm of holders in memory: tests change what they do, and see what they were asked.

A `Holder` has contents and faults. It is read in one of two ways, which the contract suite compares: through
`MemorySources`, with no socket, or over real HTTP through `serving`.
"""

import contextlib
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from peer import bitmap
from peer.swarm import batch
from peer.swarm.config import SwarmConfig
from shoal.errors import Busy, Gone, Misbehaved, Refused, Unreachable
from shoal.manifest import Manifest, manifest_of
from shoal.wire import Entry, Owner, PeerRow

QUICK = SwarmConfig(read_timeout=4.0, connect_timeout=0.5, stall_timeout=0.4, idle_timeout=0.5)


@dataclass(frozen=True)
class Request:
    """What a holder was asked: bytes first ≤ n < end of the target, None for all. `at`: monotonic seconds."""

    target: str
    first: int | None
    end: int | None
    at: float
    say: bytes = b""


@dataclass
class Faults:
    """What a holder does wrong; nothing at first. Byte numbers count within an answer's body."""

    dead: bool = False
    """Refuses connections."""
    status: int = 0
    """Answers this, whatever is asked."""
    wrong_bytes: bool = False
    """Every body has its last byte changed."""
    wrong_pieces: set[int] = field(default_factory=set)
    stall_at: int | None = None
    """Sends so many bytes, then nothing, and keeps the connection."""
    cut_at: int | None = None
    """Sends so many bytes, then closes."""
    trickle: float = 0.0
    """Seconds before each single byte."""
    slow: float = 0.0
    """Seconds before each answer."""
    more: int = 0
    """Sends so many bytes more than were asked for, and says so."""
    shifted: bool = False
    """Sends another range than was asked for."""
    compressed: bool = False
    unsized: bool = False
    """Does not say how long its answer is."""
    whole_always: bool = False
    """Ignores Range."""
    several: Callable[[bytes], bytes] | None = None
    """What it makes of an answer with several contents."""
    once: bool = False
    """All faults are over after the first answer that had one."""


@dataclass
class Answer:
    status: int
    body: bytes
    span: tuple[int, int, int] | None = None
    faults: Faults = field(default_factory=Faults)


class Holder:
    """A peer that has contents. Threading: any thread; the list of requests only grows."""

    def __init__(self, id: str, seed: bool = False) -> None:
        self.id, self.seed = id, seed
        self.url = f"http://{id}.test:1"
        self.faults = Faults()
        self.requests: list[Request] = []
        self.files: dict[str, tuple[Manifest, bytes]] = {}
        self.names: dict[str, bytes] = {}
        self.only: dict[str, set[int]] = {}
        """Of contents in here, it has only these pieces."""
        self.old = 0
        """The status that it answers requests for several contents with, if it does not know them."""
        self.says: dict[bytes, bytes] = {}
        """Fields of each answer's head."""

    def add(self, data: bytes, only: set[int] | None = None, manifest: Manifest | None = None) -> Entry:
        """Gives it a content; the entry for it."""
        manifest = manifest or manifest_of(data)
        self.files[manifest.cid] = (manifest, data)
        if only is not None:
            self.only[manifest.cid] = only
        return entry_of(manifest)

    @property
    def row(self) -> PeerRow:
        return PeerRow(self.id, f"name-{self.id}", self.url, self.seed)

    def asked_pieces(self, cid: str) -> list[int]:
        """Every piece asked for, again for each time."""
        piece = self.files[cid][0].piece
        found: list[int] = []
        for request in self.requests:
            if request.target == f"/v1/content/{cid}":
                first, end = request.first or 0, request.end or len(self.files[cid][1])
                found += range(first // piece, -(-end // piece))
        return found

    def answer(self, target: str, first: int | None, end: int | None, say: bytes = b"") -> Answer:
        """What it answers, faults included."""
        self.requests.append(Request(target, first, end, time.monotonic(), say))
        faults = self.faults
        if faults.once:
            self.faults = Faults()
        if faults.status:
            return Answer(faults.status, b"", None, faults)
        if target.startswith(batch.PREFIX):
            return Answer(self.old, b"", None, faults) if self.old else self._several(target, faults)
        found = self._find(target, first, end)
        if found is None:
            return Answer(404, b"", None, faults)
        if first is None or end is None or faults.whole_always:
            return Answer(200, _spoil(found, faults), None, faults)
        if faults.shifted:
            first, end = first + 1, end + 1
        body = found[first:end] + bytes(faults.more)
        if faults.wrong_pieces:
            piece = self.files[target.rpartition("/")[2]][0].piece
            spoilt = bytearray(body)
            for number in faults.wrong_pieces:
                if first <= number * piece < end:
                    spoilt[number * piece - first] ^= 1
            body = bytes(spoilt)
        return Answer(206, _spoil(body, faults), (first, end, len(found)), faults)

    def _several(self, target: str, faults: Faults) -> Answer:
        cids = batch.cids_of(target.removeprefix(batch.PREFIX))
        if cids is None:
            return Answer(400, b"", None, faults)
        given: list[bytes | None] = []
        left = batch.MOST_BYTES
        for cid in cids:
            data = self.files[cid][1] if cid in self.files and cid not in self.only else None
            given.append(data if data is not None and len(data) <= min(batch.LONGEST, left) else None)
            left -= len(given[-1] or b"")
        body = batch.table_of(given) + b"".join([data for data in given if data])
        return Answer(200, _spoil(faults.several(body) if faults.several else body, faults), None, faults)

    def _find(self, target: str, first: int | None, end: int | None) -> bytes | None:
        for name, data in self.names.items():
            if target == "/" + quote(name):
                return data
        cid, _, part = target.removeprefix("/v1/content/").partition("/")
        if cid not in self.files or self.seed:
            return None
        manifest, data = self.files[cid]
        has = self.only.get(cid, set(range(manifest.count)))
        if part == "manifest":
            return manifest.encode()
        if part == "pieces":
            return bitmap.to_wire(sum(1 << n for n in has), manifest.count)
        first, end = first or 0, len(data) if end is None else end
        asked = range(first // manifest.piece, -(-end // manifest.piece))
        return data if set(asked) <= has else None


def _spoil(body: bytes, faults: Faults) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1]) if faults.wrong_bytes and body else body


def entry_of(manifest: Manifest, *holders: str) -> Entry:
    """The catalogue's entry of a content."""
    owner = Owner("f" * 64, "owner", 7)
    return Entry(manifest.cid, manifest.size, 5, manifest.sha1, owners=(owner,), holders=holders)


class MemoryBody:
    """An answer's bytes, as `connection.Body` gives them, faults at their place."""

    def __init__(
        self, answer: Answer, config: SwarmConfig, closed: threading.Event, name: str, fields: dict[bytes, bytes]
    ) -> None:
        self.size, self.fields = len(answer.body), fields
        self._aborted = threading.Event()
        self._answer, self._config, self._closed, self._name = answer, config, closed, name
        self._at = 0

    def readinto(self, view: memoryview) -> int:
        faults = self._answer.faults
        if self._closed.is_set() or self._aborted.is_set():
            raise Unreachable("closed")
        if self._at >= self.size:
            raise Misbehaved("fewer bytes than asked for")
        for limit, fate in ((faults.stall_at, self._stall), (faults.cut_at, self._cut)):
            if limit is not None:
                if self._at >= limit:
                    fate()
                view = view[: limit - self._at]
        if faults.trickle:
            self._stall()  # too slow is the same as silent, in the end
        got = min(len(view), self.size - self._at, 64 << 10)
        view[:got] = self._answer.body[self._at : self._at + got]
        self._at += got
        return got

    def read(self) -> bytes:
        data = bytearray(self.size - self._at)
        view, done = memoryview(data), 0
        while done < len(data):
            done += self.readinto(view[done:])
        return bytes(data)

    def close(self) -> None:
        pass

    def abort(self) -> None:
        self._aborted.set()

    def __enter__(self) -> "MemoryBody":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stall(self) -> None:
        until = time.monotonic() + self._config.stall_timeout
        while time.monotonic() < until and not self._closed.is_set() and not self._aborted.wait(0.01):
            pass
        raise Unreachable(f"{self._name} fell silent")

    def _cut(self) -> None:
        raise Unreachable(f"{self._name} ended the connection too early")


class MemorySource:
    def __init__(self, holder: Holder, config: SwarmConfig, closed: threading.Event) -> None:
        self._holder, self._config, self._closed = holder, config, closed
        self.name = holder.row.name

    def get(
        self, target: str, first: int = 0, end: int | None = None, size: int | None = None, say: bytes = b""
    ) -> MemoryBody:
        if self._closed.is_set():
            raise Unreachable("closed")
        if self._holder.faults.dead:
            raise Unreachable(f"no connection to {self.name}")
        whole = end is None or (first == 0 and end == size)
        answer = self._holder.answer(target, None if whole else first, None if whole else end, say)
        if answer.faults.slow:
            self._closed.wait(min(answer.faults.slow, self._config.stall_timeout))
            if answer.faults.slow > self._config.stall_timeout:
                raise Unreachable(f"{self.name} does not answer")
        if answer.status in (404, 410, 416):
            raise Gone("it does not have it")
        if answer.status in (429, 503):
            raise Busy("later")
        if 400 <= answer.status < 500:
            raise Refused("no", answer.status)
        faults = answer.faults
        expected = 200 if whole else 206
        if answer.status != expected or faults.compressed or faults.unsized:
            raise Misbehaved(f"status {answer.status}")
        if end is not None and len(answer.body) != end - first:
            raise Misbehaved("another length")
        if answer.span is not None and answer.span != (first, end, size):
            raise Misbehaved("another range")
        return MemoryBody(answer, self._config, self._closed, self.name, dict(self._holder.says))


class MemorySources:
    """`Sources` over holders in memory."""

    def __init__(self, holders: list[Holder], config: SwarmConfig = QUICK) -> None:
        self._holders = {holder.id: holder for holder in holders}
        self._config = config
        self._closed = threading.Event()

    def of(self, row: PeerRow) -> MemorySource:
        return MemorySource(self._holders[row.id], self._config, self._closed)

    def sweep(self, now: float) -> bool:
        return False

    def close(self) -> None:
        self._closed.set()


@contextlib.contextmanager
def serving(holder: Holder) -> Iterator[Holder]:
    """The holder over HTTP on loopback; its `url` says where, and `connections` lists what was accepted."""
    ending = threading.Event()
    connections: list[Any] = []

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            connections.append(self.client_address)
            while not ending.is_set() and self._one():
                pass

        def _one(self) -> bool:
            line = self.rfile.readline()
            fields = {}
            while (text := self.rfile.readline().strip()) != b"":
                key, _, value = text.partition(b":")
                fields[key.lower()] = value.strip().decode()
            if not line:
                return False
            assert fields[b"accept-encoding"] == "identity"
            first = end = None
            if b"range" in fields:
                one, _, other = fields[b"range"].removeprefix("bytes=").partition("-")
                first, end = int(one), int(other) + 1
            if holder.faults.dead:
                return False
            say = b"".join(
                b"%b: %b\r\n" % (key, value.encode()) for key, value in fields.items() if key.startswith(b"shoal-")
            )
            answer = holder.answer(line.split()[1].decode(), first, end, say)
            return self._send(answer)

        def _send(self, answer: Answer) -> bool:
            faults, body = answer.faults, answer.body
            ending.wait(faults.slow)
            head = f"HTTP/1.1 {answer.status} Whatever\r\n"
            head += "".join(f"{key.decode()}: {value.decode()}\r\n" for key, value in holder.says.items())
            if not faults.unsized:
                head += f"Content-Length: {len(body)}\r\n"
            if answer.span is not None:
                first, end, size = answer.span
                head += f"Content-Range: bytes {first}-{end - 1}/{size}\r\n"
            if faults.compressed:
                head += "Content-Encoding: gzip\r\n"
            if answer.status // 100 == 3:
                head += f"Location: {holder.url}/elsewhere\r\n"
            self.wfile.write(head.encode() + b"\r\n")
            for n in range(len(body) if faults.trickle else 0):
                if ending.wait(faults.trickle):
                    return False
                self.wfile.write(body[n : n + 1])
            limits = [limit for limit in (faults.cut_at, faults.stall_at) if limit is not None]
            if not faults.trickle:
                self.wfile.write(body[: min(limits, default=len(body))])
            if faults.stall_at is not None:
                ending.wait(30)
            return not limits

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = False
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # clients that hang up are what the tests are about

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        holder.url = f"http://127.0.0.1:{server.server_address[1]}"
        holder.connections = connections  # type: ignore[attr-defined]
        try:
            yield holder
        finally:
            ending.set()
            server.shutdown()
            thread.join()
