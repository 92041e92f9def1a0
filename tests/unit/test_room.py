"""Room is given while there is some, made by taking away what goes first, and never given beyond the limits."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.cache.reads import MOST, load_reads, save_reads
from peer.cache.room import BLOCK, Room
from peer.cache.shelf import EARLIER
from peer.layout import Layout
from tests.support.patience import until

MIB = 1 << 20


class Disk:
    """A room over a disk of which so much is free; copies of one MiB go when asked, but for those that are `last`."""

    def __init__(self, tmp: Path, limit: int = 0, min_free: int = 0) -> None:
        self.layout = Layout(tmp)
        self.layout.make()
        self.free = 1 << 40
        self.last: set[str] = set()
        self.went: list[str] = []
        self.said: list[str] = []
        self.agains = 0
        self.gate = threading.Event()
        self.gate.set()
        self.room = Room(self.layout, limit, min_free, lambda: self.free)
        self.room.sheds["copy"] = self.shed
        self.room.say = self.said.append
        self.room.again = self.again

    def shed(self, cid: str) -> bool:
        self.gate.wait(5)
        if cid in self.last:
            return False
        self.went.append(cid)
        self.free += MIB
        return True

    def again(self) -> None:
        self.agains += 1

    def copies(self, *cids: str) -> None:
        for cid in cids:
            self.room.found("copy", cid, MIB)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path, limit=16 * MIB)
    yield disk
    disk.gate.set()
    disk.room.stop()


def test_without_limits_everything_is_taken(tmp_path: Path) -> None:
    room = Room(Layout(tmp_path))
    assert room.take("partial", "a", 1 << 50)


def test_bytes_count_in_whole_blocks_and_not_beyond_the_limit(disk: Disk) -> None:
    for _ in range(16 * MIB // BLOCK):
        assert disk.room.take("partial", "a", 1)
    assert not disk.room.take("partial", "a", 1)
    disk.room.give("partial", "a", 1)
    assert disk.room.take("partial", "b", BLOCK)
    assert disk.room.status()["used"] == 16 * MIB


def test_room_is_made_before_there_is_none_the_longest_unread_first(disk: Disk) -> None:
    disk.copies(*"abcdefghijklmno")
    assert 16 * MIB // EARLIER[0] == MIB, "the sixteenth part: one of them"
    disk.room.opened("a")
    disk.room.closed("a")
    disk.room.start()
    assert disk.room.take("partial", "p", BLOCK)
    until(lambda: disk.went, 5, "room is made")
    assert disk.went == ["b"]
    assert disk.room.take("partial", "p", MIB)
    until(lambda: len(disk.went) == 2, 5, "more is made")
    assert disk.went == ["b", "c"] and disk.room.status()["evicted"] == 2
    assert not disk.said


def test_who_is_refused_does_not_wait_and_is_told_when_there_is_room(disk: Disk) -> None:
    disk.copies(*"abcdefghijklmnop")
    disk.gate.clear()
    disk.room.start()
    assert not disk.room.take("partial", "p", BLOCK)
    assert not disk.agains
    disk.gate.set()
    until(lambda: disk.agains, 5, "there is room again")
    assert disk.room.take("partial", "p", BLOCK)
    assert disk.room.status()["not_kept"] == "" and not disk.said


def test_when_nothing_may_go_that_is_said_once_until_something_may(disk: Disk) -> None:
    cids = "abcdefghijklmnop"
    disk.copies(*cids)
    disk.last.update(cids[1:])
    disk.room.opened("a")
    disk.room.start()
    for _ in range(3):
        assert not disk.room.take("partial", "p", BLOCK)
        until(lambda: disk.said, 5, "it is said")
    assert len(disk.said) == 1
    assert "limit" in str(disk.room.status()["not_kept"])
    assert disk.went == []
    disk.room.closed("a")
    until(lambda: disk.went == ["a"], 5, "what was open goes")
    until(lambda: disk.room.status()["not_kept"] == "", 5, "it is kept again")
    assert len(disk.said) == 1


def test_what_others_write_counts_for_what_is_to_stay_free(tmp_path: Path) -> None:
    disk = Disk(tmp_path, min_free=16 * MIB)
    disk.free = 100 * MIB
    disk.copies(*"abc")
    disk.room.start()
    assert disk.room.take("partial", "p", BLOCK)
    disk.free = 16 * MIB
    until(lambda: not disk.room.take("partial", "p", BLOCK) or disk.went, 5, "it is low")
    until(lambda: disk.went, 5, "room is made")
    disk.room.stop()
    assert disk.went == ["a"], "and no more than is needed"


def test_what_was_read_last_goes_last_after_a_start_too(tmp_path: Path) -> None:
    cids = [f"{number:064x}" for number in range(16)]
    disk = Disk(tmp_path)
    disk.copies(*cids)
    for cid in (cids[0], cids[3]):
        disk.room.opened(cid)
        disk.room.closed(cid)
    disk.room.stop()
    disk = Disk(tmp_path, limit=12 * MIB)
    disk.copies(*cids)
    disk.room.remember()
    disk.room.start()
    until(lambda: disk.room.status()["used"] <= 12 * MIB - 12 * MIB // EARLIER[0], 5, "room is made")  # type: ignore[operator]
    disk.room.stop()
    assert disk.went == [cids[number] for number in (1, 2, 4, 5, 6)]


def test_notes_of_what_was_read_that_are_torn_or_long_are_no_harm(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.make()
    assert load_reads(layout) == []
    cids = [f"{number:064x}" for number in range(MOST + 5)]
    save_reads(layout, cids)
    assert load_reads(layout) == cids[5:]
    layout.reads.write_bytes(layout.reads.read_bytes()[:100])
    assert load_reads(layout) == cids[5:6]
    layout.reads.write_bytes(b"\xff\x00")
    assert load_reads(layout) == []
