"""Messages: what decodes, what is refused (THREATS 2, 3, 20), and the digest."""

import hmac
from typing import Any

import msgspec
import pytest

from shoal.errors import DataError
from shoal.manifest import DIR_CID, MAX_SIZE, NOTHING_CID, link_cid
from shoal.wire import (
    MAX_BODY,
    MAX_REV,
    PAGE,
    Announce,
    Changes,
    Digest,
    Entry,
    Evicted,
    Holders,
    Item,
    Leave,
    PeerRow,
    Problem,
    Renewed,
    check_item,
    decode,
    encode,
    peer_id,
    proves,
)

ME, OTHER, CID, SHA1 = "a" * 64, "b" * 64, "c" * 64, "d" * 40
OWN = Item("data/model.bin", CID, "own", 5, 7, SHA1, revs={ME: 1})
RENEWAL: dict[str, Any] = {"id": ME, "epoch": 1, "sequence": 2, "digest": "0" * 32, "name": "ada", "port": 4711}


def test_messages_come_back_as_they_were() -> None:
    items = [
        OWN,
        Item("d", DIR_CID, "own", 0, 0, revs={ME: 1}),
        Item("l", link_cid("d"), "own", 0, -1, link="d", x=True, revs={ME: 1}),
        Item("n", NOTHING_CID, "nothing", 0, 0, revs={OTHER: MAX_REV}),
        Item("big", CID, "partial", MAX_SIZE, (1 << 63) - 1, SHA1),
    ]
    for item in items:
        check_item(item, ME)
    announce = Announce(ME, 1, 2, "", "ada", 4711, base=1, put=items, drop=[("a", CID)])
    assert decode(encode(announce), Announce) == announce
    entry = Entry(CID, None, -5, SHA1)
    changes = Changes("c.1", False, True, [PeerRow(ME, "ada", "http://[::1]:80")], [("a", [entry])])
    assert decode(encode(changes), Changes) == changes
    assert decode(encode(Problem("no")), Problem) == Problem("no")


def test_a_renewal_is_some_hundred_bytes() -> None:
    assert len(encode(Announce(**RENEWAL))) < 250


@pytest.mark.parametrize(
    "change",
    [
        {"id": "A" * 64},
        {"id": "a" * 63},
        {"id": "a" * 64 + "\n"},
        {"id": "../" + "a" * 61},
        {"epoch": -1},
        {"epoch": 1 << 63},
        {"epoch": 10**400},
        {"epoch": 1.5},
        {"epoch": "1"},
        {"epoch": True},
        {"epoch": None},
        {"digest": "0" * 31},
        {"digest": "0" * 32 + "\n"},
        {"name": ""},
        {"name": "x" * 65},
        {"port": 65536},
        {"hint": -1},
        {"advertise": "a b"},
        {"advertise": "evil\r\nHost: x"},
        {"advertise": "x" * 254},
        {"unknown": 1},
        {"put": [msgspec.to_builtins(OWN)] * (PAGE + 1)},
        {"drop": [["a", CID]] * (PAGE + 1)},
        {"drop": [["a"]]},
        {"drop": [["", CID]]},
    ],
    ids=lambda change: str(change)[:40],
)
def test_what_is_no_announcement(change: dict[str, Any]) -> None:
    decode(encode(RENEWAL), Announce)
    with pytest.raises(DataError):
        decode(msgspec.json.encode(RENEWAL | change) if change.get("epoch") != 10**400 else huge_number(), Announce)


def huge_number() -> bytes:
    return encode(RENEWAL).replace(b'"epoch":1', b'"epoch":1' + b"0" * 400)


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (0, ""),
        (0, "x" * 4097),
        (1, CID + "\n"),
        (1, ""),
        (2, "owner"),
        (3, -1),
        (3, MAX_SIZE + 1),
        (3, None),
        (4, 1 << 63),
        (4, -(1 << 63) - 1),
        (5, "d" * 39),
        (5, SHA1 + "\n"),
        (6, 1),
        (7, None),
        (8, {"a": 1}),
        (8, {ME: -1}),
        (8, {ME: MAX_REV + 1}),
        (8, {f"{number:064x}": 1 for number in range(65)}),
    ],
)
def test_what_is_no_item(position: int, value: object) -> None:
    line = list(msgspec.to_builtins(OWN))
    assert decode(encode(line), Item) == OWN
    line[position] = value
    with pytest.raises(DataError):
        decode(encode(line), Item)


def test_an_item_has_no_more_fields_than_it_has() -> None:
    with pytest.raises(DataError):
        decode(encode([*msgspec.to_builtins(OWN), 1]), Item)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{",
        b"\xff\xfe",
        b"NaN",
        b'{"id": NaN}',
        b'{"id": "\\ud800"}',
        b"[" * 100_000,
        b'{"put":' * 100_000,
        b'{"x":' * 100_000,
        encode(RENEWAL) + b"x",
        encode(RENEWAL) + encode(RENEWAL),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_of_that_type(body: bytes) -> None:
    with pytest.raises(DataError):
        decode(body, Announce)


@pytest.mark.parametrize("kind", [dict, Renewed, Changes])
@pytest.mark.parametrize("nested", [b"[", b'{"x":'])
def test_what_is_nested_without_end_is_no_message_even_in_a_field_that_nobody_knows(kind: type, nested: bytes) -> None:
    with pytest.raises(DataError):
        decode(b'{"unknown":' + nested * 100_000, kind)


def test_a_body_over_the_limit_is_not_even_parsed() -> None:
    body = encode(RENEWAL)
    decode(body + b" " * (MAX_BODY - len(body)), Announce)
    with pytest.raises(DataError, match="at most"):
        decode(body + b" " * (MAX_BODY - len(body) + 1), Announce)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Renewed, {"version": "c.1", "settling": False, "refresh": 0, "ttl": 15}),
        (Renewed, {"version": "c.1", "settling": False, "refresh": -5, "ttl": 15}),
        (Renewed, {"version": "c.1", "settling": False, "refresh": 5, "ttl": 1e300}),
        (Renewed, {"version": "c\n1", "settling": False, "refresh": 5, "ttl": 15}),
        (Renewed, {"version": "", "settling": False, "refresh": 5, "ttl": 15}),
        (Renewed, {"version": "c" * 101, "settling": False, "refresh": 5, "ttl": 15}),
        (Evicted, {"ok": True, "sequence": -1}),
        (Entry, {"cid": "../../etc/passwd", "size": 1, "mtime": 0}),
        (Entry, {"cid": CID, "size": -1, "mtime": 0}),
        (Entry, {"cid": CID, "size": MAX_SIZE + 1, "mtime": 0}),
        (Entry, {"cid": CID, "size": 1, "mtime": 1 << 64}),
        (Entry, {"cid": CID, "size": 1, "mtime": 0, "sha1": "x"}),
        (Entry, {"cid": CID, "size": 1, "mtime": 0, "holders": ["x"]}),
        (PeerRow, {"id": "x", "name": "ada", "url": ""}),
        (PeerRow, {"id": ME, "name": "", "url": ""}),
        (PeerRow, {"id": ME, "name": "ada", "url": "file:///etc/passwd"}),
        (PeerRow, {"id": ME, "name": "ada", "url": "http://user@host:80"}),
        (PeerRow, {"id": ME, "name": "ada", "url": "http://host:80/path"}),
        (PeerRow, {"id": ME, "name": "ada", "url": "http://host:80\r\nX: y"}),
        (Holders, {"cid": CID, "holders": [{"id": ME, "name": "a", "url": ""}] * (PAGE + 1), "partial": []}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_a_tracker_may_not_say(kind: type, body: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        decode(encode(body), kind)


@pytest.mark.parametrize(
    "item",
    [
        Item("../x", CID, "own", 1, 0, SHA1, revs={ME: 1}),
        Item(".shoal/identity", CID, "own", 1, 0, SHA1, revs={ME: 1}),
        Item("a\nb", CID, "own", 1, 0, SHA1, revs={ME: 1}),
        Item("l", link_cid("../x"), "own", 0, 0, link="../x", revs={ME: 1}),
        Item("l", link_cid("/etc"), "own", 0, 0, link="/etc", revs={ME: 1}),
        Item("l", link_cid("a"), "own", 0, 0, link="b", revs={ME: 1}),
        Item("l", link_cid("a"), "own", 3, 0, link="a", revs={ME: 1}),
        Item("d", DIR_CID, "own", 3, 0, revs={ME: 1}),
        Item("n", CID, "nothing", 0, 0, SHA1, revs={ME: 1}),
        Item("n", NOTHING_CID, "own", 0, 0, revs={ME: 1}),
        Item("f", CID, "own", 1, 0, SHA1),
        Item("f", CID, "own", 1, 0, SHA1, revs={OTHER: 1}),
        Item("f", CID, "own", 1, 0, SHA1, revs={ME: 1, OTHER: 1}),
        Item("f", CID, "own", 1, 0, revs={ME: 1}),
    ],
    ids=lambda item: f"{item.path!r} {item.kind} {item.link!r}",
)
def test_items_that_contradict_themselves(item: Item) -> None:
    with pytest.raises(DataError):
        check_item(item, ME)


def test_a_secret_proves_its_id_and_no_other() -> None:
    secret = "5" * 64
    assert proves(secret, peer_id(secret))
    assert not proves("6" * 64, peer_id(secret))
    assert not proves("", peer_id(secret))
    assert not proves("\xe9", "\xe9")


def test_a_proof_is_compared_in_a_time_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else than the comparison that takes the same time for every guess has a say."""
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: True)
    assert proves("6" * 64, ME)
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: False)
    assert not proves("5" * 64, peer_id("5" * 64))


def test_the_digest_does_not_depend_on_the_order_in_which_revs_came() -> None:
    one, other = Digest(), Digest()
    one.add(Item("f", CID, "copy", 1, 0, SHA1, revs={ME: 1, OTHER: 2}))
    other.add(Item("f", CID, "copy", 1, 0, SHA1, revs={OTHER: 2, ME: 1}))
    assert str(one) == str(other)


def test_a_digest_continues_from_its_text() -> None:
    digest = Digest()
    digest.add(OWN)
    assert len(str(digest)) == 32
    digest = Digest(str(digest))
    digest.remove(OWN)
    assert str(digest) == str(Digest()) == "0" * 32


def test_one_leave_decodes_and_does_not_become_another_type() -> None:
    assert decode(encode(Leave(ME, 1)), Leave) == Leave(ME, 1)
    with pytest.raises(DataError):
        decode(encode(Leave(ME, 1)), Announce)
