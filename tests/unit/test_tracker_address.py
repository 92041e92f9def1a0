"""Where a peer is listed, and whom a request counts for."""

import logging
from ipaddress import ip_network

import pytest

from shoal.addresses import Address
from shoal.errors import Busy, DataError, Refused
from shoal.wire import MAX_BODY, peer_id
from tests.support.announcer import Announcer
from tracker.address import parse, peer_url, quota_key, seed_url, source_of
from tracker.machine import ThisMachine
from tracker.request import Requests, check_proof
from tracker.seed import read_refresh, seed_id, seed_name


class Machine:
    """A machine with one address on its default route, or none."""

    def __init__(self, routed: str = "192.168.1.9") -> None:
        self._routed = parse(routed) if routed else None

    def owns(self, address: Address) -> bool:
        return address.is_loopback or address == self._routed

    def routed(self) -> Address | None:
        return self._routed


HERE = Machine()
LAN, LOOP = parse("192.168.1.20"), parse("127.0.0.1")


@pytest.mark.parametrize(
    ("source", "advertise", "url"),
    [
        ("192.168.1.20", "", "http://192.168.1.20:7"),
        ("192.168.1.20", "192.168.1.20", "http://192.168.1.20:7"),
        ("192.168.1.20", "box.lab", "http://192.168.1.20:7"),
        ("fd00::5", "", "http://[fd00::5]:7"),
        ("::ffff:10.1.2.3", "10.1.2.3", "http://10.1.2.3:7"),
        ("127.0.0.1", "", "http://192.168.1.9:7"),
        ("::1", "", "http://192.168.1.9:7"),
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:7"),
        ("127.0.0.1", "10.9.9.9", "http://10.9.9.9:7"),
        ("127.0.0.1", "box.lab", "http://box.lab:7"),
    ],
)
def test_where_our_peers_are_listed(source: str, advertise: str, url: str) -> None:
    assert peer_url(parse(source), advertise, 7, HERE) == url


def test_without_a_default_route_loopback_it_is() -> None:
    assert peer_url(LOOP, "", 7, Machine("")) == "http://127.0.0.1:7"


@pytest.mark.parametrize("advertise", ["192.168.1.21", "127.0.0.1", "::1", "8.8.8.8", "169.254.169.254"])
def test_nobody_elsewhere_may_name_anothers_address(advertise: str) -> None:
    for listed in (peer_url, seed_url):
        with pytest.raises(Refused) as refused:
            listed(LAN, advertise, 7, HERE)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "240.0.0.1",
        "100.100.100.200",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
    ],
)
def test_what_is_never_a_peer(address: str) -> None:
    with pytest.raises(Refused):
        peer_url(LOOP, address, 7, HERE)
    with pytest.raises(Refused):
        peer_url(parse(address), "", 7, HERE)
    with pytest.raises(Refused):
        seed_url(parse(address), address, 7, HERE)


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "a b", "a..b", "-a", "x" * 300, "a/b", "a@b"])
def test_what_is_neither_address_nor_name(host: str) -> None:
    for listed in (peer_url, seed_url):
        with pytest.raises(DataError):
            listed(LOOP, host, 7, HERE)


@pytest.mark.parametrize(
    ("source", "host", "url"),
    [
        ("192.168.1.20", "box.unknown.example", "http://192.168.1.20:7"),
        ("192.168.1.20", "192.168.1.20", "http://192.168.1.20:7"),
        ("127.0.0.1", "192.168.1.9", "http://192.168.1.9:7"),
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:7"),
        ("127.0.0.1", "box.unknown.example", "http://127.0.0.1:7"),
    ],
)
def test_where_seed_peers_are_listed(source: str, host: str, url: str) -> None:
    assert seed_url(parse(source), host, 7, HERE) == url


def test_a_seed_peer_on_loopback_may_name_only_this_machines_addresses() -> None:
    with pytest.raises(Refused):
        seed_url(LOOP, "192.168.1.20", 7, HERE)


def test_this_machine() -> None:
    machine = ThisMachine()
    assert machine.owns(LOOP)
    assert not machine.owns(parse("192.0.2.77"))
    assert not machine.owns(parse("0.0.0.0"))
    routed = machine.routed()
    assert routed is None or machine.owns(routed)


# Who sent it


@pytest.mark.parametrize(
    ("remote", "forwarded", "source"),
    [
        ("10.0.0.1", "", "10.0.0.1"),
        ("9.9.9.9", "1.1.1.1", "9.9.9.9"),
        ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.7", "1.1.1.1"),
        ("10.0.0.1", "10.0.0.8, 10.0.0.7", "10.0.0.8"),
    ],
)
def test_a_trusted_proxys_word_counts_and_no_others(remote: str, forwarded: str, source: str) -> None:
    assert str(source_of(remote, forwarded, [ip_network("10.0.0.0/8")])) == source


def test_a_forwarded_source_that_is_none() -> None:
    with pytest.raises(DataError):
        source_of("10.0.0.1", "unknown", [ip_network("10.0.0.0/8")])


def test_an_address_with_a_zone_is_none_elsewhere() -> None:
    """A zone means something on one machine only, and would make one address look like many."""
    with pytest.raises(DataError):
        source_of("fd00::5%1", "", [])
    for listed in (peer_url, seed_url):
        with pytest.raises(DataError):
            listed(LOOP, "fd00::5%1", 7, HERE)


def test_quotas_of_ipv6_are_those_of_its_network() -> None:
    assert (
        quota_key(parse("2001:db8::1")) == quota_key(parse("2001:db8::ffff:1")) != quota_key(parse("2001:db8:0:1::1"))
    )
    assert quota_key(LAN) == "192.168.1.20"


# Bodies and proofs


class Body:
    def __init__(self, body: bytes) -> None:
        self.body, self.asked = body, 0

    def read(self, size: int) -> bytes:
        self.asked = size
        return self.body[:size]


@pytest.fixture
def requests() -> Requests:
    return Requests(HERE, (), bodies=(2, 3))


def test_a_body_is_never_read_beyond_its_bound(requests: Requests) -> None:
    endless = Body(b"x" * (MAX_BODY + 10))
    with pytest.raises(Refused) as refused:
        requests.body({"wsgi.input": endless}, LAN)
    assert (refused.value.status, endless.asked) == (413, MAX_BODY + 1)
    said = Body(b"")
    with pytest.raises(Refused):
        requests.body({"wsgi.input": said, "CONTENT_LENGTH": str(MAX_BODY + 1)}, LAN)
    assert said.asked == 0


@pytest.mark.parametrize("length", ["-1", "1e3", "five", "9" * 30, "7"])
def test_odd_lengths(requests: Requests, length: str) -> None:
    with pytest.raises(DataError):
        requests.body({"wsgi.input": Body(b"short"), "CONTENT_LENGTH": length}, LAN)


def test_compressed_bodies_are_refused(requests: Requests) -> None:
    with pytest.raises(Refused) as refused:
        requests.body({"wsgi.input": Body(b""), "HTTP_CONTENT_ENCODING": "gzip"}, LAN)
    assert refused.value.status == 415


def test_no_source_holds_all_threads_with_slow_bodies(requests: Requests) -> None:
    class Slow:
        """While it comes, the same source tries to send one more, and another source too."""

        def __init__(self, depth: int) -> None:
            self.depth = depth

        def read(self, size: int) -> bytes:
            if self.depth:
                requests.body({"wsgi.input": Slow(self.depth - 1)}, LAN)
            else:
                assert requests.body({"wsgi.input": Body(b"ok")}, parse("192.168.1.21")) == b"ok"
            return b""

    assert requests.body({"wsgi.input": Slow(1)}, LAN) == b""
    with pytest.raises(Busy):
        requests.body({"wsgi.input": Slow(2)}, LAN)
    assert requests.body({"wsgi.input": Body(b"ok")}, LAN) == b"ok"
    assert not requests._reading


def test_all_sources_together_leave_threads_for_those_who_only_ask(requests: Requests) -> None:
    class Slow:
        """While it comes, the others send theirs."""

        def __init__(self, others: list[Address]) -> None:
            self.others = others

        def read(self, size: int) -> bytes:
            return requests.body({"wsgi.input": Slow(self.others[1:])}, self.others[0]) if self.others else b"all"

    sources = [parse(f"192.168.1.{n}") for n in (21, 22, 23)]
    assert requests.body({"wsgi.input": Slow(sources[:2])}, LAN) == b"all"
    with pytest.raises(Busy):
        requests.body({"wsgi.input": Slow(sources)}, LAN)
    assert not requests._reading


def test_only_a_secret_proves_an_id() -> None:
    ann = Announcer("ann")
    check_proof({"HTTP_SHOAL_PROOF": ann.secret}, ann.id)
    for proof in ("", "0" * 64, ann.id, ann.secret.upper(), ann.secret + "\n", "é" * 64):
        with pytest.raises(Refused) as refused:
            check_proof({"HTTP_SHOAL_PROOF": proof}, ann.id)
        assert refused.value.status == 403


def test_what_only_begins_like_a_secret_is_none() -> None:
    for proof in ("5" * 64 + "0", "5" * 64 + "\n", " " + "5" * 64):
        with pytest.raises(Refused):
            check_proof({"HTTP_SHOAL_PROOF": proof}, peer_id(proof))


def test_what_a_seed_peers_id_is_made_of_proves_nothing() -> None:
    url = "http://192.168.1.20:7"
    with pytest.raises(Refused):
        check_proof({"HTTP_SHOAL_PROOF": f"seed {url}"}, seed_id(url))


# What seed peers say

SHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


def test_a_seed_peers_refresh() -> None:
    body = b'{"PEER": "box.lab:5000", "files": {"a b.txt": "%s"}, "more": [1]}' % SHA1.upper().encode()
    assert read_refresh(body) == ("box.lab", 5000, {"a b.txt": SHA1})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"PEER": "a:1"}',
        b'{"PEER": 5, "files": {}}',
        b'{"PEER": "a", "files": {}}',
        b'{"PEER": "a:0", "files": {}}',
        b'{"PEER": "a:99999", "files": {}}',
        b'{"PEER": "a:1", "files": []}',
        b'{"PEER": "a:1", "files": {"x": null}}',
        b'{"PEER": "a:1", "files": {"x": "short"}}',
        b'{"PEER": "a:1", "files": {"\\ud800": "%s"}}' % SHA1.encode(),
        b'{"PEER": "a:1", "files": {"x": "%s\\n"}}' % SHA1.encode(),
        b'{"PEER": "a:1", "files": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[" * 900_000,
        b'{"PEER": "\xff", "files": {}}',
    ],
)
def test_what_no_seed_peer_says(body: bytes) -> None:
    with pytest.raises(DataError):
        read_refresh(body)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\\u0000", ".shoal/identity"])
def test_a_name_that_cannot_be_a_path_is_left_out(name: str) -> None:
    body = f'{{"PEER": "a:1", "files": {{"{name}": "{SHA1}", "fine": "{SHA1}"}}}}'.encode()
    assert read_refresh(body) == ("a", 1, {"fine": SHA1})


def test_a_name_that_is_left_out_is_logged_so_that_it_steers_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        read_refresh(f'{{"PEER": "a\\u009b2J:1", "files": {{"../\\u001b[2J": "{SHA1}"}}}}'.encode())
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert record.getMessage().startswith("a\\x9b2J:1: ")


def test_a_seed_peer_is_called_by_its_host_if_that_can_be_a_name_else_by_its_address() -> None:
    assert seed_name("box.lab", "10.0.0.1") == "box.lab"
    for host in ("a~b", "x" * 65, "..", ".shoal", "a\u202eb", "e\u0301.lab"):
        assert seed_name(host, "10.0.0.1") == "10.0.0.1"
