"""Rows of downloads under way: kind "partial", no file. Their pieces are the swarm's, in `.shoal/partial`.

A row says to trackers, and through them to other readers, that this peer has some pieces of a content. A copy takes
its place; where the pieces went without one, the row goes.

Threading: none; it belongs to the keeper's thread. Raises (all): LocalError when the index cannot be written.
"""

import os

from peer.messages import Begun
from peer.share.index import Change, Index
from peer.share.rows import Row


def begin(index: Index, begun: Begun) -> bool:
    """Notes that pieces of this content are here; whether that is new. Where all of it is, there is nothing to note."""
    while True:
        rows = index.at(begun.path)
        row = Row(begun.path, begun.cid, "partial", begun.size, begun.mtime, begun.sha1, begun.x, revs=dict(begun.revs))
        for old in rows:
            if old.cid == begun.cid and old.kind != "gone" and (old.kind != "partial" or old.item() == row.item()):
                return False
        if not index.apply([Change(begun.path, rows, [row])]):
            return True


def end(index: Index, cid: str) -> list[str]:
    """Notes that no pieces of this content are here any more; the paths of which that was said."""
    paths = [row.path for row in index.partials(cid)]
    for path in paths:
        while True:
            rows = index.at(path)
            if not any(row.cid == cid and row.kind == "partial" for row in rows):
                break
            if not index.apply([Change(path, rows, gone=[cid])]):
                break
    return paths


def sweep(index: Index, partial: int) -> None:
    """Drops the rows of which no pieces are in the open directory `partial`: after a start."""
    names = set(os.listdir(partial))
    for cid in {row.cid for row in index.partials()}:
        if not {f"{cid}.data", f"{cid}.bits"} <= names:
            end(index, cid)
