"""A share under a new identity."""

from pathlib import Path

from peer.share.adopt import adopt
from peer.share.index import Change, Index
from peer.share.rows import Row
from shoal.wire import Digest

OLD, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64


def row(path: str, kind: str, owner: str) -> Row:
    return Row(path, "1" * 64, kind, 1, 0, "2" * 40, revs={owner: 5}, place="local", disk=path)  # type: ignore[arg-type]


def test_own_rows_change_hands_and_copies_do_not(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    adopt(index, OLD)
    rows = [row(f"own{number:04}", "own", OLD) for number in range(1500)] + [row("copy", "copy", OTHER)]
    index.apply([Change(one.path, [], put=[one]) for one in rows])
    adopt(index, NEW)
    found = {one.path: one for page in index.listed() for one in page}
    assert len(found) == 1501
    assert found.pop("copy").revs == {OTHER: 5}
    assert all(set(one.revs) == {NEW} and one.revs[NEW] > 5 for one in found.values())
    digest = Digest()
    for page in index.listed():
        for one in page:
            digest.add(one.item())
    assert index.state()[1] == str(digest)
    sequence = index.sequence
    adopt(index, NEW)
    assert index.sequence == sequence
    index.close()
