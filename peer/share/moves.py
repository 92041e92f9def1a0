"""Files that move into LOCAL and out of it, never over a user's file.

Every move is written down before it is made: the row has state "moving", and
names the file by inode, size and mtime, so that after a crash it can be found
under whichever of these names it has, and the move ended:

    LOCAL/<disk>                        where it should stand
    .shoal/copies/CID                   where it stands instead ("inside")
    .shoal/partial/CID.data, *.keep     where it came from
    .shoal/copies/CID.HASH-OF-PATH      aside: while two files change places, or one is taken away

Only a copy of ours that is unchanged is ever taken away: after the rename it is
looked at again, and what turns out to be the user's is put back.

Threading: none; all of it belongs to the keeper's thread.
"""

import errno
import hashlib
import logging
import os
import stat
import time
from dataclasses import dataclass, field, replace

from peer.beneath import Beneath, rename_exchange, rename_noreplace
from peer.layout import Layout
from peer.share.index import Change, Index
from peer.share.local import identity, unchanged
from peer.share.mark import get_mark, set_mark
from peer.share.rows import Row
from peer.share.scan import announced_path
from shoal.errors import LocalError
from shoal.names import printable

log = logging.getLogger(__name__)

Source = tuple[int, str]
"""A file's name: (descriptor of the directory, name in it)."""


@dataclass
class Move:
    """A file on its way to where its row says. `old` is the copy that stands there and gives way.

    It is made when `row.state` is "ok". Until then `why` says what went wrong; in `gone` is the row's cid if the file
    was lost, else the row stays "moving", and `peer.share.recover` ends the move later.
    """

    row: Row
    source: Source
    change: Change
    old: Row | None = None
    put: list[Row] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    why: str = ""

    @property
    def made(self) -> bool:
        """Whether the file is where its row says."""
        return self.row.state == "ok" and not self.why

    def lost(self, why: str) -> None:
        """The file is not ours to place any more: its row goes."""
        self.why = why
        self.gone.append(self.row.cid)


def status_at(fd: int, name: str) -> os.stat_result:
    """The status of `name` in an open directory, a link itself and not its target."""
    return os.stat(name, dir_fd=fd, follow_symlinks=False)


def aside_name(path: str, cid: str) -> str:
    """The name in `.shoal/copies` under which something waits while this row's file moves."""
    return f"{cid}.{hashlib.blake2b(path.encode(), digest_size=8).hexdigest()}"


def is_file_of(row: Row, status: os.stat_result) -> bool:
    """Whether this is the row's file under another name: a rename changes the ctime and nothing else."""
    return (row.dev, row.ino, row.size, row.mtime) == identity(status)[:4] and stat.S_ISREG(status.st_mode)


def supersedes(new: Row, old: Row) -> bool:
    """Whether every owner that `old` remembers has a later version, and it is known to `new`."""
    return bool(old.revs) and all(new.revs.get(owner, -1) > rev for owner, rev in old.revs.items())


def reason(error: Exception) -> str:
    """Why something could not be kept, as one sentence."""
    if isinstance(error, OSError):
        return (
            os.strerror(error.errno or 0).lower()
            if error.errno != errno.ENOSPC
            else "no space left on the share's disk"
        )
    return str(error)


class Moves:
    """Moves files between `.shoal` and LOCAL. The caller closes it."""

    def __init__(self, layout: Layout, root: Beneath, index: Index, peer: str) -> None:
        self.root, self.index, self.peer = root, index, peer
        self.partial = root.open_dir(str(layout.partial.relative_to(layout.local)))
        self.copies = root.open_dir(str(layout.copies.relative_to(layout.local)))
        self.quarantine = root.open_dir(str(layout.quarantine.relative_to(layout.local)))
        self._parents: dict[str, int] = {}

    def close(self) -> None:
        """Gives the descriptors back."""
        self.close_parents()
        for fd in (self.partial, self.copies, self.quarantine):
            os.close(fd)

    def make(self, move: Move) -> None:
        """Moves the file, and completes the rows of what came of it."""
        standing = False
        if move.row.place == "local":
            try:
                fd, name = self._parent(move.row.disk)
                if move.old is None:
                    rename_noreplace(*move.source, fd, name)
                    standing = True
                else:
                    standing = self._exchange(move, move.old, fd, name)
            except OSError as error:
                # Whatever is in the way (a user's file, a folder, no such name on this disk): then it stays inside.
                log.debug("%s is kept inside: %s", printable(move.row.path), error)
        if standing:
            self.stands(move, fd, name)
        elif not move.why:
            try:
                self.move_inside(move.row, move.source)
            except OSError as error:
                move.why = reason(error)

    def stands(self, move: Move, fd: int, name: str) -> None:
        """Completes the row of a file that should stand in LOCAL now."""
        try:
            status = status_at(fd, name)
        except OSError as error:
            move.lost(reason(error))
            return
        if is_file_of(move.row, status):
            move.row.ctime, move.row.state = status.st_ctime_ns, "ok"
        else:
            move.lost("another file took its place at once")

    def _exchange(self, move: Move, old: Row, fd: int, name: str) -> bool:
        """Swaps the file with the older copy that stands there; whether it stands there now."""
        if not unchanged(old, status_at(fd, name)):
            return False
        aside = self.copies, aside_name(move.row.path, move.row.cid)
        if move.source != aside:
            os.rename(move.source[1], aside[1], src_dir_fd=move.source[0], dst_dir_fd=aside[0])
            move.source = aside
        rename_exchange(*aside, fd, name)
        return self.give_way(move, old, fd, name)

    def give_way(self, move: Move, old: Row | None, fd: int, name: str) -> bool:
        """After an exchange: what is aside now goes, stays inside, or, being the user's, goes back."""
        move.source = aside = self.copies, aside_name(move.row.path, move.row.cid)
        if old is None or not is_file_of(old, status_at(*aside)):
            try:
                rename_exchange(*aside, fd, name)
            except FileNotFoundError:  # ours was taken away meanwhile: the user's just goes back
                self.put_back(*aside, fd, name)
                move.lost("another file took its place at once")
            return False
        if supersedes(move.row, old):
            os.unlink(aside[1], dir_fd=aside[0])
            move.gone.append(old.cid)
        else:
            kept = replace(old)
            self.move_inside(kept, aside)
            move.put.append(kept)
        return True

    def put_back(self, source: int, source_name: str, fd: int, name: str) -> None:
        """Gives a user's file its name back; where that is taken again, it is kept in the quarantine."""
        try:
            rename_noreplace(source, source_name, fd, name)
        except OSError as error:
            kept = f"{source_name}.{time.time_ns()}"
            os.rename(source_name, kept, src_dir_fd=source, dst_dir_fd=self.quarantine)
            log.error("a file is in the share's .shoal/quarantine/%s: %s", kept, printable(str(error)))

    def move_inside(self, row: Row, source: Source) -> None:
        """Moves the file to `.shoal/copies/CID`, and completes the row."""
        if not is_file_of(row, status_at(*source)):
            raise FileNotFoundError(errno.ENOENT, "the download is not there any more")
        try:
            rename_noreplace(*source, self.copies, row.cid)
        except FileExistsError:
            status = status_at(self.copies, row.cid)
            others = [other for other in self.index.of(row.cid) if other.place == "inside" and other.state == "ok"]
            if any(unchanged(other, status) for other in others):
                os.unlink(source[1], dir_fd=source[0])  # the same content is there for another path
            else:
                os.rename(source[1], row.cid, src_dir_fd=source[0], dst_dir_fd=self.copies)
        status = status_at(self.copies, row.cid)
        row.place, row.disk, row.state = "inside", "", "ok"
        row.dev, row.ino, row.size, row.mtime, row.ctime = identity(status)

    def settle(self, moves: list[Move]) -> str:
        """Writes down what came of the moves; returns why that could not be done: then `recover` does it."""
        todo = moves
        try:
            while todo:
                changes = [self._outcome(move) for move in todo]
                refused = {id(change) for change in self.index.apply(changes)}
                todo = [move for move, change in zip(todo, changes, strict=True) if id(change) in refused]
        except LocalError as error:
            return reason(error)
        return ""

    def _outcome(self, move: Move) -> Change:
        path = move.change.path
        rows = self.index.at(path)
        gone = [cid for cid in move.gone if any(row.cid == cid for row in rows)]
        return Change(path, rows, [*move.put, move.row] if move.made else move.put, gone)

    def unlink_local(self, row: Row) -> None:
        """Unlinks a copy in LOCAL, and the directories made for it, if it is unchanged; its row is "moving"."""
        self.take_out(row, "")

    def take_out(self, row: Row, kept: str) -> None:
        """The same, but it is kept in the quarantine under that name, if one is given."""
        aside = aside_name(row.path, row.cid)
        try:
            fd, name = self.root.parent(row.disk)
        except OSError:
            return
        try:
            if not unchanged(row, status_at(fd, name)):
                return
            rename_noreplace(fd, name, self.copies, aside)
            if not is_file_of(row, status_at(self.copies, aside)):
                self.put_back(self.copies, aside, fd, name)
            elif kept:
                os.rename(aside, kept, src_dir_fd=self.copies, dst_dir_fd=self.quarantine)
            else:
                os.unlink(aside, dir_fd=self.copies)
        except OSError as error:
            log.debug("%s is not taken away: %s", printable(row.path), error)
        finally:
            os.close(fd)
        self._remove_directories(row.disk)

    def _remove_directories(self, disk: str) -> None:
        """Removes the directories above that were made for copies and are empty now."""
        directory = os.path.dirname(disk)
        while directory:
            try:
                fd = self.root.open_dir(directory)
                try:
                    ours = get_mark(fd, self.peer, announced_path(directory), 0) is not None
                finally:
                    os.close(fd)
                if not ours:
                    return
                parent, name = self.root.parent(directory)
                try:
                    os.rmdir(name, dir_fd=parent)
                finally:
                    os.close(parent)
            except OSError:
                return  # not empty, or not there
            directory = os.path.dirname(directory)

    def _parent(self, disk: str) -> Source:
        """(the directory that `disk` is in, the last part); directories are made as needed, and marked as ours."""
        head, _, last = disk.rpartition("/")
        if head not in self._parents:
            self._parents[head] = self._make_directories(head)
        return self._parents[head], last

    def _make_directories(self, disk: str) -> int:
        fd, made = os.dup(self.root.fd), ""
        for part in filter(None, disk.split("/")):
            made = f"{made}/{part}" if made else part
            try:
                try:
                    os.mkdir(part, 0o755, dir_fd=fd)
                    new = True
                except FileExistsError:
                    new = False
                deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            fd = deeper
            if new:
                set_mark(fd, self.peer, announced_path(made), "", 0, {})
        return fd

    def close_parents(self) -> None:
        """Forgets the directories that were opened for a batch."""
        while self._parents:
            os.close(self._parents.popitem()[1])
