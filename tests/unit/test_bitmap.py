"""Sets of pieces at their ends: none at all, none any more, and bits that stand for no piece."""

import pytest

from peer import bitmap
from shoal.errors import DataError


def test_a_span_is_its_pieces_and_one_that_ends_before_it_begins_is_none() -> None:
    assert bitmap.span(0, 0) == bitmap.span(7, 7) == bitmap.span(9, 3) == 0
    assert bitmap.span(2, 5) == 0b11100
    assert bitmap.span(1000, 1001) == 1 << 1000


def test_no_set_has_a_first_or_a_last_if_it_is_empty() -> None:
    assert (bitmap.lowest(0), bitmap.highest(0)) == (-1, -1)
    assert (bitmap.lowest(1), bitmap.highest(1)) == (0, 0)


def test_a_stretch_goes_no_further_than_it_is_asked_for() -> None:
    assert bitmap.stretch(bitmap.span(0, 100), 90, 4) == 94
    assert bitmap.stretch(bitmap.span(0, 100), 98, 4) == 100


def test_no_pieces_have_no_bitmap() -> None:
    assert bitmap.to_wire(0, 0) == b""
    assert bitmap.from_wire(b"", 0) == bitmap.of_flags(b"") == 0
    with pytest.raises(DataError):
        bitmap.from_wire(b"\0", 0)


def test_bits_after_the_last_piece_stand_for_nothing() -> None:
    assert bitmap.from_wire(b"\xff\xff", 9) == bitmap.span(0, 9)
    assert bitmap.from_wire(b"\x00\x7f", 9) == 0


@pytest.mark.parametrize(("length", "count"), [(0, 1), (1, 0), (1, 9), (3, 16), (100, 8), (1, 10**15)])
def test_a_bitmap_of_another_length_is_refused(length: int, count: int) -> None:
    with pytest.raises(DataError, match=f"a bitmap of {length} bytes for {count} pieces"):
        bitmap.from_wire(b"\xff" * length, count)


def test_a_set_that_does_not_fit_is_not_cut() -> None:
    with pytest.raises(OverflowError):
        bitmap.to_wire(1 << 16, 16)
