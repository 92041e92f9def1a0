"""What is read of news that peers send, and what of those that no honest one would send."""

import base64
import tracemalloc

import pytest

from peer import bitmap, news
from peer.news import MOST, NOTHING, READERS, News

ME = b"a" * 64
COUNT = 300


def heard(count: int = COUNT, **fields: bytes) -> News:
    """What is read of these fields, `shoal-` left out of their names, said by a peer."""
    return news.read({b"shoal-" + name.encode(): value for name, value in {"peer": ME, **fields}.items()}, count)


def test_a_request_and_an_answer_as_they_are_sent() -> None:
    pieces = bitmap.span(0, 4) | bitmap.span(20, 22)
    value, _ = news.have(pieces, bitmap.span(0, 4))
    assert value == b"16 DA=="
    assert heard(have=value, want=b"22-300") == News(ME.decode(), (22, 300), bitmap.span(20, 22))
    other = b"b" * 64
    answer = {b"shoal-want": b"0-0", b"shoal-readers": other + b" " + ME}
    assert news.read(answer, COUNT) == News(readers=(other.decode(), ME.decode()))


def test_each_field_is_heard_without_the_others() -> None:
    assert news.read({b"shoal-readers": ME}, COUNT).readers == (ME.decode(),), "of who has all that is all there is"
    assert news.read({b"shoal-want": b"1-2"}, COUNT).want == (1, 2)
    assert news.read({b"shoal-peer": ME}, COUNT).peer == ME.decode()


def test_where_nothing_is_said_there_is_nothing() -> None:
    for fields in ({}, {b"host": b"a", b"range": b"bytes=0-1"}, {b"shoal-other": ME}):
        assert news.read(fields, COUNT) is NOTHING
    assert News() == NOTHING
    assert (NOTHING.want, NOTHING.pieces, NOTHING.readers) == ((0, 0), 0, ())


def test_there_is_nothing_to_tell_when_all_was_told() -> None:
    assert news.have(0, 0) == (b"", 0)
    assert news.have(bitmap.span(3, 9), bitmap.span(0, 20)) == (b"", bitmap.span(0, 20))


# -- what a hostile sender can send ------------------------------------------------------------------------------------


NO_IDS = (b"", b"a" * 63, b"a" * 65, b"A" * 64, b"g" * 64, ME + b"\n", b" " + ME[1:], b"\xff" * 64, ME + b", " + ME)
NO_WANTS = [
    *(b"", b"5", b"1-", b"-1-5", b"1 - 2", b"1-2-3", b"1-2, 1-2", b"+1-2", b"0x1-2", b"1_0-20", b"1-2\n", b"\xb2-3"),
    *("\N{ARABIC-INDIC DIGIT ONE}-2".encode(), b"1234567890-2", b"1-" + b"9" * 10_000),
]
NO_BITMAPS = [
    *(b"", b"0", b"0 ", b"gA==", b"x gA==", b"-8 gA==", b"0  gA==", b"0 gA== ", b"0\tgA==", b"0 gA==\n"),
    *(b"0 g", b"0 gA", b"0 gA=", b"0 =gA=", b"0 gA==gA==", b"0 g===", b"0 ====", b"0 g-_=", b"0 \xff\xff=="),
    *(b"0 gA==, 8 gA==", b"1234567890 gA==", "\N{ARABIC-INDIC DIGIT EIGHT} gA==".encode()),
]


@pytest.mark.parametrize("id", NO_IDS)
def test_who_has_no_id_is_nobody_and_is_heard_all_the_same(id: bytes) -> None:
    assert heard(peer=id, want=b"1-2", have=b"0 gA==") == News("", (1, 2), 1)


@pytest.mark.parametrize("want", NO_WANTS)
def test_a_want_in_another_form_is_none(want: bytes) -> None:
    assert heard(want=want, have=b"0 gA==") == News(ME.decode(), (0, 0), 1)


def test_nothing_is_wanted_beyond_the_last_piece() -> None:
    assert heard(want=b"7-999999999").want == (7, COUNT)
    assert heard(count=0, want=b"0-5").want == (0, 0)


@pytest.mark.parametrize("have", NO_BITMAPS)
def test_a_bitmap_in_another_form_is_none(have: bytes) -> None:
    assert heard(have=have, want=b"1-2") == News(ME.decode(), (1, 2), 0)


def test_a_bitmap_has_its_length_and_no_more() -> None:
    whole = base64.b64encode(b"\xff" * MOST)
    assert heard(count=8 * MOST, have=b"0 " + whole).pieces == bitmap.span(0, 8 * MOST)
    for more in (MOST + 3, 2 * MOST, 10 * MOST):
        assert heard(count=10**6, have=b"0 " + base64.b64encode(b"\xff" * more)).pieces == 0


def test_no_piece_is_heard_of_that_there_is_not() -> None:
    full = base64.b64encode(b"\xff" * 8)
    assert heard(count=61, have=b"0 " + full).pieces == bitmap.span(0, 61)
    assert heard(count=61, have=b"56 " + full).pieces == bitmap.span(56, 61)
    assert heard(count=61, have=b"3 " + full).pieces == bitmap.span(3, 61), (
        "a FIRST that is no multiple of 8 is its own"
    )
    for first in (b"61", b"64", b"999999999"):
        assert heard(count=61, have=first + b" " + full).pieces == 0
    assert heard(count=0, have=b"0 " + full).pieces == 0


def test_so_many_readers_and_those_that_have_an_id() -> None:
    ids = [b"%064x" % number for number in range(200)]
    assert heard(readers=b" ".join(ids)).readers == tuple(id.decode() for id in ids[:READERS])
    assert heard(readers=b"  ".join([b"http://evil:1", ids[0], b"B" * 64, ids[1][:63], ids[2]])).readers == (
        ids[0].decode(),
        ids[2].decode(),
    )
    assert heard(readers=b", ".join(ids)).readers == (), "fields said twice are joined so, and are no list"


@pytest.mark.parametrize("have", [b"999999999 gA==", b"999999992 " + b"/" * 4 * (MOST // 3), b"9" * 16_000 + b" gA=="])
def test_a_short_line_makes_no_large_number(have: bytes) -> None:
    """The number of a set is as large as its highest piece: a FIRST beyond the file must not become one."""
    tracemalloc.start()
    try:
        assert heard(count=100_000, have=have, want=b"999999999-999999999").pieces == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
