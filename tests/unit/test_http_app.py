"""The routes of the http port: translation, errors, headers."""

import socket
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from peer.http.app import Control, make_app
from peer.http.guard import Guard
from peer.http.serve import HttpPort
from peer.manners import Limits
from shoal.errors import Busy, Gone, Refused

HOST = {"Host": "127.0.0.1"}


class Limited:
    """What has limits."""

    def __init__(self) -> None:
        self.limits = Limits(7, 8)

    def change(self, down: int | None, up: int | None) -> Limits:
        self.limits = Limits(self.limits.down if down is None else down, self.limits.up if up is None else up)
        return self.limits


def ask(why: str = "", forget: Any = None) -> FlaskClient:
    def ls(path: str, after: str) -> dict[str, Any]:
        if path == "missing":
            raise Gone("no such path: missing")
        if path == "broken":
            raise ZeroDivisionError
        return {"path": path, "entries": [], "after": after}

    def forgetting(path: str) -> None:
        if forget is not None:
            raise forget

    peers = lambda: [{"name": "b"}]  # noqa: E731
    control = Control(lambda: {"name": "a"}, lambda: why, ls, peers, forgetting, CollectorRegistry(), Limited())
    return make_app(control, Guard("127.0.0.1")).test_client()


def test_status_readiness_and_health() -> None:
    assert ask().get("/v1/status", headers=HOST).json == {"name": "a"}
    assert ask().get("/readyz", headers=HOST).status_code == 200
    late = ask("not mounted yet").get("/readyz", headers=HOST)
    assert (late.status_code, late.json) == (503, {"error": "not mounted yet"})
    assert ask("not mounted yet").get("/healthz", headers=HOST).status_code == 200
    assert ask().get("/metrics", headers=HOST).status_code == 200


def test_listing_takes_a_path_and_where_to_go_on() -> None:
    found = ask().get("/v1/ls?path=a/b&after=c", headers=HOST)
    assert found.json == {"path": "a/b", "entries": [], "after": "c"}
    missing = ask().get("/v1/ls?path=missing", headers=HOST)
    assert (missing.status_code, missing.json) == (404, {"error": "no such path: missing"})


def test_each_error_has_its_status_and_an_unknown_one_tells_nothing() -> None:
    for error, status in ((Gone("x"), 404), (Refused("x", 403), 403), (Busy("x"), 503)):
        assert ask(forget=error).post("/v1/forget", json={"path": "a"}, headers=HOST).status_code == status
    told = ask(forget=Gone("no \x1b[2J")).post("/v1/forget", json={"path": "a"}, headers=HOST)
    assert told.json == {"error": "no \\x1b[2J"}, "whoever prints it need not think of it"
    broken = ask().get("/v1/ls?path=broken", headers=HOST)
    assert broken.status_code == 500
    assert "ZeroDivision" not in broken.text


def test_a_bad_body_is_400_and_an_unknown_route_404() -> None:
    for body in (b"", b"[]", b'{"path": 1}', b'{"path": "a", "more": 1}', b"\xff" * 100):
        assert ask().post("/v1/forget", data=body, headers=HOST).status_code == 400
    assert ask().post("/v1/forget", json={"path": "a"}, headers=HOST).json == {"path": "a"}
    assert ask().get("/nothing", headers=HOST).status_code == 404
    assert ask().get("/v1/forget", headers=HOST).status_code == 405


def test_limits_are_changed_one_or_both_or_none() -> None:
    client = ask()
    for body, limits in (
        ({}, {"down": 7, "up": 8}),
        ({"up": 0}, {"down": 7, "up": 0}),
        ({"down": 1 << 50}, {"down": 1 << 50, "up": 0}),
        ({"down": 5, "up": 6}, {"down": 5, "up": 6}),
        ({"down": None}, {"down": 5, "up": 6}),
    ):
        answer = client.post("/v1/limits", json=body, headers=HOST)
        assert (answer.status_code, answer.json) == (200, limits)
        assert client.get("/v1/limits", headers=HOST).json == limits


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"5", "Expected `object`"),
        (b'{"up": "5"}', "got `str` - at `$.up`"),
        (b'{"up": 1.5}', "`$.up`"),
        (b'{"down": -1}', ">= 0 - at `$.down`"),
        (b'{"down": 1125899906842625}', "<= 1125899906842624 - at `$.down`"),
        (b'{"sideways": 1}', "unknown field `sideways`"),
        (b'{"up": 5, "down": true}', "`$.down`"),
        (b"\xff", "malformed"),
    ],
)
def test_a_change_of_limits_that_is_none_is_told_what_is_taken(body: bytes, why: str) -> None:
    client = ask()
    answer = client.post("/v1/limits", data=body, headers=HOST)
    assert answer.status_code == 400
    taken = 'the body must be {"down": N, "up": N}, in bytes a second, 0 for no limit; '
    taken += "either or both may be left out, and stay as they are: "
    assert answer.json["error"].startswith(taken)  # type: ignore[index]
    assert why in answer.json["error"]  # type: ignore[index]
    assert client.get("/v1/limits", headers=HOST).json == {"down": 7, "up": 8}


def test_every_answer_is_hardened_and_a_foreign_host_gets_nothing() -> None:
    found = ask().get("/v1/status", headers=HOST)
    assert found.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert ask().get("/v1/status", headers={"Host": "evil.example"}).status_code == 403


def test_who_falls_silent_in_the_middle_of_a_request_is_cut() -> None:
    port = HttpPort(ask().application, "127.0.0.1", 0)
    assert 0 < port._server.timeout <= 60
    port._server.timeout = 0.3  # the same, but sooner
    url = port.start()
    try:
        for sent in (b"GET /healthz HTTP/1.1\r\nX: ", b"POST /v1/forget HTTP/1.1\r\nHost: localhost\r\n"):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as sock:
                sock.sendall(sent)
                answer = sock.recv(1000)
            assert not answer or answer.split()[1] == b"408"
    finally:
        port.stop()
