"""The kernel's messages: what is cut short or odd is one error, what we say has the layout of the header."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.mount import protocol
from peer.mount.protocol import BadMessage, Op


def request(opcode: int, body: bytes, unique: int = 7, node: int = 1, length: int | None = None) -> memoryview:
    size = protocol.IN_HEADER.size + len(body) if length is None else length
    return memoryview(protocol.IN_HEADER.pack(size, opcode, unique, node, 0, 0, 4242, 0, 0) + body)


def test_a_request_is_taken_apart() -> None:
    parsed = protocol.parse(request(Op.LOOKUP, b"name\0", unique=9, node=5))
    assert (parsed.opcode, parsed.unique, parsed.node, parsed.pid) == (Op.LOOKUP, 9, 5, 4242)
    assert protocol.name(parsed.body) == b"name"


@pytest.mark.parametrize("cut", [0, 1, 39])
def test_less_than_a_header_is_no_request(cut: int) -> None:
    with pytest.raises(BadMessage):
        protocol.parse(request(Op.LOOKUP, b"")[:cut])


@pytest.mark.parametrize("length", [0, 39, 46, 1 << 31])
def test_a_length_that_is_not_that_of_the_message_is_an_error(length: int) -> None:
    with pytest.raises(BadMessage):
        protocol.parse(request(Op.LOOKUP, b"name\0", length=length))


@pytest.mark.parametrize("body", [b"", b"\0", b"name"])
def test_names_without_an_end_or_without_anything(body: bytes) -> None:
    with pytest.raises(BadMessage):
        protocol.name(memoryview(body))


def test_a_batch_of_forgets() -> None:
    body = struct.pack("=II4Q", 2, 0, 5, 1, 6, 3)
    assert list(protocol.forgets(memoryview(body))) == [(5, 1), (6, 3)]
    for cut in (0, 7, 8, 39):
        with pytest.raises(BadMessage):
            list(protocol.forgets(memoryview(body)[:cut]))
    with pytest.raises(BadMessage):
        list(protocol.forgets(memoryview(struct.pack("=II", 1 << 31, 0))))


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_request_or_one_error(data: bytes) -> None:
    try:
        parsed = protocol.parse(memoryview(data))
    except BadMessage:
        return
    assert len(parsed.body) == len(data) - protocol.IN_HEADER.size


def test_layouts_have_the_sizes_of_the_header() -> None:
    sizes = {
        protocol.IN_HEADER: 40,
        protocol.OUT_HEADER: 16,
        protocol.INIT_IN: 64,
        protocol.INIT_OUT: 64,
        protocol.ATTR: 88,
        protocol.ENTRY_OUT: 40,
        protocol.ATTR_OUT: 16,
        protocol.OPEN_IN: 8,
        protocol.OPEN_OUT: 16,
        protocol.READ_IN: 40,
        protocol.RELEASE_IN: 24,
        protocol.STATFS_OUT: 80,
        protocol.DIRENT: 24,
        protocol.INVAL_INODE_OUT: 24,
        protocol.INVAL_ENTRY_OUT: 16,
        protocol.BACKING_MAP: 16,
    }
    assert {layout.format: layout.size for layout in sizes} == {layout.format: n for layout, n in sizes.items()}


def test_answers_say_their_own_length() -> None:
    for message in (
        protocol.answer(7, b"body"),
        protocol.failure(7, 2),
        protocol.inval_entry(1, b"name"),
        protocol.inval_inode(1, -1),
    ):
        assert struct.unpack_from("=I", message)[0] == len(message)
    assert struct.unpack_from("=IiQ", protocol.failure(7, 2))[1:] == (-2, 7)
    assert protocol.data_head(7, 100) == protocol.answer(7, bytes(100))[:16]
    assert len(protocol.dirent(1, 1, 0o100444, b"x")) % 8 == 0
