"""Rot: bytes on disk that are others, though nobody changed the file, as far as its times tell."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from peer.layout import Layout


def rot(local: Path, path: str, offset: int = 0, inside: bool = False) -> None:
    """Flips a bit of the file that is kept at `path`, and makes its row say that this is how it was hashed.

    No program runs on the share meanwhile: it would see that the file is written to. (A disk that rots moves no time;
    here the ctime moves, and the row follows.)
    """
    layout = Layout(local)
    with closing(sqlite3.connect(layout.index, isolation_level=None)) as index:
        where = "path = ? AND kind IN ('own', 'copy') AND place = ?"
        place = "inside" if inside else "local"
        ((cid, disk),) = index.execute(f"SELECT cid, disk FROM rows WHERE {where}", (path, place)).fetchall()
        file = layout.copies / cid if inside else local / disk
        status = file.stat()
        flip(file, offset)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        index.execute(f"UPDATE rows SET ctime = ? WHERE {where}", (file.stat().st_ctime_ns, path, place))


def flip(file: Path, offset: int) -> None:
    """Flips a bit of the byte at `offset`."""
    with open(file, "r+b") as opened:
        opened.seek(offset)
        (byte,) = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([byte ^ 1]))
