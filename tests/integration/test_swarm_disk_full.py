"""A full disk: files are read, nothing is kept, and that is said once."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.errors import LocalError
from shoal.manifest import MIB, manifest_of
from shoal.wire import Entry
from tests.support.patience import within
from tests.support.swarm_ground import PATH, Ground
from tests.support.swarm_in_memory import QUICK

DATA = random.Random(11).randbytes(9 * MIB + 3)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """A share on a file system of 3 MiB."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], check=True)
    ground = Ground(small, QUICK)
    try:
        yield ground
        ground.close()
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.mount
def test_a_large_file_is_read_and_not_kept_and_that_is_said_once(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    ground.holder("a")
    ground.holders[0].add(DATA)
    for _ in range(2):
        assert within(10, ground.read_all, manifest_of(DATA)) == DATA
    assert ground.keeps == []
    said = [record for record in caplog.records if "without being kept" in record.message]
    assert len(said) == 1
    assert ground.swarm.stats().memory <= QUICK.memory


@pytest.mark.mount
def test_pieces_that_found_room_are_read_from_the_disk_and_the_others_from_memory(ground: Ground) -> None:
    holder = ground.holder("a")
    holder.add(DATA)
    with ground.open(manifest_of(DATA)) as reader:
        for offset in range(0, len(DATA), MIB):
            reader.read(offset, MIB)
        asked = len(holder.requests)
        assert within(5, reader.read, 0, len(DATA)) == DATA
        assert len(holder.requests) == asked


@pytest.mark.mount
def test_a_seeds_file_is_read_from_memory_if_it_is_small_enough(ground: Ground) -> None:
    holder = ground.holder("s", None, seed=True)
    holder.names[PATH] = DATA
    with ground.open(Entry("", None, 0, manifest_of(DATA).sha1)) as reader:
        assert within(5, reader.read, 0, len(DATA)) == DATA
    huge = bytes(17 * MIB)
    holder.names[PATH] = huge
    with ground.open(Entry("", None, 0, manifest_of(huge).sha1)) as reader, pytest.raises(LocalError):
        within(5, reader.read, 0, 10)
    assert ground.keeps == []
    assert list(ground.layout.partial.iterdir()) == []
