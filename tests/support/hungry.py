"""Clients of a data port that take as much as they are given, and count it."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from io import BufferedReader

from tests.support.cluster import LOOPBACK, Place


class Hungry:
    """So many connections of one asker, each of which asks for the same file again and again, from the beginning.

    `id` is what it claims to be. `size`: bytes asked for at a time; 0: the whole file. `got` grows.
    """

    def __init__(
        self, address: str, target: str, connections: int, id: str = "", size: int = 0, place: Place = LOOPBACK
    ) -> None:
        self.got = 0
        self._host, _, self._port = address.rpartition(":")
        head = f"GET {target} HTTP/1.1\r\nHost: a\r\n"
        head += f"Range: bytes=0-{size - 1}\r\n" if size else ""
        head += f"Shoal-Peer: {id}\r\n" if id else ""
        self._request = (head + "\r\n").encode()
        self._place = place
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(connections)]

    def __enter__(self) -> "Hungry":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(OSError), self._connected() as sock, sock.makefile("rb") as file:
                while not self._ending.is_set() and self._one(sock, file):
                    pass

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with self._place.entered():
            sock = socket.create_connection((self._host, int(self._port)), timeout=5)
        with sock:
            yield sock

    def _one(self, sock: socket.socket, file: BufferedReader) -> bool:
        """Asks once, and reads the answer; whether the connection can be used again."""
        sock.sendall(self._request)
        status = file.readline()[9:12]
        length = 0
        while (line := file.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split()[1])
        while length and not self._ending.is_set():
            part = file.read1(min(length, 1 << 16))
            if not part:
                return False
            length -= len(part)
            if status in (b"200", b"206"):
                with self._lock:
                    self.got += len(part)
        if status == b"503":
            self._ending.wait(0.1)
        return status in (b"200", b"206", b"503")


def rates(clients: list[Hungry], seconds: float) -> list[float]:
    """Bytes a second that each got in that time."""
    before, began = [client.got for client in clients], time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return [(client.got - old) / passed for client, old in zip(clients, before, strict=True)]
