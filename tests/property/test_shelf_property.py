"""The shelf under any sequence of what can happen to it."""

from hypothesis import given
from hypothesis import strategies as st

from peer.cache.shelf import GOING, PUT_OFF, Shelf

CIDS = st.sampled_from("abcdef")
KINDS = st.sampled_from(["early", "partial", "coming", "copy"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KINDS, CIDS, st.integers(0, 50)),
        st.tuples(st.just("gone"), KINDS, CIDS),
        st.tuples(st.just("turn"), KINDS, CIDS, KINDS),
        st.tuples(st.just("open"), CIDS),
        st.tuples(st.just("close"), CIDS),
        st.tuples(st.just("pin"), CIDS, st.booleans()),
        st.tuples(st.just("refuse"), CIDS),
        st.tuples(
            st.just("shed"),
        ),
        st.tuples(
            st.just("wait"),
        ),
    ),
    max_size=60,
)


@given(STEPS)
def test_counts_are_right_and_nothing_goes_that_is_open_pinned_or_coming(steps: list[tuple]) -> None:
    """`used` is the sum of what is kept; what goes is kept, of a kind that may go, not open, not pinned, and the one
    of its kind that was opened the longest ago of those that may go; and when nothing may, none such is left."""
    shelf = Shelf(100, 0)
    kept: dict[tuple[str, str], int] = {}
    opened: dict[str, int] = {}
    pinned: set[str] = set()
    off: dict[tuple[str, str], float] = {}
    now = 0.0
    for step in steps:
        match step:
            case "set", kind, cid, size:
                shelf.set(kind, cid, size)
                kept[kind, cid] = size
            case "gone", kind, cid:
                shelf.gone(kind, cid)
                kept.pop((kind, cid), None)
                off.pop((kind, cid), None)
            case "turn", kind, cid, into:
                if kind != into:
                    shelf.turn(kind, cid, into, cid)
                    if (kind, cid) in kept:
                        kept.setdefault((into, cid), kept.pop((kind, cid)))
                        off.pop((kind, cid), None)
            case "open", cid:
                shelf.opened(cid)
                opened[cid] = opened.get(cid, 0) + 1
            case "close", cid:
                if opened.get(cid):
                    shelf.closed(cid)
                    opened[cid] -= 1
            case "pin", cid, on:
                shelf.pin(cid, on)
                (pinned.add if on else pinned.discard)(cid)
            case "refuse", cid:
                shelf.refused("copy", cid, now)
                if ("copy", cid) in kept:
                    off.setdefault(("copy", cid), now)
            case ("wait",):
                now += PUT_OFF[1]
                off.clear()
            case ("shed",):
                first = shelf.first(now)
                may = {
                    key for key in kept
                    if key[0] in GOING and not opened.get(key[1]) and key[1] not in pinned and key not in off
                }  # fmt: skip
                if first is None:
                    assert not may
                else:
                    assert first in may
                    assert GOING.index(first[0]) == min(GOING.index(kind) for kind, _ in may)  # type: ignore[arg-type]
                    shelf.gone(*first)
                    del kept[first]
        assert shelf.used == sum(kept.values())
        assert shelf.pinned_bytes() == sum(kept.get(("copy", cid), 0) for cid in pinned)
        for kind in ("early", "partial", "coming", "copy"):
            sizes = [size for (of, _), size in kept.items() if of == kind]
            assert shelf.totals[kind] == (len(sizes), sum(sizes))  # type: ignore[index]
        assert all(shelf.is_open(cid) == bool(count) for cid, count in opened.items())
