"""What a hostile holder may send at the level of HTTP's bytes."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from peer.limiter import Limiter
from peer.swarm.body import GATHERED, Body
from peer.swarm.config import SwarmConfig
from peer.swarm.connection import Connection
from peer.swarm.resolve import resolve
from peer.swarm.sockets import Sockets
from peer.swarm.source import HttpSource
from shoal.errors import Misbehaved, RemoteError, Unreachable
from shoal.wire import PeerRow
from tests.support.patience import within

CONFIG = SwarmConfig(connect_timeout=0.4, stall_timeout=0.4)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@contextlib.contextmanager
def answering(chunks: Iterable[bytes], pause: float = 0.0) -> Iterator[Connection]:
    """A connection to a server that answers anything with these bytes, then closes."""
    ending = threading.Event()

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(65536)
                for chunk in chunks:
                    client.sendall(chunk)
                    if ending.wait(pause):
                        return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        connection = Connection("127.0.0.1", server.getsockname()[1], "x", CONFIG, lambda connection: None, Limiter())
        try:
            yield connection
        finally:
            connection.close()
            ending.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def get(connection: Connection) -> bytes:
    with connection.get("/x", 0, 5, 5) as body:
        return body.read()


def test_the_least_that_is_right() -> None:
    with answering([OK + b"hello"]) as connection:
        assert get(connection) == b"hello"
        assert connection.usable
    with answering([b"HTTP/1.0 200 OK\r\ncontent-length:5\r\n\r\nhello"]) as connection:
        assert get(connection) == b"hello"
        assert not connection.usable
    with answering([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"]) as connection:
        assert get(connection) == b"hello"
        assert not connection.usable


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"hello, and more than it said",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 204 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 301 Elsewhere\r\nLocation: /y\r\nContent-Length: 5\r\n\r\nhello",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"x" * (1 << 20),
    ],
    ids=lambda answer: str(answer[:60]),
)
def test_what_breaks_the_protocol_is_refused(answer: bytes) -> None:
    with answering([answer]) as connection:
        with pytest.raises(Misbehaved):
            within(2, get, connection)
        assert not connection.usable


def test_a_range_must_be_the_one_asked_for() -> None:
    head = b"HTTP/1.1 206 Partial\r\nContent-Length: 5\r\nContent-Range: %s\r\n\r\nhello"
    for span, right in ((b"bytes 2-6/9", True), (b"bytes 1-5/9", False), (b"bytes 2-6/8", False), (b"", False)):
        with answering([head % span]) as connection:
            if right:
                with connection.get("/x", 2, 7, 9) as body:
                    assert body.read() == b"hello"
            else:
                with pytest.raises(Misbehaved):
                    connection.get("/x", 2, 7, 9)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", OK], ids=["head", "body"])
def test_bytes_one_by_one_are_not_waited_for(start: bytes) -> None:
    drops = (b"x" for _ in itertools.count())
    with answering(itertools.chain([start], drops), pause=0.1) as connection:
        began = time.monotonic()
        with pytest.raises(RemoteError):
            within(5, lambda: connection.get("/x").read() if start == OK else get(connection))
        assert time.monotonic() - began < 4 * CONFIG.stall_timeout


FAST, SLOW = 512 << 10, 100 << 10
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (FAST + SLOW + GATHERED)


def fast_then_slow() -> Iterator[bytes]:
    yield LONG
    for _ in range(FAST >> 14):
        yield b"f" * (1 << 14)
        time.sleep(0.005)
    for _ in range(SLOW // 10_240):
        time.sleep(CONFIG.stall_timeout / 2)
        yield b"s" * 10_240


def take(body: Body, end: int) -> int:
    """Reads on to `end`, at least; how many reads that took."""
    view, done, reads = memoryview(bytearray(FAST)), 0, 0
    while done < end:
        done, reads = done + body.readinto(view), reads + 1
    return reads


def test_bytes_come_together_where_they_come_fast() -> None:
    with answering(fast_then_slow()) as connection, connection.get("/x") as body:
        assert within(5, take, body, FAST - GATHERED) <= 2 * FAST // GATHERED


def test_a_short_answer_is_heard_whatever_the_one_before_ended_with() -> None:
    def serve() -> None:
        client, _ = server.accept()
        with client:
            for _ in range(2):
                client.recv(65536)
                client.sendall(OK + b"hello")
            over.wait(5)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        connection = Connection("127.0.0.1", server.getsockname()[1], "x", CONFIG, lambda connection: None, Limiter())
        try:
            assert get(connection) == b"hello"
            connection.gather(FAST, 1e9)
            assert within(5, get, connection) == b"hello"
        finally:
            connection.close()
            over.set()
            thread.join()


def test_one_that_becomes_slow_is_heard_all_the_same_and_one_that_falls_silent_is_noticed_soon() -> None:
    with answering(fast_then_slow(), pause=0.0) as connection, connection.get("/x") as body:
        take(body, FAST)
        within(10, take, body, SLOW - 10_240)
    with answering([LONG, b"f" * FAST, b"s" * 1000, b""], pause=0.01) as connection, connection.get("/x") as body:
        take(body, FAST)
        began = time.monotonic()
        with pytest.raises(Unreachable):
            within(5, take, body, SLOW)
        assert time.monotonic() - began < 3 * CONFIG.stall_timeout


def test_a_host_that_does_not_answer_costs_the_connect_timeout() -> None:
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # its queue is full then: no more connections are answered
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        connection = Connection(*full.getsockname(), "x", CONFIG, lambda connection: None, Limiter())
        began = time.monotonic()
        with pytest.raises(Unreachable):
            get(connection)
        assert time.monotonic() - began < 2 * CONFIG.connect_timeout


def test_aborting_ends_a_connect_and_a_wait() -> None:
    with answering([OK + b"he"], pause=10) as connection:
        timer = threading.Timer(0.1, connection.abort)
        timer.start()
        began = time.monotonic()
        with pytest.raises(Unreachable):
            get(connection)
        assert time.monotonic() - began < 0.35
        timer.join()
        connection.close()
        with pytest.raises(Unreachable):
            get(connection)


def test_names_and_addresses() -> None:
    assert resolve("127.0.0.1", 80, 1) == (socket.AF_INET, ("127.0.0.1", 80))
    assert resolve("::1", 80, 1) == (socket.AF_INET6, ("::1", 80))
    assert resolve("localhost", 80, 1)[1][1] == 80
    with pytest.raises(Unreachable):
        resolve("no-such-host.invalid", 80, 1.0)


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def search(*_: object, **__: object) -> list[object]:
        ended.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", search)
    try:
        with pytest.raises(Unreachable):
            within(5, resolve, "slow.example", 80, 0.1)
    finally:
        ended.set()


@pytest.mark.parametrize(
    "host",
    [
        *["169.254.169.254", "100.100.100.200", "224.0.0.1", "0.0.0.0", "fe80::1", "fd00:ec2::254"],
        *["::ffff:169.254.169.254", "2852039166", "0xa9fea9fe", "169.254.43518", "0"],
    ],
)
def test_nobody_is_looked_for_where_no_peer_can_be(host: str) -> None:
    """Also where the address is written in a way that only the resolver understands."""
    with pytest.raises(Unreachable):
        resolve(host, 80, 1.0)


def test_a_name_does_not_lead_where_no_peer_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Unreachable):
        resolve("metadata.example", 80, 1.0)
    found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80)))
    assert resolve("metadata.example", 80, 1.0) == (socket.AF_INET, ("10.0.0.1", 80))


@pytest.mark.parametrize("url", ["", "ftp://h:1", "http://", "http://h:x", "http://h:99999999", "http://hé:1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Misbehaved):
        HttpSource(PeerRow("a", "name", url), Sockets(CONFIG))
