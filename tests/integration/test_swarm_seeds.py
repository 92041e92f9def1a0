"""Files of peers that speak only the seed's protocol: size unknown, checked as a whole."""

import hashlib
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peer.messages import Kept
from peer.swarm import legacy
from shoal.errors import Gone, Lied, RemoteError, Unreachable
from shoal.manifest import MIB, manifest_of
from shoal.wire import Entry, Owner
from tests.support.patience import until, within
from tests.support.swarm_ground import PATH, Ground, fails
from tests.support.swarm_in_memory import QUICK, Faults, Holder

DATA = random.Random(9).randbytes(3 * MIB + 1)
ENTRY = Entry("", None, 5, hashlib.sha1(DATA).hexdigest(), owners=(Owner("s", "seed", 3),), holders=("s",))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    ground.close()


def seed(ground: Ground, id: str = "s", data: bytes = DATA) -> Holder:
    holder = ground.holder(id, None, seed=True)
    holder.names[PATH] = data
    return holder


def test_it_is_read_checked_and_kept_under_its_cid(ground: Ground) -> None:
    holder = seed(ground)
    manifest = manifest_of(DATA)
    with ground.open(ENTRY) as reader:
        assert (reader.cid, reader.size) == ("", len(DATA))
        assert reader.read(MIB, 10) == DATA[MIB : MIB + 10]
        assert reader.cid == manifest.cid
        assert reader.read(0, len(DATA)) == DATA
        keep = until(lambda: ground.keeps, 2, "offered")[0]
        assert (keep.cid, keep.manifest, keep.data, keep.revs) == (manifest.cid, manifest.encode(), None, {"s": 3})
        assert (ground.layout.partial / f"{manifest.cid}.data").read_bytes() == DATA
        ground.kept(keep)
        assert reader.read(5, 5) == DATA[5:10]
    assert len(holder.requests) == 2, "one for the size, one for the bytes"
    assert list(ground.layout.partial.iterdir()) == []


def test_not_a_byte_of_a_wrong_whole_is_given_out_and_the_next_is_asked(ground: Ground) -> None:
    liar = seed(ground, "l", DATA[:-1] + b"x")
    if DATA.endswith(b"x"):
        liar.names[PATH] = DATA[:-1] + b"y"
    with ground.open(ENTRY) as reader:
        fails(Lied, lambda: reader.read(0, 10))
        assert list(ground.layout.partial.iterdir()) == []
    ground.close()
    seed(ground)
    with ground.open(ENTRY) as reader:
        assert reader.read(0, 10) == DATA[:10]


@pytest.mark.parametrize("faults", [Faults(dead=True), Faults(stall_at=99), Faults(cut_at=99), Faults(status=404)])
def test_a_holder_that_fails_is_an_error_soon(ground: Ground, faults: Faults) -> None:
    holder = seed(ground)
    with ground.open(ENTRY) as reader:
        holder.faults = faults
        with pytest.raises(RemoteError):
            within(4, reader.read, 0, 10)
        assert list(ground.layout.partial.iterdir()) == []


def test_a_size_beyond_measure_is_not_believed(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = seed(ground)
    monkeypatch.setattr(legacy, "MAX_SIZE", len(DATA) - 1)
    fails(Gone, lambda: ground.open(ENTRY))
    ground.close()
    monkeypatch.setattr(legacy, "MAX_SIZE", len(DATA))
    with ground.open(ENTRY) as reader:
        assert reader.size == len(DATA)
    assert len(holder.requests) == 2, "asked for the size, each time, and for nothing else"


def test_nobody_there_is_an_error_at_open(ground: Ground) -> None:
    seed(ground).faults = Faults(dead=True)
    fails(Unreachable, lambda: ground.open(ENTRY))


def test_readers_at_the_same_time_cause_one_fetch(ground: Ground) -> None:
    holder = seed(ground)
    with ground.open(ENTRY) as reader:
        holder.faults = Faults(slow=0.1)
        got: list[bytes] = []
        threads = [threading.Thread(target=lambda: got.append(reader.read(7, 7))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [DATA[7:14]] * 6
    assert len(holder.requests) == 2


def test_what_is_not_kept_leaves_no_file(ground: Ground) -> None:
    seed(ground)
    with ground.open(ENTRY) as reader:
        reader.read(0, 1)
        keep = until(lambda: ground.keeps, 2, "offered")[0]
        ground.swarm.kept(Kept(keep.path, keep.cid, "", "no room"))
        assert list(ground.layout.partial.iterdir()) == []
        assert reader.read(0, len(DATA)) == DATA


def test_what_an_earlier_run_left_half_fetched_is_taken_away(ground: Ground) -> None:
    (ground.layout.partial / "seed-abc").write_bytes(b"half")
    assert ground.swarm.stats().active == 0
    assert list(ground.layout.partial.iterdir()) == []


def test_a_small_file_that_a_seed_holds_too_is_asked_of_it_by_name(ground: Ground) -> None:
    seed(ground, data=b"small")
    entry = replace_entry(manifest_of(b"small").cid)
    assert ground.read_all(entry) == b"small"


def replace_entry(cid: str) -> Entry:
    return Entry(cid, 5, 5, hashlib.sha1(b"small").hexdigest(), holders=("s",))


def test_closing_ends_a_fetch(tmp_path: Path) -> None:
    ground = Ground(tmp_path, replace(QUICK, stall_timeout=10.0))
    holder = seed(ground)
    reader = ground.open(ENTRY)
    holder.faults = Faults(stall_at=10)
    thread = threading.Thread(target=lambda: fails(Unreachable, lambda: reader.read(0, 1)))
    thread.start()
    until(lambda: len(holder.requests) == 2, 2, "asked")
    within(2, ground.close)
    thread.join(2)
    assert not thread.is_alive()
