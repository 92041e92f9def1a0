"""Downloads kept: what stands in LOCAL, what stays inside, and that a user's file is never touched."""

import errno
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import peer.share.moves as moves_module
from peer.messages import Kept
from peer.share.mark import NAME
from peer.share.withdraw import forget, seen, withdrawn
from shoal.errors import LocalError
from shoal.manifest import DIR_CID, NOTHING_CID, manifest_of
from tests.support.share_by_hand import ME, OTHER, HandShare, download

NEW, OLD = 2 * 10**18, 10**18


@pytest.fixture
def share(tmp_path: Path) -> Iterator[HandShare]:
    with HandShare(tmp_path) as made:
        yield made


def state_files(share: HandShare) -> set[str]:
    state = share.layout.state
    return {p.relative_to(state).as_posix() for p in state.rglob("*") if p.is_file() and not p.name.startswith("index")}


def cid(data: bytes) -> str:
    return manifest_of(data).cid


def test_a_download_stands_in_local_with_its_time_and_mode(share: HandShare, tmp_path: Path) -> None:
    assert share.keep("a/b/f", b"data", OLD, x=True) == Kept("a/b/f", cid(b"data"), "local")
    status = os.stat(tmp_path / "a/b/f")
    assert (tmp_path / "a/b/f").read_bytes() == b"data"
    assert status.st_mtime_ns == OLD and stat.S_IMODE(status.st_mode) == 0o755
    (row,) = share.rows()
    assert (row.kind, row.place, row.state, row.revs, row.x) == ("copy", "local", "ok", {OTHER: 1}, True)
    share.check()
    assert state_files(share) == set()
    share.settle()
    assert [r.kind for r in share.rows()] == ["copy"]


def test_a_large_download_is_moved_and_its_leavings_removed(share: HandShare, tmp_path: Path) -> None:
    data = b"x" * 600_000
    for suffix, body in ((".data", data), (".bits", b"b"), (".manifest", b"m")):
        (share.layout.partial / (cid(data) + suffix)).write_bytes(body)
    (share.layout.partial / f"{cid(data)}.data").chmod(0o6777)
    (kept,) = share.copies.keep([download("f", data, inline=False)])
    assert kept.place == "local" and (tmp_path / "f").read_bytes() == data
    assert stat.S_IMODE(os.stat(tmp_path / "f").st_mode) == 0o644  # nothing set-user-id comes from the network
    assert state_files(share) == set()


def test_a_download_that_is_not_whole_is_not_kept(share: HandShare, tmp_path: Path) -> None:
    data = b"x" * 1000
    (share.layout.partial / f"{cid(data)}.data").write_bytes(data[:-1])
    (kept,) = share.copies.keep([download("f", data, inline=False)])
    assert kept.place == "" and "not whole" in kept.why
    outside = tmp_path.parent / f"{tmp_path.name}-secret"
    outside.write_bytes(b"l")
    outside.chmod(0o600)
    (share.layout.partial / f"{cid(b'l')}.data").symlink_to(outside)
    (kept,) = share.copies.keep([download("g", b"l", inline=False)])
    assert kept.place == "" and kept.why
    assert stat.S_IMODE(os.stat(outside).st_mode) == 0o600
    assert share.rows() == [] and not (tmp_path / "f").exists()


def test_a_download_that_the_scanner_before_had_kept_is_kept(share: HandShare, tmp_path: Path) -> None:
    """It died before it said so, and the peer asks again."""
    data = b"x" * 600_000
    (share.layout.partial / f"{cid(data)}.data").write_bytes(data)
    for _ in range(2):
        (kept,) = share.copies.keep([download("f", data, inline=False)])
        assert kept == Kept("f", cid(data), "local")
    assert (tmp_path / "f").read_bytes() == data
    (kept,) = share.copies.keep([download("g", data, inline=False)])
    assert kept.place == "" and kept.why


@pytest.mark.parametrize("path", ["../f", "/f", ".shoal/f", "a//b", "a/../../f", "a\nb"])
def test_unfit_paths_are_not_kept(share: HandShare, path: str) -> None:
    assert share.keep(path, b"data").place == ""
    assert share.rows() == []


def test_a_link_in_the_way_is_not_followed(share: HandShare, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (tmp_path / "d").symlink_to(outside)
    assert share.keep("d/f", b"data").place == "inside"
    assert list(outside.iterdir()) == []


def test_over_a_users_file_known_or_not_nothing_is_written(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("mine")
    share.settle()
    (tmp_path / "unknown").write_text("mine too")
    for path in ("known", "unknown"):
        assert share.keep(path, b"theirs", NEW) == Kept(path, cid(b"theirs"), "inside")
    share.settle()
    assert (tmp_path / "known").read_text() == "mine" and (tmp_path / "unknown").read_text() == "mine too"
    placed = {(r.path, r.kind, r.place) for r in share.rows()}
    assert placed == {(p, k, w) for p in ("known", "unknown") for k, w in (("own", "local"), ("copy", "inside"))}
    share.check()


def test_folder_in_the_way_and_file_in_the_way_of_a_folder(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "p/q").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    assert share.keep("p", b"1").place == "inside"
    assert share.keep("p/q", b"2").place == "inside"
    assert share.keep("file/f", b"3").place == "inside"
    share.settle()
    share.check()
    assert share.listed()["p/q"] == DIR_CID


def test_of_several_copies_the_newest_stands_in_local(share: HandShare, tmp_path: Path) -> None:
    assert share.keep("p", b"old", OLD, {OTHER: 1}).place == "local"
    assert share.keep("p", b"new", NEW, {"c" * 64: 1}).place == "local"
    assert share.keep("p", b"older", OLD - 10**9, {"d" * 64: 1}).place == "inside"
    assert (tmp_path / "p").read_bytes() == b"new"
    assert {(r.cid, r.place) for r in share.rows()} == {
        (cid(b"new"), "local"), (cid(b"old"), "inside"), (cid(b"older"), "inside")
    }  # fmt: skip
    share.check()
    share.settle()
    share.check()


def test_a_tie_goes_to_the_higher_cid(share: HandShare, tmp_path: Path) -> None:
    low, high = sorted([b"1", b"2"], key=cid)
    share.keep("p", high, NEW, {OTHER: 1})
    assert share.keep("p", low, NEW, {"c" * 64: 1}).place == "inside"
    share.keep("q", low, NEW, {OTHER: 1})
    assert share.keep("q", high, NEW, {"c" * 64: 1}).place == "local"


def test_a_superseded_copy_is_unlinked(share: HandShare, tmp_path: Path) -> None:
    share.keep("p", b"old", OLD, {OTHER: 1})
    share.keep("p", b"new", NEW, {OTHER: 2})
    assert [(r.cid, r.place) for r in share.rows()] == [(cid(b"new"), "local")]
    assert state_files(share) == set()
    share.check()


def test_the_same_content_inside_for_two_paths_is_one_file(share: HandShare, tmp_path: Path) -> None:
    for path in ("p", "q"):
        (tmp_path / path).write_text(f"mine {path}")
        assert share.keep(path, b"theirs").place == "inside"
    share.settle()
    share.check()
    share.copies.take_away("p", cid(b"theirs"))
    share.check()
    assert len(state_files(share)) == 1
    share.copies.take_away("q", cid(b"theirs"))
    assert state_files(share) == set()


def test_keeping_what_is_here_already_says_where(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"data")
    share.settle()
    assert share.keep("mine", b"data").place == "local"
    assert [r.kind for r in share.rows()] == ["own"]
    assert share.keep("theirs", b"data").place == "local" == share.keep("theirs", b"data").place
    assert state_files(share) == set()


def test_one_batch_of_many(share: HandShare) -> None:
    keeps = [download(f"d{n % 7}/f{n}", b"%d" % n) for n in range(300)]
    assert {kept.place for kept in share.copies.keep(keeps)} == {"local"}
    share.check()
    sequence = share.index.state()[0]
    share.settle()
    assert share.index.state()[0] == sequence, "our own moves are not taken for the user's"


def test_a_copy_changed_by_the_user_is_an_original(share: HandShare, tmp_path: Path) -> None:
    share.keep("p", b"copy", OLD)
    (tmp_path / "p").write_bytes(b"changed")
    share.settle()
    (row,) = share.rows()
    assert (row.kind, row.cid, list(row.revs)) == ("own", cid(b"changed"), [ME])


@pytest.mark.parametrize("how", ["moved", "touched", "copied"])
def test_a_copy_moved_touched_or_copied_by_the_user_is_an_original(share: HandShare, tmp_path: Path, how: str) -> None:
    share.keep("p", b"copy", OLD)
    mark = os.getxattr(tmp_path / "p", NAME)
    if how == "moved":
        (tmp_path / "p").rename(tmp_path / "q")
    elif how == "touched":
        os.utime(tmp_path / "p")
    else:
        (tmp_path / "q").write_bytes(b"copy")
        os.setxattr(tmp_path / "q", NAME, mark)
        os.utime(tmp_path / "q", ns=(OLD, OLD))
        (tmp_path / "p").unlink()
    share.settle()
    (row,) = share.rows()
    assert row.kind == "own" and list(row.revs) == [ME]


def test_a_copy_stays_one_when_only_its_mode_changed(share: HandShare, tmp_path: Path) -> None:
    share.keep("p", b"copy", OLD)
    (tmp_path / "p").chmod(0o600)
    share.settle()
    assert [(r.kind, r.revs) for r in share.rows()] == [("copy", {OTHER: 1})]


def lose_index(share: HandShare) -> None:
    for path in share.layout.state.glob("index*"):
        path.unlink()


def test_a_lost_index_does_not_turn_copies_into_originals(tmp_path: Path) -> None:
    with HandShare(tmp_path) as share:
        share.keep("d/p", b"copy", OLD, {OTHER: 7})
        (tmp_path / "mine").write_text("mine")
        lose_index(share)
    with HandShare(tmp_path) as again:
        again.settle()
        assert {(r.path, r.kind) for r in again.rows()} == {("d/p", "copy"), ("mine", "own")}
        assert again.index.at("d/p")[0].revs == {OTHER: 7}
        again.check()


def test_a_torn_copy_without_a_row_is_neither_announced_nor_owned(tmp_path: Path) -> None:
    """A power cut may lose the index's last rows and a file's last blocks, but not its mark."""
    with HandShare(tmp_path) as share:
        share.keep("p", b"copy", OLD)
        lose_index(share)
    with (tmp_path / "p").open("r+b") as file:
        file.write(b"\0\0")
    os.utime(tmp_path / "p", ns=(OLD, OLD))
    with HandShare(tmp_path) as again:
        again.settle()
        assert again.rows() == [] and again.said[-1].path == "p"
        assert (tmp_path / "p").exists()


def test_take_away_unlinks_only_unchanged_copies(share: HandShare, tmp_path: Path) -> None:
    share.keep("d/e/p", b"copy", OLD)
    share.copies.take_away("d/e/p", cid(b"copy"))
    assert share.rows() == [] and not (tmp_path / "d").exists(), "directories made for it go too"
    share.keep("q", b"copy", OLD)
    (tmp_path / "q").write_bytes(b"mine")
    share.copies.take_away("q", cid(b"copy"))
    assert (tmp_path / "q").read_bytes() == b"mine"
    share.settle()
    assert [(r.path, r.kind) for r in share.rows()] == [("q", "own")]
    (tmp_path / "own").write_bytes(b"own")
    share.settle()
    share.copies.take_away("own", cid(b"own"))
    assert (tmp_path / "own").exists() and "own" in share.listed()


def test_a_directory_of_the_users_is_not_removed_with_a_copy(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    share.keep("d/p", b"copy")
    share.copies.take_away("d/p", cid(b"copy"))
    share.settle()
    assert share.listed() == {"d": DIR_CID}


def test_a_copy_goes_where_the_folder_is_in_another_unicode_form(share: HandShare, tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    (tmp_path / nfd).mkdir()
    assert share.keep(f"{nfc}/p", b"copy").place == "local"
    assert (tmp_path / nfd / "p").exists() and not (tmp_path / nfc).exists()
    (tmp_path / nfd / "mine").write_text("x")
    share.settle()
    assert share.listed() == {f"{nfc}/p": cid(b"copy"), f"{nfc}/mine": cid(b"x")}


# The user's hand, at the worst moments.


def meddling(monkeypatch: pytest.MonkeyPatch, name: str, before: Callable[[], None]) -> None:
    """Runs `before` once, just before the rename of that kind."""
    real = getattr(moves_module, name)
    todo = [before]

    def wrapped(*args: object) -> None:
        if todo:
            todo.pop()()
        real(*args)

    monkeypatch.setattr(moves_module, name, wrapped)


def test_a_file_that_the_user_makes_just_before_the_rename_stays(
    share: HandShare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meddling(monkeypatch, "rename_noreplace", lambda: (tmp_path / "p").write_bytes(b"mine") and None)
    assert share.keep("p", b"theirs").place == "inside"
    assert (tmp_path / "p").read_bytes() == b"mine"
    share.settle()
    share.check()


@pytest.mark.parametrize("how", ["write", "replace", "delete"])
def test_a_copy_that_the_user_changes_just_before_the_exchange_is_put_back(
    share: HandShare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    share.keep("p", b"old", OLD, {OTHER: 1})

    def meddle() -> None:
        if how == "write":
            (tmp_path / "p").write_bytes(b"mine")
        elif how == "replace":
            (tmp_path / "tmp").write_bytes(b"mine")
            (tmp_path / "tmp").rename(tmp_path / "p")
        else:
            (tmp_path / "p").unlink()

    meddling(monkeypatch, "rename_exchange", meddle)
    assert share.keep("p", b"new", NEW, {OTHER: 2}).place == "inside"
    share.settle()
    if how == "delete":
        assert not (tmp_path / "p").exists()
    else:
        assert (tmp_path / "p").read_bytes() == b"mine"
        assert share.listed()["p"] == cid(b"mine")
    share.check()


def test_a_copy_that_only_its_ctime_shows_to_be_changed_is_the_users(share: HandShare, tmp_path: Path) -> None:
    share.keep("p", b"old", OLD, {OTHER: 1})
    (tmp_path / "p").write_bytes(b"mi!")
    os.utime(tmp_path / "p", ns=(OLD, OLD))
    assert share.keep("p", b"new", NEW, {OTHER: 2}).place == "inside"
    share.copies.take_away("p", cid(b"old"))
    assert (tmp_path / "p").read_bytes() == b"mi!"


def test_a_copy_that_the_user_replaces_just_before_it_is_taken_away_is_put_back(
    share: HandShare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share.keep("p", b"old", OLD)

    def meddle() -> None:
        (tmp_path / "tmp").write_bytes(b"mine")
        (tmp_path / "tmp").rename(tmp_path / "p")

    meddling(monkeypatch, "rename_noreplace", meddle)
    share.copies.take_away("p", cid(b"old"))
    assert (tmp_path / "p").read_bytes() == b"mine"


# No room.


def test_no_space_for_a_small_download(share: HandShare, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    kept = share.keep("p", b"data")
    assert kept.place == "" and "no space" in kept.why
    assert share.rows() == [] and state_files(share) == set()


def test_no_space_for_the_index_leaves_a_move_that_is_ended_later(
    share: HandShare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = share.index.apply, []

    def second_fails(changes: list) -> list:
        calls.append(1)
        if len(calls) == 2:
            raise LocalError("no space")
        return real(changes)

    monkeypatch.setattr(share.index, "apply", second_fails)
    assert share.keep("p", b"data").place == ""
    share.settle()
    assert share.listed() == {}, "a move that is not ended is not announced, nor taken for the user's"
    share.recovery.end_moves(())
    assert share.listed() == {"p": cid(b"data")}
    assert share.rows()[0].kind == "copy"
    share.check()


# Forget, withdraw, seen.


def test_forget_withdraws_and_leaves_the_file(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("mine")
    share.settle()
    (before,) = share.rows()
    assert forget(share.index, "p", ME, 10**18) == ""
    share.settle()
    share.settle()
    (row,) = share.rows()
    assert (row.kind, row.cid) == ("nothing", NOTHING_CID) and row.revs[ME] > before.revs[ME]
    assert (tmp_path / "p").read_text() == "mine"
    (tmp_path / "p").write_text("changed")
    share.settle()
    (after,) = share.rows()
    assert after.kind == "own" and after.revs[ME] > row.revs[ME]


def test_a_forgotten_file_moved_elsewhere_is_shared_there(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/p").write_text("mine")
    share.settle()
    forget(share.index, "d/p", ME, 10**18)
    share.looker.look("d/p")
    share.looker.directories.add("d")
    share.drain()
    assert share.listed() == {"d": DIR_CID}
    (tmp_path / "d/p").rename(tmp_path / "q")
    share.settle()
    assert share.listed() == {"d": DIR_CID, "q": cid(b"mine")}


def test_only_an_owner_forgets(share: HandShare) -> None:
    share.keep("p", b"copy")
    assert "owner" in forget(share.index, "p", ME, 1)
    assert forget(share.index, "missing", ME, 1)
    assert [r.kind for r in share.rows()] == ["copy"]


def test_withdrawn_paths_are_noted_and_merged(share: HandShare) -> None:
    withdrawn(share.index, "p", {OTHER: 5}, 1)
    sequence = share.index.state()[0]
    withdrawn(share.index, "p", {OTHER: 4}, 2)
    assert share.index.state()[0] == sequence
    withdrawn(share.index, "p", {"c" * 64: 2}, 3)
    (row,) = share.rows()
    assert row.kind == "nothing" and row.revs == {OTHER: 5, "c" * 64: 2}
    share.check()


def test_a_higher_rev_of_ours_is_overtaken(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("x")
    share.settle()
    used = share.rows()[0].revs[ME]
    seen(share.index, "p", ME, used - 1, 0)
    assert share.rows()[0].revs[ME] == used
    seen(share.index, "p", ME, used + 1000, 0)
    assert share.rows()[0].revs == {ME: used + 1001}
    seen(share.index, "other", ME, 5, 0)
    share.check()
