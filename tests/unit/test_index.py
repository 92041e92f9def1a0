"""The index's writer: sequence, digest, gone rows, refusals, crash safety."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import peer.share.index as index_module
from peer.share.index import Change, Index
from peer.share.rows import IndexReader, Row
from shoal.manifest import manifest_of
from shoal.wire import Digest

ME = "a" * 64


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "index.sqlite")
    yield made
    made.close()


def own(path: str, data: bytes, rev: int = 1) -> Row:
    manifest = manifest_of(data)
    return Row(path, manifest.cid, "own", len(data), 7, manifest.sha1, revs={ME: rev}, place="local", disk=path)


def put(index: Index, path: str, data: bytes, rev: int = 1) -> Row:
    row = own(path, data, rev)
    assert index.apply([Change(path, index.at(path), [row], manifest=manifest_of(data))]) == []
    return row


def test_sequence_digest_and_manifest_follow_each_change(index: Index) -> None:
    row = put(index, "a", b"one")
    digest = Digest()
    digest.add(row.item())
    assert index.state() == (1, str(digest), 0)
    assert index.manifest(row.cid) == manifest_of(b"one").encode()
    index.apply([Change("a", index.at("a"), gone=[row.cid])])
    assert index.state()[:2] == (2, str(Digest()))
    assert index.manifest(row.cid) is None
    assert [(r.kind, r.sequence) for r in index.changes(1, 9)] == [("gone", 2)]


def test_a_manifest_stays_while_another_row_needs_it(index: Index) -> None:
    row = put(index, "a", b"same")
    put(index, "b", b"same")
    index.apply([Change("a", index.at("a"), gone=[row.cid])])
    assert index.manifest(row.cid) is not None


def test_the_new_version_comes_before_the_old_one_goes(index: Index) -> None:
    old, new = put(index, "a", b"old"), own("a", b"new", 2)
    index.apply([Change("a", index.at("a"), [new], [old.cid])])
    assert [(r.cid, r.kind) for r in index.changes(1, 9)] == [(new.cid, "own"), (old.cid, "gone")]


def test_a_change_made_from_other_rows_is_refused(index: Index) -> None:
    seen = index.at("a")
    put(index, "a", b"first")
    late = Change("a", seen, [own("a", b"late")])
    assert index.apply([late]) == [late]
    assert len(index.at("a")) == 1


def test_what_nobody_is_told_of_takes_no_number(index: Index) -> None:
    row = put(index, "a", b"one")
    (seen,) = index.at("a")
    moved = Row(**{name: getattr(seen, name) for name in Row.__slots__})
    moved.ctime = 99
    index.apply([Change("a", [seen], [moved])])
    assert index.state()[0] == 1 and index.at("a")[0].ctime == 99
    assert row.cid == moved.cid


def test_gone_rows_are_pruned_and_the_oldest_answer_moves_up(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "GONE_MAX", 10)
    for n in range(30):
        row = put(index, f"f{n}", b"x%d" % n)
        index.apply([Change(row.path, index.at(row.path), gone=[row.cid])])
    sequence, _, oldest = index.state()
    assert sequence == 60 and 0 < oldest < 60
    gone = [row.sequence for row in index.changes(0, 1000)]
    assert len(gone) <= 11 and min(gone) > oldest


def test_rows_come_by_path_and_a_prefix_takes_no_neighbours(index: Index) -> None:
    for path in ("a", "a-b", "a.b", "a/b", "a/c/d", "a0", "b"):
        put(index, path, path.encode())
    assert [group[0].path for group in index.known("")] == ["a", "a-b", "a.b", "a/b", "a/c/d", "a0", "b"]
    assert [group[0].path for group in index.known("a")] == ["a", "a/b", "a/c/d"]


def test_pages_of_known_rows_do_not_split_a_path(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "PAGE", 3)
    for path in ("a", "b", "c", "d"):
        put(index, path, b"1")
        index.apply([Change(path, index.at(path), [own(path, b"2", 2)])])
    assert [(g[0].path, len(g)) for g in index.known("")] == [("a", 2), ("b", 2), ("c", 2), ("d", 2)]


@pytest.mark.parametrize(
    ("pin", "covered"), [("", {"d", "d-", "d/a", "d/b/c"}), ("d", {"d", "d/a", "d/b/c"}), ("d/a", {"d/a"})]
)
def test_a_pin_covers_what_is_there_and_what_comes_until_it_or_one_above_is_taken_back(
    index: Index, pin: str, covered: set[str]
) -> None:
    def pinned() -> set[str]:
        return {row.path for row in index.beneath("") if row.pinned}

    for path in ("d", "d-", "d/a"):
        put(index, path, path.encode())
    index.pin(pin, True)
    put(index, "d/b/c", b"later")
    assert pinned() == covered
    for above in dict.fromkeys((pin, "")):
        index.pin(pin, True)
        index.pin(above, False)
        assert (index.pins(), pinned()) == ([], set())


def test_a_failed_transaction_changes_nothing(index: Index) -> None:
    put(index, "a", b"one")
    before = index.state()
    broken = own("b", b"two")
    broken.size = 1 << 70  # more than SQLite holds
    with pytest.raises(OverflowError):
        index.apply([Change("c", [], [own("c", b"three")]), Change("b", [], [broken])])
    assert index.state() == before and index.at("c") == [] and index.sequence == 1
    put(index, "d", b"four")
    assert index.state()[0] == 2


def test_killed_at_any_moment_the_digest_is_that_of_the_rows(tmp_path: Path) -> None:
    """kill -9 in the middle of commits: what is there is whole transactions."""
    path = tmp_path / "index.sqlite"
    program = f"""
import sys; sys.path.insert(0, {str(Path.cwd())!r})
from pathlib import Path
from tests.unit.test_index import own
from peer.share.index import Change, Index
index = Index(Path({str(path)!r}))
n = 0
while True:
    n += 1
    rows = [own(f"p{{k}}", b"%d" % (n + k), n) for k in range(20)]
    changes = []
    for row in rows:
        seen = index.at(row.path)
        old = [old.cid for old in seen if old.kind == "own" and old.cid != row.cid]
        changes.append(Change(row.path, seen, [row], old))
    index.apply(changes)
    print(n, flush=True)
"""
    for lines in (3, 11):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(lines):
                assert process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
        reader = IndexReader(path)
        digest = Digest()
        for rows in reader.listed():
            for row in rows:
                digest.add(row.item())
        sequence, told, _ = reader.state()
        reader.close()
        assert told == str(digest) and sequence > 0
        with sqlite3.connect(path) as db:
            assert db.execute("SELECT MAX(sequence) FROM rows").fetchone() == (sequence,)
        db.close()
