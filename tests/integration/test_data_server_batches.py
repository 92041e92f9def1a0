"""Requests for several contents: such as should not be made, of files that changed, by those who take nothing."""

import contextlib
import errno
import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.data import handler
from peer.swarm import batch
from shoal.manifest import KIB, MIB
from tests.support.patience import until
from tests.support.share_fixture import Share, serving

SMALL = b"ten bytes\n"
CHANCE = random.Random(6)
UNKNOWN = "0" * 64
NOT_GIVEN = b"\xff\xff\xff\xff"


@pytest.fixture
def share(tmp_path: Path) -> Share:
    (tmp_path / "outside").write_bytes(b"root:secret")
    (tmp_path / "share").mkdir()
    return Share(tmp_path / "share")


@pytest.fixture
def port(share: Share) -> Iterator[int]:
    with serving(share) as (port, _):
        yield port


def raw(port: int, request: bytes) -> bytes:
    """All that comes back for these bytes, until the other side ends."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock, contextlib.suppress(ConnectionResetError):
        sock.sendall(request)
        while data := sock.recv(1 << 16):
            answer += data
    return answer


def request(cids: str, method: str = "GET", fields: str = "", last: bool = True) -> bytes:
    """The bytes of a request."""
    end = "Connection: close\r\n\r\n" if last else "\r\n"
    return f"{method} {batch.PREFIX}{cids} HTTP/1.1\r\nHost: a\r\n{fields}{end}".encode()


def ask(port: int, *cids: str, fields: str = "") -> tuple[int, bytes, bytes]:
    """(status, head, body) of one request."""
    head, _, body = raw(port, request(",".join(cids), fields=fields)).partition(b"\r\n\r\n")
    return int(head[9:12]), head, body


def given(body: bytes, count: int) -> list[bytes | None]:
    """What a body gives, which must be laid out to the byte."""
    sizes, rest = struct.unpack(f">{count}I", body[: 4 * count]), body[4 * count :]
    found: list[bytes | None] = []
    for size in sizes:
        found.append(None if size == batch.NOT_GIVEN else rest[:size])
        rest = rest[len(found[-1] or b"") :]
    assert not rest
    return found


# --- what is asked for


@pytest.mark.parametrize(
    "cids",
    [
        *["", ",", "{}{}", "{},{}x", "{}%2c", "../{}", "{}/../{}", "%00", "{},%2e%2e%2foutside"],
        *[",".join(["{}"] * 129), ",".join(["{}"] * 200), "x" * 15_000, "," * 15_000, "{}," * 128],
    ],
    ids=lambda text: f"{len(text)} {text[:12]}",
)
def test_what_is_no_list_of_at_most_128_ids_is_one_clear_error(share: Share, port: int, cids: str) -> None:
    status, head, body = ask(port, cids.replace("{}", share.add("f", SMALL).cid))
    assert status == 400 or (status == 431 and len(cids) * 64 > 16_000)
    assert body.startswith(b'{"error":') and SMALL not in body and b"secret" not in body
    assert b"application/json" in head


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (f"Content-Length: {10**18}\r\n", 400),
        ("Content-Length: -1\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", 400),
        (f"Range: bytes=0-{10**18}\r\n", 200),
        (f"Range: bytes={10**18}-{10**19}\r\n", 200),
        ("Shoal-Have: 0 " + "/" * 8000 + "\r\n", 200),
        (f"Shoal-Want: 0-{10**18}\r\n", 200),
        ("X: " + "y" * 20_000 + "\r\n", 431),
    ],
    ids=lambda value: str(value)[:30].strip(),
)
def test_who_claims_huge_things_gets_the_same_or_a_clear_error(
    share: Share, port: int, fields: str, status: int
) -> None:
    cid = share.add("f", SMALL).cid
    got, _, body = ask(port, cid, fields=fields)
    assert got == status
    if status == 200:
        assert given(body, 1) == [SMALL]
    else:
        assert body.startswith(b'{"error":') and SMALL not in body
    assert ask(port, cid)[2] == struct.pack(">I", len(SMALL)) + SMALL


def test_head_is_the_head_alone_whatever_the_answer(share: Share, port: int) -> None:
    """Else what comes after it on the same connection would be read out of step."""
    cid = share.add("f", SMALL).cid
    wanted = [cid, f"{cid},{UNKNOWN}", "no-cid", ",".join([cid] * 129)]
    heads = b"".join([request(cids, "HEAD", last=False) for cids in wanted])
    answer = raw(port, heads + request(cid))
    *alone, body = answer.split(b"\r\n\r\n")
    assert [head[:12] for head in alone] == [b"HTTP/1.1 %d" % status for status in (200, 200, 400, 400, 200)]
    assert b"Content-Length: 14\r\n" in alone[0] and b"Content-Length: 18\r\n" in alone[1]
    assert given(body, 1) == [SMALL]


def test_other_methods_are_not_known(port: int) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert raw(port, request(UNKNOWN, method)).startswith(b"HTTP/1.1 405 ")


# --- what is not given


@pytest.mark.parametrize("how", ["written", "truncated", "grown", "touched", "removed", "link", "fifo", "directory"])
def test_a_changed_file_is_not_given_and_the_others_are(share: Share, port: int, how: str) -> None:
    cids = [share.add(f"{number}", b"%d" % number * 1000).cid for number in range(3)]
    file = share.layout.local / "1"
    if how in ("written", "truncated", "grown"):
        with open(file, "r+b") as open_file:
            open_file.seek(3000 if how == "grown" else 500)
            open_file.truncate() if how == "truncated" else open_file.write(b"new")
    elif how == "touched":
        os.utime(file, ns=(1, 1))
    else:
        file.unlink()
    if how == "link":
        file.symlink_to("../outside")
    elif how == "fifo":
        os.mkfifo(file)
    elif how == "directory":
        file.mkdir()
    status, _, body = ask(port, *cids)
    assert (status, given(body, 3)) == (200, [b"0" * 1000, None, b"2" * 1000])


def test_a_file_that_changes_while_it_is_read_is_not_given(
    share: Share, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cids = [share.add(f"{number}", b"%d" % number * 1000).cid for number in range(3)]
    pread = os.pread

    def read_then_change(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        if data[:1] == b"1":
            os.utime(fd, ns=(1, 1))
        return data

    monkeypatch.setattr(os, "pread", read_then_change)
    assert given(ask(port, *cids)[2], 3) == [b"0" * 1000, None, b"2" * 1000]


def test_a_disk_that_cannot_read_one_spoils_nothing_of_the_others(
    share: Share, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cids = [share.add(f"{number}", b"%d" % number * (1000 + number)).cid for number in range(3)]
    pread = os.pread

    def broken(fd: int, size: int, offset: int) -> bytes:
        if size == 1001:
            raise OSError(errno.EIO, "a bad sector")
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", broken)
    status, _, body = ask(port, *cids)
    assert (status, given(body, 3)) == (200, [b"0" * 1000, None, b"2" * 1002])


def test_a_large_content_is_not_read_at_all(share: Share, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 ids of files of a GiB are no way to have memory used up."""
    cids = [share.add(f"{number}", CHANCE.randbytes(257 * KIB)).cid for number in range(3)]
    reads: list[int] = []
    pread = os.pread

    def noted(fd: int, size: int, offset: int) -> bytes:
        reads.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", noted)
    assert ask(port, *cids * 40)[2] == NOT_GIVEN * 120
    assert reads == []
    piece = share.add("piece", CHANCE.randbytes(256 * KIB)).cid
    assert len(ask(port, *[piece] * 128)[2]) == 4 * 128 + 4 * MIB
    assert sum(reads) == 4 * MIB


def test_descriptors_are_given_back(share: Share, port: int) -> None:
    cids = [share.add(f"{number}", bytes(100 * KIB + number)).cid for number in range(60)]
    large = share.add("large", bytes(257 * KIB)).cid
    os.utime(share.layout.local / "7", ns=(1, 1))
    assert ask(port, *cids, large)[0] == 200
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert ask(port, *cids, large)[0] == 200
    until(lambda: len(os.listdir("/proc/self/fd")) <= before + 2, 5, "none is left open")


# --- who takes nothing


def test_those_who_take_nothing_hold_so_much_memory_and_no_more(
    share: Share, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight batches are in memory; whoever asks for one more is told to come again, and gets it when they are gone."""
    monkeypatch.setattr(handler, "_PATIENCE", 0.2)
    cid = share.add("f", CHANCE.randbytes(256 * KIB)).cid
    small = share.add("small", SMALL).cid
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KIB)
            sock.connect(("127.0.0.1", port))
            sock.sendall(request(",".join([cid] * 16)))
            assert sock.recv(12) == b"HTTP/1.1 200"
        status, head, body = ask(port, small)
        assert status == 503 and b"Retry-After: 1" in head and body.startswith(b'{"error":')
        assert raw(port, b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").endswith(SMALL), "others go on"
    until(lambda: ask(port, small)[0] == 200, 8, "they are gone")


def test_batches_count_for_the_up_limit_and_a_head_does_not(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    cid = share.add("f", CHANCE.randbytes(100 * KIB)).cid
    with serving(share) as (port, server):
        counted: list[int] = []
        monkeypatch.setattr(server.uplink, "small", lambda asker, size: counted.append(size))
        raw(port, request(f"{cid},{UNKNOWN},{cid}", "HEAD"))
        assert counted == []
        assert ask(port, cid, UNKNOWN, cid)[0] == 200
        assert counted == [12 + 200 * KIB]
