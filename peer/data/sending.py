"""The way out of one connection: bytes, and files, as fast as the reader, the turns and the up-limit allow.

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
from typing import Protocol

from peer.data.content import Content
from peer.data.pace import Pace
from peer.data.turns import LONG, TURN, Part, Turn
from peer.data.uplink import Uplink
from shoal.errors import Busy, Gone, LocalError
from shoal.manifest import KIB, MIB

_CHUNK = 4 * MIB
_TAIL = 64 * KIB
"""Bytes at the end of an answer that go through memory: a small file goes out together with its head.

What is larger waits for its turn.
"""
_DRAINED = 256 * KIB
"""Bytes in the socket under which an answer makes room for the next one."""
_DRAIN_PAUSE = 0.005
_INT = struct.Struct("i")


class Counter(Protocol):
    """Takes count of what was sent; any thread."""

    def sent(self, bytes: int, requests: int = 0) -> None:
        """So many bytes of bodies, and so many answers begun."""


class Cut(Exception):
    """The connection must end now, in the middle of whatever is under way."""


class Sending:
    """Sends one answer after another over a socket that does not block.

    For each answer `begin` is called, and then what sends it. Before the answer with a file there is `take_turn`, for
    any but HEAD, and after it `end_turn`, whatever happened.

    Raises (all that send): Cut, if the reader takes too little for too long, or crawls and is in others' way, or the
    file changed; OSError, if the connection broke. Then there is nobody to tell.

    Threading: one thread. What several connections share, `Uplink` and the counter, has its own locks.
    """

    def __init__(self, sock: socket.socket, counter: Counter, uplink: Uplink, stall: float, window: float) -> None:
        """`stall`: seconds for which a reader may take nothing, `window`: over which its average counts (`pace`)."""
        self._sock, self._counter, self._uplink = sock, counter, uplink
        self._stall, self._window = stall, window
        self._turn: Turn | None = None  # of the answer under way, if it is a large one
        self._sent = 0  # bytes that the kernel took over
        self._pace: Pace | None = None  # of the answer under way, once its reader let us wait
        self._writable, self._leaving = select.poll(), select.poll()
        self._writable.register(sock, select.POLLOUT)
        self._leaving.register(sock, select.POLLRDHUP)

    def begin(self) -> None:
        """An answer begins."""
        self._pace = None
        self._counter.sent(0, requests=1)

    def take_turn(self, asker: str, length: int, part: Part, patience: float) -> None:
        """Waits until an answer of so many bytes, these pieces, may be sent to the asker: a large one for its turn, so
        long.

        Raises:
            Busy: its turn did not come.
        """
        if length <= _TAIL:
            self._uplink.small(asker, length)
        else:
            self._turn = self._uplink.begin(asker, length, part, patience, self._is_gone)

    def end_turn(self) -> None:
        """The answer is over, well or not."""
        if self._turn is not None:
            self._uplink.end(self._turn)
        self._turn = None

    def send(self, data: bytes, flags: int = 0) -> None:
        """Sends these bytes, which are not counted."""
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send(view, flags)
            except BlockingIOError:
                self._wait()
                continue
            self._sent += sent
            view = view[sent:]

    def send_body(self, head: bytes, body: bytes) -> None:
        """Sends a whole answer at hand."""
        self.send(head + body)
        self._counter.sent(len(body))

    def send_file(self, head: bytes, content: Content, offset: int, length: int) -> None:
        """Sends a head and that part of a file, whose turn it is.

        Raises:
            Gone, LocalError: the file changed or cannot be read; nothing was sent yet.
        """
        tail = min(length, _TAIL)
        until = offset + length - tail
        turn = TURN if length > LONG else length
        if offset < until:
            self.send(head, socket.MSG_MORE)
            head = b""
            while offset < until:
                end = min(offset + turn, until)
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
        self.send(head + data)
        self._counter.sent(tail)
        if self._turn is not None:
            self._drain()

    def _send_part(self, content: Content, offset: int, end: int) -> None:
        """Sends the bytes offset ≤ n < end, as fast as the limit allows."""
        while offset < end:
            allowed = offset + self._allowed(min(_CHUNK, end - offset), whole=False)
            while offset < allowed:
                offset += self._send_chunk(content, offset, allowed - offset)

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

    # Who may send

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
            self._turn = self._uplink.again(turn, self._stall, self._is_gone)
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

    # Who reads

    def _wait(self) -> None:
        """Waits until the socket takes more.

        Raises:
            Cut: the client reads too slowly. What counts is what its machine acknowledged, not what ours took over.
        """
        ready = False
        if self._pace is None:
            self._check_pace()
        while not ready:
            ready = bool(self._writable.poll(self._stall * 1000 / 8))
            self._check_pace()

    def _check_pace(self) -> None:
        """Raises Cut if the client reads too slowly, or crawls and is in others' way."""
        now, taken = time.monotonic(), self._taken()
        if self._pace is None:
            self._pace = Pace(now, taken, self._stall, self._window)
        if self._pace.too_slow(now, taken) or (self._turn is not None and self._turn.cut):
            raise Cut

    def _taken(self) -> int:
        (queued,) = _INT.unpack(fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(_INT.size)))
        return self._sent - int(queued)


def _broken(head: bytes, error: LocalError | Gone) -> Exception:
    """The error itself as long as it can still be the answer, because the head was not sent; else the end."""
    return error if head else Cut()
