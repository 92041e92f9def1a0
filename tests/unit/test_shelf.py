"""What goes first when room is needed, and what does not go."""

import pytest

from peer.cache.shelf import EARLIER, PUT_OFF, Kind, Shelf

MIB = 1 << 20
PLENTY = 1 << 60


def shelf(limit: int = 100 * MIB, min_free: int = 0) -> Shelf:
    return Shelf(limit, min_free)


def going(shelf: Shelf, now: float = 0.0) -> list[tuple[Kind, str]]:
    """All that goes, in order."""
    found = []
    while (first := shelf.first(now)) is not None:
        found.append(first)
        shelf.gone(*first)
    return found


def test_early_ones_go_first_then_partial_ones_then_copies() -> None:
    it = shelf()
    for kind, cid in (("copy", "c"), ("partial", "p"), ("early", "e"), ("coming", "n")):
        it.set(kind, cid, 1)  # type: ignore[arg-type]
    assert going(it) == [("early", "e"), ("partial", "p"), ("copy", "c")]
    assert it.used == 1, "what is coming stays"


def test_what_was_opened_the_longest_ago_goes_first() -> None:
    it = shelf()
    for cid in "abcd":
        it.set("copy", cid, 1)
    it.opened("a")
    it.closed("a")
    it.set("copy", "b", 2)  # its size is no reading
    assert [cid for _, cid in going(it)] == ["b", "c", "d", "a"]


def test_what_is_open_goes_when_it_was_closed_as_often() -> None:
    it = shelf()
    it.opened("a")
    it.set("partial", "a", 1)
    it.opened("a")
    it.turn("partial", "a", "copy", "a")
    it.closed("a")
    assert it.first(0) is None and it.is_open("a")
    it.closed("a")
    assert it.first(0) == ("copy", "a")


def test_what_is_pinned_stays() -> None:
    it = shelf()
    it.pin("a", True)
    it.set("copy", "a", 5)
    it.opened("a")
    it.closed("a")
    assert it.first(0) is None and it.pinned_bytes() == 5
    it.pin("a", False)
    assert it.first(0) == ("copy", "a")


def test_what_could_not_go_is_put_off_for_longer_each_time_and_is_then_first_again() -> None:
    it = shelf()
    for cid in "ab":
        it.set("copy", cid, 1)
    first, most = PUT_OFF
    it.refused("copy", "a", 0)
    assert it.first(0) == ("copy", "b")
    it.refused("copy", "b", 0)
    assert it.first(first - 1) is None
    assert it.first(first) in (("copy", "a"), ("copy", "b"))
    for _ in range(20):
        it.refused("copy", "a", 0)
        assert it.first(most) is not None
    it.refused("copy", "a", 0)
    it.opened("a")
    it.closed("a")
    assert it.first(0) != ("copy", "a"), "reading it does not make it less the last one"


def test_room_is_made_a_little_before_the_limit_and_never_given_beyond() -> None:
    it = shelf(160 * MIB)
    part, _ = EARLIER
    early = 160 * MIB // part
    it.set("copy", "a", 160 * MIB - early)
    assert it.excess(PLENTY) == 0
    assert it.has_room(early, PLENTY) and not it.has_room(early + 1, PLENTY)
    it.add("copy", "a", 7)
    assert it.excess(PLENTY) == 7


def test_so_much_of_the_disk_stays_free() -> None:
    it = shelf(0, 32 * MIB)
    assert it.has_room(MIB, 33 * MIB) and not it.has_room(MIB + 1, 33 * MIB)
    assert it.excess(34 * MIB) == 0
    assert it.excess(33 * MIB) == MIB


@pytest.mark.parametrize("known", [False, True])
def test_what_became_a_copy_is_counted_once(known: bool) -> None:
    it = shelf()
    it.set("partial", "a", 10)
    if known:
        it.set("copy", "a", 8)
    it.turn("partial", "a", "copy", "a")
    assert it.used == (8 if known else 10)
    it.gone("copy", "a")
    it.gone("copy", "a")
    assert it.used == 0 and it.first(0) is None
