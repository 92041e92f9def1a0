"""What becomes of what a scrub found: rotten copies, one's own files that rot, and those that are right again.

    a copy       goes to the quarantine, and its row goes; the peer has it fetched again
    one's own    stays where it is, as it is, with its row; until it changes it is told to nobody and served to nobody

A copy in LOCAL is taken out as in `moves`: the row is "moving" first, so that a crash in between leaves either a copy
that the next scrub finds again, or none.

Threading: none; all of it belongs to the keeper's thread. Raises (all): LocalError when the index cannot be written.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace

from peer.messages import Message, Rotten
from peer.share.index import Change
from peer.share.local import hashed, unchanged
from peer.share.moves import Moves, status_at
from peer.share.rows import Row
from peer.share.scrub import Judged


def act(moves: Moves, judged: Judged, say: Callable[[Message], None], look: Callable[[str], None]) -> None:
    """Does what follows from a check that did not just find what was expected; `say` hears of what is rotten."""
    row = judged.row
    if judged.verdict == "changed":
        if row.place == "local":
            look(row.disk)
    elif judged.verdict == "right":
        _set_state(moves, row, "ok")
    elif row.kind == "copy":
        if _put_aside(moves, row):
            say(_rotten(judged, "copy"))
    elif row.state == "rotten" or _set_state(moves, row, "rotten"):
        say(_rotten(judged, "own"))


def _rotten(judged: Judged, kind: str) -> Rotten:
    row = judged.row
    return Rotten(judged.job, kind, row.path, row.cid, judged.why, row.size, row.mtime, row.sha1, row.x, row.revs)  # type: ignore[arg-type]


def _same(moves: Moves, row: Row) -> tuple[list[Row], Row | None]:
    """All rows of the path now, and among them the one that was checked, if it still is that."""
    rows = moves.index.at(row.path)
    for now in rows:
        if (now.cid, now.kind, now.place, now.state) == (row.cid, row.kind, row.place, row.state):
            return rows, now if hashed(now) == hashed(row) else None
    return rows, None


def _set_state(moves: Moves, row: Row, state: str) -> bool:
    """Changes an own file's state, if its row still is the one that was checked."""
    while True:
        rows, now = _same(moves, row)
        if now is None:
            return False
        if not moves.index.apply([Change(row.path, rows, [replace(now, state=state)])]):  # type: ignore[arg-type]
            return True


def _put_aside(moves: Moves, row: Row) -> bool:
    """Moves a copy to the quarantine, and has its row go; False if it is not the one that was checked any more."""
    name = f"{row.cid}.{time.time_ns()}"
    if row.place == "inside":
        return _put_aside_inside(moves, row, name)
    while True:
        rows, now = _same(moves, row)
        if now is None:
            return False
        if not moves.index.apply([Change(row.path, rows, [replace(now, state="moving")])]):
            break
    moves.take_out(now, name)
    _drop(moves, row.path, row.cid)
    return True


def _put_aside_inside(moves: Moves, row: Row, name: str) -> bool:
    """One file inside `.shoal` may be the copy of several paths."""
    if _same(moves, row)[1] is None:
        return False
    try:
        if not unchanged(row, status_at(moves.copies, row.cid)):
            return False
        os.rename(row.cid, name, src_dir_fd=moves.copies, dst_dir_fd=moves.quarantine)
    except FileNotFoundError:
        return False
    for other in moves.index.of(row.cid):
        if other.place == "inside":
            _drop(moves, other.path, row.cid)
    return True


def _drop(moves: Moves, path: str, cid: str) -> None:
    rows = moves.index.at(path)
    while any(row.cid == cid and row.kind == "copy" for row in rows):
        if not moves.index.apply([Change(path, rows, gone=[cid])]):
            return
        rows = moves.index.at(path)
