"""Manifests and cids against the test vectors of docs/protocol.md, which are computed here a second way."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.errors import BadManifest
from shoal.manifest import (
    DIR_CID,
    GIB,
    KIB,
    MAX_SIZE,
    MIB,
    NOTHING_CID,
    Cid,
    Manifest,
    ManifestBuilder,
    is_cid,
    link_cid,
    manifest_length,
    manifest_of,
    piece_count,
    piece_size,
)

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"

# (size, piece, manifest's length, cid); the one-byte file is "a", the others are zeros.
VECTORS = [
    (0, 256 * KIB, 147, "53944bf3ded43d09f141bdc63876cc22643886275987d87b20310b045c801ef1"),
    (1, 256 * KIB, 167, "ef6f747bfafe7b8180103dad42fb5c45f9389309b77bd13e13a3337ee0913c59"),
    (256 * KIB, 256 * KIB, 172, "fd3db5a11cba67c879ae9b453f714dc08faa130c282abede7b23653b2c372bd9"),
    (256 * KIB + 1, 256 * KIB, 192, "034b1885b11ec0270c65caa13b9310110f75b69934687e23161ac49ad8006a92"),
    (256 * MIB, 256 * KIB, 20635, "31c58788f2d219380a41b0fe9c65373c733acd4032d9f656679828ff299ab521"),
    (256 * MIB + 1, MIB, 5296, "1190f478d9c362b4adc28029ea5e9eb0d7cbbe9c6456e668bebfe42d18057ec2"),
]


def chunks_of(size: int) -> Iterator[bytes]:
    if size == 1:
        yield b"a"
        return
    block = bytes(MIB)
    for start in range(0, size, MIB):
        yield block[: min(MIB, size - start)]


def by_hand(size: int, piece: int) -> bytes:
    """A manifest put together from the format's words alone (chunks are whole pieces here)."""
    sha1, sha256, pieces = hashlib.sha1(), hashlib.sha256(), b""
    for chunk in chunks_of(size):
        sha1.update(chunk)
        sha256.update(chunk)
        pieces += b"".join(hashlib.sha1(chunk[at : at + piece]).digest() for at in range(0, len(chunk), piece))
    lines = ["shoal 1", f"size {size}", f"piece {piece}", f"sha1 {sha1.hexdigest()}", f"sha256 {sha256.hexdigest()}"]
    return "".join(line + "\n" for line in [*lines, ""]).encode() + pieces


@pytest.mark.parametrize(("size", "piece", "length", "cid"), VECTORS)
def test_vector(size: int, piece: int, length: int, cid: Cid) -> None:
    manifest = manifest_of(chunks_of(size), size)
    body = by_hand(size, piece)
    assert manifest.encode() == body
    assert (manifest.piece, len(body), manifest_length(size), manifest.cid) == (piece, length, length, cid)
    assert Manifest.decode(body, cid) == manifest
    assert f"| {size} | {piece} | {piece_count(size)} | {length} | `{cid}` |" in PROTOCOL.read_text()


@pytest.mark.parametrize(
    ("size", "piece", "count", "length"),
    [
        (16 * GIB, MIB, 16384, 327838),
        (16 * GIB + 1, 4 * MIB, 4097, 82098),
    ],
)
def test_border_by_formula(size: int, piece: int, count: int, length: int) -> None:
    assert (piece_size(size), piece_count(size), manifest_length(size)) == (piece, count, length)
    assert f"| {size} | {piece} | {count} | {length} |" in PROTOCOL.read_text()


def test_the_largest_manifest_is_bounded() -> None:
    assert manifest_length(MAX_SIZE) <= 81 * MIB


def test_pieces_of_a_file() -> None:
    data = bytes(range(256)) * 1024 + b"tail"
    manifest = manifest_of(data)
    assert manifest.count == 2
    assert [manifest.span(0), manifest.span(1)] == [(0, 256 * KIB), (256 * KIB, 4)]
    assert manifest.hash_of(0) == hashlib.sha1(data[: 256 * KIB]).digest()
    assert manifest.hash_of(1) == hashlib.sha1(b"tail").digest()


def test_what_is_not_a_file_has_a_cid_of_its_own() -> None:
    assert link_cid("../b") == hashlib.sha256(b"shoal link\n../b").hexdigest()
    assert hashlib.sha256(b"shoal dir\n").hexdigest() == DIR_CID
    assert hashlib.sha256(b"shoal nothing\n").hexdigest() == NOTHING_CID
    assert len({link_cid("a"), link_cid("b"), DIR_CID, NOTHING_CID}) == 4


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "\u0661" * 64])
def test_what_is_no_cid(text: str) -> None:
    assert not is_cid(text)
    assert is_cid("0123456789abcdef" * 4)


@pytest.mark.parametrize("said", [0, 4, 6])
def test_more_or_fewer_bytes_than_said_are_no_manifest(said: int) -> None:
    builder = ManifestBuilder(said)
    builder.update(b"12345")
    with pytest.raises(BadManifest):
        builder.finish()


ONE = manifest_of(b"a").encode()
BROKEN = {
    "another version": ONE.replace(b"shoal 1", b"shoal 2"),
    "another size": ONE.replace(b"size 1", b"size 2000000"),
    "a size too large": ONE.replace(b"size 1", b"size %d" % (MAX_SIZE + 1)),
    "a negative size": ONE.replace(b"size 1", b"size -1"),
    "a size with zeros in front": ONE.replace(b"size 1", b"size 01"),
    "another piece": ONE.replace(b"piece 262144", b"piece 131072"),
    "a piece with a zero in front, one hash byte short": ONE.replace(b"piece 262144", b"piece 0262144")[:-1],
    "upper case": ONE.replace(b"sha1 86f7e4", b"sha1 86F7E4"),
    "a hash short": ONE[:-20],
    "a byte short": ONE[:-1],
    "a byte long": ONE + b"\0",
    "CRLF": ONE.replace(b"\n", b"\r\n"),
    "nothing": b"",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_manifest_is_refused_even_under_its_own_hash(body: bytes) -> None:
    with pytest.raises(BadManifest):
        Manifest.decode(body, Cid(hashlib.sha256(body).hexdigest()))


def test_a_manifest_of_a_file_over_the_limit_is_refused() -> None:
    size = MAX_SIZE + 1
    head = f"shoal 1\nsize {size}\npiece {piece_size(size)}\nsha1 {'0' * 40}\nsha256 {'0' * 64}\n\n".encode()
    body = head + bytes(20 * piece_count(size))
    with pytest.raises(BadManifest):
        Manifest.decode(body, Cid(hashlib.sha256(body).hexdigest()))


def test_another_files_manifest_is_refused() -> None:
    with pytest.raises(BadManifest):
        Manifest.decode(ONE, manifest_of(b"b").cid)
