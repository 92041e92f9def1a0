"""The walk, the comparison, and what becomes of each thing on disk."""

import os
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

import peer.share.scan as scan
from peer.beneath import Beneath
from peer.share.scan import Walk, expired
from shoal.manifest import DIR_CID, NOTHING_CID, link_cid, manifest_of
from tests.support.share_by_hand import ME, OTHER, HandShare

NFC = unicodedata.normalize("NFC", "é")
NFD = unicodedata.normalize("NFD", "é")


@pytest.fixture
def share(tmp_path: Path) -> Iterator[HandShare]:
    with HandShare(tmp_path) as made:
        yield made


def walked(local: Path, prefix: str = "") -> list[str]:
    skipped: list[str] = []
    with Beneath(local) as root:
        return [found.path for found in Walk(root, prefix, lambda fd, disk: None, lambda d, w: skipped.append(d))]


def fill(local: Path) -> None:
    for name in ("a/x", "a.b", "a0", "a-b/y", "a/b/c", "Z", "zz/1", "zz/2"):
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_text(name)
    (local / "empty/inner").mkdir(parents=True)


def test_the_walk_is_in_the_order_of_the_paths(tmp_path: Path) -> None:
    fill(tmp_path)
    paths = walked(tmp_path)
    assert paths == sorted(paths) and set(paths) == {
        "a/x", "a.b", "a0", "a-b/y", "a/b/c", "Z", "zz/1", "zz/2", "empty/inner"
    }  # fmt: skip
    assert walked(tmp_path, "a") == ["a/b/c", "a/x"]
    assert walked(tmp_path, "a.b") == ["a.b"]
    assert walked(tmp_path, "missing") == []


def test_a_huge_directory_is_sorted_on_disk_to_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    (tmp_path / NFC).write_text("1")
    (tmp_path / NFD).write_text("2")
    usual = walked(tmp_path)
    monkeypatch.setattr(scan, "NAMES_IN_MEMORY", 2)
    assert walked(tmp_path) == usual


@pytest.mark.parametrize("in_memory", [2, 1000], ids=["on disk", "in memory"])
def test_of_names_that_look_the_same_each_but_one_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    for name in (NFC, NFD, "a", "b"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(scan, "NAMES_IN_MEMORY", in_memory)
    skipped: list[str] = []
    with Beneath(tmp_path) as root:
        found = [each.disk for each in Walk(root, "", lambda fd, disk: None, lambda disk, why: skipped.append(disk))]
    assert (found, skipped) == (["a", "b", NFD], [NFC])


def test_the_programs_own_directory_is_not_walked(share: HandShare) -> None:
    (share.layout.state / "x").write_text("secret")
    assert walked(share.layout.local) == []
    share.looker.look(".shoal/x")
    share.settle()
    assert share.rows() == share.said == []


def test_links_are_listed_and_never_followed(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "loop").symlink_to("d")
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "up").symlink_to("../up")
    (tmp_path / "state").symlink_to(".shoal/index.sqlite")
    share.settle()
    assert share.listed() == {"d/f": manifest_of(b"x").cid, "loop": link_cid("d")}
    assert {skip.path for skip in share.said} == {"out", "up", "state"}


def test_a_directory_swapped_for_a_link_between_listing_and_opening(share: HandShare, tmp_path: Path) -> None:
    """What was a directory when its parent was listed is a link out of the share when it is opened."""
    (tmp_path / "c").mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("inside")
    with tempfile.TemporaryDirectory() as outside:
        (Path(outside) / "f").write_text("outside")

        def swap(fd: int, disk: str) -> None:
            if disk == "c":  # the root was listed by now
                (tmp_path / "d").rename(tmp_path / "away")
                (tmp_path / "d").symlink_to(outside)

        found = [f.path for f in Walk(share.root, "", swap, share.skips.add)]
        assert "d/f" not in found
        share.looker.look("d/f")
        share.drain()
        share.settle()
    assert "d/f" not in share.listed()
    assert manifest_of(b"outside").cid not in share.listed().values()


def test_special_files_and_unfit_names_are_said_once(share: HandShare, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "a\nb").write_text("x")
    (tmp_path / "bidi\u202e").write_text("x")
    (tmp_path / os.fsdecode(b"latin\xe9")).write_text("x")
    share.settle()
    share.settle()
    assert share.listed() == {}
    said = {skip.path for skip in share.said}
    assert said == {"fifo", "a\\nb", "bidi\\u202e", "latin\\udce9"} and len(share.said) == 4
    assert share.said[-1].total == 4
    (tmp_path / "fifo").unlink()
    share.settle()
    assert len(share.skips) == 3


def test_names_are_announced_in_nfc_and_found_under_their_own(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / NFD).mkdir()
    (tmp_path / NFD / "f").write_text("x")
    share.settle()
    (row,) = share.rows()
    assert row.path == f"{NFC}/f" and row.disk == f"{NFD}/f"


def test_of_two_names_that_look_the_same_the_first_by_bytes_is_shared(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / NFC).write_text("nfc")
    share.settle()
    assert share.listed() == {NFC: manifest_of(b"nfc").cid}
    (tmp_path / NFD).write_text("nfd")  # e + accent sorts before é
    share.settle()
    assert share.listed() == {NFC: manifest_of(b"nfd").cid}
    assert [skip.path for skip in share.said] == [NFC]
    share.looker.look(NFC)
    assert not share.hashers.queue
    share.drain()
    assert share.listed() == {NFC: manifest_of(b"nfd").cid}
    (tmp_path / NFD).unlink()
    share.looker.look(NFD)
    share.drain()
    assert share.listed() == {NFC: manifest_of(b"nfc").cid}


def test_a_name_that_looks_the_same_and_comes_while_a_file_is_hashed_is_seen(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / NFC).write_text("nfc")
    share.looker.look(NFC)
    (hashed,) = share.hashers.run()
    (tmp_path / NFD).write_text("nfd")
    share.looker.take(hashed)
    share.looker.flush()
    assert share.listed() == {}, "the name is the other one's by now"
    share.settle()
    assert share.listed() == {NFC: manifest_of(b"nfd").cid}


def test_empty_directories_are_rows_until_they_have_children(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    share.settle()
    assert share.listed() == {"d/e": DIR_CID}
    (tmp_path / "d/e/f").write_text("x")
    share.settle()
    assert share.listed() == {"d/e/f": manifest_of(b"x").cid}
    (tmp_path / "d/e/f").unlink()
    share.looker.look("d/e/f")
    share.drain()
    assert share.listed() == {"d/e": DIR_CID}
    (tmp_path / "d/e").rmdir()
    share.looker.look("d/e")
    share.looker.directories.add("d")
    share.drain()
    assert share.listed() == {"d": DIR_CID}


def test_a_directory_with_nothing_fit_in_it_is_shown_as_empty(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "d/fifo")
    share.settle()
    share.settle()
    assert share.listed() == {"d": DIR_CID}


def test_a_users_file_is_owned_with_a_rev_above_all_used(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    share.settle()
    (first,) = share.rows()
    (tmp_path / "f").write_text("two!")
    share.settle()
    (second,) = share.rows()
    assert (first.kind, second.kind) == ("own", "own")
    assert list(second.revs) == [ME] and second.revs[ME] > first.revs[ME]
    (tmp_path / "f").unlink()
    share.settle()
    (tmp_path / "f").write_text("three")
    share.settle()
    assert share.rows()[0].revs[ME] > second.revs[ME]


def test_a_changed_mode_alone_is_told_only_if_it_is_the_x_bit(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    share.settle()
    sequence = share.index.state()[0]
    (tmp_path / "f").chmod(0o640)
    share.settle()
    assert share.index.state()[0] == sequence
    (tmp_path / "f").chmod(0o755)
    share.settle()
    assert share.rows()[0].x and share.index.state()[0] > sequence


def test_a_file_unchanged_by_its_status_is_not_read_again(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    share.settle()
    share.looker.look("f")
    assert not share.hashers.queue and not share.looker.pending


def test_a_write_that_keeps_size_and_mtime_is_found_by_the_ctime(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    share.settle()
    status = os.stat(tmp_path / "f")
    (tmp_path / "f").write_text("two")
    os.utime(tmp_path / "f", ns=(status.st_mtime_ns, status.st_mtime_ns))
    share.settle()
    assert share.listed() == {"f": manifest_of(b"two").cid}


def test_a_file_that_changed_after_it_was_hashed_is_not_announced(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    share.looker.look("f")
    (result,) = share.hashers.run()
    (tmp_path / "f").write_text("two two")
    share.looker.take(result)
    share.looker.flush()
    assert share.listed() == {}
    share.drain()
    assert share.listed() == {"f": manifest_of(b"two two").cid}


def test_an_unreadable_file_is_skipped_and_its_row_goes(
    share: HandShare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    share.settle()
    (tmp_path / "d/f").write_text("yy")

    def refuse(disk: str) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(share.root, "open_file", refuse)
    share.settle()
    assert share.listed() == {"d": DIR_CID}
    assert share.said[-1].path == "d/f" and "Permission denied" in share.said[-1].why


def test_a_disk_error_is_not_taken_for_an_empty_place(
    share: HandShare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    share.settle()

    def broken(disk: str) -> os.stat_result:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(share.root, "lstat", broken)
    share.looker.look("f")
    share.drain()
    assert share.listed() == {"f": manifest_of(b"x").cid}


def test_file_to_directory_and_back(share: HandShare, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("x")
    share.settle()
    (tmp_path / "p").unlink()
    (tmp_path / "p").mkdir()
    share.settle()
    assert share.listed() == {"p": DIR_CID}
    (tmp_path / "p").rmdir()
    (tmp_path / "p").write_text("y")
    share.settle()
    assert share.listed() == {"p": manifest_of(b"y").cid}
    share.check()


def test_nothing_is_kept_for_thirty_days() -> None:
    from peer.share.rows import Row

    row = Row("p", NOTHING_CID, "nothing", 0, 1_000_000_000_000_000_000, revs={OTHER: 1})
    day = 24 * 3600 * 1000
    assert not expired(row, 1_000_000_000_000 + 29 * day)
    assert expired(row, 1_000_000_000_000 + 31 * day)
