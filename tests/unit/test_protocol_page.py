"""docs/protocol.md: its examples are messages, and its numbers are the code's."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from shoal import wire
from shoal.manifest import MAX_SIZE, Manifest, manifest_of
from shoal.names import MAX_DEPTH, MAX_PART_BYTES, MAX_PATH_BYTES
from shoal.wire import Announce, Digest, Item, check_item, decode, encode, peer_id

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
EXAMPLES = re.findall(r"<!-- (\w+) -->\n```json\n(.*?)\n```", TEXT, re.DOTALL)
ME = peer_id("5" * 64)


def of(kind: type) -> list:
    return [decode(body.encode(), kind) for name, body in EXAMPLES if name == kind.__name__]


@pytest.mark.parametrize(("name", "body"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_is_a_message_of_its_type(name: str, body: str) -> None:
    message = decode(body.encode(), getattr(wire, name))
    assert json.loads(encode(message).replace(b",false]", b"]")) == json.loads(body)  # what may be left out
    for item in [message] if isinstance(message, Item) else getattr(message, "put", []):
        check_item(item, ME)


def test_every_message_has_an_example_and_every_example_a_type() -> None:
    messages = {"Announce", "Renewed", "Leave", "Evict", "Evicted", "Changes", "Holders", "Problem", "Item"}
    assert {name for name, _ in EXAMPLES} == messages
    assert TEXT.count("```json") == len(EXAMPLES)
    assert {item.kind for item in of(Item)} == {"own", "copy", "partial", "nothing"}


def test_the_announcements_follow_each_other() -> None:
    renewal, whole, delta = of(Announce)
    assert {message.id for message in (renewal, whole, delta)} == {ME}
    digest = Digest()
    for item in whole.put:
        digest.add(item)
    assert str(digest) == whole.digest
    for path, cid in delta.drop:
        digest.remove(next(item for item in whole.put if (item.path, item.cid) == (path, cid)))
    for item in delta.put:
        digest.add(item)
    assert str(digest) == delta.digest == renewal.digest
    assert (delta.base, delta.sequence) == (whole.sequence, renewal.sequence)


def test_the_digest_is_what_the_page_says_it_is() -> None:
    _, whole, _ = of(Announce)
    lists = [json.loads(body) for name, body in EXAMPLES if name == "Announce" and '"part"' in body]
    total = 0
    for item in lists[0]["put"]:
        item[8] = dict(sorted(item[8].items()))
        assert len(item) == 9 or item[9] is True
        text = json.dumps(item, separators=(",", ":"), ensure_ascii=False)
        total += int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
    assert f"{total % 2**128:032x}" == whole.digest


def test_the_manifest_shown_is_that_of_its_cid() -> None:
    manifest = manifest_of(b"a")
    shown = re.search(r"```\n(shoal 1\n.*?\n\n)<20 bytes: ([0-9a-f]{40})>\n```", TEXT, re.DOTALL)
    assert shown is not None
    body = shown[1].encode() + bytes.fromhex(shown[2])
    assert Manifest.decode(body, manifest.cid) == manifest
    assert f"GET /v1/content/{manifest.cid} HTTP/1.1" in TEXT
    assert f"Repr-Digest: sha-256=:{base64.b64encode(bytes.fromhex(manifest.sha256)).decode()}:" in TEXT


def test_limits_are_those_of_the_code() -> None:
    assert wire.MAX_BODY == 1 << 20 and "| a JSON body, either way | 1 MiB |" in TEXT
    assert f"rows in one page | {wire.PAGE:,} |" in TEXT
    assert f"{MAX_PATH_BYTES} bytes, {MAX_PART_BYTES} bytes, {MAX_DEPTH} |" in TEXT
    assert MAX_SIZE == 1 << 44 and wire.MAX_REV == 1 << 53
