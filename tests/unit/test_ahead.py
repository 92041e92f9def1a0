"""What was fetched ahead: found, waited for, bounded, the oldest gone first."""

import threading
import time

from peer.swarm.ahead import Ahead
from shoal.manifest import Manifest, manifest_of
from tests.support.patience import until, within

LIMIT = 1000


class Shelf:
    """An `Ahead` of 1,000 bytes, and what it said was used."""

    def __init__(self) -> None:
        self.used: list[int] = []
        self.ahead = Ahead(LIMIT, self.used.append)

    def arrive(self, name: str, size: int) -> str:
        """A content of its own comes; its cid."""
        manifest, data = content(name, size)
        assert self.ahead.expect(manifest.cid)
        self.ahead.arrived(manifest, data)
        return manifest.cid


def content(name: str, size: int) -> tuple[Manifest, bytes]:
    data = name.encode().ljust(size, b".")
    return manifest_of(data), data


def here(shelf: Shelf, *cids: str) -> list[bool]:
    return [shelf.ahead.get(cid) is not None for cid in cids]


def test_what_is_on_its_way_or_here_is_not_expected_a_second_time() -> None:
    shelf = Shelf()
    manifest, data = content("a", 10)
    assert shelf.ahead.expect(manifest.cid)
    assert not shelf.ahead.expect(manifest.cid), "on its way"
    shelf.ahead.arrived(manifest, data)
    assert not shelf.ahead.expect(manifest.cid), "here"
    shelf.ahead.take(manifest.cid)
    assert shelf.ahead.expect(manifest.cid)
    shelf.ahead.failed(manifest.cid)
    assert shelf.ahead.expect(manifest.cid), "it did not come"


def test_it_stays_until_it_is_read_and_is_used_once() -> None:
    shelf = Shelf()
    manifest, data = content("a", 10)
    cid = shelf.arrive("a", 10)
    for _ in range(2):
        assert shelf.ahead.get(cid) == (manifest, data)
    assert (shelf.used, shelf.ahead.size) == ([], 10)
    assert shelf.ahead.take(cid) == (manifest, data)
    assert (shelf.used, shelf.ahead.size) == ([10], 0)
    assert shelf.ahead.get(cid) is None and shelf.ahead.take(cid) is None
    assert shelf.used == [10]


def test_its_memory_is_bounded_and_the_oldest_goes_first() -> None:
    shelf = Shelf()
    cids = []
    for number in range(40):
        cids.append(shelf.arrive(f"{number}", 90))
        assert shelf.ahead.size <= LIMIT
        assert here(shelf, *cids) == [number - at < LIMIT // 90 for at in range(number + 1)]
    assert shelf.used == [], "what goes unread was not used"
    shelf.ahead.get(cids[-11])  # to look at it makes it no younger
    cids.append(shelf.arrive("large", 900))
    assert here(shelf, *cids[-3:]) == [False, True, True]


def test_one_that_is_larger_than_all_the_room_does_not_stay() -> None:
    shelf = Shelf()
    small, large = shelf.arrive("small", 10), shelf.arrive("large", LIMIT + 1)
    assert here(shelf, small, large) == [False, False]
    assert shelf.ahead.size == 0
    assert here(shelf, shelf.arrive("again", LIMIT)) == [True]


def test_what_is_dropped_is_the_oldest_and_at_least_so_much() -> None:
    shelf = Shelf()
    cids = [shelf.arrive(f"{number}", 100) for number in range(8)]
    assert shelf.ahead.drop(150) == 200
    assert here(shelf, *cids) == [False] * 2 + [True] * 6
    assert shelf.ahead.drop(0) == 0
    assert shelf.ahead.drop(10_000) == 600
    assert shelf.ahead.drop() == shelf.ahead.size == 0
    shelf.arrive("a", 100)
    assert shelf.ahead.drop() == 100
    assert shelf.used == []


def test_one_on_its_way_is_waited_for_until_it_comes_or_fails() -> None:
    shelf = Shelf()
    (one, data), (other, _) = content("a", 10), content("b", 10)
    for manifest in (one, other):
        shelf.ahead.expect(manifest.cid)
    taken: dict[str, object] = {}

    def take(cid: str) -> None:
        taken[cid] = shelf.ahead.take(cid, 15)

    readers = [threading.Thread(target=take, args=(manifest.cid,), daemon=True) for manifest in (one, other)]
    for reader in readers:
        reader.start()
    until(lambda: len(shelf.ahead._changed._waiters) == 2, 5, "both wait")  # type: ignore[attr-defined]
    shelf.ahead.arrived(one, data)
    readers[0].join(10)
    assert taken == {one.cid: (one, data)}
    shelf.ahead.failed(other.cid)
    readers[1].join(10)
    assert taken[other.cid] is None
    assert shelf.used == [10]


def test_nobody_waits_longer_than_he_says_nor_for_what_nobody_fetches() -> None:
    shelf = Shelf()
    cid = content("a", 10)[0].cid
    assert within(5, shelf.ahead.take, cid, 60) is None, "nobody fetches it"
    shelf.ahead.expect(cid)
    assert within(5, shelf.ahead.take, cid) is None, "without a wait"
    assert within(10, shelf.ahead.take, cid, 0.05) is None


def test_many_threads_leave_nothing_behind() -> None:
    """Whoever comes and takes at once: each content is used once at most, and the bytes add up."""
    shelf = Shelf()
    contents = [content(f"{number}", 40) for number in range(50)]
    end = time.monotonic() + 0.3

    def work(step: int) -> None:
        at = step
        while time.monotonic() < end:
            manifest, data = contents[at % 50]
            if shelf.ahead.expect(manifest.cid):
                shelf.ahead.arrived(manifest, data)
            shelf.ahead.take(contents[(at * 7) % 50][0].cid, 0.001)
            at += step

    threads = [threading.Thread(target=work, args=(step,)) for step in (1, 3, 7, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    left = [manifest.cid for manifest, _ in contents if shelf.ahead.get(manifest.cid) is not None]
    assert shelf.ahead.size == 40 * len(left) <= LIMIT
    assert shelf.ahead.drop() == 40 * len(left)
