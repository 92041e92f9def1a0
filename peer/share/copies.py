"""Downloads that are kept: whole, checked, and told as copies.

Of several copies of one path the one that wins in the mount (the newest mtime,
ties by cid) stands at LOCAL/<path>, the others inside `.shoal`; so do all where
the user has another file or folder. What takes a path and how is in `moves`.

Threading: none; all of it belongs to the keeper's thread.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import replace

from peer.messages import Keep, Kept
from peer.share.index import Change
from peer.share.local import identity, unchanged
from peer.share.mark import set_mark
from peer.share.moves import Move, Moves, Source, aside_name, reason, status_at
from peer.share.rows import Row
from peer.share.scan import other_forms
from shoal.errors import DataError, LocalError
from shoal.manifest import Cid, Manifest
from shoal.names import safe_path


class Copies:
    """Keeps and takes away this peer's copies."""

    def __init__(self, moves: Moves) -> None:
        self._moves, self._root, self._index = moves, moves.root, moves.index

    def keep(self, keeps: Sequence[Keep]) -> list[Kept]:
        """Keeps downloads, each of another path, in two transactions however many they are."""
        answers: list[Kept] = []
        moves: list[tuple[Keep, Move]] = []
        todo: list[tuple[Keep, Source, Row, Manifest]] = []
        for keep in keeps:
            try:
                self._check_place(keep)
                todo.append((keep, *self._prepare(keep)))
            except (OSError, DataError) as error:
                # The scanner before this one may have kept it, and died before it said so.
                gone = isinstance(error, FileNotFoundError)
                held = self._held(keep.cid, self._index.at(keep.path)) if gone else None
                answers.append(Kept(keep.path, keep.cid, *((held.place,) if held else ("", reason(error)))))
        while todo:
            planned: list[tuple[Keep, Move]] = []
            for keep, source, row, manifest in todo:
                rows = self._index.at(keep.path)
                held = self._held(keep.cid, rows)
                if held is None:
                    planned.append((keep, self.plan(row, source, rows, manifest)))
                else:
                    self._drop(source)
                    if keep.data is None:
                        self.clean(keep.cid)
                    answers.append(Kept(keep.path, keep.cid, held.place))
            try:
                refused = {id(change) for change in self._index.apply([move.change for _, move in planned])}
            except LocalError as error:
                for keep, move in planned:
                    if keep.data is not None:
                        self._drop(move.source)
                    answers.append(Kept(keep.path, keep.cid, "", reason(error)))
                break
            moves += [(keep, move) for keep, move in planned if id(move.change) not in refused]
            again = {id(keep) for keep, move in planned if id(move.change) in refused}
            todo = [entry for entry in todo if id(entry[0]) in again]
        for _, move in moves:
            self._moves.make(move)
        self._moves.close_parents()
        failed = self._moves.settle([move for _, move in moves])
        for keep, move in moves:
            if failed or not move.made:
                answers.append(Kept(keep.path, keep.cid, "", move.why or failed))
            else:
                if keep.data is None:
                    self.clean(keep.cid)
                answers.append(Kept(keep.path, keep.cid, move.row.place))
        return answers

    def _check_place(self, keep: Keep) -> None:
        """Raises DataError if the user's file of this content stands there and is rotten: its row must stay."""
        if any(row.state == "rotten" and row.cid == keep.cid for row in self._index.at(keep.path)):
            raise DataError("one's own file there is rotten, and stays until its owner removes it")

    def _prepare(self, keep: Keep) -> tuple[Source, Row, Manifest]:
        """The whole download with mode, mtime and mark set, and its row, not placed yet."""
        path = safe_path(keep.path)
        manifest = Manifest.decode(keep.manifest, Cid(keep.cid))
        if keep.data is None:
            name = f"{keep.cid}.data"
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._moves.partial)
        else:
            name = f"{aside_name(path, keep.cid)}.keep"
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=self._moves.partial)
        try:
            if keep.data is not None:
                _write(fd, keep.data)
            status = os.fstat(fd)
            if status.st_size != manifest.size or not stat.S_ISREG(status.st_mode):
                raise DataError("the download is not whole")
            os.fchmod(fd, 0o755 if keep.x else 0o644)
            os.utime(fd, ns=(keep.mtime, keep.mtime))
            mtime = os.fstat(fd).st_mtime_ns  # as this file system could note it
            set_mark(fd, self._moves.peer, path, keep.cid, mtime, keep.revs)
            status = os.fstat(fd)
        except (OSError, DataError):
            if keep.data is not None:
                os.unlink(name, dir_fd=self._moves.partial)
            raise
        finally:
            os.close(fd)
        row = Row(path, keep.cid, "copy", manifest.size, mtime, manifest.sha1, keep.x, revs=dict(keep.revs))
        row.state = "moving"
        row.dev, row.ino, _, _, row.ctime = identity(status)
        return (self._moves.partial, name), row, manifest

    def _held(self, cid: str, rows: list[Row]) -> Row | None:
        """The row that has this content at the path already, whole."""
        for row in rows:
            if row.cid == cid and row.is_file and row.announced:
                try:
                    status = self._root.lstat(row.disk) if row.place == "local" else status_at(self._moves.copies, cid)
                except OSError:
                    continue
                if unchanged(row, status):
                    return row
        return None

    def plan(self, row: Row, source: Source, rows: list[Row], manifest: Manifest | None) -> Move:
        """Where the file goes: LOCAL/<path>, unless the user's file or a copy that wins stands there."""
        local = [old for old in rows if old.place == "local" and old.state == "ok"]
        wins = all(old.kind == "copy" and (old.mtime, old.cid) < (row.mtime, row.cid) for old in local)
        row = replace(row, place="local" if wins and len(local) < 2 else "inside", disk="", state="moving")
        if row.place == "local":
            row.disk = local[0].disk if local else self._disk(row.path)
        move = Move(row, source, Change(row.path, rows, [row], manifest=manifest))
        if row.place == "local" and local:
            move.old = local[0]
        return move

    def _disk(self, path: str) -> str:
        """The name on disk for a path: where a part of it exists in another Unicode form, that one."""
        if path.isascii():
            return path
        disk = ""
        for part in path.split("/"):
            names = [part, *other_forms(part)]
            disk = next((f"{disk}{name}" for name in names if self._exists(f"{disk}{name}")), disk + part) + "/"
        return disk[:-1]

    def _exists(self, disk: str) -> bool:
        try:
            self._root.lstat(disk)
        except OSError:
            return False
        return True

    def clean(self, cid: str) -> None:
        """Removes what a download leaves beside its data."""
        for suffix in (".bits", ".manifest"):
            self._drop((self._moves.partial, cid + suffix))

    @staticmethod
    def _drop(source: Source) -> None:
        try:
            os.unlink(source[1], dir_fd=source[0])
        except FileNotFoundError:
            pass  # another download of the same content took it along

    def take_away(self, path: str, cid: str) -> None:
        """Unlinks the copy of `cid` at `path`, if it is an unchanged copy of ours, and its row goes.

        Raises:
            LocalError: the index cannot be written.
        """
        while True:
            rows = self._index.at(path)
            row = next((row for row in rows if row.cid == cid and row.kind == "copy" and row.state == "ok"), None)
            if row is None:
                return
            if row.place == "inside":
                if not self._index.apply([Change(path, rows, gone=[cid])]):
                    self.release(cid)
                    return
            elif not self._index.apply([Change(path, rows, [replace(row, state="moving")])]):
                break
        self._moves.unlink_local(row)
        rows = self._index.at(path)
        while self._index.apply([Change(path, rows, gone=[cid])]):
            rows = self._index.at(path)

    def release(self, cid: str) -> None:
        """Unlinks the copy inside `.shoal` if no row needs it."""
        if not any(row.place == "inside" for row in self._index.of(cid)):
            self._drop((self._moves.copies, cid))


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
