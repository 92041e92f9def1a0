"""Reading through the swarm from holders in memory that lie, stall, cut, die, or list what is not so."""

import hashlib
import random
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from peer.swarm.plan import PER_HOLDER, URGENT
from shoal.errors import DataError, Gone, Lied, Misbehaved, Unreachable
from shoal.manifest import MIB, Manifest, manifest_of
from shoal.wire import Entry
from tests.support.faults import in_background
from tests.support.patience import until, within
from tests.support.swarm_ground import BAD, DATA, MANIFEST, PIECE, SMALL, Ground, answers, fails
from tests.support.swarm_in_memory import QUICK, Faults, entry_of


@pytest.mark.parametrize("faults", BAD, ids=[str(n) for n in range(len(BAD))])
def test_the_read_goes_on_from_another_holder(ground: Ground, faults: Faults) -> None:
    bad, _ = ground.holder("a"), ground.holder("b")
    with ground.open() as reader:
        assert reader.read(0, 300_000) == DATA[:300_000]
        bad.faults = faults
        began = time.monotonic()
        rest = within(5, lambda: b"".join(reader.read(at, 200_000) for at in range(300_000, len(DATA), 200_000)))
        assert rest == DATA[300_000:]
        assert time.monotonic() - began < 2 * QUICK.stall_timeout + 1


def test_who_is_listed_while_the_only_holder_is_silent_is_asked_soon(tmp_path: Path) -> None:
    ground = Ground(tmp_path, replace(QUICK, stall_timeout=20.0, read_timeout=20.0))
    only, late = ground.holder("a"), ground.holder("b", known=False)
    with closing(ground), ground.open() as reader:
        assert reader.read(0, 300_000) == DATA[:300_000]
        only.faults = Faults(stall_at=0)
        read = in_background(lambda: reader.read(6 * MIB, 300_000))
        until(lambda: only.requests[-1].first == 6 * MIB, 5, "it is asked, and says nothing")
        ground.known.append(late)
        assert read.result(5) == DATA[6 * MIB : 6 * MIB + 300_000]
    assert not ground.asked, "the catalogue knew"


def test_a_liar_is_benched_for_that_content_and_counted(ground: Ground) -> None:
    liar, honest = ground.holder("a"), ground.holder("b")
    liar.faults = Faults(wrong_pieces={0, 5, 20, 30, 40})
    other = random.Random(5).randbytes(MIB)
    for holder in (liar, honest):
        holder.add(other)
    assert ground.read_all() == DATA
    assert 1 <= ground.swarm.stats().rejected <= PER_HOLDER * URGENT
    asked = len(liar.asked_pieces(MANIFEST.cid))
    with ground.open() as reader:
        reader.read(0, len(DATA))
    assert len(liar.asked_pieces(MANIFEST.cid)) == asked
    honest.faults = Faults(dead=True)
    liar.faults = Faults()
    assert ground.read_all(manifest_of(other)) == other, "it is still asked for other contents"


def test_errors_say_whose_fault_it_is_and_come_soon(ground: Ground) -> None:
    one, other = ground.holder("a"), ground.holder("b")
    with ground.open() as reader:
        reader.read(0, 10)
        one.faults = other.faults = Faults(dead=True)
        fails(Unreachable, lambda: reader.read(5 * MIB, 10))
        assert ground.asked == 1, "the tracker was asked, once"
    ground.close()
    one.faults, other.faults = Faults(wrong_bytes=True), Faults(dead=True)
    with ground.open() as reader:
        fails(Lied, lambda: reader.read(6 * MIB, 10))
    ground.close()
    one.faults = other.faults = Faults(status=410)
    with ground.open() as reader:
        fails(Gone, lambda: reader.read(6 * MIB, 10))
    ground.close()
    one.faults = other.faults = Faults(status=302)
    with ground.open() as reader:
        fails(Misbehaved, lambda: reader.read(6 * MIB, 10))


def test_nobody_is_known_and_nobody_is_found(ground: Ground) -> None:
    with ground.open() as reader:
        fails(Unreachable, lambda: reader.read(0, 10), 1.0)
    assert ground.asked == 1


def test_a_holder_that_only_the_tracker_knows_is_found(ground: Ground) -> None:
    ground.holder("a").faults = Faults(dead=True)
    ground.holder("b", known=False)
    assert ground.read_all() == DATA


def test_a_server_that_starts_again_at_once_costs_no_error(ground: Ground) -> None:
    holder = ground.holder("a")
    with ground.open() as reader:
        reader.read(0, 10)
        holder.faults = Faults(dead=True)
        threading.Timer(0.15, lambda: setattr(holder, "faults", Faults())).start()
        assert within(3, reader.read, 5 * MIB, 10) == DATA[5 * MIB : 5 * MIB + 10]


def test_one_that_says_later_for_ever_is_waited_for_until_the_deadline(ground: Ground) -> None:
    ground.config = replace(QUICK, read_timeout=0.8)
    holder = ground.holder("a")
    with ground.open() as reader:
        reader.read(0, 10)
        holder.faults = Faults(status=503)
        fails(Unreachable, lambda: reader.read(5 * MIB, 10), 2.0)
    holder.add(SMALL)
    with ground.open(manifest_of(SMALL)) as reader:
        fails(Unreachable, lambda: reader.read(0, 10), 2.0)


@pytest.mark.parametrize("data", [SMALL, DATA], ids=["small", "large"])
def test_many_that_are_silent_do_not_add_up_beyond_the_deadline(ground: Ground, data: bytes) -> None:
    ground.config = replace(QUICK, read_timeout=0.8)
    for number in range(12):
        ground.holder(f"h{number}", data).faults = Faults(stall_at=0)
    with ground.open(manifest_of(data)) as reader:
        fails(Unreachable, lambda: reader.read(0, 10), 2.5)


def test_a_holder_that_cuts_again_and_again_but_gets_on_is_enough(ground: Ground) -> None:
    holder = ground.holder("a")
    with ground.open() as reader:
        reader.read(0, 10)
        holder.faults = Faults(cut_at=PIECE + 1000)
        assert within(10, reader.read, 5 * MIB, MIB) == DATA[5 * MIB : 6 * MIB]


def test_a_dead_holder_is_forgiven_with_time(ground: Ground) -> None:
    holder = ground.holder("a")
    holder.faults = Faults(dead=True)
    with ground.open() as reader:
        fails(Unreachable, lambda: reader.read(0, 10))
        holder.faults = Faults()
        until(lambda: answers(reader), 5, "it is asked again", every=0.2)


def test_a_manifest_that_is_not_the_contents_is_refused(ground: Ground) -> None:
    holder = ground.holder("a", None)
    holder.files[MANIFEST.cid] = (replace(MANIFEST, sha1="0" * 40), DATA)
    with ground.open() as reader:
        fails(Lied, lambda: reader.read(0, 10))
    assert list(ground.layout.partial.iterdir()) == []


def test_a_listed_size_that_is_not_the_contents_is_refused(ground: Ground) -> None:
    ground.holder("a")
    entry = entry_of(MANIFEST, "a")
    with ground.open(replace_size(entry, MANIFEST.size + 1)) as reader:
        fails(Lied, lambda: reader.read(0, 10))
    assert list(ground.layout.partial.iterdir()) == []


def test_a_listed_size_beyond_measure_costs_nothing(ground: Ground) -> None:
    holder = ground.holder("a")
    with ground.open(replace_size(entry_of(MANIFEST, "a"), 1 << 53)) as reader, pytest.raises(DataError):
        within(1, reader.read, 0, 10)
    assert holder.requests == []


def replace_size(entry: Entry, size: int) -> Entry:
    return Entry(entry.cid, size, entry.mtime, entry.sha1, owners=entry.owners, holders=entry.holders)


@pytest.mark.parametrize(
    "liar",
    [
        replace(MANIFEST, sha256=hashlib.sha256(b"other").hexdigest()),
        replace(MANIFEST, sha1=hashlib.sha1(b"other").hexdigest()),
    ],
    ids=["sha256", "sha1"],
)
def test_a_whole_that_is_wrong_though_its_pieces_are_right_is_put_aside(ground: Ground, liar: Manifest) -> None:
    holder = ground.holder("a", None)
    holder.add(DATA, manifest=liar)
    with ground.open(liar) as reader:
        for offset in range(0, len(DATA), MIB):
            try:
                reader.read(offset, MIB)
            except Lied:
                assert offset + MIB > len(DATA)
        until(lambda: ground.swarm.stats().condemned == 1, 3, "checked")
        fails(Lied, lambda: reader.read(0, 10))
    fails(Lied, lambda: ground.open(liar))
    assert ground.keeps == []
    assert list(ground.layout.partial.glob("*.data")) == list(ground.layout.partial.glob("*.bits")) == []
    assert (ground.layout.quarantine / f"{liar.cid}.data").stat().st_size == len(DATA)
