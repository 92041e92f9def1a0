"""The data port as it should be used: by our own client, and by curl, wget and aria2 as they are."""

import base64
import hashlib
import http.client
import json
import os
import random
import socket
import subprocess
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from peer.data.content import Contents
from peer.data.handler import Limits
from peer.data.turns import LONG, NO_PART, TURN, Part
from peer.data.uplink import Uplink
from peer.swarm.pieces import Pieces, verify
from shoal.manifest import DIR_CID, KIB, manifest_of
from tests.support.patience import until
from tests.support.programs import needs
from tests.support.share_fixture import HTTP_URL, NAME, Share, serving

BIG = random.Random(2).randbytes(3_000_000)
SMALL = b"ten bytes\n"


@pytest.fixture
def share(tmp_path):
    return Share(tmp_path)


@pytest.fixture
def port(share):
    with serving(share) as (port, _):
        yield port


def get(port, path, method="GET", **fields):
    """(status, fields, body) of one request on a connection of its own."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        with connection.getresponse() as response:
            return response.status, response.headers, response.read()


def raw(port, request):
    """All that comes back for these bytes, until the other side ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(request)
        answer = b""
        while data := sock.recv(1 << 16):
            answer += data
        return answer


def test_a_readers_run_has_one_turn_and_a_long_answer_asks_again(share, port, monkeypatch):
    share.add("long", bytes(LONG + 1))
    asked, again = [], Uplink.again
    monkeypatch.setattr(Uplink, "again", lambda *args: asked.append(args) or again(*args))
    assert get(port, "/long", Range=f"bytes=0-{LONG - 1}")[2] == bytes(LONG)
    assert not asked
    assert len(get(port, "/long")[2]) == LONG + 1
    assert len(asked) == LONG // TURN - 1


def test_a_file_by_path(share, port):
    manifest = share.add("data/model.bin", BIG)
    status, fields, body = get(port, "/data/model.bin")
    assert status == 200 and body == BIG
    assert fields["ETag"] == f'"{manifest.cid}"'
    assert fields["Repr-Digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(BIG).digest()).decode()}:"
    assert fields["Content-Length"] == str(len(BIG))
    assert fields["Accept-Ranges"] == "bytes"
    assert fields["Last-Modified"].endswith(" GMT")
    assert fields["Content-Type"] == "application/octet-stream"
    assert fields["Content-Disposition"] == "attachment"
    assert fields["X-Content-Type-Options"] == "nosniff"
    assert fields["Content-Security-Policy"].startswith("sandbox")


def test_what_others_were_given_goes_last_only_for_who_can_ask_those(share, monkeypatch):
    """By path, as browsers ask, nobody else can be asked. What is here in part is told from what is here as a whole."""
    cid, parts, under_way = share.add("f", BIG).cid, [], manifest_of(BIG[1:])
    pieces = Pieces.create_or_open(share.layout, under_way)
    for number in range(3):
        pieces.write(verify(under_way, number, BIG[1 + number * 256 * KIB : 1 + (number + 1) * 256 * KIB]))
    with serving(share) as (port, server):
        begin = server.uplink.begin
        monkeypatch.setattr(server.uplink, "begin", lambda *args: parts.append(args[2]) or begin(*args))
        piece = 256 * KIB
        get(port, f"/v1/content/{cid}", Range=f"bytes={piece}-{3 * piece}")
        get(port, "/f")
        assert get(port, f"/v1/content/{under_way.cid}", Range=f"bytes=0-{2 * piece}")[0] == 206
    assert parts == [Part(cid, 1, 4, whole=True), NO_PART, Part(under_way.cid, 0, 3, whole=False)]


def test_head_is_get_without_the_body(share, port):
    share.add("f", BIG)
    _, of_get, _ = get(port, "/f")
    status, of_head, body = get(port, "/f", "HEAD", Range="bytes=0-1")
    assert (status, body) == (200, b"") and of_head.items() == of_get.items()
    assert get(port, "/none", "HEAD")[0] == 404
    assert raw(port, b"HEAD /none HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize("name", ["a b", "a%20b", "a+b", "ünï/cödé", "a?b#c", "%", "a;b", "x~lab2.txt", "v1", "'\"<&>"])
def test_names_are_percent_decoded(share, port, name):
    share.add(name, SMALL)
    assert get(port, "/" + urllib.parse.quote(name))[2] == SMALL
    assert get(port, "/" + urllib.parse.quote(name, safe=""))[2] == SMALL


def test_names_are_not_decoded_twice(share, port):
    share.add("a b", SMALL)
    assert get(port, "/a%2520b")[0] == 404


def test_queries_and_the_absolute_form(share, port):
    share.add("f", SMALL)
    assert get(port, "/f?x=1")[2] == SMALL
    assert get(port, "http://elsewhere:80/f")[2] == SMALL
    for target in ("ftp://elsewhere/f", "f", "*", "http://elsewhere"):
        assert get(port, target)[0] == 404


def test_a_path_is_the_announced_one_byte_for_byte(share, port):
    share.add("dir/File", SMALL)
    for path in (
        "/dir/file",
        "/dir/File/",
        "//dir/File",
        "/dir//File",
        "/./dir/File",
        "/dir/./File",
        "/dir",
        "/",
        "/dir%5CFile",
    ):
        assert get(port, path)[0] == 404


def test_names_of_routes_are_served_by_content_only(share, port):
    manifest = share.add("v1/x", SMALL)
    share.add("healthz", b"mine")
    assert get(port, "/v1/x")[0] == 404
    assert get(port, f"/v1/content/{manifest.cid}")[2] == SMALL
    assert json.loads(get(port, "/healthz")[2]) == {"ok": True, "name": NAME, "http": HTTP_URL}
    assert get(port, f"/v1/content/{manifest_of(b'mine').cid}")[2] == b"mine"


def test_by_content(share, port):
    manifest = share.add("f", BIG, place="inside", kind="copy")
    base = f"/v1/content/{manifest.cid}"
    assert get(port, base)[2] == BIG
    assert get(port, base + "/manifest")[2] == manifest.encode()
    assert get(port, base + "/pieces")[2] == b"\xff\xf0"
    assert get(port, base, "HEAD")[0] == 200
    for path in (
        base + "/",
        base + "/x",
        base + "/pieces/",
        base[:-1],
        base + "0",
        "/v1/content/",
        f"/v1/content/{DIR_CID}",
    ):
        assert get(port, path)[0] == 404
    other = f"/v1/content/{manifest_of(b'other').cid}"
    assert [get(port, other + end)[0] for end in ("", "/manifest", "/pieces")] == [404] * 3


def test_one_content_at_several_places(share, port):
    first, second = share.add("a", SMALL), share.add("b", SMALL)
    assert first.cid == second.cid
    (share.layout.local / "a").unlink()
    assert get(port, f"/v1/content/{first.cid}")[2] == SMALL
    assert get(port, "/a")[0] == 410


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("0-9", (0, 10)),
        ("5-", (5, None)),
        ("-7", (-7, None)),
        ("2999999-", (-1, None)),
        ("262143-262144", (262143, 262145)),
    ],
)
def test_ranges(share, port, asked, expected):
    share.add("f", BIG)
    status, fields, body = get(port, "/f", Range=f"bytes={asked}")
    wanted = BIG[slice(*expected)]
    start = expected[0] % len(BIG)
    assert status == 206 and body == wanted
    assert fields["Content-Range"] == f"bytes {start}-{start + len(wanted) - 1}/{len(BIG)}"


def test_ranges_that_give_the_whole_or_nothing(share, port):
    share.add("f", SMALL)
    for value in ("lines=1-2", "bytes=0-1,3-4", "bytes=x"):
        assert get(port, "/f", Range=value)[::2] == (200, SMALL)
    status, fields, _ = get(port, "/f", Range="bytes=10-")
    assert status == 416 and fields["Content-Range"] == "bytes */10"


def test_if_range(share, port):
    share.add("f", SMALL)
    _, fields, _ = get(port, "/f")
    for value, status in (
        (fields["ETag"], 206),
        (fields["Last-Modified"], 206),
        ("W/" + fields["ETag"], 200),
        ('"other"', 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 200),
    ):
        assert get(port, "/f", Range="bytes=0-1", If_Range=value)[0] == status


def test_an_empty_file(share, port):
    manifest = share.add("empty")
    assert get(port, "/empty")[::2] == (200, b"")
    assert get(port, f"/v1/content/{manifest.cid}/pieces")[::2] == (200, b"")
    assert get(port, "/empty", Range="bytes=0-")[0] == 416


def test_a_download_under_way_is_served_as_far_as_it_is_here(share, port):
    manifest = manifest_of(BIG)
    base, piece = f"/v1/content/{manifest.cid}", 256 * KIB
    pieces = Pieces.create_or_open(share.layout, manifest)
    for number in (0, 2, 3):
        pieces.write(verify(manifest, number, BIG[number * piece : (number + 1) * piece]))
    assert get(port, base + "/manifest")[2] == manifest.encode()
    assert get(port, base + "/pieces")[2] == b"\xb0\x00"
    status, fields, body = get(port, base, Range=f"bytes={2 * piece}-{4 * piece - 1}")
    assert status == 206 and body == BIG[2 * piece : 4 * piece]
    assert fields["ETag"] == f'"{manifest.cid}"' and "Last-Modified" not in fields
    assert fields["Repr-Digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(BIG).digest()).decode()}:"
    for value in (f"bytes={piece}-{2 * piece}", f"bytes=0-{piece}", "lines=1", "bytes=-1"):
        assert get(port, base, Range=value)[0] == 404
    assert get(port, base, "HEAD")[0] == 404  # only a whole holder answers that
    for number in pieces.missing(0, manifest.count):
        pieces.write(verify(manifest, number, BIG[number * piece : (number + 1) * piece]))
    assert get(port, base)[2] == BIG and get(port, base, "HEAD")[0] == 200
    pieces.remove()
    assert get(port, base)[0] == 404


def test_a_file_on_its_way_into_the_share_comes_soon(share, port):
    manifest = share.add("f", SMALL)
    share.put("f", manifest, os.lstat(share.layout.local / "f"), state="moving")
    status, fields, _ = get(port, f"/v1/content/{manifest.cid}")
    assert status == 503 and fields["Retry-After"]


def test_without_an_index_everything_is_later(tmp_path):
    share = Share(tmp_path)
    share.layout.index.unlink()
    contents = Contents(share.layout)
    with closing(contents), pytest.raises(Exception, match="not ready") as error:
        contents.at("f")
    assert error.value.again


def test_a_changed_file_is_gone(share, port):
    manifest = share.add("f", SMALL)
    (share.layout.local / "f").write_bytes(b"TEN bytes\n")
    for path in ("/f", f"/v1/content/{manifest.cid}"):
        status, _, body = get(port, path)
        assert status == 410 and "changed" in json.loads(body)["error"]


def test_a_content_asked_for_again_on_one_connection_is_looked_at_again(share, port):
    """It stays open from one request to the next, and no longer than a second after the last."""
    cid = share.add("a", BIG).cid
    other = share.add("b", SMALL).cid
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:

        def asked(cid):
            connection.request("GET", f"/v1/content/{cid}")
            with connection.getresponse() as response:
                return response.status, response.read()

        assert asked(cid) == asked(cid) == (200, BIG)
        assert asked(other) == (200, SMALL)
        assert asked(cid) == (200, BIG)
        assert is_open(share.layout.local / "a")
        until(lambda: not is_open(share.layout.local / "a"), 10, "the file is let go")
        assert asked(cid) == (200, BIG)
        (share.layout.local / "a").write_bytes(BIG[::-1])
        assert asked(cid)[0] == 410
        assert not is_open(share.layout.local / "a")


def is_open(path):
    """Whether this process, which the server is a thread of, has the file open."""
    targets = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            targets.append(os.readlink(f"/proc/self/fd/{fd}"))
    return str(path) in targets


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods(share, port, method):
    share.add("f", SMALL)
    status, fields, _ = get(port, "/f", method)
    assert status == 405 and fields["Allow"] == "GET, HEAD"


def test_a_connection_goes_on_and_pipelines(share, port):
    share.add("big", BIG)
    share.add("small", SMALL)
    more = b"".join(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % name for name in (b"big", b"none", b"small") * 3)
    answer = raw(port, more + b"GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 7 and answer.count(b"HTTP/1.1 404 ") == 3
    assert answer.count(BIG) == 3 and answer.count(SMALL) == 4 and answer.endswith(SMALL)


def test_older_clients(share, port):
    share.add("small", SMALL)
    answer = raw(port, b"GET /small HTTP/1.0\r\n\r\n")
    assert b"Connection: close\r\n" in answer and answer.endswith(SMALL)
    twice = b"GET /small HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + b"GET /small HTTP/1.0\r\n\r\n"
    assert raw(port, twice).count(SMALL) == 2


def test_what_was_sent_is_counted(share):
    share.add("big", BIG)
    with serving(share) as (port, server):
        get(port, "/big")
        get(port, "/big", Range="bytes=0-9")
        get(port, "/big", "HEAD")
        get(port, "/none")
        assert server.tally.total() == (len(BIG) + 10, 4)


def test_two_hundred_at_once(share):
    share.add("f", BIG[:300_000])
    with serving(share, Limits(per_address=256)) as (port, _), ThreadPoolExecutor(200) as pool:
        clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(200)]

        def fetch(sock):
            with sock, sock.makefile("rb") as file:
                sock.sendall(b"GET /f HTTP/1.0\r\n\r\n")
                return file.read().endswith(BIG[:300_000])

        assert all(pool.map(fetch, clients))


def run(*command, cwd):
    subprocess.run(command, cwd=cwd, check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.real
def test_curl(share, port, tmp_path_factory):
    needs("curl", "curl")
    share.add("d/ü b.bin", BIG)
    url, there = f"http://127.0.0.1:{port}/d/%C3%BC%20b.bin", tmp_path_factory.mktemp("there")
    run("curl", "-fsS", "-o", "whole", url, cwd=there)
    (there / "part").write_bytes(BIG[:1_234_567])
    run("curl", "-fsS", "-C", "-", "-o", "part", url, cwd=there)
    run("curl", "-fsS", "-r", "-100", "-o", "end", url, cwd=there)
    assert [(there / name).read_bytes() for name in ("whole", "part", "end")] == [BIG, BIG, BIG[-100:]]
    assert subprocess.run(["curl", "-sf", f"{url}x"], check=False).returncode == 22
    run("curl", "-fsSJO", url, cwd=there)
    run("curl", "-fsSI", url, cwd=there)


@pytest.mark.real
def test_wget_goes_on_where_it_was(share, port, tmp_path_factory):
    needs("wget", "wget")
    share.add("big.bin", BIG)
    there = tmp_path_factory.mktemp("there")
    (there / "big.bin").write_bytes(BIG[:1_000_001])
    for _ in range(2):  # the second time it is whole
        run("wget", "-q", "-c", f"http://127.0.0.1:{port}/big.bin", cwd=there)
        assert (there / "big.bin").read_bytes() == BIG
    assert len(list(there.iterdir())) == 1


@pytest.mark.real
def test_aria2_takes_four_parts(share, port, tmp_path_factory):
    needs("aria2c", "aria2")
    share.add("big.bin", BIG)
    there = tmp_path_factory.mktemp("there")
    run("aria2c", "-q", "-x4", "-s4", "-k1M", "--no-conf", f"http://127.0.0.1:{port}/big.bin", cwd=there)
    assert (there / "big.bin").read_bytes() == BIG
