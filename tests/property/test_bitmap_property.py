"""Sets of pieces as numbers, and what peers tell each other of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer import bitmap, news
from peer.swarm.rarity import Rarity
from shoal.errors import DataError

sets = st.sets(st.integers(0, 300))


def number(pieces: set[int]) -> int:
    return sum(1 << n for n in pieces)


@given(sets, st.integers(301, 400))
def test_a_bitmap_has_a_bit_a_piece_most_significant_first_and_gives_the_set_back(pieces: set[int], count: int) -> None:
    body = bitmap.to_wire(number(pieces), count)
    assert len(body) == -(-count // 8)
    assert all(bool(body[n // 8] & (0x80 >> n % 8)) == (n in pieces) for n in range(count))
    assert bitmap.from_wire(body, count) == number(pieces)
    with pytest.raises(DataError):
        bitmap.from_wire(body + b"\0", count)


@given(st.lists(st.sampled_from([0, 1, 2])))
def test_flags_of_one_are_in_the_set(flags: list[int]) -> None:
    assert bitmap.of_flags(bytes(flags)) == number({n for n, flag in enumerate(flags) if flag == 1})


@given(sets, st.integers(0, 300), st.integers(1, 300))
def test_a_stretch_ends_at_the_first_that_is_not_in_the_set(pieces: set[int], first: int, most: int) -> None:
    pieces.add(first)
    end = bitmap.stretch(number(pieces), first, most)
    assert all(n in pieces for n in range(first, end))
    assert end == first + most or end not in pieces
    assert bitmap.lowest(number(pieces)) == min(pieces)
    assert bitmap.highest(number(pieces)) == max(pieces)


@given(st.lists(sets, max_size=12), st.data())
def test_counts_are_those_of_the_sets_and_the_rarest_are_the_fewest(found: list[set[int]], data: st.DataObject) -> None:
    rarity = Rarity()
    for pieces in found:
        rarity.add(number(pieces))
    gone = data.draw(st.sets(st.integers(0, len(found) - 1))) if found else set()
    for at in gone:
        rarity.remove(number(found[at]))
    left = [pieces for at, pieces in enumerate(found) if at not in gone]
    counts = {n: sum(n in pieces for pieces in left) for n in range(301)}
    assert all(rarity.count(n) == counts[n] for n in range(301))
    assert rarity.any == number({n for n in counts if counts[n]})
    asked = data.draw(sets.filter(bool))
    fewest = min(counts[n] for n in asked)
    assert rarity.rarest(number(asked)) == number({n for n in asked if counts[n] == fewest})


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
            assert len(value) < 2 * news.MOST
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
    assert len(told.readers) <= news.READERS


@pytest.mark.parametrize("value", [b"999999999 gA==", b"101 gA==", b"8 " + b"A" * 1400, b"x gA==", b"0 g"])
def test_a_bitmap_out_of_bounds_is_not_taken(value: bytes) -> None:
    assert news.read({b"shoal-peer": b"a" * 64, b"shoal-have": value}, 100).pieces == 0
