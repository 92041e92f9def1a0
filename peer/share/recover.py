"""After a crash: every move that was begun is ended, and what no row knows is removed.

Threading: none; it runs before the index is opened to others, or on the keeper's thread.
"""

import logging
import os
from collections.abc import Container
from dataclasses import replace

from peer.share.copies import Copies
from peer.share.index import Change
from peer.share.local import unchanged
from peer.share.mark import has_mark
from peer.share.moves import Move, Moves, Source, aside_name, is_file_of, status_at
from peer.share.partials import sweep
from peer.share.rows import Row
from shoal.errors import LocalError
from shoal.names import printable

log = logging.getLogger(__name__)


class Recovery:
    """Ends what was begun."""

    def __init__(self, moves: Moves, copies: Copies) -> None:
        self._moves, self._copies, self._index = moves, copies, moves.index

    def run(self) -> None:
        """Ends every move that was begun, and removes what no row knows.

        Raises:
            LocalError: the index cannot be written.
        """
        self.end_moves(())
        for row in self._index.inside():
            try:
                whole = unchanged(row, status_at(self._moves.copies, row.cid))
            except FileNotFoundError:
                whole = False
            if not whole:
                self._index.apply([Change(row.path, self._index.at(row.path), gone=[row.cid])])
        self._sweep()
        sweep(self._index, self._moves.partial)

    def end_moves(self, but: Container[tuple[str, str]]) -> None:
        """Ends all moves but those of these (path, cid).

        Raises:
            LocalError: the index cannot be written.
        """
        for row in self._index.moving():
            if (row.path, row.cid) not in but:
                self._recover(row)
        self._moves.close_parents()

    def _recover(self, row: Row) -> None:
        copies, partial = self._moves.copies, self._moves.partial
        aside = copies, aside_name(row.path, row.cid)
        sources = [(copies, row.cid), aside, (partial, f"{row.cid}.data"), (partial, f"{aside[1]}.keep")]
        rows = self._index.at(row.path)
        move = Move(row, aside, Change(row.path, rows))
        if not (row.place == "local" and self._ends_in_local(move, rows)) and not move.why:
            source = next((source for source in sources if self._is_there(row, source)), None)
            if source is None:
                self._put_back(row, aside)
                move.lost("it is not there any more")
            elif source == sources[0]:
                self._moves.stands(move, *source)
                row.place, row.disk = "inside", ""
            else:
                move = self._copies.plan(row, source, [old for old in rows if old.cid != row.cid], None)
                self._moves.make(move)
                if move.made and source == sources[2]:
                    self._copies.clean(row.cid)
        error = self._moves.settle([move])
        if error:
            raise LocalError(error)

    def _ends_in_local(self, move: Move, rows: list[Row]) -> bool:
        """Whether the file stands in LOCAL already; then what it was exchanged for is dealt with."""
        try:
            fd, name = self._moves.root.parent(move.row.disk)
        except OSError:
            return False
        try:
            if not is_file_of(move.row, status_at(fd, name)):
                return False
            olds = [old for old in rows if old.cid != move.row.cid and old.place == "local"]
            if self._exists_aside(move.source[1]):
                aside = status_at(*move.source)
                old = next((old for old in olds if is_file_of(old, aside)), None)
                if not self._moves.give_way(move, old, fd, name):
                    return False
            self._moves.stands(move, fd, name)
        except OSError:
            return False
        finally:
            os.close(fd)
        for old in olds:  # their place is taken, whatever was still to be done with them
            if old.cid in move.gone or any(kept.cid == old.cid for kept in move.put):
                continue
            if self._is_there(old, (self._moves.copies, old.cid)):
                kept = replace(old, place="inside", disk="")
                kept.ctime = status_at(self._moves.copies, old.cid).st_ctime_ns
                move.put.append(kept)
            else:
                move.gone.append(old.cid)
        return True

    def _put_back(self, row: Row, aside: Source) -> None:
        """What is aside and is not the row's file is a user's: it gets its name back."""
        if not self._exists_aside(aside[1]):
            return
        fd, name = self._moves.root.parent(row.disk or row.path)
        try:
            self._moves.put_back(*aside, fd, name)
        finally:
            os.close(fd)

    def _exists_aside(self, name: str) -> bool:
        try:
            status_at(self._moves.copies, name)
        except FileNotFoundError:
            return False
        return True

    def _is_there(self, row: Row, source: Source) -> bool:
        try:
            return is_file_of(row, status_at(*source))
        except FileNotFoundError:
            return False

    def _sweep(self) -> None:
        """Removes what a crash left in `.shoal` and no row knows; what may be a user's goes to the quarantine."""
        for name in os.listdir(self._moves.partial):
            if name.endswith(".keep"):
                os.unlink(name, dir_fd=self._moves.partial)
        for name in os.listdir(self._moves.copies):
            try:
                if "." not in name:
                    self._copies.release(name)
                elif self._is_marked(name):
                    os.unlink(name, dir_fd=self._moves.copies)
                else:
                    os.rename(name, name, src_dir_fd=self._moves.copies, dst_dir_fd=self._moves.quarantine)
            except OSError as error:
                log.warning("in .shoal/copies: %s", printable(str(error)))

    def _is_marked(self, name: str) -> bool:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._moves.copies)
        try:
            return has_mark(fd)
        finally:
            os.close(fd)
