"""The data server as the process it is: its port, its channel, its end."""

import http.client
import json
import os
import signal
import socket
import struct
import time
from contextlib import closing

import msgspec
import pytest

from peer.messages import Served
from shoal.manifest import MIB
from tests.support.share_fixture import NAME, Share, listening, server_process

pytestmark = pytest.mark.real


@pytest.fixture
def share(tmp_path):
    return Share(tmp_path)


@pytest.fixture
def sock():
    with listening() as sock:
        yield sock


def get(sock, path):
    with closing(http.client.HTTPConnection(*sock.getsockname(), timeout=20)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def next_served(channel):
    channel.settimeout(20)
    with channel.makefile("rb") as file:
        (length,) = struct.unpack("<I", file.read(4))
        return msgspec.msgpack.decode(file.read(length), type=Served)


def test_it_serves_and_says_so(share, sock):
    share.add("f", b"x" * 1000)
    with server_process(share, sock) as server:
        assert json.loads(get(sock, "/healthz"))["name"] == NAME
        assert get(sock, "/f") == b"x" * 1000
        served = Served(0, 0, 0)
        while served.bytes < 1000:
            served = next_served(server.channel)
        assert served.requests == 2


def test_it_ends_with_its_channel(share, sock):
    with server_process(share, sock) as server:
        get(sock, "/healthz")
        server.channel.close()
        assert server.process.wait(10) == 0


def test_signals(share, sock):
    with server_process(share, sock) as server:
        get(sock, "/healthz")
        server.process.send_signal(signal.SIGINT)  # Ctrl-C is the peer's to handle
        assert get(sock, "/healthz")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) != 0


def test_killed_in_a_transfer_and_started_again_it_keeps_the_port(share, sock):
    data = os.urandom(1024) * (16 * 1024)
    share.add("big", data)
    with server_process(share, sock) as server:
        get(sock, "/healthz")
        with socket.create_connection(sock.getsockname(), timeout=20) as client:
            client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(1000)
            server.process.kill()
            server.process.wait()
            got = 0
            try:
                while part := client.recv(MIB):
                    got += len(part)
            except ConnectionResetError:
                pass
            assert got < len(data)
        with socket.create_connection(sock.getsockname(), timeout=20) as waiting:
            waiting.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")  # while nobody serves
            with server_process(share, sock):
                assert waiting.recv(12) == b"HTTP/1.1 200"
                assert get(sock, "/big") == data


def test_it_may_open_as_many_files_as_the_machine_allows(share, sock):
    with server_process(share, sock) as server:
        get(sock, "/healthz")
        with open(f"/proc/{server.process.pid}/limits") as file:
            line = next(line for line in file if line.startswith("Max open files"))
        soft, hard = line.split()[3:5]
        assert soft == hard


def test_no_thread_outlives_its_client(share, sock):
    share.add("f", b"x")
    with server_process(share, sock) as server:
        for _ in range(20):
            get(sock, "/f")
        until = time.monotonic() + 10
        while len(os.listdir(f"/proc/{server.process.pid}/task")) > 4 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(os.listdir(f"/proc/{server.process.pid}/task")) == 4
