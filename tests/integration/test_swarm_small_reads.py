"""Reading files of one piece through the swarm: one request, in memory, whatever the holders do."""

import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from peer.messages import Keep
from shoal.errors import Lied
from shoal.manifest import manifest_of
from tests.support.patience import until, within
from tests.support.swarm_ground import BAD, PATH, SMALL, Ground, fails
from tests.support.swarm_in_memory import QUICK, Faults, Holder


def test_a_small_file_is_one_request_and_read_again_none(ground: Ground) -> None:
    holder = ground.holder("a", SMALL)
    manifest = manifest_of(SMALL)
    for _ in range(3):
        assert ground.read_all(manifest, 1000) == SMALL
    assert [request.target for request in holder.requests] == [f"/v1/content/{manifest.cid}"]
    keep = until(lambda: ground.keeps, 2, "offered")[0]
    assert keep == Keep(PATH, manifest.cid, manifest.encode(), 5, False, {"f" * 64: 7}, SMALL)
    assert ground.swarm.stats().memory == len(SMALL)
    ground.kept(keep)
    assert ground.swarm.stats().memory == 0
    assert len(ground.keeps) == 1


def test_a_small_file_stays_in_memory_while_it_is_open_or_not_kept(ground: Ground) -> None:
    holder = ground.holder("a", SMALL)
    with ground.open(manifest_of(SMALL)) as reader:
        reader.read(0, 10)
        ground.kept(until(lambda: ground.keeps, 2, "offered")[0])
        reader.read(10, 10)
    assert ground.swarm.stats().memory == 0
    ground.keeps.clear()
    ground.read_all(manifest_of(SMALL))
    ground.kept(until(lambda: ground.keeps, 2, "offered again")[0], "", "no room")
    assert ground.read_all(manifest_of(SMALL)) == SMALL
    assert len(holder.requests) == 2


def test_a_small_file_from_a_liar_is_refused_and_from_the_next_taken(ground: Ground) -> None:
    liar = ground.holder("a", SMALL)
    liar.faults = Faults(wrong_bytes=True)
    with ground.open(manifest_of(SMALL)) as reader:
        fails(Lied, lambda: reader.read(0, 10))
        assert ground.swarm.stats().rejected == 1
        ground.holders.append(Holder("b"))
        ground.known.append(ground.holders[-1])
    ground.close()
    ground.holders[-1].add(SMALL)
    assert ground.read_all(manifest_of(SMALL)) == SMALL


@pytest.mark.parametrize("faults", BAD, ids=[str(n) for n in range(len(BAD))])
def test_a_small_file_comes_from_another_holder(ground: Ground, faults: Faults) -> None:
    bad, _ = ground.holder("a", SMALL), ground.holder("b", SMALL)
    bad.faults = faults
    assert within(3, ground.read_all, manifest_of(SMALL)) == SMALL


def test_an_empty_file_touches_nobody_and_is_kept(ground: Ground) -> None:
    manifest = manifest_of(b"")
    with ground.open(manifest) as reader:
        assert reader.read(0, 10) == b""


def test_memory_for_small_files_is_bounded(tmp_path: Path) -> None:
    ground = Ground(tmp_path, replace(QUICK, memory=100_000))
    holder = ground.holder("a", None)
    ground.scanner_there = False
    datas = [random.Random(n).randbytes(10_000) for n in range(30)]
    for data in datas:
        holder.add(data)
    for data in datas:
        assert ground.read_all(manifest_of(data)) == data
        assert ground.swarm.stats().memory <= 100_000
    assert ground.read_all(manifest_of(datas[0])) == datas[0]
    ground.close()


def test_readers_of_one_small_file_cause_one_request(ground: Ground) -> None:
    holder = ground.holder("a", SMALL)
    holder.faults = Faults(slow=0.1)
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: got.append(ground.read_all(manifest_of(SMALL), len(SMALL)))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [SMALL] * 8
    assert len(holder.requests) == 1
