"""Reading through the swarm from holders in memory that lie, stall, cut, die and lack pieces."""

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from peer.cache.room import Room
from peer.layout import Layout
from peer.messages import Begun, Ended, Keep, Kept
from peer.swarm import Others, Reader, Swarm, SwarmConfig
from peer.swarm.plan import PER_HOLDER, RUN, RUNS, URGENT
from shoal.errors import DataError, Gone, Lied, Misbehaved, RemoteError, Unreachable
from shoal.manifest import KIB, MIB, Manifest, manifest_of
from shoal.names import SafePath, safe_path
from shoal.wire import Entry, PeerRow
from tests.support.patience import until, within
from tests.support.swarm_in_memory import QUICK, Faults, Holder, MemorySources, entry_of

PIECE = 256 * KIB
DATA = random.Random(1).randbytes(12 * MIB + 5)
MANIFEST = manifest_of(DATA)
PATH = safe_path("dir/file.bin")
SMALL = b"hello " * 1000


class Ground:
    """A swarm over holders; what it asked the tracker and told the scanner."""

    def __init__(self, tmp: Path, config: SwarmConfig = QUICK) -> None:
        self.layout = Layout(tmp)
        self.layout.make()
        self.config = config
        self.holders: list[Holder] = []
        self.readers: list[Holder] = []
        """Those that the tracker lists as holders of parts."""
        self.known: list[Holder] = []
        """Those that the catalogue tells of; the tracker knows all."""
        self.asked = self.opened = 0
        self.keeps: list[Keep] = []
        self.told: list[Begun | Ended | Keep] = []
        """What the scanner was told, of downloads that begin too."""
        self.scanner_there = True
        self.room: Room | None = None
        self._swarm: Swarm | None = None
        self._making = threading.Lock()

    def holder(self, id: str, data: bytes | None = DATA, known: bool = True, seed: bool = False) -> Holder:
        holder = Holder(id, seed)
        if data is not None:
            holder.add(data)
        self.holders.append(holder)
        if known:
            self.known.append(holder)
        return holder

    @property
    def swarm(self) -> Swarm:
        with self._making:
            if self._swarm is None:
                sources = MemorySources([*self.holders, *self.readers], self.config)
                rows = {holder.id: holder.row for holder in self.readers}
                others = Others(partial=lambda cid: list(rows.values()), find=rows.get)
                self._swarm = Swarm(
                    self.config, self.layout, self._find, self._keep, sources, others=others, room=self.room
                )
            return self._swarm

    def close(self) -> None:
        if self._swarm is not None:
            self._swarm.close()
            self._swarm = None

    def open(self, entry: Entry | Manifest = MANIFEST) -> Reader:
        if isinstance(entry, Manifest):
            entry = entry_of(entry, *(holder.id for holder in self.known))
        reader = self.swarm.open(PATH, entry)
        self.opened += 1
        return reader

    def read_all(self, entry: Entry | Manifest = MANIFEST, step: int = 128 * KIB) -> bytes:
        with self.open(entry) as reader:
            return b"".join(reader.read(offset, step) for offset in range(0, reader.size, step))

    def kept(self, keep: Keep, place: str = "local", why: str = "") -> None:
        """The scanner's answer; it takes the file first."""
        if place and keep.data is None:
            (self.layout.partial / f"{keep.cid}.data").rename(self.layout.local / "kept")
        self.swarm.kept(Kept(keep.path, keep.cid, place, why))

    def _find(self, path: SafePath, entry: Entry, ask: bool) -> list[PeerRow]:
        self.asked += ask
        return [holder.row for holder in (self.holders if ask else self.known)]

    def _keep(self, message: Begun | Ended | Keep) -> bool:
        if self.scanner_there:
            self.told.append(message)
        if self.scanner_there and isinstance(message, Keep):
            self.keeps.append(message)
        return self.scanner_there


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    ground.close()


def fails(kind: type[RemoteError], call: Callable[[], object], seconds: float = 3.0) -> None:
    with pytest.raises(kind) as caught:
        within(seconds, call)
    assert type(caught.value) is kind


# -- several pieces ----------------------------------------------------------------------------------------------------


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


BAD = [
    Faults(dead=True),
    Faults(stall_at=300_000),
    Faults(stall_at=0),
    Faults(cut_at=300_000),
    Faults(wrong_bytes=True),
    Faults(status=302),
    Faults(status=500),
    Faults(status=503),
    Faults(status=404),
    Faults(compressed=True),
    Faults(more=7),
    Faults(shifted=True),
    Faults(slow=9),
]


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
        until(lambda: _reads(reader), 5, "it is asked again", every=0.2)


def _reads(reader: Reader) -> bool:
    try:
        return reader.read(0, 10) == DATA[:10]
    except Unreachable:
        return False


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
    assert RUNS * URGENT >= PER_HOLDER * URGENT


# -- one piece ---------------------------------------------------------------------------------------------------------


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


# -- the end -----------------------------------------------------------------------------------------------------------


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
        until(lambda: _reads(reader), 5, "it is asked again", every=0.2)
        assert ground.swarm.state(entry) == "partial"
    ground.close()
    assert ground.swarm.state(entry) == "partial", "by what is on disk"
