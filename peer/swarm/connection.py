"""One connection to a holder: GET over HTTP/1.1, as little of it as is needed, every limit enforced.

http.client costs two to three times the CPU of this for a small answer, most of it in parsing heads as mail.
What is accepted: 200 with the whole, or 206 with exactly the range asked for; a Content-Length that says so; identity
encoding. No redirect is followed, no body is read beyond its length.

Threading: one thread at a time; `abort` from any.
"""

import contextlib
import errno
import re
import socket
import time
from collections.abc import Callable

from peer.limiter import Limiter
from peer.swarm.body import GATHERED, Body
from peer.swarm.config import SwarmConfig
from peer.swarm.resolve import resolve
from shoal.errors import Busy, Gone, Misbehaved, Refused, RemoteError, Unreachable

MAX_HEAD = 16 << 10
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: |$)")
_ONCE = (b"content-length", b"content-range")
_LENGTH = re.compile(rb"[0-9]{1,16}")
SOON = 0.06
"""Seconds in which `GATHERED` bytes come, where they are waited for."""
_TCP_CONGESTION = getattr(socket, "TCP_CONGESTION", 13)


class Connection:
    """A connection that is made at the first request and kept for the next."""

    def __init__(
        self,
        host: str,
        port: int,
        name: str,
        config: SwarmConfig,
        released: Callable[["Connection"], None],
        limiter: Limiter,
    ) -> None:
        """`released` is called with this when a body that it gave was closed; `limiter` is that of all bodies."""
        self.name, self.config, self.limiter = name, config, limiter
        self._released = released
        self._host, self._port = host, port
        self._sock: socket.socket | None = None
        self._keep = False
        self.aborted = False
        """Whether it is to end; it is not used again."""
        self._least = 1  # bytes that the kernel waits for
        self._listening: float | None = None  # since when nothing came that is waited for
        self.used = 0.0
        """When it was last given back, by the monotonic clock."""

    @property
    def usable(self) -> bool:
        """Whether the next request can go over it as it is."""
        return self._sock is not None and self._keep and not self.aborted

    def silent(self, now: float) -> float:
        """Seconds for which the other side has let us wait: 0 while it is not waited for. Any thread."""
        since = self._listening
        return now - since if since is not None else 0.0

    def get(
        self, target: str, first: int = 0, end: int | None = None, size: int | None = None, say: bytes = b""
    ) -> Body:
        """Asks for the bytes first ≤ n < end of a thing of `size` bytes; all of them when `end` is None or `size`.

        `say` are lines of the request's head, each with its end.

        Raises:
            Unreachable, Busy, Gone, Refused, Misbehaved: as their docstrings say.
        """
        whole = end is None or (first == 0 and end == size)
        head = f"GET {target} HTTP/1.1\r\nHost: {self._authority}\r\nAccept-Encoding: identity\r\n"
        if not whole:
            assert end is not None
            head += f"Range: bytes={first}-{end - 1}\r\n"
        request = head.encode("ascii") + say + b"\r\n"
        again = self.usable
        try:
            answer, early = self._exchange(request)
        except _Stale:
            # The holder closed a kept connection, as it may at any time: no blame, a new one.
            self.close()
            if not again:
                raise Unreachable(f"{self.name} closed the connection without an answer") from None
            try:
                answer, early = self._exchange(request)
            except _Stale:
                raise Unreachable(f"{self.name} closed the connection without an answer") from None
        try:
            length = self._checked(answer, whole, first, end, size)
            if len(early) > length:
                raise Misbehaved(f"{self.name} sent more than it said")
        except RemoteError:
            self.close()
            raise
        return Body(self, length, early, answer.fields)

    @property
    def gathers(self) -> bool:
        """Whether more than one byte is waited for."""
        return self._least > 1

    def gather(self, left: int, rate: float) -> None:
        """Has the next bytes come together while `left` of them are to come, if they come at such a rate."""
        least = GATHERED if left >= 2 * GATHERED and rate >= GATHERED / SOON else 1
        if least != self._least and self._sock is not None:
            self._least = least
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)

    def receive_into(self, view: memoryview) -> int:
        """Some bytes off the socket, at least one. Raises Unreachable."""
        sock = self._sock
        self._listening = time.monotonic()
        try:
            got = self._receive(sock, view) if sock is not None else 0
        except TimeoutError:
            raise Unreachable(f"{self.name} fell silent") from None
        except OSError as error:
            raise Unreachable(f"the connection to {self.name} was lost: {error.strerror}") from None
        finally:
            self._listening = None
        if not got:
            raise Unreachable(f"{self.name} ended the connection too early")
        return got

    def _receive(self, sock: socket.socket, view: memoryview) -> int:
        try:
            return sock.recv_into(view)
        except TimeoutError:
            if self._least == 1:
                raise
            self.gather(0, 0.0)  # it became slow: what did come is to be had all the same
            sock.settimeout(0.0)
            try:
                return sock.recv_into(view)
            except BlockingIOError:
                raise TimeoutError from None
            finally:
                sock.settimeout(self.config.stall_timeout)

    def end(self, whole: bool) -> None:
        """The answer's body is over; unless it was read whole, the connection is too."""
        if not whole or not self._keep or self.aborted:
            self.close()
        self._released(self)

    def abort(self) -> None:
        """Ends what another thread does with it, soon, with Unreachable."""
        self.aborted = True
        sock = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):  # it may be over already
                sock.shutdown(socket.SHUT_RDWR)
        self.limiter.wake()

    def close(self) -> None:
        """Closes it; the next request would make a new one."""
        sock, self._sock = self._sock, None
        self._keep = False
        if sock is not None:
            sock.close()

    @property
    def _authority(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    def _exchange(self, request: bytes) -> "tuple[_Head, bytes]":
        """Sends a request; (the answer's head, the body's bytes that came with it)."""
        self._listening = time.monotonic()
        try:
            if self._sock is None:
                self._connect()
            assert self._sock is not None
            self._keep = False
            self.gather(0, 0.0)  # a head may be short
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have said why before it went
                self._sock.sendall(request)
            return self._read_head()
        except TimeoutError:
            self.close()
            raise Unreachable(f"{self.name} does not answer") from None
        except OSError as error:
            self.close()
            if error.errno in (errno.EPIPE, errno.ECONNRESET):
                raise _Stale from None
            raise Unreachable(f"the connection to {self.name} was lost: {error.strerror}") from None
        finally:
            self._listening = None

    def _read_head(self) -> "tuple[_Head, bytes]":
        assert self._sock is not None
        deadline = time.monotonic() + self.config.stall_timeout
        data = self._sock.recv(64 << 10)
        if not data:
            raise _Stale
        while (cut := data.find(b"\r\n\r\n")) < 0:
            if len(data) > MAX_HEAD or time.monotonic() > deadline:
                self.close()
                raise Misbehaved(f"{self.name} sends a head without an end")
            more = self._sock.recv(64 << 10)
            if not more:
                self.close()
                raise Unreachable(f"{self.name} ended the connection too early")
            data += more
        return _Head(data[:cut], self.name), data[cut + 4 :]

    def _checked(self, head: "_Head", whole: bool, first: int, end: int | None, size: int | None) -> int:
        """The length of the body, if the answer is the one that was asked for."""
        status, fields = head.status, head.fields
        if status in (404, 410, 416):
            raise Gone(f"{self.name} does not have it")
        if status in (429, 503):
            raise Busy(f"{self.name} says: later")
        if 400 <= status < 500:
            raise Refused(f"{self.name} refused: {status}", status)
        if status != (200 if whole else 206):
            raise Misbehaved(f"{self.name} answered {status} when asked for {'all' if whole else 'a range'}")
        if fields.get(b"content-encoding", b"identity").lower() != b"identity" or b"transfer-encoding" in fields:
            raise Misbehaved(f"{self.name} encoded what was asked for as it is")
        text = fields.get(b"content-length", b"")
        if not _LENGTH.fullmatch(text):
            raise Misbehaved(f"{self.name} does not say how long its answer is")
        length = int(text)
        if end is not None and length != end - first:
            raise Misbehaved(f"{self.name} sends {length} bytes where {end - first} were asked for")
        if not whole and end is not None:
            span = b"bytes %d-%d/%d" % (first, end - 1, size or 0)
            if fields.get(b"content-range", b"").lower() != span:  # the unit is case-insensitive, the rest has one form
                raise Misbehaved(f"{self.name} sends another range than was asked for")
        self._keep = head.minor == 1 and b"close" not in fields.get(b"connection", b"").lower()
        return length

    def _connect(self) -> None:
        deadline = time.monotonic() + self.config.connect_timeout
        family, address = resolve(self._host, self._port, self.config.connect_timeout)
        sock = socket.socket(family, socket.SOCK_STREAM)
        self._sock = sock  # at once, so that abort finds it
        self._least = 1
        try:
            sock.settimeout(max(0.05, deadline - time.monotonic()))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):  # not loaded in every kernel; a matter of speed only
                sock.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, b"cubic")
            if self.aborted:
                raise Unreachable(f"the request to {self.name} was given up")
            sock.connect(address)
            sock.settimeout(self.config.stall_timeout)
        except TimeoutError:
            self.close()
            raise Unreachable(f"no connection to {self.name} within {self.config.connect_timeout} s") from None
        except OSError as error:
            self.close()
            raise Unreachable(f"no connection to {self.name}: {error.strerror or error}") from None
        except Unreachable:
            self.close()
            raise


class _Stale(Exception):
    """The other side closed the connection before it answered anything."""


class _Head:
    """An answer's status line and fields; names in lower case."""

    __slots__ = ("fields", "minor", "status")

    def __init__(self, data: bytes, name: str) -> None:
        first, *lines = data.split(b"\r\n")
        match = _STATUS.match(first)
        if match is None:
            raise Misbehaved(f"{name} does not speak HTTP")
        self.minor, self.status = int(match[1]), int(match[2])
        self.fields: dict[bytes, bytes] = {}
        for line in lines:
            key, colon, value = line.partition(b":")
            key = key.lower()
            value = value.strip()
            if not colon or (key in _ONCE and self.fields.get(key, value) != value):
                raise Misbehaved(f"{name} sent a head that cannot be read")
            self.fields[key] = value
