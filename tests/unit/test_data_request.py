import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.data.pace import LOWEST, Pace
from peer.data.request import MAX_LINES, BadRequest, Request, answer_head, parse

HOST = b"Host: here"


def test_a_request():
    request = parse(b"GET /a%20b?c HTTP/1.1\r\nHost: here:1\r\nX-Odd:\r\nRANGE: \t bytes=0-1 \t")
    fields = {b"host": b"here:1", b"range": b"bytes=0-1", b"x-odd": b""}
    assert request == Request(b"GET", b"/a%20b?c", fields, keep=True, has_body=False)


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"GET / HTTP/1.1\r\nHost: a", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive", True),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", False),
    ],
)
def test_when_a_connection_goes_on(head, keep):
    assert parse(head).keep is keep


@pytest.mark.parametrize(
    "fields",
    [
        *[
            b"Content-Length: 1",
            b"Content-Length: 0\r\nContent-Length: 0",
            b"Content-Length: 00",
            b"Content-Length: +0",
        ],
        *[b"Content-Length:", b"Transfer-Encoding: identity", b"transfer-ENCODING:chunked\r\nContent-Length: 0"],
    ],
)
def test_whatever_may_announce_a_body_does(fields):
    assert parse(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n" + fields).has_body


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET /", 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET  / HTTP/1.1\r\n" + HOST, 400),
        (b"GET / HTTP/1.1 \r\n" + HOST, 400),
        (b"GET /a b HTTP/1.1\r\n" + HOST, 400),
        (b"get / HTTP/1.1\r\n" + HOST, 400),
        (b"GET /\0 HTTP/1.1\r\n" + HOST, 400),
        (b"GET / HTTP/2.0\r\n" + HOST, 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        (b"GET / HTTP/1.1\nHost: a", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nContent-Length: 5", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rContent-Length: 5", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n Content-Length: 5", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nNo colon", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: x", 400),
        (b"GET / HTTP/1.1\r\nHost: a" + b"\r\nX: y" * MAX_LINES, 431),
        (b"GET /" + b"x" * 17000 + b" HTTP/1.1\r\nHost: a", 431),
    ],
)
def test_what_is_no_request_is_refused(head, status):
    with pytest.raises(BadRequest) as error:
        parse(head)
    assert error.value.status == status


@given(st.binary(max_size=200) | st.from_regex(rb"[A-Z]+ [^ ]+ HTTP/1.[01](\r\n[!-~]+: ?.*)*", fullmatch=True))
def test_any_bytes_are_a_request_or_refused(head):
    """Parsing ends with a request whose fields have no line ends, or with BadRequest."""
    try:
        request = parse(head)
    except BadRequest:
        return
    assert b" " not in request.target
    assert not any(byte in value for value in request.fields.values() for byte in b"\r\n\0")


def test_an_answers_head():
    assert answer_head(200, [(b"A", b"b")], 5, keep=True) == (
        b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"
    )


def test_a_reader_that_takes_nothing_is_too_slow():
    pace = Pace(100.0, 7, stall=30, window=60)
    assert not pace.too_slow(129.9, 7)
    assert pace.too_slow(130.0, 7)


def test_a_reader_that_takes_a_byte_now_and_then_is_too_slow():
    pace = Pace(0.0, 0, stall=30, window=60)
    assert not any(pace.too_slow(now, now) for now in range(1, 60))
    assert pace.too_slow(60.0, 60)


@given(st.lists(st.tuples(st.floats(0.1, 29), st.floats(1, 50)), max_size=50))
def test_a_steady_reader_is_never_too_slow(steps):
    """Who takes more than the lowest speed in every step, and steps within the stall, is never given up."""
    pace, now, taken = Pace(0.0, 0, stall=30, window=60), 0.0, 0
    for pause, factor in steps:
        now, taken = now + pause, taken + int(LOWEST * pause * factor) + 2
        assert not pace.too_slow(now, taken)
