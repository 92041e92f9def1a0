"""Whole files on this disk, opened only if they are still what the index says.

A file is unchanged when (device, inode, size, mtime, ctime) are those it was
hashed at. The check is made on the descriptor that is then read.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from peer.beneath import Beneath
from peer.layout import Layout
from peer.share.rows import IndexReader, Row
from shoal.errors import Gone

ENOUGH = 64
"""Files of one content that are tried; an empty file may stand at a hundred thousand paths."""


Identity = tuple[int, int, int, int, int]


def identity(status: os.stat_result) -> Identity:
    """(device, inode, size, mtime, ctime), the times in nanoseconds: what a file must keep to be unchanged.

    The inode is folded into SQLite's signed 64 bits.
    """
    ino = status.st_ino - (1 << 64) if status.st_ino >> 63 else status.st_ino
    return status.st_dev, ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def hashed(row: Row) -> Identity:
    """The identity of the file that was hashed."""
    return row.dev, row.ino, row.size, row.mtime, row.ctime


def unchanged(row: Row, status: os.stat_result) -> bool:
    """Whether the file still is the one that was hashed."""
    return hashed(row) == identity(status)


@dataclass(frozen=True)
class OpenFile:
    """A whole, unchanged file: its descriptor (the caller closes it) and its row."""

    fd: int
    row: Row

    def still(self) -> bool:
        """Whether it is unchanged now; what was read before is then right."""
        return unchanged(self.row, os.fstat(self.fd))


class LocalFiles:
    """Opens the share's whole files by path or by content. Thread-safe."""

    def __init__(self, layout: Layout, index: IndexReader) -> None:
        self._layout, self._index = layout, index
        self._root = Beneath(layout.local)

    def close(self) -> None:
        """Gives back the descriptor of the root."""
        self._root.close()

    def open(self, cid: str) -> OpenFile | None:
        """A file with this content, or None if there is none that is whole and unchanged."""
        return self._first(self._index.of(cid, ENOUGH))

    def open_each(self, cids: Sequence[str]) -> Iterator[OpenFile | None]:
        """The same for several contents, each when it is asked for; the index is asked once for all."""
        found: dict[str, list[Row]] = {}
        for row in self._index.of_each(cids, 2 * len(cids)):
            found.setdefault(row.cid, []).append(row)
        for cid in cids:
            # What stands at very many paths may have left no room for this one, and its first paths may be stale.
            yield self._first(found.get(cid, [])) or self.open(cid)

    def open_path(self, path: str) -> OpenFile | None:
        """The file announced at this path, byte for byte; None if there is none.

        Raises:
            Gone: it is there, but changed since it was announced.
        """
        rows = [row for row in self._index.at(path) if row.is_file and row.announced]
        rows.sort(key=lambda row: (row.place != "local", -row.mtime))
        found = self._first(rows)
        if rows and found is None:
            raise Gone(f"the file changed since it was announced: {path}")
        return found

    def _first(self, rows: list[Row]) -> OpenFile | None:
        for row in rows:
            try:
                fd = self._root.open_file(row.disk if row.place == "local" else self._inside(row))
            except OSError:  # moved, replaced or made unreadable since: then it is not here
                continue
            if row.state == "ok" and unchanged(row, os.fstat(fd)):
                return OpenFile(fd, row)
            os.close(fd)
        return None

    def _inside(self, row: Row) -> str:
        return str((self._layout.copies / row.cid).relative_to(self._layout.local))
