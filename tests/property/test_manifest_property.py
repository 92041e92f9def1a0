"""Manifests: equal bytes have an equal cid, and nothing else has it."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import BadManifest
from shoal.manifest import (
    MAX_SIZE,
    Cid,
    Manifest,
    ManifestBuilder,
    manifest_length,
    manifest_of,
    piece_count,
    piece_size,
)

SIZES = st.integers(0, MAX_SIZE)
# A few bytes over and over: long enough for several pieces, cheap to draw.
FILES = st.builds(
    lambda seed, times, tail: seed * times + tail,
    st.binary(min_size=1, max_size=97),
    st.sampled_from([0, 1, 2702, 2703, 6000, 9000]),
    st.binary(max_size=9),
)


@given(FILES, st.lists(st.integers(1, 400_000), max_size=6))
def test_the_cid_does_not_depend_on_how_the_bytes_came(data: bytes, cuts: list[int]) -> None:
    """However a file's bytes are cut while they are read, the manifest is the same and decodes to itself."""
    builder, at = ManifestBuilder(len(data)), 0
    for cut in cuts:
        builder.update(memoryview(data)[at : at + cut])
        at += cut
    builder.update(data[at:])
    manifest = builder.finish()
    assert manifest == manifest_of(data)
    assert Manifest.decode(manifest.encode(), manifest.cid) == manifest
    assert len(manifest.encode()) == manifest_length(len(data))
    assert manifest.sha1 == hashlib.sha1(data).hexdigest()


@given(FILES)
def test_pieces_cover_the_file_once(data: bytes) -> None:
    """The spans of the pieces, one after the other, are the file, and each has the hash that its bytes have."""
    manifest, at = manifest_of(data), 0
    for number in range(manifest.count):
        offset, length = manifest.span(number)
        assert offset == at and length > 0
        assert hashlib.sha1(data[offset : offset + length]).digest() == manifest.hash_of(number)
        at += length
    assert at == len(data)


@given(SIZES)
def test_sizes_agree(size: int) -> None:
    """For every size the pieces just cover it, and there are at most four million of them."""
    assert (piece_count(size) - 1) * piece_size(size) < max(size, 1) <= max(piece_count(size), 1) * piece_size(size)
    assert piece_count(size) <= 4 << 20


@given(st.binary(max_size=300), st.binary(max_size=100), st.integers(0, 300), st.integers(0, 40))
def test_what_decodes_is_canonical(noise: bytes, data: bytes, at: int, cut: int) -> None:
    """Whatever bytes decode as the manifest of their own hash encode to the same bytes, so to the same cid."""
    honest = manifest_of(data).encode()
    for body in (noise, honest[:at] + noise[:cut] + honest[at + cut :]):
        cid = Cid(hashlib.sha256(body).hexdigest())
        try:
            manifest = Manifest.decode(body, cid)
        except BadManifest:
            continue
        assert manifest.encode() == body and manifest.cid == cid
