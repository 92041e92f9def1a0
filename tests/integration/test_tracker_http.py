"""The tracker as a program: its routes, its life and its end."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import UsageError
from shoal.wire import PAGE, PROOF, Announce, Changes, Evict, Leave, Renewed, decode, encode
from tests.support.announcer import Announcer, cid_of, sha1_of
from tests.support.cluster import Cluster, Tracker
from tests.support.patience import until
from tracker.cli import _claim

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]


class Client:
    """One kept-alive connection to a tracker."""

    def __init__(self, tracker: Tracker) -> None:
        self._connection = http.client.HTTPConnection(tracker.address, timeout=10)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        self._connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = self._connection.getresponse()
        self.headers = answer.headers
        return answer.status, answer.read()

    def get(self, path: str) -> Any:
        status, body = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    def say(self, peer: Announcer, message: Announce | Leave | Evict, route: str = "announce") -> tuple[int, bytes]:
        return self.ask("POST", f"/v1/{route}", encode(message), **{PROOF: peer.secret})

    def tell(self, peer: Announcer) -> None:
        for message in peer.whole():
            assert self.say(peer, message)[0] == 200

    def paths(self) -> list[str]:
        return [file["path"] for file in self.get("/v1/files")["files"]]


@pytest.fixture(scope="module")
def tracker() -> Iterator[Tracker]:
    with Cluster() as cluster:
        yield cluster.tracker()


@pytest.fixture
def client(tracker: Tracker) -> Iterator[Client]:
    with Client(tracker) as made:
        yield made


def peer(name: str, *paths: str, port: int = 7000) -> Announcer:
    made = Announcer(name, port)
    for path in paths:
        item = made.own(path, path)
        made.items[path, item.cid] = item
    return made


def test_a_peers_life(client: Client) -> None:
    ann = peer("life", "life/a", "life/b")
    status, body = client.say(ann, ann.renewal())
    assert (status, json.loads(body)["need"]) == (409, "all")
    client.tell(ann)
    status, body = client.say(ann, ann.renewal())
    renewed = decode(body, Renewed)
    assert (status, renewed.refresh, renewed.ttl) == (200, 5, 15)
    changes = decode(client.ask("GET", "/v1/changes")[1], Changes)
    assert {"life/a", "life/b"} <= dict(changes.paths).keys()
    assert client.say(ann, ann.delta([ann.own("life/c", "c")]))[0] == 200
    later = decode(client.ask("GET", f"/v1/changes?since={changes.version}")[1], Changes)
    assert [path for path, _ in later.paths] == ["life/c"]
    assert client.get(f"/v1/holders/{cid_of('c')}")["holders"][0]["id"] == ann.id
    (row,) = [row for row in client.get("/v1/peers")["peers"] if row["id"] == ann.id]
    assert (row["name"], row["files"]) == ("life", 3)
    assert set(row) == {"id", "name", "url", "files", "bytes", "last_seen"}
    assert client.say(ann, Leave(ann.id, ann.epoch), "leave")[0] == 204
    assert "life/a" not in client.paths()


def test_nothing_changes_without_proof(client: Client) -> None:
    ann, eve = peer("proved", "proved/a"), peer("eve")
    client.tell(ann)
    for message, route in ((ann.renewal(), "announce"), (Leave(ann.id, 99), "leave"), (Evict(ann.id, ann.id), "evict")):
        assert client.say(eve, message, route)[0] == 403
        assert client.ask("POST", f"/v1/{route}", encode(message))[0] == 403
    assert "proved/a" in client.paths()


def test_giving_up_a_copy(client: Client) -> None:
    ann, bob = peer("evict-a", "evict/a"), peer("evict-b")
    (item,) = ann.items.values()
    bob.items["x", "y"] = bob.copy("evict/a", "evict/a", item.revs)
    assert client.say(bob, Evict(bob.id, item.cid), "evict")[0] == 409
    client.tell(ann)
    client.tell(bob)
    status, body = client.say(bob, Evict(bob.id, item.cid), "evict")
    assert (status, json.loads(body)) == (200, {"ok": True, "sequence": bob.sequence + 1})
    assert json.loads(client.say(ann, Evict(ann.id, item.cid), "evict")[1])["ok"] is False


def test_hints_reach_the_announcers_address(client: Client) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hints:
        hints.bind(("127.0.0.1", 0))
        hints.settimeout(5)
        ann, bob = peer("hint-a"), peer("hint-b", "hint/b")
        ann.hint = hints.getsockname()[1]
        client.tell(ann)
        hints.recv(1000)
        client.tell(bob)
        versions = {client.get("/healthz")["version"]}
        until(lambda: hints.recv(1000).decode() in versions, 5, "the newest version is hinted")


def test_files_in_pages(client: Client) -> None:
    ann = peer("pages", *(f"pages/{n:04}" for n in range(PAGE + 500)))
    client.tell(ann)
    read: list[str] = []
    while page := client.get(f"/v1/files?prefix=pages/&limit=400&after={read[-1] if read else ''}")["files"]:
        read += [row["path"] for row in page]
    assert read == [f"pages/{n:04}" for n in range(PAGE + 500)]
    assert len(client.get("/v1/files?prefix=pages/&limit=99999")["files"]) == PAGE


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "", "1e9", "%00", "9" * 40])
def test_limits_that_are_none(client: Client, limit: str) -> None:
    assert client.ask("GET", f"/v1/files?limit={limit}")[0] == 400


def test_what_is_gone_and_what_never_was(client: Client) -> None:
    assert client.ask("GET", "/v1/changes?since=00.5")[0] == 410
    assert client.ask("GET", "/v1/changes?since=%F0%9F%90%9F")[0] == 410
    assert client.ask("GET", "/v1/holders/xyz")[0] == 400
    assert client.get(f"/v1/holders/{'0' * 64}")["holders"] == []
    assert client.ask("GET", "/v1/nothing")[0] == 404
    status, body = client.ask("GET", "/v1/announce")
    assert (status, client.headers["Allow"]) == (405, "POST")
    assert json.loads(body)["error"]
    assert client.ask("DELETE", "/v1/files")[0] == 405


def test_a_page_for_browsers_without_scripts(client: Client) -> None:
    name = "<script>alert(1)</script> & \"x' .txt"
    ann = peer("<b>ann<b>", f"page/{name.replace('/', '')}")
    client.tell(ann)
    status, body = client.ask("GET", "/?q=page", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    text = body.decode()
    assert (status, client.headers.get_content_type()) == (200, "text/html")
    assert "<script" not in text
    assert "style=" not in text
    assert "&lt;b&gt;ann&lt;b&gt;" in text
    assert "page/&lt;script&gt;" in text
    policy = client.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert client.headers["X-Content-Type-Options"] == "nosniff"
    status, body = client.ask("GET", "/?q=%22%3E%3Cscript%3E", Accept="text/html")
    assert b"<script" not in body
    assert client.ask("GET", "/static/tracker.css")[0] == 200
    assert client.headers.get_content_type() == "text/css"


def test_metrics(client: Client) -> None:
    status, body = client.ask("GET", "/metrics")
    assert status == 200
    assert b"shoal_tracker_peers " in body
    assert b'shoal_tracker_announcements_total{status="200"}' in body


def test_changes_are_not_taken_from_web_pages(tracker: Tracker, client: Client) -> None:
    body = json.dumps({"PEER": "127.0.0.1:99", "files": {"page": sha1_of("x")}}).encode()
    with Client(tracker) as other:  # a connection whose request was refused unread is closed
        assert other.ask("POST", "/refresh", body, Origin="http://evil.example")[0] == 403
    assert client.ask("POST", "/refresh", body)[0] == 204


def test_many_at_once(tracker: Tracker) -> None:
    """Whoever asks, on whatever connection, there is one catalogue."""
    name = "many"

    def run(n: int) -> None:
        ann = peer(f"{name}{n}", f"{name}/{n}", port=8000 + n)
        with Client(tracker) as client:
            client.tell(ann)
            for _ in range(5):
                assert client.say(ann, ann.renewal())[0] == 200
                with Client(tracker) as other:
                    assert f"{name}/{n}" in other.paths()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(8)))


def test_renewals_per_second_are_reported(tracker: Tracker, capsys: pytest.CaptureFixture[str]) -> None:
    seconds, clients = 1.0, 4
    counts = [0] * clients

    def run(n: int) -> None:
        ann = peer(f"fast{n}", f"fast/{n}")
        head = f"POST /v1/announce HTTP/1.1\r\nHost: x\r\n{PROOF}: {ann.secret}\r\n"
        with (
            Client(tracker) as client,
            socket.create_connection(("127.0.0.1", int(tracker.url[-6:].strip(":/")))) as raw,
        ):
            client.tell(ann)
            body = encode(ann.renewal())
            request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                raw.sendall(request)
                assert raw.recv(4096).startswith(b"HTTP/1.1 200")
                counts[n] += 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with capsys.disabled():
        print(f"\n{sum(counts) / seconds:,.0f} renewals a second, asked by {clients} threads of one Python process")
    assert all(counts)


# Life and death of the program


def test_a_restarted_tracker_is_right_again_in_two_refreshes(cluster: Cluster) -> None:
    tracker = cluster.tracker("--ttl", "3", "--refresh", "0.5")
    peers = [peer(f"back{n}", f"back/{n}", port=9000 + n) for n in range(5)]

    def refresh(client: Client) -> None:
        """What each peer does once every refresh."""
        for each in peers:
            status, body = client.say(each, each.renewal())
            if status == 409 and json.loads(body)["need"] == "all":
                client.tell(each)

    with Client(tracker) as client:
        refresh(client)
        before = client.paths()
        version = client.get("/healthz")["version"]
    tracker.kill()
    tracker.restart()
    with Client(tracker) as client:
        assert client.get("/healthz")["settling"] is True
        assert client.ask("GET", f"/v1/changes?since={version}")[0] == 410
        refresh(client)
        refresh(client)
        assert client.paths() == before == [f"back/{n}" for n in range(5)]
        until(lambda: client.paths() == [], 10, "leases end")
        assert client.get("/healthz")["settling"] is False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_asked_to(cluster: Cluster, number: signal.Signals) -> None:
    tracker = cluster.tracker()
    with (
        socket.create_connection(("127.0.0.1", int(tracker.address.rpartition(":")[2]))) as slow,
        socket.create_connection(("127.0.0.1", int(tracker.address.rpartition(":")[2]))),
    ):
        slow.sendall(b"POST /v1/announce HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nslow")
        time.sleep(0.2)
        os.killpg(tracker.pid, number)  # as Ctrl-C does: all its processes
        began = time.monotonic()
        assert tracker.wait_ended(15) == 0
        assert time.monotonic() - began < 6
    assert "Traceback" not in tracker.log.read_text()


def test_ctrl_c_is_no_accident_even_if_the_worker_is_first(cluster: Cluster) -> None:
    tracker = cluster.tracker()
    (worker,) = children(tracker.pid)
    os.kill(tracker.pid, signal.SIGSTOP)
    os.kill(worker, signal.SIGINT)
    until(lambda: state(worker) == "Z", 5, "the worker is gone")
    os.kill(tracker.pid, signal.SIGINT)
    os.kill(tracker.pid, signal.SIGCONT)
    assert tracker.wait_ended(10) == 0


def test_a_dead_worker_ends_the_program(cluster: Cluster) -> None:
    tracker = cluster.tracker()
    (worker,) = children(tracker.pid)
    os.kill(worker, signal.SIGKILL)
    assert tracker.wait_ended(10) == 1
    assert tracker.said("the worker died") == 1


def test_a_killed_program_leaves_no_worker(cluster: Cluster) -> None:
    tracker = cluster.tracker()
    (worker,) = children(tracker.pid)
    tracker.kill()
    until(lambda: not Path(f"/proc/{worker}").exists() or state(worker) == "Z", 5, "the worker is gone")
    tracker.restart()


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    # multiprocessing may have helpers of its own
    return [child for child in found if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tracker.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "args",
    [
        ["port"],
        ["99999"],
        ["--nothing"],
        ["--ttl", "5", "--refresh", "5"],
        ["--ttl", "nan"],
        ["--refresh", "-1"],
        ["--store", "redis://localhost"],
        ["--store", "memory"],
        ["--trusted-proxy", "lan"],
        ["--max-leases-per-source", "0"],
        ["0", "--host", "192.0.2.1"],
        ["0", "--host", "no such host"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_get_one_clear_line(args: list[str]) -> None:
    ended = run(*args)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert "Traceback" not in ended.stderr
    if "redis" in args[-1]:
        assert "not built yet" in ended.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_refused(tracker: Tracker, host: str) -> None:
    ended = run(tracker.address.rpartition(":")[2], "--host", host)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "in use" in ended.stderr


def test_of_two_trackers_that_start_at_once_one_has_the_port() -> None:
    with closing(_claim("127.0.0.1", 0)) as first:
        assert first.port
        with pytest.raises(UsageError, match="in use"):
            _claim("127.0.0.1", first.port)
    _claim("127.0.0.1", first.port).close()


def test_help(tracker: Tracker) -> None:
    ended = run("--help")
    assert ended.returncode == 0
    assert "--trusted-proxy" in ended.stdout
    assert "Example" in ended.stdout


def test_without_the_installed_environment_it_says_what_to_do() -> None:
    command = [sys.executable, "-S", "-E", str(ROOT / "tracker.py")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "source environment" in ended.stderr


def test_python_m_tracker_is_the_same() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tracker", "--nothing"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
