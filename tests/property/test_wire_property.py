"""Messages: decoding never surprises, and digests follow sets."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import DataError
from shoal.wire import (
    Announce,
    Changes,
    Digest,
    Entry,
    Evict,
    Evicted,
    Holders,
    Item,
    Leave,
    Problem,
    Renewed,
    check_item,
    decode,
    encode,
)

TYPES = [Announce, Changes, Entry, Evict, Evicted, Holders, Item, Leave, Problem, Renewed]
HEX64 = st.sampled_from(["a" * 64, "b" * 64, "c" * 64])
ITEMS = st.builds(
    Item,
    st.text(min_size=1, max_size=6),
    HEX64,
    st.sampled_from(["own", "copy", "partial", "nothing"]),
    st.integers(0, 1 << 44),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from(["", "d" * 40]),
    st.booleans(),
    st.text(max_size=3),
    st.dictionaries(HEX64, st.integers(0, 1 << 53), max_size=3),
)
FIELDS = sorted({field.encode_name for kind in TYPES for field in msgspec.structs.fields(kind)})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 64), 1 << 64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=70),
    HEX64,
    st.just("own"),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from(FIELDS) | HEX64, inner, max_size=9),
    max_leaves=20,
)
BODIES = st.one_of(st.binary(max_size=200), JSON.map(encode), st.text(max_size=100).map(str.encode))


@pytest.mark.parametrize("kind", TYPES)
@given(body=BODIES)
def test_decode_gives_the_type_or_one_error(kind: type, body: bytes) -> None:
    """Whatever the bytes, `decode` gives the type, which encodes to what decodes to it again, or raises DataError."""
    try:
        message = decode(body, kind)
    except DataError:
        return
    assert isinstance(message, kind)
    assert decode(encode(message), kind) == message


@given(ITEMS, st.data())
def test_a_damaged_message_gives_the_type_or_one_error(item: Item, data: st.DataObject) -> None:
    """An announcement with any stretch of its bytes replaced decodes as one, or raises DataError."""
    body = encode(Announce("a" * 64, 1, 2, "", "ada", 1, base=1, put=[item], drop=[("p", "b" * 64)]))
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 9)))
    try:
        message = decode(body[:start] + data.draw(st.binary(max_size=9)) + body[end:], Announce)
    except DataError:
        return
    assert isinstance(message, Announce)


@given(ITEMS)
def test_an_item_is_checked_without_surprise(item: Item) -> None:
    """Every item that can be decoded passes `check_item` or raises DataError."""
    item = decode(encode(item), Item)
    try:
        check_item(item, "a" * 64)
    except DataError:
        return
    assert item.kind != "own" or set(item.revs) == {"a" * 64}


@given(st.lists(ITEMS, max_size=8).flatmap(lambda items: st.tuples(st.just(items), st.permutations(items))), ITEMS)
def test_a_digest_is_that_of_the_set(lists: tuple[list[Item], list[Item]], extra: Item) -> None:
    """The digest does not depend on the order of items, nor on what was added and removed meanwhile."""
    items, other_order = lists
    one, two = Digest(), Digest()
    for item in items:
        one.add(item)
    two.add(extra)
    for item in other_order:
        two.add(decode(encode(item), Item))
    assert str(one) != str(two)
    two.remove(extra)
    assert str(one) == str(two)
