"""What `peer.py` makes of its arguments, and which of them guard the share and the http port; nothing is started."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from prometheus_client import CollectorRegistry

from peer import cli
from peer.config import PeerConfig
from peer.layout import Layout
from peer.node import Node
from shoal.errors import UsageError


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """LOCAL and MOUNT."""
    local, mount = tmp_path / "local", tmp_path / "mount"
    local.mkdir()
    mount.mkdir()
    return local, mount


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[PeerConfig]:
    """What would have been run."""
    configs: list[PeerConfig] = []

    def note(config: PeerConfig) -> int:
        configs.append(config)
        return 0

    monkeypatch.setattr(cli, "run", note)
    return configs


def run(*words: object) -> None:
    cli.command.main([str(word) for word in words], standalone_mode=False)


def test_without_options_the_http_port_is_loopback_s_and_closed(
    places: tuple[Path, Path], ran: list[PeerConfig]
) -> None:
    run("t:1", *places)
    (config,) = ran
    assert config.http == ("127.0.0.1", 0)
    assert (config.open, config.token, config.allowed_hosts) == (False, "", ())


@pytest.mark.parametrize("wrong", ["9001", "localhost:", "no/host:80", "host:70000", ""])
def test_a_wrong_place_for_the_http_port_is_told_with_its_option(places: tuple[Path, Path], wrong: str) -> None:
    with pytest.raises(UsageError, match=r"^--http: not an address .*example: 127\.0\.0\.1:8080"):
        run("t:1", *places, "--http", wrong)


def test_small_files_are_fetched_ahead_unless_it_is_told_not_to(
    places: tuple[Path, Path], ran: list[PeerConfig]
) -> None:
    run("t:1", *places)
    run("t:1", *places, "--no-prefetch")
    assert [config.prefetch for config in ran] == [True, False]


def test_without_options_all_that_is_kept_is_checked_in_30_days(
    places: tuple[Path, Path], ran: list[PeerConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    """What runs, what is said of it, and what the scanner is told are the same."""
    assert "Every 30 days (`--scrub-every`)" in (Path(__file__).parents[2] / "README.md").read_text()
    run("--help")
    assert "[default: 30d]" in next(line for line in capsys.readouterr().out.split("\n  -") if "scrub-every" in line)
    run("t:1", *places)
    (config,) = ran
    month = 30 * 24 * 3600.0
    assert config.scrub_every == PeerConfig((), places[0], None, "me").scrub_every == month
    layout = Layout(places[0])
    layout.make()
    node = Node(config, layout)
    try:
        assert node._scanner._command[-1] == str(month)
    finally:
        node._running.close()


@pytest.mark.parametrize("mount", ["", ".", "inner", "inner/deep", ".."])
def test_a_mount_in_the_share_or_around_it_is_refused_before_anything_is_made(
    places: tuple[Path, Path], ran: list[PeerConfig], mount: str
) -> None:
    local, _ = places
    with pytest.raises(UsageError, match="must not contain each other"):
        run("t:1", local, local / mount, "--mkdir")
    assert ran == []
    assert list(local.iterdir()) == []


def test_a_share_in_the_mount_by_way_of_a_link_is_refused(places: tuple[Path, Path], ran: list[PeerConfig]) -> None:
    local, mount = places
    (mount / "share").mkdir()
    (local.parent / "link").symlink_to(mount / "share")
    with pytest.raises(UsageError, match="must not contain each other"):
        run("t:1", local.parent / "link", mount)
    assert ran == []


def test_a_token_file_without_a_token_is_refused(
    places: tuple[Path, Path], ran: list[PeerConfig], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    for body in (b"", b" \n", b"\xff"):
        file.write_bytes(body)
        with pytest.raises(UsageError, match="token file"):
            run("t:1", *places, "--token-file", file)
    assert ran == []
    file.write_text("secret\n")
    run("t:1", *places, "--token-file", file)
    assert ran[0].token == "secret"


@contextlib.contextmanager
def http_port(local: Path, **told: object) -> Iterator[str]:
    """The URL of the http port of a peer that is told this; nothing else of it runs."""
    layout = Layout(local)
    layout.make()
    node = Node(PeerConfig((("127.0.0.1", 1),), local, None, "me", **told), layout)  # type: ignore[arg-type]
    status = SimpleNamespace(
        status=dict, ready=str, ls=lambda path, after: {}, peers=list, registry=CollectorRegistry()
    )
    try:
        url = node._serve_http(status, SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
        yield url.replace("0.0.0.0", "127.0.0.1")
    finally:
        node._running.close()


def forget(url: str, **headers: str) -> int:
    return requests.post(f"{url}/v1/forget", json={"path": "a"}, headers=headers, timeout=10).status_code


def test_off_loopback_the_running_port_takes_changes_with_its_token_alone(places: tuple[Path, Path]) -> None:
    with http_port(places[0], http=("0.0.0.0", 0), token="secret") as url:
        assert requests.get(f"{url}/v1/status", timeout=10).status_code == 200
        assert forget(url) == forget(url, Authorization="Bearer wrong") == 403
        assert forget(url, Authorization="Bearer secret") == 503, "it was let in; there is no scanner to do it"
    with http_port(places[0], http=("0.0.0.0", 0)) as url:
        assert forget(url) == forget(url, Authorization="Bearer ") == 403
    with http_port(places[0], http=("0.0.0.0", 0), open=True) as url:
        assert forget(url) == 503


def test_the_running_port_answers_for_no_name_but_its_own(places: tuple[Path, Path]) -> None:
    with http_port(places[0], allowed_hosts=("Box.lab",)) as url:
        for host, status in (("evil.example", 403), ("box.lab", 200), ("localhost", 200)):
            assert requests.get(f"{url}/healthz", headers={"Host": host}, timeout=10).status_code == status


def test_a_head_or_a_body_without_end_is_cut(places: tuple[Path, Path]) -> None:
    """More of either than any client of ours sends is not even taken in."""
    endless = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n",
        b"POST /v1/forget HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000000\r\n\r\n",
        b"POST /v1/forget HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 32,
    )
    with http_port(places[0]) as url:
        for request in endless:
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            with socket.create_connection(address, timeout=10) as sock:
                try:
                    sock.sendall(request)
                    answer = sock.recv(1000)
                except ConnectionError:
                    answer = b""  # cut off
            assert not answer or answer.split()[1] in (b"400", b"413"), answer
        assert requests.get(f"{url}/healthz", timeout=10).status_code == 200
