"""The data server's process: `python -m peer.data.server LOCAL FD NAME HTTP_URL`.

FD is the listening socket, inherited: the port stays when this process dies and is started again. It says `Served`
about once a second while that changes, `Heard` what other readers told, and ends when its channel to the peer does.
"""

import errno
import logging
import resource
import socket
import socketserver
import sys
import threading
import time
from pathlib import Path

from peer.data.askers import Askers
from peer.data.clients import Clients
from peer.data.content import Contents
from peer.data.handler import Connection, Limits
from peer.data.request import answer_head
from peer.data.uplink import Uplink
from peer.layout import Layout
from peer.messages import Limit, Served
from peer.process import Channel, channel_to_peer
from shoal.wire import Problem, encode

LEAST_EACH = 8
"""Connections of one asker that there is always room for, if there is any: as many as a peer makes to one holder."""
log = logging.getLogger(__name__)


class Tally:
    """What was sent since the start. Any thread; a lock guards it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = self._requests = 0

    def sent(self, bytes: int, requests: int = 0) -> None:
        """So many bytes of bodies, and so many answers begun."""
        with self._lock:
            self._bytes += bytes
            self._requests += requests

    def total(self) -> tuple[int, int]:
        """(bytes, requests)."""
        with self._lock:
            return self._bytes, self._requests


class DataServer(socketserver.TCPServer):
    """Accepts connections on a listening socket, each in a thread of its own, and no more than the limits say.

    Threading: `serve_forever` in one thread; the other methods in any.
    """

    def __init__(self, sock: socket.socket, contents: Contents, health: bytes, limits: Limits = Limits()) -> None:
        # TCPServer's own constructor would make a socket; there is one.
        socketserver.BaseServer.__init__(self, sock.getsockname(), socketserver.BaseRequestHandler)
        self.socket = sock
        self.tally, self.askers, self.uplink = Tally(), Askers(), Uplink()
        self._contents, self._health, self._limits = contents, health, limits
        self._clients = Clients(limits.connections, limits.per_address)
        for level, option, value in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic"),  # BBR can collapse on busy virtual CPUs
        ):
            try:
                sock.setsockopt(level, option, value)  # accepted sockets inherit it
            except OSError as error:
                log.info("the kernel does not take option %s=%s of TCP: %s", option, value, error)
        problem = encode(Problem("too many connections"))
        fields = ((b"Content-Type", b"application/json"), (b"Retry-After", b"1"))
        self._full = answer_head(503, fields, len(problem), keep=False) + problem

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._clients)

    def limit(self, up: int, sockets: int) -> None:
        """From now on at most `up` bytes a second (0: no limit), and so many connections, a quarter from one asker."""
        self.uplink.limit(up)
        self._clients.limit(sockets, max(LEAST_EACH, sockets // 4))

    def get_request(self) -> tuple[socket.socket, object]:
        """The next connection. Raises OSError."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                time.sleep(0.05)  # it stays in the queue, and would be tried again at once, and again
            raise

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """Starts a thread for the connection, or refuses it."""
        connection = Connection(
            request,
            self._contents,
            self._health,
            self.tally,
            self._limits,
            self.askers,
            self.uplink,
            literal(client_address),
            self._clients.rename,
        )
        if not self._clients.come(connection):
            self._refuse(request)
            return
        try:
            threading.Thread(target=self._serve, args=(request, connection), daemon=True).start()
        except RuntimeError:  # no more threads
            self._clients.go(connection)
            self._refuse(request)

    def _serve(self, request: socket.socket, connection: Connection) -> None:
        """Serves the connection until it ends."""
        try:
            connection.serve()
        except Exception:
            log.exception("a connection ended by an error of ours")
        finally:
            self._clients.go(connection)
            request.close()

    def close(self, timeout: float = 5.0) -> None:
        """Cuts all connections and waits until their threads let go; the listening socket stays open."""
        until = time.monotonic() + timeout
        while self._clients.cut_all() and time.monotonic() < until:
            time.sleep(0.01)

    def _refuse(self, request: socket.socket) -> None:
        """Says so, at once, without a thread: what does not fit into the socket's buffer is not sent."""
        try:
            request.setblocking(False)
            request.send(self._full)
            request.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the client went already
        request.close()


def literal(address: object) -> str:
    """The host of a socket address; an IPv4 address that came by IPv6 as what it is."""
    return str(address[0]).removeprefix("::ffff:") if isinstance(address, tuple) else ""


def _tell_news(server: DataServer, channel: Channel[object, Limit]) -> None:
    """Tells the peer what other readers said, until it is gone."""
    try:
        while True:
            server.askers.flush(channel.send)
    except OSError:
        return  # the main thread sees the same, and ends the process


def _report(server: DataServer, channel: Channel[object, Limit]) -> None:
    """Says `Served` when it changed, until the peer is gone."""
    told = None
    while True:
        now = (*server.tally.total(), server.connections, server.uplink.sent, server.uplink.waiting)
        if now != told:
            try:
                channel.send(Served(*now))
            except OSError:
                return  # the main thread sees the same, and ends the process
            told = now
        time.sleep(1.0)


def main(local: str, listening: str, name: str, http_url: str) -> None:
    """Serves until the peer is gone."""
    channel: Channel[object, Limit] = channel_to_peer(Limit)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    health = encode({"ok": True, "name": name, "http": http_url})
    server = DataServer(socket.socket(fileno=int(listening)), Contents(Layout(Path(local))), health)
    threading.Thread(target=_report, args=(server, channel), name="report", daemon=True).start()
    threading.Thread(target=_tell_news, args=(server, channel), name="news", daemon=True).start()
    accepting = threading.Thread(target=server.serve_forever, name="accept", daemon=True)
    while (message := channel.receive()) is not None:  # its end is the peer's
        server.limit(message.up, message.sockets)
        if not accepting.ident:  # nobody is served before the limits are known
            accepting.start()


if __name__ == "__main__":
    main(*sys.argv[1:])
