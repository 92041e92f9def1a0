"""The mark on a copy: true for this peer, path, time and content, and for no other."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.share.mark import NAME, get_mark, has_mark, set_mark

ME, OTHER, CID = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def test_it_matches_what_it_was_made_for(fd: int) -> None:
    set_mark(fd, ME, "a/b", CID, 5, {OTHER: 7, ME: 1 << 62})
    mark = get_mark(fd, ME, "a/b", 5)
    assert mark is not None and mark.is_of(CID) and mark.revs == {OTHER: 7, ME: 1 << 62}
    assert not mark.is_of("d" * 64)


@pytest.mark.parametrize("who, path, mtime", [(OTHER, "a/b", 5), (ME, "a/c", 5), (ME, "a/b", 6)])
def test_it_matches_nothing_else(fd: int, who: str, path: str, mtime: int) -> None:
    set_mark(fd, ME, "a/b", CID, 5, {})
    assert get_mark(fd, who, path, mtime) is None and has_mark(fd)


@pytest.mark.parametrize("value", [b"", b"x", b"y" * 15, b"z" * 57, b"0" * 4000])
def test_what_others_wrote_there_is_no_mark(fd: int, value: bytes) -> None:
    os.setxattr(fd, NAME, value)
    assert get_mark(fd, ME, "a/b", 5) is None


def test_too_many_owners_for_the_file_system_leave_the_mark(fd: int) -> None:
    set_mark(fd, ME, "p", CID, 5, {f"{n:064x}": n for n in range(5000)})
    mark = get_mark(fd, ME, "p", 5)
    assert mark is not None and mark.is_of(CID)
