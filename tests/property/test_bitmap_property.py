"""Sets of pieces as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer import bitmap
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
