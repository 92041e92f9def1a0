"""Who lies about small files that are fetched ahead, or falls silent meanwhile: never a wrong byte, and a way on."""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peer.swarm.batch import NOT_GIVEN
from shoal.errors import Lied
from shoal.manifest import KIB
from tests.support.patience import until, within
from tests.support.small_folder import SmallFolder
from tests.support.swarm_in_memory import Faults

NAMES = [f"d/{number:03}" for number in range(60)]
SIZE = 10 * KIB
Change = Callable[[bytes], bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[SmallFolder]:
    """60 files at one holder."""
    folder = SmallFolder(tmp_path, NAMES, SIZE)
    yield folder
    within(20, folder.close)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[SmallFolder]:
    """The same at two holders."""
    folder = SmallFolder(tmp_path, NAMES, SIZE, 2)
    yield folder
    within(20, folder.close)


def sizes(*change: tuple[int, int]) -> Change:
    """Tables in which some lengths are others."""

    def changed(body: bytes) -> bytes:
        for number, size in change:
            body = body[: 4 * number] + struct.pack(">I", size) + body[4 * number + 4 :]
        return body

    return changed


LIES: dict[str, Change] = {
    "nothing": lambda body: b"",
    "half a table": lambda body: body[:6],
    "a byte less": lambda body: body[:-1],
    "a byte more": lambda body: body + b"x",
    "4 MiB more": lambda body: body + bytes(4 << 20),
    "one is longer": sizes((0, SIZE + 1)),
    "one is shorter": sizes((0, SIZE - 1)),
    "a length moved": sizes((0, SIZE - 1), (1, SIZE + 1)),
    "none": sizes((0, 0)),
    "given and not": sizes((1, NOT_GIVEN)),
    "huge": sizes((0, NOT_GIVEN - 1)),
    "no table": lambda body: body[24:],
    "too many": lambda body: struct.pack(">I", SIZE) + body + bytes(SIZE),
    "text": lambda body: b"<html>" + bytes(len(body) - 6),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_who_lies_about_the_lengths_is_asked_for_one_at_a_time_and_no_file_suffers(
    folder: SmallFolder, lie: Change
) -> None:
    folder.lie(lie)
    folder.right(*NAMES)
    assert len(folder.batches) == 1, "he is not asked for several again"
    assert folder.requests == 1 + len(NAMES), "each is asked for once, and most of them ahead"
    assert folder.swarm.stats().used_ahead > SIZE * len(NAMES) / 2


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410])
def test_who_does_not_know_batches_is_asked_for_one_at_a_time(folder: SmallFolder, status: int) -> None:
    folder.holders[0].old = status
    folder.right(*NAMES)
    assert folder.requests == 1 + len(NAMES)
    assert folder.swarm.stats().used_ahead > SIZE * len(NAMES) / 2


def test_who_is_busy_is_asked_for_several_again_later(folder: SmallFolder) -> None:
    folder.holders[0].old = 503
    folder.right(*NAMES[:4])
    assert folder.batches == [6] and folder.ahead() == []
    folder.holders[0].old = 0
    folder.right(*NAMES[4:])
    assert len(folder.batches) > 1 and folder.swarm.stats().used_ahead > SIZE * len(NAMES) / 2


def wrong(first: int, every: int) -> Change:
    """Other bytes of the right length: of each `every`-th content from number `first` on."""

    def changed(body: bytes) -> bytes:
        count = len(body) // (SIZE + 4)
        spoilt = bytearray(body)
        for number in range(first, count, every):
            spoilt[4 * count + number * SIZE + 77] ^= 1
        return bytes(spoilt)

    return changed


@pytest.mark.parametrize("lie", [wrong(0, 1), wrong(1, 2), wrong(0, 3)], ids=["all", "every second", "every third"])
def test_wrong_bytes_are_never_shown_and_the_other_holder_gives_the_right_ones(pair: SmallFolder, lie: Change) -> None:
    pair.holders[0].faults.several = lie
    pair.right(*NAMES)
    assert pair.swarm.stats().rejected > 0
    assert all(pair.asked(name) <= 2 for name in NAMES)


def test_where_all_lie_each_file_is_one_clear_error_and_nothing_is_kept(pair: SmallFolder) -> None:
    pair.lie(wrong(0, 1))
    pair.right(*NAMES[:3])
    assert pair.swarm.stats().rejected == sum(pair.batches) == 6
    for holder in pair.holders:
        holder.faults.wrong_bytes = True
    for name in NAMES[3:9]:
        with pytest.raises(Lied):
            pair.open(name)
    assert pair.ahead() == []
    assert sum(pair.swarm.stats().fetched.values()) == 3 * SIZE
    until(lambda: len(pair.kept) == 3, 10, "what was right is kept")


def test_a_liar_is_not_asked_to_fetch_ahead_again_and_again(folder: SmallFolder) -> None:
    """What he sends costs the line, and no budget bounds it: it counts as not fetched."""
    folder.lie(wrong(0, 1))
    for name in NAMES[:3]:
        folder.right(name)
    folder.settle()
    asked = len(folder.batches)
    for name in NAMES[40:]:
        folder.right(name)
    assert asked == len(folder.batches) == 1


@pytest.mark.parametrize("how", ["cut_at", "stall_at"])
def test_what_came_before_the_end_is_taken_and_the_rest_is_read_all_the_same(folder: SmallFolder, how: str) -> None:
    folder.right(*NAMES[:3])
    assert folder.ahead() == NAMES[3:9]
    end = 2 * SIZE + 200  # after the table, and two of the files
    folder.holders[0].faults = replace(Faults(once=True), **{how: end})
    at = 3
    while len(folder.batches) < 2:  # meanwhile nothing else is asked for
        folder.right(NAMES[at])
        at += 1
    wished = [name for name in NAMES[9:] if folder.asked(name)]
    assert len(wished) > 2 and folder.ahead(*wished) == wished[:2]
    folder.right(*NAMES[at:])
    assert folder.swarm.stats().rejected == 0


def test_a_list_that_fails_once_does_not_end_all_that_is_fetched_ahead(folder: SmallFolder) -> None:
    folder.failing = OSError("the index cannot be read")
    folder.right(*NAMES[:10])
    assert folder.batches == []
    folder.failing = None
    folder.right(*NAMES[10:])
    assert folder.swarm.stats().used_ahead > SIZE * 40
