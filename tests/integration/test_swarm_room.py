"""The cache's limit holds while data comes in: what has no room is read from memory, and goes to disk when there is."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peer.cache.room import Room
from peer.messages import Ended
from peer.swarm.config import SwarmConfig
from shoal.manifest import KIB, MIB, Manifest, manifest_of
from tests.support.patience import until, within
from tests.support.swarm_ground import Ground
from tests.support.swarm_in_memory import QUICK, entry_of

LARGE = random.Random(31).randbytes(9 * MIB + 3)
OTHER = random.Random(32).randbytes(5 * MIB)
SMALL = b"small " * 1000


def on_disk(ground: Ground) -> int:
    """Bytes that `.shoal` takes."""
    return sum(path.lstat().st_blocks * 512 for path in ground.layout.state.rglob("*"))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[[int], Ground]]:
    grounds: list[Ground] = []

    def make(limit: int, config: SwarmConfig = QUICK) -> Ground:
        ground = Ground(tmp_path, config)
        ground.room = Room(ground.layout, limit)
        ground.room.start()
        grounds.append(ground)
        holder = ground.holder("a")
        for data in (LARGE, OTHER, SMALL):
            holder.add(data)
        return ground

    yield make
    for ground in grounds:
        assert ground.room is not None
        ground.room.stop()
        ground.close()


def room_of(ground: Ground) -> Room:
    assert ground.room is not None
    return ground.room


def test_a_file_that_is_larger_than_the_limit_is_read_right_and_the_limit_holds(
    made: Callable[[int], Ground], caplog: pytest.LogCaptureFixture
) -> None:
    ground = made(4 * MIB)
    holder = ground.holders[0]
    with ground.open(manifest_of(LARGE)) as reader:
        for offset in range(0, len(LARGE), MIB):
            assert within(5, reader.read, offset, MIB) == LARGE[offset : offset + MIB]
            assert on_disk(ground) <= 4 * MIB + 64 * KIB
        asked = len(holder.requests)
        assert within(5, reader.read, 0, len(LARGE)) == LARGE
        assert len(holder.requests) == asked, "what is on disk and in memory is not fetched again"
        used = room_of(ground).status()["used"]
        assert isinstance(used, int) and used > 3 * MIB
        until(lambda: "without being kept" in caplog.text, 5, "it is said")
    assert ground.keeps == []
    assert caplog.text.count("without being kept") == 1


def test_what_nobody_has_open_gives_way_and_the_rest_is_written_and_kept(made: Callable[[int], Ground]) -> None:
    ground = made(11 * MIB)
    with ground.open(manifest_of(OTHER)) as reader:
        assert within(5, reader.read, 0, 5 * MIB - 1) == OTHER[:-1]
        until(lambda: ground.keeps, 5, "it is whole")
    first = manifest_of(OTHER)
    ground.kept(ground.keeps.pop(), "", "a test")  # not kept: its pieces stay
    with ground.open(manifest_of(LARGE)) as reader:
        assert within(5, reader.read, 0, len(LARGE)) == LARGE
        until(lambda: ground.keeps, 5, "what found no room was written when there was, and it is whole")
    assert Ended(first.cid) in ground.told
    assert not list(ground.layout.partial.glob(f"{first.cid}.*"))
    assert on_disk(ground) <= 11 * MIB + 64 * KIB
    assert (ground.layout.partial / f"{ground.keeps[0].cid}.data").read_bytes() == LARGE


def test_what_is_open_does_not_give_way(made: Callable[[int], Ground]) -> None:
    ground = made(6 * MIB)
    with ground.open(manifest_of(OTHER)) as held, ground.open(manifest_of(LARGE)) as reader:
        within(5, held.read, 0, 4 * MIB)
        assert within(5, reader.read, 0, len(LARGE)) == LARGE
        assert not ground.swarm.discard(manifest_of(OTHER).cid)
        assert list(ground.layout.partial.glob(f"{manifest_of(OTHER).cid}.data"))
        assert on_disk(ground) <= 6 * MIB + 64 * KIB


def test_what_an_earlier_run_left_counts_and_goes(made: Callable[[int], Ground]) -> None:
    ground = made(20 * MIB)
    with ground.open(manifest_of(OTHER)) as reader:
        within(5, reader.read, 0, 4 * MIB)
    ground.close()
    again = made(11 * MIB)
    assert again.swarm is not None
    used = room_of(again).status()["used"]
    assert isinstance(used, int) and used >= 4 * MIB
    assert within(5, again.read_all, manifest_of(LARGE)) == LARGE
    until(lambda: again.keeps, 5, "there was room")
    assert not list(again.layout.partial.glob(f"{manifest_of(OTHER).cid}.*"))


def test_a_discarded_download_is_read_again(made: Callable[[int], Ground]) -> None:
    ground = made(0)
    for lingers in (True, False):
        with ground.open(manifest_of(LARGE)) as reader:
            assert within(5, reader.read, 0, 2 * MIB) == LARGE[: 2 * MIB]
        if not lingers:
            ground.close()
            assert ground.swarm is not None
        until(lambda: ground.swarm.discard(manifest_of(LARGE).cid), 5, "it is discarded")
        assert list(ground.layout.partial.iterdir()) == []
    assert room_of(ground).status()["used"] == 0


def test_what_waits_for_room_goes_if_it_is_asked_for(made: Callable[..., Ground]) -> None:
    ground = made(4 * MIB, replace(QUICK, idle_timeout=60.0))
    with ground.open(manifest_of(LARGE)) as reader:
        assert within(5, reader.read, 0, len(LARGE)) == LARGE
    cid = manifest_of(LARGE).cid
    assert not ground.swarm.discard(cid)
    until(lambda: ground.swarm.discard(cid, waiting=True), 5, "it is discarded")
    assert list(ground.layout.partial.iterdir()) == []
    assert room_of(ground).status()["used"] == 0
    assert within(5, ground.read_all, manifest_of(LARGE)) == LARGE


def test_a_small_file_without_room_is_kept_when_it_is_read_again_and_there_is_some(
    made: Callable[[int], Ground],
) -> None:
    ground = made(14 * 256 * KIB + 3 * 4 * KIB)  # so many pieces, the last, short one, and what stands beside them
    small = manifest_of(SMALL)
    with ground.open(entry_of(manifest_of(LARGE), "a")) as reader:
        within(5, reader.read, 0, len(LARGE))
        assert read(ground, small) == SMALL
        assert ground.keeps == []
        assert read(ground, small) == SMALL
        assert ground.keeps == []
    until(lambda: ground.swarm.discard(manifest_of(LARGE).cid), 5, "there is room")
    assert read(ground, small) == SMALL
    until(lambda: [keep.cid for keep in ground.keeps] == [small.cid], 5, "it is kept")
    assert room_of(ground).size("coming", small.cid) > 0
    ground.kept(ground.keeps[0], "", "a test")
    assert room_of(ground).size("coming", small.cid) == 0


def read(ground: Ground, manifest: Manifest) -> bytes:
    return within(5, ground.read_all, manifest)
