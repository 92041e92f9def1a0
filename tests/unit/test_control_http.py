"""The control client against servers that do what no honest one would."""

import re
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from shoal import wire
from shoal.errors import Busy, Gone, Misbehaved, Refused, Unreachable
from shoal.http import Client, _Socket, _until
from shoal.wire import Problem
from tests.support.patience import within

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"error":"x"}'


def read_request(connection: socket.socket) -> bytes:
    found = b""
    while chunk := connection.recv(1 << 16):
        found += chunk
        head, blank, body = found.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if blank and len(body) >= int(length[1] if length else 0):
            break
    return found


@contextmanager
def server(*answers: bytes, pause: float = 0.0, keep: bool = False):
    """Answers one request after another with these bytes, byte by byte with a `pause`; yields (URL, requests)."""
    requests: list[bytes] = []
    connections: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def run() -> None:
        left = list(answers)
        try:
            while left and not stop.is_set():
                connection, _ = listener.accept()
                connections.append(connection)
                while left and (request := read_request(connection)):
                    requests.append(request)
                    answer = left.pop(0)
                    step = 1 if pause else len(answer) or 1
                    for at in range(0, len(answer), step):
                        connection.sendall(answer[at : at + step])
                        if stop.wait(pause):
                            break
                    if not keep:
                        connection.close()
                        break
        except OSError:
            pass  # the client hung up, or the test is over

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
    finally:
        stop.set()
        try:
            listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        thread.join()
        for sock in (listener, *connections):
            sock.close()


@pytest.fixture
def client():
    client = Client(connect=1, read=0.5, total=1)
    yield client
    client.close()


def answer(status: int, body: bytes = b"", *headers: bytes) -> bytes:
    head = [b"HTTP/1.1 %d X" % status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def test_a_message_there_and_back(client):
    with server(OK, OK, OK, answer(204), keep=True) as (url, requests):
        assert client.get(url + "/v1/x", Problem, {"since": "a b&c"}) == Problem("x")
        assert client.post(url + "/v1/x", Problem("y"), Problem, {"Shoal-Proof": "s"}) == Problem("x")
        assert client.get(url, Problem) == Problem("x")
        assert client.post(url, Problem("y"), type(None)) is None
        assert requests[0].startswith(b"GET /v1/x?since=a+b%26c HTTP/1.1\r\n")
        assert b"accept-encoding: identity\r\n" in requests[0].lower()
        assert requests[1].endswith(b'{"error":"y"}')
        assert b"Shoal-Proof: s\r\n" in requests[1]


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (answer(404), Gone),
        (answer(410), Gone),
        (answer(429), Busy),
        (answer(503), Busy),
        (answer(500), Misbehaved),
        (answer(504), Unreachable),
        (answer(302, b"", b"Location: /elsewhere"), Misbehaved),
        (answer(200, b'{"error":"x"}', b"Content-Encoding: gzip"), Misbehaved),
        (answer(200, b'{"error":7}'), Misbehaved),
        (answer(200, b"<html>"), Misbehaved),
        (answer(200, b"[" * 100_000), Misbehaved),
        (answer(200, b" " * (wire.MAX_BODY + 1)), Misbehaved),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (wire.MAX_BODY + 1), Misbehaved),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", Unreachable),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, Unreachable),
        (b"SSH-2.0-OpenSSH\r\n", Unreachable),
        (b"", Unreachable),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_an_answer_means(client, told, error):
    with server(told, OK) as (url, requests), pytest.raises(error):
        client.get(url, Problem)
    assert len(requests) == 1, "nothing is followed, nothing asked twice"


def test_a_refusal_says_what_is_needed(client):
    told = answer(409, b'{"error":"no \\u001b[2Jlist","need":"all"}')
    with server(told) as (url, _), pytest.raises(Refused) as refused:
        client.get(url, Problem)
    assert (refused.value.status, refused.value.need) == (409, "all")
    assert "\\x1b" in str(refused.value), "escape codes of others are not passed on"


@pytest.mark.parametrize("told", [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, answer(200, b" " * 1000)])
def test_an_answer_that_comes_byte_by_byte_ends_at_the_limit(client, told):
    with server(told, pause=0.05) as (url, _):
        began = time.monotonic()
        with pytest.raises(Unreachable):
            client.get(url, Problem)
        assert 0.9 < time.monotonic() - began < 5


def test_silence_ends_sooner_than_the_whole_time(client):
    with server(OK[:10] + b"", keep=True) as (url, _), pytest.raises(Unreachable):
        within(10, lambda: client.get(url, Problem, total=30))


def test_no_read_waits_beyond_the_whole_time():
    ours, theirs = socket.socketpair()
    with theirs, _Socket(ours.family, ours.type, ours.proto, ours.detach()) as sock, pytest.raises(TimeoutError):
        sock.silence = 30.0

        def read() -> None:
            with _until(time.monotonic() + 0.2):
                sock.recv_into(bytearray(10))

        within(10, read)


def test_a_server_that_comes_back_is_reached_again(client):
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with server(closing, OK) as (url, _):
        assert client.get(url, Problem) == client.get(url, Problem)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://127.0.0.1/", "http://[::1", "ftp://h/", "nonsense"])
def test_only_http_is_spoken(client, url):
    with pytest.raises(Misbehaved):
        client.get(url, Problem)


def test_nobody_there(client):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="Connection refused"):
        client.get(f"http://127.0.0.1:{port}/", Problem)


def test_the_environment_s_proxy_is_not_used(client, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with server(OK) as (url, _):
        assert client.get(url, Problem) == Problem("x")


def test_many_threads_at_once():
    client = Client(connect=10, read=10)
    with server(*[OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")] * 20) as (url, _):
        found: list[Problem] = []
        threads = [threading.Thread(target=lambda: found.append(client.get(url, Problem, total=10))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    client.close()
    assert found == [Problem("x")] * 20


def test_an_endless_answer_is_cut_at_the_limit():
    client = Client(connect=10, read=10, total=30)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sent = 0

        def run() -> None:
            nonlocal sent
            connection, _ = listener.accept()
            with connection:
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    while sent < 1 << 30:
                        connection.sendall(b" " * 65536)
                        sent += 65536
                except OSError:
                    pass  # the client hung up: what this is about

        thread = threading.Thread(target=run)
        thread.start()
        with pytest.raises(Misbehaved):
            client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/", Problem)
        client.close()
        thread.join()
    assert sent < 100 << 20
