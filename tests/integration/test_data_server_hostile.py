"""The data port as it should not be used: nothing outside the share, nothing wrong, nothing for ever."""

import os
import re
import socket
import stat
import threading
import time
from contextlib import ExitStack, closing

import pytest

from peer.data import handler, sending
from peer.data.handler import Limits
from shoal.manifest import MIB
from tests.support.share_fixture import Share, serving

SECRET = b"root:secret:outside"
SMALL = b"ten bytes\n"
QUICK = Limits(idle=1.5, head=0.5, stall=0.5, window=1.0)


@pytest.fixture
def share(tmp_path):
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(SECRET)
    (tmp_path / "share").mkdir()
    return Share(tmp_path / "share")


@pytest.fixture(params=[True, False], ids=["openat2", "by steps"])
def port(share, request):
    with serving(share, openat2=request.param) as (port, _):
        yield port


def connect(port, timeout=10.0):
    return socket.create_connection(("127.0.0.1", port), timeout=timeout)


def rest(sock):
    """All that comes until the end, and whether the end was clean."""
    answer = b""
    try:
        while data := sock.recv(1 << 16):
            answer += data
    except ConnectionResetError:
        return answer, False
    return answer, True


def raw(port, request):
    with connect(port) as sock:
        sock.sendall(request)
        return rest(sock)[0]


def ask(port, target):
    """(status, all that came back) for a target as it is, byte for byte."""
    answer = raw(port, b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
    return int(answer[9:12]), answer


# --- nothing outside the share


@pytest.mark.parametrize(
    "target",
    [
        *[b"/../secret", b"/../../../../../../etc/passwd", b"/d/../../secret", b"/%2e%2e/secret", b"/%2e%2e%2fsecret"],
        *[b"/..%2fsecret", b"/%252e%252e/secret", b"//etc/passwd", b"/%2fetc/passwd", b"/..%5csecret", b"/..\\secret"],
        *[
            b"/\\etc\\passwd",
            b"/link",
            b"/linkdir/file",
            b"/d/%00",
            b"/d/file%00",
            b"/file%00.txt",
            b"/.shoal/identity",
        ],
        *[b"/.shoal/index.sqlite", b"/%2eshoal/index.sqlite", b"/proc/self/environ", b"/%c0%ae%c0%ae/secret", b"/%ff"],
        *[
            b"/..%c0%afsecret",
            b"file:///etc/passwd",
            b"/d/./../../secret",
            b"/d/..",
            b"/.",
            b"/..",
            b"/%u002e%u002e/secret",
        ],
        *[
            b"/v1/content/../../../secret",
            b"/v1/content/..%2f..%2fsecret",
            b"/v1/content/%2e%2e/manifest",
            b"/unlisted",
        ],
    ],
)
def test_no_name_leads_outside(share, port, target):
    share.add("d/file", SMALL)
    (share.layout.local / "unlisted").write_bytes(SECRET)
    (share.layout.local / "link").symlink_to("../secret")
    (share.layout.local / "linkdir").symlink_to("../other")
    status, answer = ask(port, target)
    assert status == 404 and SECRET not in answer and b"SQLite" not in answer


@pytest.mark.parametrize("disk", ["../secret", "d/../../secret", "link", "linkdir/file", "/etc/passwd"])
def test_not_even_a_poisoned_index_leads_outside(share, port, disk):
    """The index's own names are opened beneath the share too."""
    manifest = share.add("d/file", SMALL)
    (share.layout.local / "link").symlink_to("../secret")
    (share.layout.local / "linkdir").symlink_to("../other")
    outside = share.layout.local / disk
    share.put(disk, manifest, os.stat(outside))
    manifest_size = os.stat(outside).st_size
    assert manifest_size
    with share._db() as db:
        db.execute("UPDATE rows SET path = 'poison', size = ? WHERE path = ?", (manifest_size, disk))
    status, answer = ask(port, b"/poison")
    assert status == 410 and SECRET not in answer and b"root:" not in answer


@pytest.mark.parametrize("kind", ["link", "fifo", "device", "directory", "socket", "proc"])
def test_what_took_a_files_place_is_not_served(share, port, kind):
    manifest = share.add("d/file", SMALL)
    place = share.layout.local / "d" / "file"
    place.unlink()
    if kind == "link":
        place.symlink_to("../../secret")
    elif kind == "proc":
        place.symlink_to("/proc/self/environ")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    elif kind == "socket":
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.bind(str(place))
    elif os.geteuid() == 0:
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    for target in (b"/d/file", b"/v1/content/" + manifest.cid.encode()):
        status, answer = ask(port, target)
        assert status == 410 and SECRET not in answer


def test_a_directory_swapped_for_a_link_while_requests_run(share, port):
    """Whatever the moment of the swap: the file's own bytes, or none."""
    local = share.layout.local
    share.add("d/file", SECRET[::-1])
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            os.rename(local / "d", local / "aside")
            os.symlink("../other", local / "d")
            os.unlink(local / "d")
            os.rename(local / "aside", local / "d")
            time.sleep(0.0001)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        with connect(port) as sock, sock.makefile("rb") as file:
            for _ in range(1500):
                sock.sendall(b"GET /d/file HTTP/1.1\r\nHost: a\r\n\r\n")
                status = int(file.readline()[9:12])
                length = 0
                while (line := file.readline()) != b"\r\n":
                    if line.startswith(b"Content-Length"):
                        length = int(line.split()[1])
                body = file.read(length)
                seen.add((status, body if status == 200 else b""))
    finally:
        stop.set()
        swapper.join()
    assert seen <= {(200, SECRET[::-1]), (410, b"")}
    assert (200, SECRET[::-1]) in seen


# --- nothing wrong


def slow_get(port, target=b"/big"):
    """A connection that asked and has read only the head's beginning; its receive buffer is small."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(20)
    sock.connect(("127.0.0.1", port))
    sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    assert sock.recv(12) == b"HTTP/1.1 200"
    return sock


@pytest.mark.parametrize("how", ["written", "truncated", "grown", "touched"])
def test_a_file_that_changes_under_an_answer_ends_it_short(share, port, how):
    size = 16 * MIB
    share.add("big", bytes(size))
    path = share.layout.local / "big"
    with slow_get(port) as sock:
        if how == "touched":
            os.utime(path, ns=(1, 1))
        elif how == "truncated":
            os.truncate(path, size // 2)
        else:
            with open(path, "r+b") as file:
                file.seek(size // 2 if how == "written" else size)
                file.write(b"new")
        answer, _ = rest(sock)
    assert len(answer) < size and b"new" not in answer
    assert ask(port, b"/big")[0] == 410


def test_the_last_part_is_held_back_until_the_file_was_looked_at_again(share, monkeypatch):
    """A change while the last bytes are being read is found before they are sent."""
    share.add("small", SMALL)
    share.add("big", bytes(MIB))
    pread = os.pread

    def change_then_read(fd, size, offset):
        os.utime(fd, ns=(1, 1))
        return pread(fd, size, offset)

    with serving(share) as (port, _):
        ask(port, b"/small")  # what is read once and remembered is now
        monkeypatch.setattr(sending.os, "pread", change_then_read)
        assert ask(port, b"/small")[0] == 410
        status, answer = ask(port, b"/big")
        assert status == 200 and len(answer) < MIB
        assert answer.count(b"HTTP/1.1 ") == 1, "what happened is not said in the middle of the file"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /f HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
        b"GET /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
        b"GET /f HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n",
        b"GET /f HTTP/1.1\r\nHost: a\r\nContent-Length : %d\r\n\r\n",
        b"POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
        b"HEAD /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tchunked\r\nContent-Length: %d\r\n\r\n",
    ],
)
def test_a_body_is_never_taken_for_a_request(share, port, request_):
    share.add("f", SMALL)
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = raw(port, request_ % len(smuggled) + smuggled)
    assert answer.count(b"HTTP/1.1 ") == 1 and answer[9:12] in (b"400", b"405")
    assert SMALL not in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /f HTTP/1.1\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
def test_odd_heads_are_refused(port, request_, status):
    answer = raw(port, request_)
    assert int(answer[9:12]) == status and b"Connection: close" in answer and b'{"error":' in answer


def test_who_is_refused_gets_to_read_why(port):
    """Bytes left unread at the end would reset the connection, and the answer with it."""
    with connect(port) as sock:
        sock.sendall(b"POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n")
        for _ in range(4):
            sock.sendall(bytes(100_000))
            time.sleep(0.02)
        answer, clean = rest(sock)
    assert answer.startswith(b"HTTP/1.1 405 ") and clean


def test_who_is_refused_does_not_hold_the_connection_by_sending_on(port):
    with connect(port) as sock:
        sock.sendall(b"POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n")
        with pytest.raises(OSError):  # noqa: PT012
            for _ in range(200):
                sock.send(b"x")
                time.sleep(0.05)


# --- nothing for ever


def ends(sock, within=8.0):
    """Whether the other side ends the connection in time."""
    sock.settimeout(within)
    try:
        rest(sock)
    except TimeoutError:
        return False
    return True


def test_slow_heads_are_cut(share):
    """Each byte in time does not help: the head as a whole has its time."""
    with serving(share, QUICK) as (port, server), connect(port) as sock:
        began = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012
            for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 1000:
                sock.send(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - began < 8
        assert server.connections == 0


def test_a_slow_head_is_cut_also_when_it_began_with_the_request_before(share):
    share.add("f", SMALL)
    with serving(share, QUICK) as (port, _), connect(port) as sock:
        sock.sendall(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\nGET /f HTTP/1.1\r\nX: ")
        with pytest.raises(OSError):  # noqa: PT012
            for _ in range(200):
                sock.send(b"y")
                time.sleep(0.05)


def test_empty_lines_do_not_keep_a_connection(share):
    with serving(share, QUICK) as (port, _), connect(port) as sock, pytest.raises(OSError):  # noqa: PT012
        for _ in range(200):
            sock.send(b"\r\n")
            time.sleep(0.05)


def test_idle_connections_are_ended(share):
    share.add("f", SMALL)
    with serving(share, QUICK) as (port, _), connect(port) as silent, connect(port) as used:
        used.sendall(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n")
        assert ends(silent) and ends(used)


def test_who_reads_nothing_is_cut(share):
    share.add("big", bytes(16 * MIB))
    with serving(share, QUICK) as (port, server), slow_get(port):
        until = time.monotonic() + 8
        while server.connections and time.monotonic() < until:
            time.sleep(0.05)
        assert not server.connections


def test_who_sips_is_cut(share):
    share.add("big", bytes(16 * MIB))
    limits = Limits(stall=6.0, window=1.0)
    with serving(share, limits) as (port, server), slow_get(port) as sock:
        until = time.monotonic() + 8
        while server.connections and time.monotonic() < until:
            sock.recv(10)
            time.sleep(0.02)
        assert not server.connections


def test_who_reads_steadily_gets_all(share):
    """Ten times the window, well above the lowest speed, and never a byte a moment too late."""
    share.add("big", bytes(8 * MIB))
    with serving(share, Limits(stall=0.4, window=0.4)) as (port, _), slow_get(port) as sock:
        got = 0
        while got < 8 * MIB:
            data = sock.recv(256 * 1024)
            assert data
            got += len(data)
            time.sleep(0.02)


@pytest.mark.parametrize("limits", [Limits(per_address=5), Limits(connections=5)], ids=["of one asker", "in all"])
def test_no_more_connections_than_the_caps(share, limits):
    share.add("f", SMALL)
    share.add("big", bytes(16 * MIB))
    with serving(share, limits) as (port, server), ExitStack() as stack:
        inside = [stack.enter_context(slow_get(port)) for _ in range(5)]
        with connect(port) as sock:
            answer, _ = rest(sock)
        assert answer.startswith(b"HTTP/1.1 503 ") and re.search(rb"Retry-After: \d+\r\n", answer)
        assert b"Connection: close" in answer
        assert server.connections == 5
        for sock in inside:
            sock.close()
        until = time.monotonic() + 8
        while server.connections and time.monotonic() < until:
            time.sleep(0.01)
        assert ask(port, b"/f")[0] == 200


@pytest.mark.parametrize("limits", [Limits(per_address=5), Limits(connections=5)], ids=["of one asker", "in all"])
def test_an_idle_connection_makes_room_and_one_in_use_does_not(share, limits):
    share.add("f", SMALL)
    share.add("big", bytes(16 * MIB))
    with serving(share, limits) as (port, server), ExitStack() as stack:
        busy = [stack.enter_context(slow_get(port)) for _ in range(4)]
        for _ in range(20):
            idle = stack.enter_context(connect(port))
            idle.sendall(b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"
            time.sleep(0.01)
            assert server.connections <= 5
        for sock in busy:
            got = 0
            while got < 16 * MIB:
                data = sock.recv(1 << 16)
                assert data, "one in use was closed"
                got += len(data)


def test_who_connects_and_asks_nothing_makes_room(share):
    share.add("f", SMALL)
    with serving(share, Limits(connections=5)) as (port, _), ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connect(port))
        time.sleep(handler._DAWDLE + 0.2)
        assert ask(port, b"/f")[0] == 200


def test_a_client_that_goes_in_the_middle_costs_nothing(share, port):
    share.add("big", bytes(16 * MIB))
    for _ in range(20):
        with slow_get(port):
            pass
    descriptors = len(os.listdir("/proc/self/fd"))
    until = time.monotonic() + 8
    while len(os.listdir("/proc/self/fd")) > descriptors and time.monotonic() < until:
        time.sleep(0.05)
    assert ask(port, b"/big")[0] == 200
