"""What a scrub finds, and what becomes of it; the share is looked at when a test says so."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peer.messages import Rotten, Scrub, Scrubbing
from peer.share.check import Check, Disk
from peer.share.local import LocalFiles
from peer.share.rotten import act
from peer.share.rounds import Round
from peer.share.rows import IndexReader, Row
from peer.share.scrub import Judged, Noted, Scrubber
from shoal.manifest import Cid, Manifest
from tests.support.patience import until
from tests.support.rot import flip, rot
from tests.support.share_by_hand import HandShare

DATA = os.urandom(700_000)  # three pieces
SECOND = 300_000
"""An offset in the second piece."""


@pytest.fixture
def share(tmp_path: Path) -> Iterator[HandShare]:
    with HandShare(tmp_path) as made:
        yield made


def check(share: HandShare, row: Row, piece: int = 0) -> Check:
    """A check of the row's file to its end."""
    name = row.disk if row.place == "local" else f".shoal/copies/{row.cid}"
    body = share.index.manifest(row.cid)
    manifest = Manifest.decode(body, Cid(row.cid)) if body else None
    made = Check(share.root, row, name, manifest, piece, Disk())
    while not made.verdict:
        made.step()
    return made


def scrub(share: HandShare) -> list[Rotten]:
    """Checks all that is kept, and does what follows; what was said of it."""
    said: list = []
    for row in share.index.kept("", "", "", -1):
        made = check(share, row)
        act(share.moves, Judged("", row, made.verdict, made.why), said.append, share.looker.look)
    share.drain()
    return said


def own(share: HandShare, path: str = "a", data: bytes = DATA) -> Path:
    file = share.layout.local / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    share.settle()
    return file


def served(share: HandShare, cid: str, path: str = "a") -> bool:
    """Whether the data port would give it, by content or by path."""
    index = IndexReader(share.layout.index)
    files = LocalFiles(share.layout, index)
    try:
        found = [file for file in (files.open(cid), files.open_path(path)) if file is not None]
        for file in found:
            os.close(file.fd)
        return bool(found)
    finally:
        files.close()
        index.close()


def test_what_is_right_stays_as_it_is(share: HandShare) -> None:
    own(share, "a")
    own(share, "empty", b"")
    own(share, "whole piece", bytes(262144))
    share.keep("copy", b"c" * 5000)
    before = share.rows()
    assert scrub(share) == []
    assert share.rows() == before


def test_a_rotten_copy_goes_to_quarantine_and_its_row_goes(share: HandShare) -> None:
    cid = share.keep("d/copy", b"c" * 5000).cid
    rot(share.layout.local, "d/copy", 4000)
    (said,) = scrub(share)
    assert (said.kind, said.path, said.cid, said.revs) == ("copy", "d/copy", cid, {"b" * 64: 1})
    assert "piece 0 of 1" in said.why
    assert share.rows() == []
    assert not (share.layout.local / "d").exists(), "the folder that was made for it"
    (kept,) = share.layout.quarantine.iterdir()
    assert kept.name.startswith(cid) and kept.stat().st_size == 5000
    assert share.keep("d/copy", b"c" * 5000).place == "local"
    share.check()


def test_a_rotten_copy_inside_is_that_of_all_its_paths(share: HandShare) -> None:
    for path in ("a", "b"):
        own(share, path, b"mine")
        assert share.keep(path, b"c" * 5000).place == "inside"
    rot(share.layout.local, "a", 1, inside=True)
    ctime = os.stat(next(share.layout.copies.iterdir())).st_ctime_ns
    share.index._db.execute("UPDATE rows SET ctime = ? WHERE place = 'inside'", (ctime,))
    assert [rotten.path for rotten in scrub(share)] == ["a"]
    assert {row.kind for row in share.rows()} == {"own"}
    assert not list(share.layout.copies.iterdir())
    share.check()


def test_ones_own_rotten_file_stays_and_is_served_to_nobody(share: HandShare) -> None:
    file = own(share)
    (row,) = share.rows()
    rot(share.layout.local, "a", SECOND)
    rotten = file.read_bytes()
    assert served(share, row.cid), "nobody knows yet"
    before = share.index.state()[0]
    (said,) = scrub(share)
    assert (said.kind, said.path, said.why) == ("own", "a", "piece 1 of 3 is not what it was")
    assert file.read_bytes() == rotten
    assert not served(share, row.cid)
    assert not share.listed()
    (change,) = share.index.changes(before, 10)
    assert not change.announced, "the tracker is told that it is gone"
    share.check()


def test_a_rotten_file_of_ones_own_is_told_once_more_and_stays_one_until_it_changes(share: HandShare) -> None:
    file = own(share)
    rot(share.layout.local, "a")
    (cid,) = [row.cid for row in share.rows()]
    assert len(scrub(share)) == len(scrub(share)) == 1
    share.settle()
    assert not served(share, cid), "looked at again, with its times unchanged"
    os.utime(file)
    share.settle()
    share.check()
    ((path, now),) = share.listed().items()
    assert path == "a" and now != cid, "hashed as what it is now"
    assert served(share, now)


def test_a_rotten_file_that_is_right_again_is_served_again(share: HandShare) -> None:
    own(share)
    rot(share.layout.local, "a", 5)
    scrub(share)
    assert not share.listed()
    rot(share.layout.local, "a", 5)  # the same bit: as when the disk below was mended
    assert scrub(share) == []
    assert list(share.listed()) == ["a"]
    share.check()


def test_what_the_user_changed_is_no_rot(share: HandShare) -> None:
    file = own(share)
    (row,) = share.rows()
    flip(file, SECOND)
    os.utime(file, ns=(row.mtime, row.mtime))
    assert check(share, row).verdict == "changed", "by its ctime"
    assert scrub(share) == []
    assert served(share, next(iter(share.listed().values())))


def test_a_change_in_the_middle_of_a_check_is_no_rot(share: HandShare) -> None:
    file = own(share)
    (row,) = share.rows()
    body = share.index.manifest(row.cid)
    assert body is not None
    made = Check(share.root, row, "a", Manifest.decode(body, Cid(row.cid)), 0, Disk())
    made.step()
    flip(file, SECOND)
    while not made.verdict:
        made.step()
    assert made.verdict == "changed"


def test_a_change_between_the_check_and_what_follows_is_left_alone(share: HandShare) -> None:
    """The file that the keeper would move is another than the one that was read."""
    share.keep("copy", b"c" * 5000)
    rot(share.layout.local, "copy")
    (row,) = share.rows()
    made = check(share, row)
    assert made.verdict == "rotten"
    (share.layout.local / "copy").write_bytes(b"the user's")
    act(share.moves, Judged("", row, made.verdict, made.why), [].append, share.looker.look)
    assert (share.layout.local / "copy").read_bytes() == b"the user's"
    assert not list(share.layout.quarantine.iterdir())
    share.settle()
    share.check()


def test_the_right_bytes_from_others_do_not_take_the_place_of_ones_own_rotten_file(share: HandShare) -> None:
    file = own(share, data=b"m" * 5000)
    rot(share.layout.local, "a")
    rotten = file.read_bytes()
    scrub(share)
    assert share.keep("a", b"m" * 5000).place == ""
    (row,) = share.rows()
    assert (row.kind, row.state) == ("own", "rotten")
    assert file.read_bytes() == rotten
    file.unlink()
    share.settle()
    assert share.keep("a", b"m" * 5000).place == "local", "once its owner took it away"


def test_a_crash_before_the_quarantine_leaves_it_to_the_next_scrub(share: HandShare) -> None:
    share.keep("copy", b"c" * 5000)
    rot(share.layout.local, "copy")
    take_out, share.moves.take_out = share.moves.take_out, _crash  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        scrub(share)
    assert not served(share, share.rows()[0].cid, "copy")
    share.moves.take_out = take_out  # type: ignore[method-assign]
    share.recovery.run()
    assert len(scrub(share)) == 1
    assert share.rows() == [] and len(list(share.layout.quarantine.iterdir())) == 1


def _crash(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_sector_that_cannot_be_read_is_rot(share: HandShare, monkeypatch: pytest.MonkeyPatch) -> None:
    own(share)
    (row,) = share.rows()

    def read(self: Disk, fd: int, offset: int, size: int) -> memoryview:
        if offset:
            raise OSError(5, "Input/output error")
        return memoryview(DATA)[:size]

    monkeypatch.setattr(Disk, "read", read)
    made = check(share, row)
    assert (made.verdict, made.why) == ("rotten", "piece 1 of 3 cannot be read")


def test_it_reads_past_the_page_cache(share: HandShare) -> None:
    """What is in memory says nothing about the disk; and what others have in memory must not have to go for it."""
    file = own(share, data=bytes(300_000))
    (row,) = share.rows()
    fd = os.open(file, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_DIRECT)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_DIRECT)
        except OSError:
            pytest.skip("the file system under the tests cannot do that")
        assert check(share, row).verdict == "right"
        with pytest.raises(BlockingIOError):  # there is nothing of it in memory
            os.preadv(fd, [bytearray(4096)], 0, os.RWF_NOWAIT)
    finally:
        os.close(fd)


# The thread.


class Thread:
    """A scrubber whose tasks are done as they come; `clock` is the time it sees."""

    def __init__(self, share: HandShare, every: float, clock: Callable[[], float] | None = None) -> None:
        self.share, self.now = share, time.time()
        self.said: list = []
        self.judged: list[Judged] = []
        self.noted = ""
        self.scrubber = Scrubber(
            share.layout, share.root, share.index, every, self._put, self.said.append, clock or (lambda: self.now)
        )

    def _put(self, task: Judged | Noted | Scrubbing) -> None:
        if isinstance(task, Judged):
            self.judged.append(task)
        elif isinstance(task, Scrubbing):
            self.said.append(task)

    def done(self, job: str) -> list[Scrubbing]:
        return [m for m in self.said if isinstance(m, Scrubbing) and m.job == job and m.done]

    def __enter__(self) -> "Thread":
        self.scrubber.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.scrubber.stop()


def many(share: HandShare) -> None:
    for path in ("a", "d/x", "d/y", "d-", "e"):
        file = share.layout.local / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(path.encode() * 1000)
    share.settle()


@pytest.mark.parametrize(("path", "files"), [("", 5), ("d", 2), ("d/x", 1), ("nothing", 0)])
def test_what_is_asked_for_is_read_and_no_more(share: HandShare, path: str, files: int) -> None:
    many(share)
    with Thread(share, 0.0) as thread:
        thread.scrubber.ask(Scrub("j", path))
        until(lambda: thread.done("j"), 10, "it is done")
    (end,) = thread.done("j")
    assert end.files == end.files_total == files
    assert end.bytes == end.bytes_total == share.index.weight(path)[1]
    assert thread.judged == []


def test_a_pass_goes_on_where_it_was(share: HandShare) -> None:
    """Nothing is read twice, however often the peer is started again in a pass."""
    many(share)
    thread = Thread(share, 1000.0)
    text = ""
    read: list[int] = []
    for _ in range(12):
        if text:
            share.index.note("scrub", text)
        thread = Thread(share, 1000.0)
        thread.now = thread.scrubber._round.began + 999.9
        scrubber = thread.scrubber
        scrubber._index, scrubber._disk = IndexReader(share.layout.index), Disk()
        scrubber._go_on()
        scrubber._close()
        scrubber._index.close()
        read.append(scrubber._bytes)
        text = scrubber.where()
        if scrubber._round.ended:
            break
    assert sum(read) == share.index.weight("")[1]
    assert scrubber._round.files == 5


def test_what_was_rotten_in_a_pass_is_judged(share: HandShare) -> None:
    many(share)
    rot(share.layout.local, "d/y")
    with Thread(share, 0.01, time.time) as thread:
        until(lambda: thread.judged, 10, "it is found")
    assert (thread.judged[0].verdict, thread.judged[0].row.path) == ("rotten", "d/y")


def test_notes_that_cannot_be_read_begin_a_new_pass(tmp_path: Path) -> None:
    with HandShare(tmp_path) as share:
        share.index.note("scrub", '{"began": "never"}')
        assert Thread(share, 5.0).scrubber._round.files == 0
        share.index.note("scrub", '{"began": 7, "path": "d/x", "files": 2}')
        assert Thread(share, 5.0).scrubber._round == Round(7.0, "d/x", files=2)
