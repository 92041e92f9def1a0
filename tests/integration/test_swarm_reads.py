"""Reading through the swarm from holders in memory: each piece is fetched once, kept, and let go."""

import os
import random
import threading
import time
from dataclasses import replace

import pytest

from peer.messages import Keep
from peer.swarm.plan import RUN
from shoal.errors import Unreachable
from shoal.manifest import MIB, manifest_of
from tests.support.patience import until, within
from tests.support.swarm_ground import DATA, MANIFEST, PATH, PIECE, SMALL, Ground, answers, fails
from tests.support.swarm_in_memory import QUICK, Faults, Holder, entry_of


def test_a_file_is_read_whole_each_piece_fetched_once_and_kept(ground: Ground) -> None:
    one, other = ground.holder("a"), ground.holder("b")
    assert ground.read_all() == DATA
    asked = one.asked_pieces(MANIFEST.cid) + other.asked_pieces(MANIFEST.cid)
    assert sorted(asked) == list(range(MANIFEST.count))
    assert one.asked_pieces(MANIFEST.cid)
    assert other.asked_pieces(MANIFEST.cid), "they take turns"
    keep = until(lambda: ground.keeps, 3, "offered to the scanner")[0]
    assert keep == Keep(PATH, MANIFEST.cid, MANIFEST.encode(), 5, False, {"f" * 64: 7}, None)
    assert (ground.layout.partial / f"{MANIFEST.cid}.data").read_bytes() == DATA
    with ground.open() as reader:
        ground.kept(keep)
        assert reader.read(MIB, 100) == DATA[MIB : MIB + 100], "an open handle goes on with the file that moved"
    until(lambda: not list(ground.layout.partial.iterdir()), 3, "nothing is left here")
    fetched = ground.swarm.stats().fetched
    assert sum(fetched.values()) == len(DATA)
    assert set(fetched) == {"name-a", "name-b"}


def test_the_scanner_answers_when_nobody_has_it_open(ground: Ground) -> None:
    ground.holder("a")
    ground.read_all()
    ground.kept(until(lambda: ground.keeps, 3, "offered")[0])
    until(lambda: not list(ground.layout.partial.iterdir()), 3, "nothing is left here")


def test_what_is_not_kept_is_served_from_where_it_is(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    holder = ground.holder("a")
    ground.read_all()
    ground.kept(until(lambda: ground.keeps, 3, "offered")[0], "", "no reason")
    asked = len(holder.requests)
    assert ground.read_all() == DATA
    assert len(holder.requests) == asked
    assert "without being kept: no reason" in caplog.text


def test_pieces_on_disk_are_not_fetched_again_by_the_next_run_of_the_program(ground: Ground) -> None:
    holder = ground.holder("a")
    with ground.open() as reader:
        reader.read(5 * MIB, 10)
        reader.read(9 * MIB, MIB)
    ground.close()
    first = set(holder.asked_pieces(MANIFEST.cid))
    assert first == {20, 36, 37, 38, 39}
    holder.requests.clear()
    assert ground.read_all() == DATA
    assert sorted(holder.asked_pieces(MANIFEST.cid)) == sorted(set(range(MANIFEST.count)) - first)
    assert not any(request.target.endswith("/manifest") for request in holder.requests)


def test_a_little_at_the_end_moves_a_little(ground: Ground) -> None:
    data = random.Random(2).randbytes(64 * MIB)
    holder = ground.holder("a", data)
    with ground.open(manifest_of(data)) as reader:
        assert reader.read(64 * MIB - 4096, 4096) == data[-4096:]
    assert len(holder.asked_pieces(manifest_of(data).cid)) <= 2
    assert sum(ground.swarm.stats().fetched.values()) <= 2 * PIECE
    assert ground.keeps == []


def test_random_reads_fetch_what_is_asked_and_little_more(ground: Ground) -> None:
    data = random.Random(2).randbytes(64 * MIB)
    holder = ground.holder("a", data)
    dice = random.Random(4)
    wanted = set()
    with ground.open(manifest_of(data)) as reader:
        for _ in range(40):
            offset = dice.randrange(64 * MIB - 4096)
            assert reader.read(offset, 4096) == data[offset : offset + 4096]
            wanted |= {offset // PIECE, (offset + 4095) // PIECE}
    time.sleep(0.05)
    assert len(holder.asked_pieces(manifest_of(data).cid)) <= len(wanted) * 1.3 + 2


def test_readers_of_one_piece_cause_one_fetch(ground: Ground) -> None:
    holder = ground.holder("a")
    holder.faults = Faults(slow=0.1)
    got: list[bytes] = []

    def read() -> None:
        with ground.open() as reader:
            got.append(reader.read(7 * MIB, 10))

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [DATA[7 * MIB : 7 * MIB + 10]] * 12
    assert holder.asked_pieces(MANIFEST.cid) == [28]
    assert len([r for r in holder.requests if r.target.endswith("/manifest")]) == 1


def test_a_waiting_read_does_not_hold_up_one_that_has_its_bytes(ground: Ground) -> None:
    holder = ground.holder("a")
    with ground.open() as one, ground.open() as other:
        one.read(0, 10)
        holder.faults = Faults(stall_at=0)
        thread = threading.Thread(target=lambda: fails(Unreachable, lambda: other.read(8 * MIB, 10)))
        thread.start()
        until(lambda: holder.requests[-1].first == 8 * MIB, 2, "the other waits")
        began = time.monotonic()
        assert one.read(0, 10) == DATA[:10]
        assert time.monotonic() - began < QUICK.stall_timeout / 2
        thread.join()


def test_partial_holders_are_asked_for_what_they_have(ground: Ground) -> None:
    even, odd = ground.holder("a", None), ground.holder("b", None)
    even.add(DATA, only=set(range(0, MANIFEST.count, 2)))
    odd.add(DATA, only=set(range(1, MANIFEST.count, 2)))
    assert within(8, ground.read_all) == DATA
    for holder, rest in ((even, 0), (odd, 1)):
        known = False
        for request in holder.requests:
            if request.target.endswith("/pieces"):
                known = True
            elif known and request.first is not None and request.end is not None:
                pieces = range(request.first // PIECE, -(-request.end // PIECE))
                if request.at > _learned(holder) + 0.05:
                    assert all(n % 2 == rest for n in pieces), "never for what it is known to lack"


def test_the_owner_is_gone_and_readers_have_all_of_it_together(ground: Ground) -> None:
    """The manifest comes from them, too; and each is asked for what it has, and never for more."""
    ground.holder("owner").faults = Faults(dead=True)
    for rest in range(2):
        reader = Holder(f"reader{rest}")
        reader.add(DATA, only=set(range(rest, MANIFEST.count, 2)))
        ground.readers.append(reader)
    assert within(8, ground.read_all) == DATA
    for rest, reader in enumerate(ground.readers):
        assert all(number % 2 == rest for number in reader.asked_pieces(MANIFEST.cid))


def _learned(holder: Holder) -> float:
    return next(request.at for request in holder.requests if request.target.endswith("/pieces"))


def test_requests_are_bounded_while_many_read(ground: Ground) -> None:
    holder = ground.holder("a")
    most = 0
    running = threading.Event()

    def watch() -> None:
        nonlocal most
        while not running.wait(0.001):
            most = max(most, ground.swarm.stats().active)

    holder.faults = Faults(slow=0.02)
    watcher = threading.Thread(target=watch)
    watcher.start()
    threads = [threading.Thread(target=ground.read_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.set()
    watcher.join()
    assert most == 1, "one content, one download"
    assert sorted(holder.asked_pieces(MANIFEST.cid)) == list(range(MANIFEST.count))
    assert all((r.end or 0) - (r.first or 0) <= RUN for r in holder.requests)


@pytest.mark.parametrize("data", [SMALL, DATA], ids=["small", "large"])
def test_closing_ends_waiting_reads_at_once(ground: Ground, data: bytes) -> None:
    ground.config = replace(QUICK, stall_timeout=10.0)
    holder = ground.holder("a", data)
    holder.faults = Faults(stall_at=0)
    ended: list[BaseException] = []

    def read() -> None:
        try:
            ground.read_all(manifest_of(data))
        except Unreachable as error:
            ended.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: holder.requests, 2, "asked")
    until(lambda: ground.opened == 4, 2, "all of them read")
    time.sleep(0.05)
    within(2, ground.close)
    for thread in threads:
        thread.join(1)
    assert len(ended) == 4


def test_what_is_idle_is_let_go(ground: Ground) -> None:
    ground.holder("a")
    ground.read_all()
    until(lambda: ground.keeps, 3, "checked")
    before = _descriptors(ground)
    assert before > 0
    until(lambda: _descriptors(ground) == 0, 4, "descriptors given back")
    until(lambda: not any(t.name == "swarm-sweep" for t in threading.enumerate()), 4, "nothing left to do")
    assert ground.read_all() == DATA


def _descriptors(ground: Ground) -> int:
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            pass
    return sum(link.startswith(str(ground.layout.partial)) for link in links)


def test_state(ground: Ground) -> None:
    holder = ground.holder("a")
    entry = entry_of(MANIFEST, "a")
    assert ground.swarm.state(entry) == "remote"
    holder.faults = Faults(dead=True)
    with ground.open(entry) as reader:
        fails(Unreachable, lambda: reader.read(0, 10))
        assert ground.swarm.state(entry) == "unreachable"
        holder.faults = Faults()
        until(lambda: answers(reader), 5, "it is asked again", every=0.2)
        assert ground.swarm.state(entry) == "partial"
    ground.close()
    assert ground.swarm.state(entry) == "partial", "by what is on disk"
