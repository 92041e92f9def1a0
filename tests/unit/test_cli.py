"""The `shoal` command against a small HTTP server, in this process and in one of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from peer.cache.room import Room
from peer.layout import Layout
from shoal import cli
from shoal.local import PeerInfo, register

ROOT = Path(__file__).parents[2]
ID = "a" * 64
FILE = {"name": "model.bin", "type": "file", "size": 2048, "mtime": "2026-11-21T08:00:00Z", "cid": "c" * 64}
ENTRIES = [
    {"name": "日本", "type": "dir", "size": None, "mtime": None, "cid": None, "state": "", "owners": []},
    FILE | {"state": "remote", "owners": ["ada", "bob"]},
    FILE | {"name": "e\x1b[2Jvil", "state": "here", "owners": ["ada\x9b0m"]},
    FILE | {"name": "l", "type": "link", "size": 0, "state": "here", "owners": ["ada"]},
]
PEERS = [
    {"id": ID, "name": "ada", "url": "http://h:1", "files": 3, "bytes": 1 << 20, "last_seen": "2026-11-21T08:00:00Z"}
]
STATUS = {
    "name": "ada",
    "mounted": True,
    "cache": {"bytes": 4096, "files": 2},
    "fetched_bytes": {"bob": 2048},
    "trackers": ["t:1"],
    "x": [],
    "\x1b": "\x7f",
}


class Handler(BaseHTTPRequestHandler):
    """A peer's http port and data port as far as the command sees them; what was asked is kept in `seen`."""

    server: "FakePeer"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.server.seen.append((f"{self.command} {url.path}", query or body, self.headers.get("Authorization")))
        status, answer = self.server.answer(f"{self.command} {url.path}", query, body)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class FakePeer(ThreadingHTTPServer):
    """Answers like a peer, or, for a route in `instead`, with that (status, body)."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, Any, str | None]] = []
        self.instead: dict[str, tuple[int, Any]] = {}
        self.extra: dict[str, str] = {}
        self.hang = threading.Event()
        self.hang.set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def answer(self, route: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        self.hang.wait(20)
        if route in self.instead:
            return self.instead[route]
        if route == "GET /v1/ls":
            if query["path"] == "paged":
                after = query.get("after", "")
                rest = [entry for entry in ENTRIES if entry["name"] > after] if after else ENTRIES[:2]
                return 200, {"path": "paged", "entries": rest, **({} if after else {"next": "a"})}
            return (200, {"path": query["path"], "entries": ENTRIES}) if query["path"] in ("", "data") else missing()
        if route == "POST /v1/forget":
            return 200, json.loads(body)
        return {
            "GET /healthz": (200, {"ok": True}),
            "GET /v1/status": (200, STATUS),
            "GET /v1/peers": (200, {"peers": PEERS}),
        }.get(route, missing())


def missing() -> tuple[int, Any]:
    return 404, {"error": "no such path: \x1b[2J"}


@pytest.fixture
def peer() -> Iterator[FakePeer]:
    with FakePeer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.hang.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("SHOAL_PEER", "SHOAL_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def shoal(*args: str) -> Result:
    """The command as `main` runs it, in this process."""

    def main() -> None:
        before = signal.getsignal(signal.SIGINT)
        argv, sys.argv = sys.argv, ["shoal", *args]
        try:
            cli.main()
        finally:
            sys.argv = argv
            signal.signal(signal.SIGINT, before)

    runner = CliRunner()
    with runner.isolation() as (out, err, _):
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        return Result(runner, out.getvalue(), err.getvalue(), b"", None, code, None)


def test_options_are_taken_before_and_after_the_verb(peer: FakePeer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shoal("--json", "--peer", peer.address, "peers")
    after = shoal("peers", "--json", "--peer", f"http://{peer.address}/")
    mixed = shoal("--peer", "nowhere:1", "peers", "--json", "--peer", peer.address)
    monkeypatch.setenv("SHOAL_PEER", peer.address)
    from_environment = shoal("peers", "--json")
    for result in (before, after, mixed, from_environment):
        assert (result.exit_code, result.stderr, json.loads(result.stdout)) == (0, "", {"peers": PEERS})


def test_the_peer_on_this_machine_is_the_default(peer: FakePeer) -> None:
    remove = register(PeerInfo(1, f"http://{peer.address}", "http://127.0.0.1:1", "/srv", None, "ada"))
    try:
        assert shoal("peers").exit_code == 0
    finally:
        remove()
    nobody = shoal("peers")
    assert nobody.exit_code == 1 and nobody.stderr.count("\n") == 1 and "no peer" in nobody.stderr


def test_several_peers_on_this_machine_are_a_usage_error() -> None:
    removes = [register(PeerInfo(pid, f"http://127.0.0.1:{pid}", "", "/srv", None, "ada")) for pid in (1, 2)]
    result = shoal("status")
    for remove in removes:
        remove()
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "http://127.0.0.1:1 " in result.stderr and "http://127.0.0.1:2 " in result.stderr


def test_status(peer: FakePeer) -> None:
    result = shoal("--peer", peer.address, "status")
    assert result.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["fetched_bytes.bob"] == "2.0 KiB"
    assert (lines["name"], lines["mounted"], lines["cache.bytes"], lines["trackers"]) == (
        "ada",
        "yes",
        "4.0 KiB",
        "t:1",
    )


def test_the_sizes_of_the_cache_are_for_people_and_in_json_for_programs(peer: FakePeer, tmp_path: Path) -> None:
    """All that a peer tells of its cache is bytes, but for what was counted and what is said in words."""
    told = Room(Layout(tmp_path), 20 << 30, 1 << 30, lambda: 5 << 40).status()
    told |= {"used": 3 << 20, "evicted": 4096}
    peer.instead["GET /v1/status"] = (
        200,
        {"cache": told, "sockets": {"limit": 400}, "used": 4096, "limits": {"up_bytes": 0}},
    )
    result = shoal("--peer", peer.address, "status")
    lines = {name: value.strip() for name, _, value in (line.partition(" ") for line in result.stdout.splitlines())}
    assert (lines["cache.used"], lines["cache.limit"], lines["cache.free"]) == ("3.0 MiB", "20.0 GiB", "5.0 TiB")
    assert (lines["cache.evicted"], lines["cache.not_kept"]) == ("4096", "-")
    assert (lines["sockets.limit"], lines["used"], lines["limits.up_bytes"]) == ("400", "4096", "none")
    numbers = {f"cache.{name}" for name in told.keys() - {"evicted", "not_kept"}}
    assert all(lines[name].endswith("B") for name in numbers)
    assert json.loads(shoal("--peer", peer.address, "status", "--json").stdout)["cache"] == told


def test_ls_shows_names_that_steer_nothing(peer: FakePeer) -> None:
    result = shoal("--peer", peer.address, "ls")
    head, folder, model, evil, link = result.stdout.splitlines()
    assert head.split() == ["STATE", "SIZE", "CHANGED", "OWNERS", "NAME"]
    assert folder.endswith("日本/") and model.endswith("model.bin") and link.endswith("l@")
    assert model.split() == ["remote", "2.0", "KiB", "2026-11-21T08:00:00Z", "ada,bob", "model.bin"]
    assert evil.endswith("e\\x1b[2Jvil") and "\x1b" not in result.stdout and "\x9b" not in result.stdout
    assert model.index("model.bin") == head.index("NAME")


@pytest.mark.parametrize("verb", [["status"], ["ls"], ["peers"], ["forget", "e\x1b[2J\x7f日"]])
def test_json_is_whole_and_steers_nothing(peer: FakePeer, verb: list[str]) -> None:
    result = shoal(*verb, "--json", "--peer", peer.address)
    expected: dict[str, Any] = {
        "status": STATUS,
        "ls": {"path": "", "entries": ENTRIES},
        "peers": {"peers": PEERS},
        "forget": {"path": "e\x1b[2J\x7f日"},
    }
    assert json.loads(result.stdout) == expected[verb[0]]
    assert all(character.isprintable() or character == "\n" for character in result.stdout)


def test_a_directory_in_pages_is_one_listing(peer: FakePeer) -> None:
    result = shoal("ls", "paged", "--json", "--peer", peer.address)
    answer = json.loads(result.stdout)
    assert [entry["name"] for entry in answer["entries"]] == [
        "日本",
        "model.bin",
        "日本",
        "model.bin",
        "e\x1b[2Jvil",
        "l",
    ]
    assert "next" not in answer
    assert len(shoal("ls", "paged", "--peer", peer.address).stdout.splitlines()) == 7


@pytest.mark.parametrize(("given", "asked"), [("data", "data"), ("/data/", "data"), ("/", "")])
def test_paths_may_begin_and_end_with_a_slash(peer: FakePeer, given: str, asked: str) -> None:
    assert shoal("ls", given, "--peer", peer.address).exit_code == 0
    assert peer.seen[-1][:2] == ("GET /v1/ls", {"path": asked})


def test_forget(peer: FakePeer) -> None:
    result = shoal("forget", "data/old.bin", "--peer", peer.address)
    assert (result.exit_code, result.stdout) == (0, "forgotten: data/old.bin\n")
    assert peer.seen[-1][:2] == ("POST /v1/forget", b'{"path":"data/old.bin"}')


def test_what_was_typed_steers_nothing_when_it_is_repeated(peer: FakePeer) -> None:
    done, refused = shoal("forget", "e\x1b[2J", "--peer", peer.address), shoal("ls", "a", "e\x1b[2J")
    assert (done.stdout, refused.exit_code) == ("forgotten: e\\x1b[2J\n", 2)
    assert "\x1b" not in refused.stderr and "e\\x1b[2J" in refused.stderr


@pytest.mark.parametrize(
    ("status", "code"), [(400, 1), (403, 1), (404, 4), (410, 4), (409, 5), (429, 5), (500, 1), (503, 5), (302, 1)]
)
def test_exit_codes_of_answers(peer: FakePeer, status: int, code: int) -> None:
    peer.instead["POST /v1/forget"] = status, {"error": "because\x1b[31m\n\nof that"}
    peer.extra["Location"] = "http://127.0.0.1:1/"
    result = shoal("forget", "x", "--json", "--peer", peer.address)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (code, "", 1)
    assert result.stderr.startswith("shoal: ") and "\x1b" not in result.stderr
    assert status == 302 or "because" in result.stderr


@pytest.mark.parametrize("verb", ["ls", "forget"])
def test_an_argument_that_is_no_utf8(peer: FakePeer, verb: str) -> None:
    result = shoal(verb, "a\udcff", "--peer", peer.address)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_a_path_that_is_not_there(peer: FakePeer) -> None:
    assert shoal("ls", "nowhere", "--peer", peer.address).exit_code == 4


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'{"peers": 3}', b'{"peers": [{"id": 1}]}', b"{" * 9, b" " * (1 << 20) + b"{}"]
)
def test_an_answer_that_is_not_understood(peer: FakePeer, body: bytes) -> None:
    peer.instead["GET /v1/peers"] = 200, body
    result = shoal("peers", "--peer", peer.address)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["bogus"],
        ["status", "x"],
        ["ls", "a", "b"],
        ["forget"],
        ["--nonsense", "ls"],
        ["ls", "--json=3"],
        ["--peer", "x", "status"],
        ["status", "--peer", "host:99999"],
        ["status", "--peer", "https://host:1"],
        ["status", "--peer", "http://host:1/path"],
        ["status", "--peer", "http://me@host:1"],
        ["status", "--peer", "http://host:x"],
        ["status", "--peer", "file:///etc/passwd"],
        ["status", "--peer", "127.0.0.1:1", "--token-file", "/does/not/exist"],
        ["status", "--peer", "127.0.0.1:1", "--token-file", "/dev/null"],
        ["status", "--peer", "a\udcff:1"],
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(args: list[str]) -> None:
    result = shoal(*args)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)


def test_nobody_there_is_one_line_and_exit_1() -> None:
    result = shoal("status", "--peer", "127.0.0.1:1")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "127.0.0.1:1" in result.stderr


@pytest.mark.parametrize("verb", [[], ["status"], ["ls"], ["peers"], ["forget"]])
def test_help_has_an_example(verb: list[str]) -> None:
    result = shoal(*verb, "--help")
    assert result.exit_code == 0 and "Example" in result.stdout
    assert " ".join(["shoal", *verb]) in result.stdout.partition("Example")[2]


def test_the_token_goes_to_the_http_port_only(peer: FakePeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "other").write_text("other\n")
    shoal("peers", "--peer", peer.address, "--token-file", str(tmp_path / "token"))
    monkeypatch.setenv("SHOAL_TOKEN_FILE", str(tmp_path / "token"))
    shoal("peers", "--peer", peer.address)
    shoal("--token-file", str(tmp_path / "other"), "peers", "--peer", peer.address)
    sent = [(route, token) for route, _, token in peer.seen]
    health, to_port = ("GET /healthz", None), ("GET /v1/peers", "Bearer secret")
    assert sent == [health, to_port, health, to_port, health, ("GET /v1/peers", "Bearer other")]


@pytest.mark.parametrize("named", ["http://127.0.0.1:{port}", "127.0.0.1:{port}", "http://0.0.0.0:{port}"])
def test_a_data_port_leads_to_the_http_port(peer: FakePeer, named: str) -> None:
    with FakePeer() as data:
        data.instead["GET /healthz"] = 200, {"ok": True, "name": "ada", "http": named.format(port=peer.server_port)}
        thread = threading.Thread(target=data.handle_request)
        thread.start()
        result = shoal("peers", "--peer", data.address)
        thread.join()
    assert result.exit_code == 0
    assert [route for route, _, _ in peer.seen] == ["GET /v1/peers"]


@pytest.mark.parametrize("named", ["http://192.0.2.7:80", "http://elsewhere.example:80", 7, "file:///x"])
def test_a_data_port_cannot_send_the_token_elsewhere(named: object, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    with FakePeer() as data:
        data.instead["GET /healthz"] = 200, {"http": named}
        thread = threading.Thread(target=data.handle_request)
        thread.start()
        result = shoal("peers", "--peer", data.address, "--token-file", str(tmp_path / "token"))
        thread.join()
    assert result.exit_code in (1, 2) and result.stderr.count("\n") == 1
    assert "192.0.2.7" not in str(named) or "cannot be reached" in result.stderr
    assert [token for _, _, token in data.seen] == [None]


def test_a_loopback_port_of_another_machine_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from shoal import remote

    def elsewhere(host: str, port: object) -> list[tuple[Any, ...]]:
        return [(0, 0, 0, "", ("192.0.2.7", 0))]

    monkeypatch.setattr(remote.socket, "getaddrinfo", elsewhere)
    assert not remote._same_machine("lab3", "127.0.0.1")
    assert remote._same_machine("lab3", "192.0.2.7")


COMMAND = [sys.executable, "-c", "from shoal.cli import main; main()"]


@pytest.mark.real
def test_as_a_process_of_its_own(peer: FakePeer) -> None:
    command = [*COMMAND, "--peer", peer.address, "ls", "data"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, env={**os.environ, "LANG": "C.UTF-8"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert "日本/" in done.stdout.decode() and b"\x1b" not in done.stdout


@pytest.mark.real
def test_a_terminal_without_utf8_gets_escaped_names(peer: FakePeer) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [*COMMAND, "--peer", peer.address, "ls"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u65e5\\u672c/" in done.stdout


@pytest.mark.real
def test_the_client_needs_nothing_that_windows_lacks(peer: FakePeer) -> None:
    code = """
import sys, click, msgspec, requests, rich.cells
sys.platform, sys.modules["fcntl"] = "win32", None
from shoal.cli import main
main()
"""
    for args, exit_code in ([["--peer", peer.address, "peers"], 0], [["peers"], 1]):
        command = [sys.executable, "-c", code, *args]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (exit_code, exit_code)


@pytest.mark.real
def test_an_interrupt_ends_it_once_and_quietly(peer: FakePeer) -> None:
    peer.hang.clear()
    with subprocess.Popen(
        [*COMMAND, "--peer", peer.address, "status"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        while not peer.seen and process.poll() is None:
            threading.Event().wait(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.real
def test_a_reader_that_goes_away_is_no_error_of_ours(peer: FakePeer) -> None:
    peer.instead["GET /v1/ls"] = 200, {"path": "", "entries": [FILE | {"name": "x" * 200} for _ in range(2000)]}
    with subprocess.Popen(
        [*COMMAND, "--peer", peer.address, "ls"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) in (0, 1)
