"""Downloads under way as rows of the index: told while their pieces are here, and no longer."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.messages import Begun
from peer.share.partials import begin, end, sweep
from shoal.manifest import manifest_of
from tests.support.share_by_hand import OTHER, HandShare, download

DATA = random.Random(5).randbytes(300_000)
MANIFEST = manifest_of(DATA)


@pytest.fixture
def share(tmp_path: Path) -> Iterator[HandShare]:
    with HandShare(tmp_path) as share:
        yield share


def begun(path: str = "a/b", data: bytes = DATA) -> Begun:
    manifest = manifest_of(data)
    return Begun(path, manifest.cid, manifest.size, 10**18, False, manifest.sha1, {OTHER: 1})


def pieces(share: HandShare, data: bytes = DATA) -> None:
    """The files of a download."""
    cid = manifest_of(data).cid
    for kind, body in (("data", data), ("bits", b"b"), ("manifest", manifest_of(data).encode())):
        (share.layout.partial / f"{cid}.{kind}").write_bytes(body)


def kinds(share: HandShare) -> dict[str, str]:
    share.check()
    return {row.path: row.kind for row in share.rows()}


def test_a_download_that_begins_is_announced_once(share: HandShare) -> None:
    assert begin(share.index, begun())
    before = share.index.state()
    assert not begin(share.index, begun())
    assert share.index.state() == before
    assert [row.item().kind for page in share.index.listed() for row in page] == ["partial"]


def test_a_copy_takes_its_place_and_that_at_other_paths_ends(share: HandShare) -> None:
    begin(share.index, begun())
    begin(share.index, begun("other"))
    pieces(share)
    assert share.copies.keep([download("a/b", DATA, inline=False)])[0].place == "local"
    assert end(share.index, MANIFEST.cid) == ["other"]
    assert kinds(share) == {"a/b": "copy"}
    assert not begin(share.index, begun())
    assert kinds(share) == {"a/b": "copy"}


def test_when_the_pieces_go_the_row_goes_and_copies_stay(share: HandShare) -> None:
    share.keep("kept", b"small")
    begin(share.index, begun())
    assert end(share.index, MANIFEST.cid) == ["a/b"]
    assert end(share.index, manifest_of(b"small").cid) == []
    assert kinds(share) == {"kept": "copy"}


def test_after_a_start_rows_are_those_whose_pieces_are_there(share: HandShare) -> None:
    other = DATA[1:]
    pieces(share)
    begin(share.index, begun())
    begin(share.index, begun("gone", other))
    sweep(share.index, share.moves.partial)
    assert kinds(share) == {"a/b": "partial"}
    os.unlink(share.layout.partial / f"{MANIFEST.cid}.bits")
    share.recovery.run()
    assert kinds(share) == {}


def test_the_walk_leaves_it_alone_and_a_users_file_beside_it_is_the_users(share: HandShare) -> None:
    begin(share.index, begun())
    share.settle()
    assert kinds(share) == {"a/b": "partial"}
    (share.layout.local / "a").mkdir()
    share.settle()
    assert kinds(share) == {"a/b": "partial"}, "the directory is no entry: something is listed in it"
    (share.layout.local / "a/b").write_bytes(b"the user's")
    share.settle()
    assert {row.kind for row in share.rows()} == {"partial", "own"}
    (share.layout.local / "a/b").write_bytes(DATA)
    share.settle()
    assert [(row.kind, row.cid) for row in share.rows()] == [("own", MANIFEST.cid)]
    assert not begin(share.index, begun())
    end(share.index, MANIFEST.cid)
    assert kinds(share) == {"a/b": "own"}


def test_what_is_begun_anew_with_other_owners_says_so(share: HandShare) -> None:
    begin(share.index, begun())
    anew = begun()
    anew = Begun(anew.path, anew.cid, anew.size, anew.mtime, True, anew.sha1, {OTHER: 2})
    assert begin(share.index, anew)
    (row,) = share.rows()
    assert (row.x, row.revs) == (True, {OTHER: 2})
    share.check()
