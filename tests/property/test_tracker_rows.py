"""Rows, the change log and ordered keys: the small pieces that the catalogue is made of."""

from hypothesis import given
from hypothesis import strategies as st

from shoal.manifest import MAX_SIZE
from shoal.wire import MAX_REV, Item
from tracker import rows
from tracker.changelog import ChangeLog
from tracker.ordered import Ordered

hex64 = st.binary(min_size=32, max_size=32).map(bytes.hex)
items = st.builds(
    Item,
    path=st.just("a"),
    cid=hex64,
    kind=st.sampled_from(["own", "copy", "partial", "nothing"]),
    size=st.integers(0, MAX_SIZE),
    mtime=st.integers(-(1 << 63), (1 << 63) - 1),
    sha1=st.one_of(st.just(""), st.binary(min_size=20, max_size=20).map(bytes.hex)),
    x=st.booleans(),
    link=st.text(max_size=20),
    revs=st.dictionaries(hex64, st.integers(0, MAX_REV), max_size=5),
)
times = st.integers(0, (1 << 63) - 1)


@given(items, times)
def test_a_row_gives_back_what_was_announced(item: Item, now_ns: int) -> None:
    """Whatever item and clock are, a row unpacks to the item announced; listed, a later mtime is cut to the clock."""
    row = rows.pack(item, now_ns)
    assert rows.unpack("a", row, announced=True) == item
    listed = rows.unpack("a", row)
    assert listed.mtime == min(item.mtime, now_ns)
    assert (rows.cid_of(row).hex(), rows.kind_of(row), rows.size_of(row)) == (item.cid, item.kind, item.size)
    assert not rows.is_seed(row)
    assert rows.is_seed(rows.pack(item, now_ns, seed=True))


@given(items, items, times, times)
def test_the_same_but_for_the_cut(item: Item, other: Item, early: int, late: int) -> None:
    """Two rows are the same but for the cut exactly if their items are, whatever the clock was."""
    row = rows.pack(item, early)
    assert rows.same_but_cut(row, rows.pack(item, late))
    assert rows.same_but_cut(row, rows.pack(other, late)) == (item == other)


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=200), st.integers(0, 5), st.integers(0, 200)
)
def test_the_log_has_each_changed_place_once_in_order(changes: list[tuple[str, bool]], most: int, since: int) -> None:
    """After any changes, the log above a number from the horizon on has each key changed since, once, in order."""
    log: ChangeLog[bool] = ChangeLog(tombstones=most)
    last: dict[str, int] = {}
    for number, (key, held) in enumerate(changes, 1):
        place = log.place(key)
        place.held = held or None
        log.changed(place)
        last[key] = number
    since = max(since, log.horizon)
    wanted = sorted((number, key) for key, number in last.items() if number > since)
    assert [(place.number, place.key) for place in log.after(since)] == wanted
    empty = [place for place in log.places.values() if place.held is None]
    assert len(empty) <= most


@given(
    st.lists(st.tuples(st.booleans(), st.text("ab/", min_size=1, max_size=4))),
    st.text("ab/", max_size=3),
    st.text("ab/", max_size=2),
)
def test_keys_in_order(changes: list[tuple[bool, str]], after: str, prefix: str) -> None:
    """Whatever came and went, the keys read are all that are there, sorted, each once, and some that went."""
    there: dict[str, None] = {}
    ordered = Ordered(lambda: there)
    for add, key in changes:
        if add and key not in there:
            there[key] = None
            ordered.add(key)
        elif not add:
            there.pop(key, None)
        if key == "ab":
            list(ordered.after("a"))
    read = list(ordered.after(after, prefix))
    assert read == sorted(set(read))
    assert [key for key in read if key in there] == sorted(k for k in there if k > after and k.startswith(prefix))
