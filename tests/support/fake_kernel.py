"""A kernel over a socket: it says what a test tells it to, also what a real one rarely says."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from peer.mount import protocol
from peer.mount.answers import ENTRY
from peer.mount.notices import Notices
from peer.mount.protocol import Init, Op
from peer.mount.requests import Requests
from peer.mount.session import Session
from peer.mount.table import Table
from tests.support.mounted import Network

PID = 4242
SECONDS = 10.0


class Answer:
    """`error` is a positive errno or 0; what was told unasked has `unique` 0 and a code for the error."""

    def __init__(self, message: bytes) -> None:
        self.length, error, self.unique = protocol.OUT_HEADER.unpack_from(message)
        assert self.length == len(message)
        self.error, self.body = -error, message[protocol.OUT_HEADER.size :]


class FakeKernel:
    """The other end of a session's descriptor."""

    def __init__(self, net: Network) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket, self._fd = ours, theirs.detach()
        ours.settimeout(SECONDS)
        self._uniques = count(2, 2)
        self._early: list[Answer] = []
        root = net.vfs.find("")
        assert root is not None
        self.table = Table(root, net.vfs.find)
        self.session = Session(self._fd, lambda request: self.requests.answer(request), passthrough=False)
        self.requests = Requests(net.vfs, self.table, self.session.write, lambda task: task(), self.session.give_way)
        self.notices = Notices(self.table, self.session.write, self.requests.files.free_pages)
        net.vfs.changed_at(self.notices.changed)

    def send(self, opcode: int, body: bytes = b"", node: int = protocol.ROOT, pid: int = PID) -> int:
        """Sends a request; its number."""
        unique = next(self._uniques)
        head = protocol.IN_HEADER.pack(protocol.IN_HEADER.size + len(body), opcode, unique, node, 0, 0, pid, 0, 0)
        self.send_raw(head + body)
        return unique

    def send_raw(self, message: bytes) -> None:
        """Sends whatever this is."""
        self._socket.send(message)

    def receive(self, unique: int) -> Answer:
        """The answer to a request; of notices, the next one (0)."""
        for answer in self._early:
            if answer.unique == unique:
                self._early.remove(answer)
                return answer
        while True:
            answer = Answer(self._socket.recv(protocol.MAX_READ + 4096))
            if answer.unique == unique:
                return answer
            self._early.append(answer)

    def await_notice(self, name: bytes) -> None:
        """Returns when it was told to forget an entry of this name; passes over other notices."""
        while not self.receive(0).body.endswith(name + b"\0"):
            pass

    def silent(self, seconds: float) -> bool:
        """Whether nothing more is said for so long."""
        self._socket.settimeout(seconds)
        try:
            self._early.append(Answer(self._socket.recv(protocol.MAX_READ + 4096)))
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(SECONDS)
        return False

    def ask(self, opcode: int, body: bytes = b"", node: int = protocol.ROOT, pid: int = PID) -> Answer:
        """A request, answered."""
        return self.receive(self.send(opcode, body, node, pid))

    def hello(self, major: int = 7, minor: int = 45, flags: int = (1 << 64) - 1 & ~(1 << 63)) -> Answer:
        """The first request, with all features there are."""
        body = struct.pack("=IIIII44x", major, minor, 1 << 20, flags & 0xFFFFFFFF, flags >> 32)
        return self.ask(Op.INIT, body if flags & Init.INIT_EXT else body[:16])

    def start(self, minor: int = 45) -> None:
        """Says hello while the session starts."""
        starting = threading.Thread(target=self.session.start, args=(SECONDS,))
        starting.start()
        assert not self.hello(minor=minor).error
        starting.join()
        self.notices.start()

    def look_up(self, path: str) -> int:
        """The node of a path, looked up part by part. Raises OSError."""
        node = protocol.ROOT
        for part in path.split("/"):
            answer = self.ask(Op.LOOKUP, part.encode() + b"\0", node)
            if answer.error:
                raise OSError(answer.error, os.strerror(answer.error), path)
            node = ENTRY.unpack(answer.body)[0]
            if not node:
                raise FileNotFoundError(errno.ENOENT, "no such path", path)
        return node

    def open(self, node: int, flags: int = 0, pid: int = PID) -> tuple[int, int]:
        """(handle, how). Raises OSError."""
        answer = self.ask(Op.OPEN, protocol.OPEN_IN.pack(flags, 0), node, pid)
        if answer.error:
            raise OSError(answer.error, os.strerror(answer.error))
        handle, how, _ = protocol.OPEN_OUT.unpack(answer.body)
        return handle, how

    def send_read(self, node: int, handle: int, offset: int, size: int) -> int:
        """Asks for bytes; the request's number."""
        return self.send(Op.READ, protocol.READ_IN.pack(handle, offset, size, 0, 0, 0, 0), node)

    def read(self, node: int, handle: int, offset: int, size: int) -> bytes:
        """Bytes. Raises OSError."""
        answer = self.receive(self.send_read(node, handle, offset, size))
        if answer.error:
            raise OSError(answer.error, os.strerror(answer.error))
        return answer.body

    def release(self, node: int, handle: int) -> None:
        """Closes."""
        assert not self.ask(Op.RELEASE, protocol.RELEASE_IN.pack(handle, 0, 0, 0), node).error

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()
        assert self.session.wait(SECONDS)
        self.notices.close()
        self.requests.close()
        os.close(self._fd)


@contextmanager
def spoken_to(local: Path, hello: bool = True) -> Iterator[tuple[Network, FakeKernel]]:
    """A network, and a kernel that has its mount; it said hello unless the test does."""
    (local / "local").mkdir()
    net = Network(local / "local")
    kernel = FakeKernel(net)
    try:
        if hello:
            kernel.start()
        yield net, kernel
    finally:
        kernel.close()
        net.close()
