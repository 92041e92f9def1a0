"""The chaos proxy does what its faults say: otherwise the fault tests would test nothing."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.chaos import ChaosProxy, Faults

BODY = bytes(range(256)) * 1024


@pytest.fixture
def holder() -> Iterator[int]:
    """The port of a server that sends BODY and closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.sendall(BODY)
                except OSError:
                    pass  # the proxy cut it

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def receive(port: int, timeout: float = 5) -> bytes:
    data = b""
    with socket.create_connection(("127.0.0.1", port), timeout) as sock:
        while got := sock.recv(65536):
            data += got
    return data


def through(holder: int, **faults: object) -> bytes:
    with ChaosProxy("127.0.0.1", holder, Faults(**faults)) as proxy:  # type: ignore[arg-type]
        return receive(proxy.port)


def test_without_faults_the_bytes_are_those_that_were_sent(holder: int) -> None:
    assert through(holder) == BODY


def test_one_by_one_and_delay_change_no_byte(holder: int) -> None:
    assert through(holder, one_by_one=5000, delay=0.001) == BODY


def test_corruption_flips_one_bit_in_each_stretch(holder: int) -> None:
    got = through(holder, corrupt_every=100_000)
    assert len(got) == len(BODY)
    assert [i for i in range(len(BODY)) if got[i] != BODY[i]] == [100_000, 200_000]


def test_a_duplicated_chunk_makes_the_body_longer(holder: int) -> None:
    got = through(holder, duplicate_after=100_000)
    assert len(got) > len(BODY) and got[:100_000] == BODY[:100_000]


def test_a_cut_connection_is_reset_after_so_many_bytes(holder: int) -> None:
    with ChaosProxy("127.0.0.1", holder, Faults(cut_after=70_000)) as proxy, pytest.raises(ConnectionResetError):
        receive(proxy.port)


def test_a_stalled_connection_stays_open_and_silent_until_the_fault_ends(holder: int) -> None:
    with ChaosProxy("127.0.0.1", holder, Faults(stall_after=70_000)) as proxy:
        with pytest.raises(TimeoutError):
            receive(proxy.port, 0.5)
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as sock:
            data = b""
            while len(data) < 70_000:
                data += sock.recv(65536)
            proxy.faults = Faults()
            while got := sock.recv(65536):
                data += got
        assert data == BODY


def test_bandwidth_takes_its_time(holder: int) -> None:
    began = time.monotonic()
    assert through(holder, bandwidth=len(BODY) * 4) == BODY
    assert time.monotonic() - began >= 0.2


def test_refused_connections_are_closed_at_once(holder: int) -> None:
    assert through(holder, refuse=True) == b""
