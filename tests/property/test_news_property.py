"""What peers tell each other of their pieces: all of it arrives, and nothing else."""

import base64
from functools import reduce
from operator import or_

from hypothesis import given
from hypothesis import strategies as st

from peer import bitmap, news
from peer.news import MOST, READERS

STRETCH = 8 * MOST
"""Pieces that one field can tell of at most."""
ME = b"a" * 64
COUNT = 3 * STRETCH
numbers = st.one_of(st.integers(0, 100), st.integers(STRETCH - 9, STRETCH + 9), st.integers(0, COUNT - 1))
spans = st.builds(lambda first, size: bitmap.span(first, min(first + size, COUNT)), numbers, st.integers(1, COUNT))
few = st.lists(st.one_of(spans, numbers.map(lambda number: 1 << number)), max_size=5)
sets = few.map(lambda parts: reduce(or_, parts, 0))
"""Sets of one piece, of a few, and of more than one field tells of."""


def number(pieces: set[int]) -> int:
    return sum(1 << n for n in pieces)


def heard(value: bytes, count: int = COUNT) -> int:
    """The pieces that a field tells of."""
    return news.read({b"shoal-peer": ME, b"shoal-have": value}, count).pieces


@given(sets, sets)
def test_what_is_told_is_read_whatever_was_told_before(pieces: int, told: int) -> None:
    """One field tells of the first piece not told yet, of none that is not there, and marks as told what it tells."""
    value, now = news.have(pieces, told)
    if not pieces & ~told:
        assert (value, now) == (b"", told)
        return
    first, _, body = value.partition(b" ")
    assert int(first) % 8 == 0
    assert len(base64.b64decode(body)) <= MOST
    assert heard(value) & ~pieces == 0
    assert heard(value) >> bitmap.lowest(pieces & ~told) & 1
    assert now == told | heard(value)


@given(sets, sets)
def test_as_many_fields_as_there_are_stretches_tell_all(pieces: int, told: int) -> None:
    """Field after field tells of new pieces only, until nothing is left; two never tell the same news."""
    new, fields = pieces & ~told, 0
    while True:
        value, now = news.have(pieces, told)
        if not value:
            break
        assert heard(value) & new & told == 0
        told, fields = now, fields + 1
    assert new & ~told == 0
    assert fields <= -(-COUNT // STRETCH) + 1


@given(st.binary(max_size=MOST), st.integers(0, 3 * STRETCH), st.integers(0, 2 * STRETCH))
def test_a_bitmap_is_read_as_far_as_there_are_pieces(body: bytes, first: int, count: int) -> None:
    """Piece FIRST + i is heard of if bit i is set and it exists."""
    pieces = heard(b"%d %b" % (first, base64.b64encode(body)), count)
    told = (first + i for i in range(8 * len(body)) if body[i // 8] & (0x80 >> i % 8))
    assert pieces == number({n for n in told if n < count})


@given(st.lists(st.sets(st.integers(0, 30_000), max_size=40), max_size=6))
def test_news_tell_each_piece_once_and_in_the_end_all_of_them(steps: list[set[int]]) -> None:
    """Whoever hears all that is told knows all pieces, nothing else, and no field is longer than it may be."""
    here = told = heard = 0
    for step in steps:
        here |= number(step)
        for _ in range(8):
            value, told = news.have(here, told)
            if not value:
                break
            assert len(value) < 2 * MOST
            fields = {b"shoal-peer": b"a" * 64, b"shoal-have": value}
            heard |= news.read(fields, 30_001).pieces
        assert heard & ~here == 0
    while told != here:
        value, told = news.have(here, told)
        heard |= news.read({b"shoal-want": b"0-1", b"shoal-have": value}, 30_001).pieces
    assert heard == here


@given(st.dictionaries(st.sampled_from([b"shoal-peer", b"shoal-want", b"shoal-have", b"shoal-readers"]), st.binary()))
def test_whatever_is_told_is_read_within_its_bounds(fields: dict[bytes, bytes]) -> None:
    told = news.read(fields, 100)
    assert told.pieces.bit_length() <= 100
    assert told.want[1] <= 100
    assert len(told.readers) <= READERS
