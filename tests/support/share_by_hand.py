"""The scanner's parts without its threads: looked at and hashed when a test says so."""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from peer.beneath import Beneath
from peer.layout import Layout
from peer.messages import Keep, Kept, Skipped
from peer.share.copies import Copies
from peer.share.hashing import hash_file
from peer.share.index import Index
from peer.share.local import unchanged
from peer.share.look import Looker
from peer.share.moves import Moves
from peer.share.recover import Recovery
from peer.share.rows import Row
from peer.share.scan import Walk, announced_path, compare
from peer.share.skips import Skips
from shoal.manifest import manifest_of
from shoal.wire import Digest

ME, OTHER = "a" * 64, "b" * 64


class InlineHashers:
    """Hashes when asked for the results; a file's writer always counts as done."""

    def __init__(self, root: Beneath) -> None:
        self._root = root
        self.queue: dict[str, str] = {}

    def put(self, disk: str, path: str, size: int, mtime: int, closed: bool) -> None:
        """Queues a file."""
        self.queue[disk] = path

    def run(self) -> list:
        """Hashes all that is queued."""
        queue, self.queue = self.queue, {}
        return [
            hash_file(self._root, d, p, ME, True, lambda: time.time() + 9, lambda left: True) for d, p in queue.items()
        ]


class HandShare:
    """A share whose index follows when `settle` is called. Use as a context manager."""

    def __init__(self, local: Path) -> None:
        self.layout = Layout(local)
        self.layout.make()
        self.said: list[Skipped] = []
        self.released: list[str] = []
        self.root = Beneath(local)
        self.index = Index(self.layout.index)
        self.moves = Moves(self.layout, self.root, self.index, ME)
        self.copies = Copies(self.moves)
        self.recovery = Recovery(self.moves, self.copies)
        self.skips = Skips(self.said.append)
        self.hashers = InlineHashers(self.root)
        self.looker = Looker(
            self.root, self.index, ME, self.hashers, self.skips, self.released.append, lambda: time.time() + 9
        )  # type: ignore[arg-type]

    def __enter__(self) -> "HandShare":
        return self

    def __exit__(self, *_: object) -> None:
        self.moves.close()
        self.index.close()
        self.root.close()

    def settle(self, prefix: str = "") -> None:
        """Walks over everything at and beneath `prefix` until nothing is left to do."""
        self.skips.begin()
        found = iter(Walk(self.root, prefix, lambda fd, disk: None, self.looker.skip))
        with closing(found), closing(self.index.known(announced_path(prefix) if prefix else "")) as known:
            for step in list(compare(found, known)):
                if step.look:
                    self.looker.look(step.disk)
        self.drain()
        self.skips.sweep()

    def drain(self) -> None:
        """Hashes and applies all that is pending."""
        while self.looker.pending or self.hashers.queue:
            for result in self.hashers.run():
                self.looker.take(result)
            self.looker.flush()
        for cid in self.released:
            self.copies.release(cid)
        self.released.clear()

    def keep(
        self, path: str, data: bytes, mtime: int = 10**18, revs: dict[str, int] | None = None, x: bool = False
    ) -> Kept:
        """Keeps a small download."""
        return self.copies.keep([download(path, data, mtime, revs, x)])[0]

    def rows(self) -> list[Row]:
        """All rows but "gone" ones, by path."""
        with self.index._lock:
            paths = [p for (p,) in self.index._db.execute("SELECT DISTINCT path FROM rows ORDER BY path")]
        return [row for path in paths for row in self.index.at(path) if row.kind != "gone"]

    def listed(self, kinds: Sequence[str] = ("own", "copy")) -> dict[str, str]:
        """path → cid of what is announced and stands in LOCAL."""
        return {
            row.path: row.cid for row in self.rows() if row.kind in kinds and row.place == "local" and row.announced
        }

    def check(self) -> None:
        """Fails if the index contradicts itself or the disk."""
        digest = Digest()
        for row in self.rows():
            if row.announced:
                digest.add(row.item())
            if row.is_file and row.state == "ok":
                file = self.layout.local / row.disk if row.place == "local" else self.layout.copies / row.cid
                if unchanged(row, os.lstat(file)):  # else the user changed it, and nobody is given it
                    assert manifest_of(file.read_bytes()).cid == row.cid, row
                assert self.index.manifest(row.cid) is not None, row
        assert self.index.state()[1] == str(digest)
        with self.index._lock:
            query = (
                "SELECT COUNT(*) FROM manifests WHERE cid NOT IN (SELECT cid FROM rows WHERE kind IN ('own', 'copy'))"
            )
            assert self.index._db.execute(query).fetchone() == (0,), "a manifest that no row needs"


def download(
    path: str,
    data: bytes,
    mtime: int = 10**18,
    revs: dict[str, int] | None = None,
    x: bool = False,
    inline: bool = True,
) -> Keep:
    """The message that a whole download makes."""
    manifest = manifest_of(data)
    body = data if inline else None
    return Keep(path, manifest.cid, manifest.encode(), mtime, x, {OTHER: 1} if revs is None else revs, body)


def listed_anew(local: Path, copy_to: Path) -> dict[str, str]:
    """What an index made from scratch says of a copy of LOCAL; without the xattrs, so everything is the user's."""
    shutil.copytree(
        local, copy_to, symlinks=True, ignore=lambda where, names: [".shoal"] if where == str(local) else [],
        copy_function=lambda a, b, *, follow_symlinks=True: shutil.copyfile(a, b, follow_symlinks=follow_symlinks),
    )  # fmt: skip
    for where, directories, files in os.walk(copy_to):
        for name in (*directories, *files):
            path = os.path.join(where, name)
            for attribute in os.listxattr(path, follow_symlinks=False):
                os.removexattr(path, attribute, follow_symlinks=False)
    with HandShare(copy_to) as fresh:
        fresh.settle()
        fresh.check()
        return fresh.listed()
