import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.data.ranges import Unsatisfiable, holds, span

ETAG, DATE = b'"abc"', b"Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-0", (0, 1)),
        (b"bytes=0-", (0, 10)),
        (b"bytes=9-", (9, 1)),
        (b"bytes=2-5", (2, 4)),
        (b"bytes=2-99", (2, 8)),
        (b"bytes=2-" + b"9" * 5000, (2, 8)),
        (b"bytes=" + b"0" * 5000 + b"2-3", (2, 2)),
        (b"bytes=-3", (7, 3)),
        (b"bytes=-99", (0, 10)),
        (b"BYTES= 1-1 ", (1, 1)),
    ],
)
def test_one_range_of_bytes_is_taken(value, expected):
    assert span(value, 10) == expected


@pytest.mark.parametrize(
    "value",
    [
        *[None, b"", b"bytes", b"bytes=", b"bytes=-", b"bytes=a-b", b"bytes=5-2", b"bytes=0-1,3-4"],
        *[
            b"bytes=0-1, bytes=3-4",
            b"lines=0-1",
            b"bytes=+1-2",
            b"bytes=1.5-2",
            b"bytes=0x1-2",
            b"bytes =0-1",
            "bytes=١-٢".encode(),
        ],
    ],
)
def test_what_is_no_single_range_of_bytes_gives_the_whole(value):
    assert span(value, 10) is None


@pytest.mark.parametrize("value", [b"bytes=10-", b"bytes=10-12", b"bytes=-0", b"bytes=" + b"9" * 5000 + b"-"])
def test_a_range_without_bytes_cannot_be_satisfied(value):
    with pytest.raises(Unsatisfiable):
        span(value, 10)


def test_an_empty_file():
    assert span(b"bytes=-5", 0) is None
    with pytest.raises(Unsatisfiable):
        span(b"bytes=0-", 0)


@given(
    st.binary(max_size=40) | st.from_regex(rb"bytes=[0-9]{0,22}-[0-9]{0,22}", fullmatch=True), st.integers(0, 1 << 53)
)
def test_spans_lie_in_the_file(value, size):
    """Whatever the header, the span is not empty and inside the file, or there is none."""
    try:
        found = span(value, size)
    except Unsatisfiable:
        return
    if found is not None:
        offset, length = found
        assert offset >= 0 and length > 0 and offset + length <= size


@given(st.integers(1, 1 << 53), st.data())
def test_an_exact_range_is_what_was_asked(size, data):
    """Any first ≤ last < size is answered by exactly those bytes."""
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first, size - 1))
    assert span(b"bytes=%d-%d" % (first, last), size) == (first, last - first + 1)


@pytest.mark.parametrize(("value", "expected"), [(None, True), (ETAG, True), (DATE, True), (b"W/" + ETAG, False)])
def test_if_range_holds_for_the_strong_tag_and_the_exact_date(value, expected):
    assert holds(value, ETAG, DATE) is expected


@pytest.mark.parametrize("value", [b"abc", b'"ab"', b"*", b"", b"Sun, 06 Nov 1994 08:49:38 GMT", b'"abc", "d"'])
def test_if_range_holds_for_nothing_else(value):
    assert not holds(value, ETAG, DATE)
    assert not holds(value, ETAG, b"")
