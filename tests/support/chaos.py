"""Networks that misbehave: a TCP proxy with faults, and a way to put one before a peer's data port.

    with ChaosProxy("127.0.0.1", port) as proxy:
        proxy.faults = Faults(delay=0.05, corrupt_every=100_000)

`Faults` act on the bytes that flow from the holder to the reader, for connections that exist and for new
ones; they can be changed at any time. `Detour` stands between one peer and its tracker, and lists the peer at
a chaos proxy's port instead of its own, so that everybody reaches its bytes through the faults only.

Threading: a listener thread, and two threads a connection; `faults` is replaced whole, never changed.
"""

import ctypes
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

CHUNK = 64 << 10


@dataclass(frozen=True)
class Faults:
    """What the proxy does to the bytes of each connection, in this order; zero is: nothing."""

    delay: float = 0.0
    """Seconds before each chunk."""
    bandwidth: int = 0
    """Bytes a second, each connection."""
    one_by_one: int = 0
    """So many bytes of each connection are sent one at a time."""
    corrupt_every: int = 0
    """One bit is flipped in every so many bytes, the first such stretch (it may hold headers) left alone."""
    duplicate_after: int = 0
    """The chunk that crosses this many bytes is sent twice."""
    stall_after: int = 0
    """After so many bytes nothing is sent any more; the connection stays open."""
    cut_after: int = 0
    """After so many bytes the connection is reset."""
    refuse: bool = False
    """New connections are closed at once."""


class ChaosProxy:
    """Listens on a port of its own on loopback and forwards to `host:port` with `faults`."""

    def __init__(self, host: str, port: int, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.connections = 0
        """How many were accepted."""
        self._upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = threading.Event()
        self._spawn(self._accept)

    def close(self) -> None:
        """Ends all connections and threads."""
        self._closing.set()
        _end(self._listener)
        self._listener.close()
        self.cut()
        for thread in list(self._threads):
            thread.join(5)

    def cut(self) -> None:
        """Ends the connections that are open now."""
        with self._lock:
            sockets = list(self._open)
        for sock in sockets:
            _end(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True, name=f"chaos-{self.port}")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.faults.refuse:
                client.close()
                continue
            try:
                server = socket.create_connection(self._upstream, timeout=5)
            except OSError:  # the holder is gone: so is this connection
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            alive = [2]
            self._spawn(self._pump, client, server, False, alive)
            self._spawn(self._pump, server, client, True, alive)

    def _pump(self, source: socket.socket, target: socket.socket, faulty: bool, alive: list[int]) -> None:
        sent = 0
        try:
            while data := source.recv(CHUNK):
                if faulty:
                    sent = self._send(target, data, sent)
                else:
                    target.sendall(data)
        except OSError:
            pass  # one side is gone; the other is told below
        finally:
            _end(source)
            _end(target)
            with self._lock:
                alive[0] -= 1
                if alive[0] == 0:
                    self._open -= {source, target}
                    source.close()
                    target.close()

    def _send(self, target: socket.socket, data: bytes, sent: int) -> int:
        """Sends what the faults make of `data`; returns how many bytes of the source are behind it."""
        faults, after = self.faults, sent + len(data)
        self._wait(faults.delay + (len(data) / faults.bandwidth if faults.bandwidth else 0))
        if faults.corrupt_every:
            data = _corrupted(data, sent, faults.corrupt_every)
        if faults.stall_after and after > faults.stall_after:
            target.sendall(data[: max(0, faults.stall_after - sent)])
            while self.faults.stall_after and not self._closing.is_set():
                self._wait(0.05)
            data = data[max(0, faults.stall_after - sent) :]
        if faults.cut_after and after > faults.cut_after:
            target.sendall(data[: max(0, faults.cut_after - sent)])
            _reset(target)
            raise ConnectionResetError("cut, as asked")
        if sent < faults.one_by_one:
            for number in range(len(data)):
                target.sendall(data[number : number + 1])
        else:
            target.sendall(data)
        if faults.duplicate_after and sent <= faults.duplicate_after < after:
            target.sendall(data)
        return after

    def _wait(self, seconds: float) -> None:
        if seconds and self._closing.wait(seconds):
            raise ConnectionAbortedError("the proxy closes")


class Detour:
    """Stands between a peer and its tracker, and lists the peer at a chaos proxy's port.

    Give `address` to the peer as its SERVER. The proxy is made when the peer first announces itself.
    """

    def __init__(self, tracker: str, faults: Faults | None = None) -> None:
        host, _, port = tracker.rpartition(":")
        self._tracker = (host, int(port))
        self._first = faults or Faults()
        self._proxies: dict[int, ChaosProxy] = {}
        self._lock = threading.Lock()
        detour = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                detour._forward(self)

            do_POST = do_HEAD = do_GET

            def handle(self) -> None:
                with suppress(ConnectionError):  # its peer was killed
                    super().handle()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="detour")
        self._thread.start()
        self.address = f"127.0.0.1:{self._server.server_port}"

    @property
    def faults(self) -> Faults:
        """What befalls the peer's bytes; set it at any time."""
        return self._first

    @faults.setter
    def faults(self, faults: Faults) -> None:
        with self._lock:
            self._first = faults
            for proxy in self._proxies.values():
                proxy.faults = faults

    @property
    def connections(self) -> int:
        """How many connections came to the peer through the faults."""
        with self._lock:
            return sum(proxy.connections for proxy in self._proxies.values())

    def cut(self) -> None:
        """Ends the connections to the peer's data port that are open now."""
        with self._lock:
            proxies = list(self._proxies.values())
        for proxy in proxies:
            proxy.cut()

    def close(self) -> None:
        """Ends the detour and its proxies."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        for proxy in self._proxies.values():
            proxy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def _port_for(self, port: int) -> int:
        with self._lock:
            if port not in self._proxies:
                self._proxies[port] = ChaosProxy("127.0.0.1", port, self._first)
            return self._proxies[port].port

    def _forward(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.path == "/v1/announce":
            message = json.loads(body)
            message["port"] = self._port_for(message["port"])
            body = json.dumps(message).encode()
        skipped = ("host", "content-length", "connection")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in skipped}
        connection = http.client.HTTPConnection(*self._tracker, timeout=30)
        try:
            connection.request(request.command, request.path, body or None, headers)
            answer = connection.getresponse()
            data = answer.read()
        except OSError:  # no tracker: the peer sees what it would see without the detour
            request.close_connection = True
            return
        finally:
            connection.close()
        request.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                request.send_header(name, value)
        if answer.status != 204:
            request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


def _corrupted(data: bytes, sent: int, every: int) -> bytes:
    changed = bytearray(data)
    for place in range(every * max(1, -(-sent // every)), sent + len(data), every):
        changed[place - sent] ^= 0x01
    return bytes(changed)


def _reset(sock: socket.socket) -> None:
    """Sends a RST at once, also while another thread reads: what connect() to AF_UNSPEC does to a connection."""
    nowhere = struct.pack("H14x", socket.AF_UNSPEC)
    ctypes.CDLL(None).connect(sock.fileno(), nowhere, len(nowhere))


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it is over already
