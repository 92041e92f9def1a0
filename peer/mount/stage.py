"""Answers the helper's requests, by which it does once more what happened elsewhere (see `acts`).

To it alone a file that it makes is not there yet, and one that it takes away
still is, with the folders above; what it makes is the node that everybody else
finds there. Nobody else's requests come here.
"""

import errno
import os
import stat
from collections.abc import Iterable
from itertools import count

from peer.mount import protocol
from peer.mount.acts import MAKES, TAKES, Act
from peer.mount.answers import ENTRY, Answers
from peer.mount.protocol import Op, Open, Request
from peer.mount.table import Table
from peer.vfs import Attributes, Vfs

PLAYED = 1 << 62
"""The number of every file that the helper opens."""
GHOSTS = 1 << 62
"""Node ids from here on stand for what the helper takes away; the table has none of them."""
_VALID = 60
"""Seconds that the kernel may believe attributes of what is gone: long enough for an act."""
_MADE = {Op.CREATE: stat.S_IFREG, Op.MKDIR: stat.S_IFDIR, Op.SYMLINK: stat.S_IFLNK}
_FIXED = {Op.CREATE: protocol.CREATE_IN.size, Op.MKDIR: protocol.MKDIR_IN.size}


class Stage:
    """What the helper is about to do. `pid` is its process, 0 when there is none.

    Threading: `expect` by one thread; `answer` by any.
    """

    def __init__(self, vfs: Vfs, table: Table, answers: Answers) -> None:
        self._vfs, self._table, self._answers = vfs, table, answers
        self._acts: dict[str, list[Act]] = {}
        """By path, what is still to be done there, the last first."""
        self._ghosts = count(GHOSTS)
        self.pid = 0

    def expect(self, pid: int, acts: Iterable[Act]) -> None:
        """This process is about to do this, and nothing else."""
        waiting: dict[str, list[Act]] = {}
        for act in acts:
            waiting.setdefault(act.path, []).insert(0, act)
        self.pid, self._acts = pid, waiting

    def answer(self, request: Request) -> bytes | None:
        """The body of the answer, or None if the request is to be answered as anybody's. Raises OSError, Stale."""
        match request.opcode:
            case Op.LOOKUP:
                return self._look_up(self._table.known(request.node).child(protocol.name(request.body)))
            case Op.CREATE | Op.MKDIR | Op.SYMLINK:
                act = self._named(request, _FIXED.get(Op(request.opcode), 0))
                if act is None or act.kind not in MAKES:
                    return None
                self._acts[act.path].pop()
                return self._make(Op(request.opcode), act)
            case Op.UNLINK | Op.RMDIR:
                act = self._named(request, 0)
                if act is None or act.kind not in TAKES:
                    return None
                self._acts[act.path].pop()
                return b""
            case Op.OPEN:
                (flags, _), act = protocol.fixed(protocol.OPEN_IN, request.body), self._at(request)
                if act is None or act.kind != "modify" or not flags & os.O_ACCMODE:
                    return None
                return protocol.OPEN_OUT.pack(PLAYED, Open.DIRECT_IO, 0)
            case Op.SETATTR:
                if self._at(request) is None:
                    return None
                known = self._table.known(request.node)
                return self._answers.attributes(known, self._table.node(known))
        return None

    def _named(self, request: Request, skip: int) -> Act | None:
        name = protocol.name(request.body[skip:])
        return self._next(self._table.known(request.node).child(name))

    def _at(self, request: Request) -> Act | None:
        return self._next(self._table.known(request.node).path)

    def _next(self, path: str) -> Act | None:
        waiting = self._acts.get(path)
        return waiting[-1] if waiting else None

    def _look_up(self, path: str) -> bytes | None:
        act = self._next(path)
        if act is not None and act.kind in MAKES:
            raise FileNotFoundError(errno.ENOENT, "not yet")
        if act is not None and act.kind in TAKES:
            return self._ghost(path, act.kind == "rmdir")
        if self._vfs.find(path) is None and any(other.startswith(f"{path}/") for other in self._acts):
            return self._ghost(path, folder=True)
        return None

    def _ghost(self, path: str, folder: bool) -> bytes:
        """What was there: its own node, if the kernel has it still, so that those hear of it who watch that."""
        known = self._table.look_up_gone(path)
        attributes = Attributes(stat.S_IFDIR | 0o555 if folder else stat.S_IFREG | 0o444, 0, 0)
        if known is not None and known.node is not None:  # who has it open must not see it shrink
            attributes = self._vfs.attributes(known.node)
        id = known.id if known is not None else next(self._ghosts)
        return ENTRY.pack(id, 0, 0, _VALID, 0, 0, *self._answers.attr(id, attributes))

    def _make(self, opcode: Op, act: Act) -> bytes:
        found = self._table.look_up(act.path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "gone again")
        known, node = found
        if stat.S_IFMT(self._vfs.attributes(node).mode) != _MADE[opcode]:
            self._table.forget(known.id, 1)
            raise FileNotFoundError(errno.ENOENT, "something else by now")
        entry = ENTRY.pack(*self._answers.entry(known, node))
        return entry + protocol.OPEN_OUT.pack(PLAYED, Open.DIRECT_IO, 0) if opcode == Op.CREATE else entry
