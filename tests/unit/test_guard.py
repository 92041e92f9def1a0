"""Who may ask and who may change at the http port."""

import hmac

import pytest

from peer.http.guard import Guard, is_own_address

LOOPBACK = Guard("127.0.0.1", frozenset({"box.lab"}))
OUTSIDE = Guard("0.0.0.0", token="secret")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:80", "localhost:4000", "LOCALHOST", "a.localhost", "box.lab:1", "127.1.2.3"]
)
def test_names_of_loopback_and_allowed_ones_pass(host: str) -> None:
    assert LOOPBACK.refusal("GET", {"Host": host}) is None


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.1", "", "localhost.evil.example", "[2001:db8::1]:80"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_any_other_host_is_refused_whole(host: str, method: str) -> None:
    refusal = LOOPBACK.refusal(method, {"Host": host})
    assert refusal is not None
    assert refusal[0] == 403


def test_a_wildcard_answers_for_each_literal_address_of_the_machine_and_no_other() -> None:
    assert OUTSIDE.refusal("GET", {"Host": "127.0.0.1:9"}) is None
    assert OUTSIDE.refusal("GET", {"Host": "203.0.113.7:9"}) is not None
    assert is_own_address("127.0.0.1")
    assert not is_own_address("203.0.113.7")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:81"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_change_asked_for_by_a_foreign_page_is_refused_and_a_read_is_not(headers: dict[str, str]) -> None:
    headers = {"Host": "127.0.0.1:80", **headers}
    assert LOOPBACK.refusal("POST", headers) is not None
    assert LOOPBACK.refusal("GET", headers) is None


def test_opened_to_all_a_foreign_page_still_may_not_change_anything() -> None:
    everybody = Guard("0.0.0.0", open=True)
    assert everybody.refusal("POST", {"Host": "127.0.0.1"}) is None
    assert everybody.refusal("POST", {"Host": "127.0.0.1", "Origin": "http://evil.example"}) is not None


def test_its_own_page_may_change_on_loopback_without_a_token() -> None:
    assert LOOPBACK.refusal("POST", {"Host": "127.0.0.1:80", "Origin": "http://127.0.0.1:80"}) is None
    assert LOOPBACK.refusal("DELETE", {"Host": "127.0.0.1:80"}) is None


def test_off_loopback_a_change_needs_the_token_and_a_read_does_not() -> None:
    host = {"Host": "127.0.0.1"}
    assert OUTSIDE.refusal("GET", host) is None
    assert OUTSIDE.refusal("POST", host) is not None
    assert OUTSIDE.refusal("POST", {**host, "Authorization": "Bearer wrong"}) is not None
    assert OUTSIDE.refusal("POST", {**host, "Authorization": "Bearer secret"}) is None


def test_off_loopback_without_a_token_nothing_can_be_changed() -> None:
    closed = Guard("0.0.0.0")
    for given in ("", "Bearer ", "Bearer x"):
        assert closed.refusal("POST", {"Host": "127.0.0.1", "Authorization": given}) is not None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND", "get", ""])
def test_whatever_is_not_known_to_be_a_read_is_a_change(method: str) -> None:
    assert OUTSIDE.refusal(method, {"Host": "127.0.0.1"}) is not None


def test_the_token_is_compared_in_a_time_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else than the comparison that takes the same time for every guess has a say."""
    monkeypatch.setattr(hmac, "compare_digest", lambda given, right: given == b"guess" and right == b"secret")
    for given, right in (("guess", True), ("secret", False)):
        refusal = OUTSIDE.refusal("POST", {"Host": "127.0.0.1", "Authorization": f"Bearer {given}"})
        assert (refusal is None) == right
