"""A campaign against a running tracker: no 500, nobody living delisted, and it goes on answering."""

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from shoal.wire import MAX_BODY, PROOF, encode
from tests.support.announcer import Announcer, cid_of, sha1_of
from tests.support.cluster import Cluster, Tracker

pytestmark = pytest.mark.real

SEVERE = [
    None,
    True,
    -1,
    1 << 63,
    1 << 200,
    1.5,
    "",
    "x" * 70_000,
    "\u202e",
    "\0",
    "../..",
    [],
    {},
    [[]],
    {"a": {}},
    "é",
]
MESSAGE = {"epoch": 1, "sequence": 1, "digest": "0" * 32, "name": "mallory", "port": 9, "part": 0, "last": True}


@pytest.fixture(scope="module")
def tracker() -> Iterator[Tracker]:
    with Cluster() as cluster:
        yield cluster.tracker("--ttl", "120", "--max-leases-per-source", "40", "--max-files-per-source", "3000")


@pytest.fixture(scope="module")
def victim(tracker: Tracker) -> Iterator[Announcer]:
    """A peer that lives through all of it."""
    victim = Announcer("victim")
    victim.items = {("victim/a", cid_of("a")): victim.own("victim/a", "a")}
    (message,) = victim.whole()
    assert post(tracker, "/v1/announce", encode(message), victim.secret) == 200
    yield victim
    assert post(tracker, "/v1/announce", encode(victim.renewal()), victim.secret) == 200
    assert tracker.said("Traceback") == 0


@pytest.fixture(autouse=True)
def still_there(tracker: Tracker, victim: Announcer) -> Iterator[None]:
    yield
    (row,) = tracker.get("/v1/files?prefix=victim/")["files"]
    assert row["holders"] == [victim.id]


def post(tracker: Tracker, route: str, body: bytes, secret: str = "", **headers: str) -> int:
    head = {PROOF: secret, "Content-Type": "application/json"} | headers
    status = requests.post(tracker.url.rstrip("/") + route, data=body, headers=head, timeout=20).status_code
    assert status < 500 or status == 503
    return status


def mutations(rng: random.Random, good: Any) -> Any:
    """Some part of a right message replaced by something that has no business there."""
    bad = json.loads(json.dumps(good))
    at = bad
    while True:
        key: Any = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
            at = at[key]
            continue
        at[key] = rng.choice(SEVERE)
        return bad


def test_messages_with_something_wrong_in_them(tracker: Tracker) -> None:
    rng = random.Random(1)
    mallory = Announcer("mallory")
    item = json.loads(encode(mallory.own("m/file", "x")))
    whole = {"id": mallory.id, **MESSAGE, "put": [item, item]}
    delta = {**whole, "part": None, "base": 0, "drop": [["m/file", cid_of("x")]]}
    messages = [
        ("/v1/announce", whole),
        ("/v1/announce", delta),
        ("/v1/leave", {"id": mallory.id, "epoch": 1}),
        ("/v1/evict", {"id": mallory.id, "cid": cid_of("x")}),
        ("/refresh", {"PEER": "127.0.0.1:9", "files": {"m": sha1_of("m")}}),
    ]
    seen = set()
    for _ in range(600):
        route, good = rng.choice(messages)
        seen.add(post(tracker, route, json.dumps(mutations(rng, good)).encode(), mallory.secret))
    assert 400 in seen
    assert not any("x1b" in row["path"] for row in tracker.get("/v1/files")["files"])


@pytest.mark.parametrize("route", ["/v1/announce", "/v1/leave", "/v1/evict", "/refresh"])
def test_bodies_that_are_no_messages(tracker: Tracker, route: str) -> None:
    bodies = [
        b"",
        b"\0" * 100,
        b"{" * 400_000,
        b"[" * 400_000 + b"]" * 400_000,
        b'"' + b"a" * 900_000,
        b"NaN",
        b"-" * 1000,
    ]
    bodies += [b'{"a":' * 150_000 + b"1" + b"}" * 150_000, b"\xff" * 10, b'{"id":"x","id":"y"}', b"1" * 1000]
    for body in bodies:
        assert post(tracker, route, body) in (400, 403)
    assert post(tracker, route, b" " * (MAX_BODY + 1)) == 413
    assert post(tracker, route, b"\x1f\x8b", **{"Content-Encoding": "gzip"}) == 415


def test_an_endless_chunked_body_ends(tracker: Tracker) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", int(tracker.address.rpartition(":")[2])), timeout=20) as sock:
        sock.sendall(b"POST /refresh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(1000):
                sock.sendall(chunk)
        except OSError:
            return  # cut off
        assert sock.recv(100).startswith(b"HTTP/1.1 413")


def test_a_head_that_does_not_end_is_cut(tracker: Tracker) -> None:
    """However steadily its bytes come: it is the whole of it that has its time."""
    with socket.create_connection(("127.0.0.1", int(tracker.address.rpartition(":")[2]))) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        with pytest.raises(OSError):  # noqa: PT012
            for _ in range(50):
                sock.sendall(b"y")
                time.sleep(0.5)


def test_slow_bodies_do_not_stop_the_tracker(tracker: Tracker) -> None:
    address = ("127.0.0.1", int(tracker.address.rpartition(":")[2]))
    slow = []
    try:
        for number in range(600):  # from many sources
            sock = socket.create_connection(address, source_address=(f"127.0.0.{number % 30 + 1}", 0))
            slow.append(sock)
            sock.sendall(b"POST /refresh HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        for _ in range(20):
            assert tracker.get("/healthz")["ok"]
    finally:
        for sock in slow:
            sock.close()


def test_flooding_with_peers_meets_a_quota(tracker: Tracker) -> None:
    statuses = set()
    for n in range(100):
        eve = Announcer(f"flood{n}")
        (message,) = eve.whole(eve.own("victim/a", f"other {n}"))
        status = post(tracker, "/v1/announce", encode(message), eve.secret)
        statuses.add(status)
        if status == 429:
            break
    assert statuses == {200, 429}
    assert post(tracker, "/refresh", b'{"PEER": "127.0.0.1:77", "files": {}}') == 429
    # The victim's version stands beside those of all others: put things back for the tests that follow.
    assert len(tracker.get("/v1/files?prefix=victim/")["files"]) > 10
    for n in range(100):
        eve = Announcer(f"flood{n}")
        assert post(tracker, "/v1/leave", encode({"id": eve.id, "epoch": 1}), eve.secret) == 204


def test_flooding_with_files_meets_a_quota(tracker: Tracker) -> None:
    eve = Announcer("files")
    items = [eve.own(f"eve/{n}", f"{n}") for n in range(5000)]
    statuses = []
    for message in eve.whole(*items):
        statuses.append(post(tracker, "/v1/announce", encode(message), eve.secret))
        if statuses[-1] != 200:
            break
    assert statuses[-1] == 429
    assert tracker.get("/v1/files?prefix=eve/")["files"] == []
    assert post(tracker, "/v1/leave", encode({"id": eve.id, "epoch": 1}), eve.secret) == 204


def test_memory_does_not_grow_with_refused_messages(tracker: Tracker) -> None:
    def memory() -> int:
        """Kilobytes of the worker."""
        (child,) = Path(f"/proc/{tracker.pid}/task/{tracker.pid}/children").read_text().split()[-1:]
        status = Path(f"/proc/{child}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def flood(start: int) -> None:
        for n in range(start, start + 150):
            eve = Announcer(f"nobody{n}")
            post(tracker, "/v1/announce", encode(eve.renewal()), eve.secret)
            post(tracker, "/v1/announce", encode(eve.message(part=3, put=[eve.own(f"{n}", "x")])), eve.secret)
            post(tracker, "/refresh", b'{"PEER": "127.0.0.1:5", "files": {"../%d": "x"}}' % n)

    flood(0)
    before = memory()
    flood(150)
    assert memory() - before < 20_000


def test_paths_and_arguments_of_all_kinds(tracker: Tracker) -> None:
    base = tracker.url.rstrip("/")
    odd = ["%00", "%ff", "%2e%2e", "..", "\u202e", "a" * 5000, "%", "&&&&", "q=1&q=2", "\x7f", "%F0%9F", "'\"<>"]
    for text in odd:
        for route in (
            "/v1/files?prefix=",
            "/v1/files?q=",
            "/v1/files?after=",
            "/v1/changes?since=",
            "/?q=",
            "/v1/holders/",
        ):
            for accept in ("*/*", "text/html"):
                answer = requests.get(
                    base + route + text, headers={"Accept": accept}, timeout=10, allow_redirects=False
                )
                assert answer.status_code < 500, (route, text)
        assert requests.get(f"{base}/static/{text}", timeout=10).status_code < 500
    assert requests.get(f"{base}/static/%2e%2e/app.py", timeout=10).status_code == 404


def test_garbage_on_the_wire(tracker: Tracker) -> None:
    address = ("127.0.0.1", int(tracker.address.rpartition(":")[2]))
    garbage = [
        b"\0" * 1000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"a" * 200_000,
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ]
    garbage += [
        b"POST /refresh HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ]
    for sent in garbage:
        with socket.create_connection(address, timeout=5) as sock:
            try:
                sock.sendall(sent)
                sock.shutdown(socket.SHUT_WR)
                assert b" 500 " not in sock.recv(1000)
            except OSError:
                pass  # cut off
    assert tracker.get("/healthz")["ok"]


def test_names_in_the_log_are_escaped(tracker: Tracker) -> None:
    """A name that steers a terminal is refused; what is logged of a right one has no line of its own."""
    eve = Announcer("log")
    eve.name = "a\u2028b"
    assert post(tracker, "/v1/announce", encode(eve.whole()[0]), eve.secret) == 400
    assert post(tracker, "/refresh", b'{"PEER": "\\u001b[31m:5", "files": {}}') == 400
    log = tracker.log.read_text()
    assert "\x1b" not in log
    assert "\u2028" not in log


def test_all_of_it_at_once(tracker: Tracker, victim: Announcer) -> None:
    rng = random.Random(2)
    wrong: list[str] = []

    def attack(seed: int) -> None:
        mine = random.Random(seed)
        eve = Announcer(f"crowd{seed}")
        good = {"id": eve.id, **MESSAGE, "put": [json.loads(encode(eve.own(f"c/{seed}", "x")))]}
        for _ in range(40):
            try:
                post(tracker, "/v1/announce", json.dumps(mutations(mine, good)).encode(), eve.secret)
            except AssertionError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=attack, args=(rng.randrange(1000),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        assert post(tracker, "/v1/announce", encode(victim.renewal()), victim.secret) == 200
    for thread in threads:
        thread.join()
    assert wrong == []
