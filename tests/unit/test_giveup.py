"""A copy that is given up is hidden first, and then gone, or a copy again; whatever crashes in between."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.share.giveup import GivingUp
from peer.share.local import LocalFiles
from shoal.manifest import manifest_of
from tests.support.share_by_hand import OTHER, HandShare

DATA = random.Random(7).randbytes(5000)
CID = manifest_of(DATA).cid


@pytest.fixture
def share(tmp_path: Path) -> Iterator[HandShare]:
    with HandShare(tmp_path) as share:
        share.keep("a/b", DATA)
        share.keep("other", DATA)
        yield share


def announced(share: HandShare) -> set[str]:
    share.check()
    return {row.path for row in share.rows() if row.announced}


def served(share: HandShare) -> bool:
    files = LocalFiles(share.layout, share.index)
    try:
        found = files.open(CID)
        if found is not None:
            os.close(found.fd)
        return found is not None
    finally:
        files.close()


def test_all_copies_of_a_content_are_hidden_and_then_gone(share: HandShare) -> None:
    giving = GivingUp(share.moves, share.copies)
    assert served(share)
    assert sorted(giving.hide(CID)) == ["a/b", "other"]
    assert announced(share) == set() and not served(share)
    assert (share.layout.local / "a/b").read_bytes() == DATA
    assert sorted(giving.take(CID)) == ["a/b", "other"]
    assert share.rows() == [] and not giving.hidden
    assert os.listdir(share.layout.local) == [".shoal"], "directories made for them are gone too"
    share.check()


def test_one_inside_goes_too(share: HandShare) -> None:
    (share.layout.local / "mine").write_bytes(b"the user's")
    share.settle()
    assert share.keep("mine", DATA).place == "inside"
    giving = GivingUp(share.moves, share.copies)
    assert len(giving.hide(CID)) == 3
    assert len(giving.take(CID)) == 3
    assert os.listdir(share.layout.copies) == []
    assert announced(share) == {"mine"}
    assert (share.layout.local / "mine").read_bytes() == b"the user's"


def test_what_is_restored_is_as_it_was(share: HandShare) -> None:
    before = [row.item() for row in share.rows()]
    giving = GivingUp(share.moves, share.copies)
    giving.hide(CID)
    assert sorted(giving.restore(CID)) == ["a/b", "other"]
    assert [row.item() for row in share.rows()] == before and served(share)
    assert giving.take(CID) == [] and giving.restore(CID) == []
    share.settle()
    assert announced(share) == {"a/b", "other"}


def test_ones_own_files_are_not_touched(share: HandShare) -> None:
    (share.layout.local / "own").write_bytes(DATA)
    share.settle()
    giving = GivingUp(share.moves, share.copies)
    giving.hide(CID)
    assert announced(share) == {"own"}
    giving.take(CID)
    assert announced(share) == {"own"}
    assert (share.layout.local / "own").read_bytes() == DATA


def test_what_the_user_changed_meanwhile_stays_and_is_the_users(share: HandShare) -> None:
    giving = GivingUp(share.moves, share.copies)
    giving.hide(CID)
    (share.layout.local / "a/b").write_bytes(b"the user's")
    (share.layout.local / "other").unlink()
    (share.layout.local / "other").write_bytes(b"another")
    giving.take(CID)
    assert (share.layout.local / "a/b").read_bytes() == b"the user's"
    assert (share.layout.local / "other").read_bytes() == b"another"
    share.settle()
    assert {row.path: row.kind for row in share.rows()} == {"a/b": "own", "other": "own"}


@pytest.mark.parametrize("unlinked", [False, True])
def test_after_a_crash_a_hidden_copy_is_one_again_or_gone(share: HandShare, unlinked: bool) -> None:
    giving = GivingUp(share.moves, share.copies)
    giving.hide(CID)
    if unlinked:
        for row in share.index.of(CID):
            share.moves.unlink_local(row)
    share.recovery.run()
    assert announced(share) == (set() if unlinked else {"a/b", "other"})
    assert served(share) != unlinked
    assert GivingUp(share.moves, share.copies).take(CID) == [], "the new scanner takes nothing that it did not hide"


def test_what_is_hidden_is_not_restored_by_who_ends_moves(share: HandShare) -> None:
    giving = GivingUp(share.moves, share.copies)
    giving.hide(CID)
    share.recovery.end_moves(giving.hidden)
    assert announced(share) == set()
    share.recovery.end_moves(())
    assert announced(share) == {"a/b", "other"}
    assert giving.take(CID) == []
    assert announced(share) == {"a/b", "other"}, "it was restored: it is told of again, and not taken"


def test_a_newer_version_beside_it_stays(share: HandShare) -> None:
    newer = DATA + b"newer"
    share.keep("a/b", newer, mtime=10**18 + 1, revs={OTHER: 2})
    giving = GivingUp(share.moves, share.copies)
    giving.hide(CID)
    giving.take(CID)
    assert [(row.path, row.cid) for row in share.rows()] == [("a/b", manifest_of(newer).cid)]
    share.check()
