"""Pieces of a download that rot on disk: found by their hash, given to nobody, fetched again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.data.content import Contents, NotHere
from peer.share.check import Disk
from peer.share.index import Index
from peer.swarm.recheck import downloads, recheck
from shoal.manifest import MIB, manifest_of
from tests.support.patience import until
from tests.support.rot import flip
from tests.support.swarm_ground import DATA, MANIFEST, PIECE, Ground

PIECES = range(20, 28)
"""The pieces that are here; the file has 49."""


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    made.holder("a")
    yield made
    made.close()


def fetch(ground: Ground) -> None:
    with ground.open() as reader:
        for number in PIECES:
            reader.read(number * PIECE, PIECE)
        until(lambda: all(given(ground, number) for number in PIECES), 5, "all of it is written")


def rot(ground: Ground, number: int) -> None:
    flip(ground.layout.partial / f"{MANIFEST.cid}.data", number * PIECE + 17)


def scrub(ground: Ground) -> list[int]:
    """The rotten pieces of all downloads."""
    (cid,) = downloads(ground.layout)
    return [number for _, number in recheck(ground.layout, ground.swarm, cid, Disk()) if number is not None]


def given(ground: Ground, number: int) -> bool:
    """Whether the data server would give the piece to another peer."""
    Index(ground.layout.index)._db.close()
    contents = Contents(ground.layout)
    try:
        with contents.of(MANIFEST.cid) as content:
            return content.covers(number * PIECE, 10)
    except NotHere:
        return False
    finally:
        contents.close()


def test_what_is_right_is_read_and_stays(ground: Ground) -> None:
    fetch(ground)
    (cid,) = downloads(ground.layout)
    read = list(recheck(ground.layout, ground.swarm, cid, Disk()))
    assert len(read) >= len(PIECES) and all(size == PIECE and bad is None for size, bad in read)
    assert given(ground, 21)


@pytest.mark.parametrize("when", ["open", "lingering", "another run"])
def test_a_rotten_piece_is_missing_and_fetched_again(ground: Ground, when: str) -> None:
    fetch(ground)
    reader = ground.open() if when == "open" else None
    if reader is not None:
        reader.read(20 * PIECE, 10)
    if when == "another run":
        ground.close()
    rot(ground, 22)
    assert given(ground, 22), "nobody knows yet"
    assert scrub(ground) == [22]
    assert not given(ground, 22) and given(ground, 21)
    assert scrub(ground) == []
    holder = ground.holders[0]
    holder.requests.clear()
    with reader or ground.open() as again:
        assert again.read(20 * PIECE, 3 * PIECE) == DATA[20 * PIECE : 23 * PIECE]
    assert 22 in holder.asked_pieces(MANIFEST.cid)
    assert not {20, 21} & set(holder.asked_pieces(MANIFEST.cid)), "what is right is not fetched again"


def test_a_download_that_is_gone_is_none(ground: Ground) -> None:
    fetch(ground)
    ground.close()
    for path in ground.layout.partial.iterdir():
        path.unlink()
    assert downloads(ground.layout) == []
    assert list(recheck(ground.layout, ground.swarm, MANIFEST.cid, Disk())) == []
    assert ground.swarm.spoil(MANIFEST.cid, 3), "there is nothing to mark"


def test_an_empty_file_that_is_read_is_kept(ground: Ground) -> None:
    nothing = manifest_of(b"")
    assert ground.read_all(nothing) == b""
    with ground.open(nothing) as reader:
        assert reader.read(0, MIB) == b""
    until(lambda: [keep.cid for keep in ground.keeps] == [nothing.cid], 5, "it is offered, once")
