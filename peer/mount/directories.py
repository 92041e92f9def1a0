"""Directories, listed for the kernel: names alone, or with what each is (READDIRPLUS), which is most of the time.

Threading: any thread; each open directory is listed by one request at a time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from stat import S_IFDIR
from struct import Struct

from peer.mount import protocol
from peer.mount.answers import ENTRY, Answers
from peer.mount.protocol import FOREVER, Op, Open, Request, fixed
from peer.mount.table import Known, Table
from peer.vfs import Node, Vfs

PLUS = Struct("=4QII6Q10IQQII")
"""ENTRY_OUT, ATTR and DIRENT."""
_NOBODY = ENTRY.pack(*(0,) * 22)
_UNKNOWN = 0xFFFFFFFF
"""The inode number of what is listed and was never looked up."""
_DOTS = ((".", S_IFDIR), ("..", S_IFDIR))


@dataclass(eq=False)
class OpenDir:
    """A directory's names as of one moment: when they were first asked for, at this turn of its node."""

    known: Known
    turn: int = 0
    names: list[tuple[str, Node]] | None = None


class Directories:
    """Those that are open. `calls`: the requests that are answered here, each with the body of its answer."""

    def __init__(self, vfs: Vfs, table: Table, answers: Answers) -> None:
        self._vfs, self._table, self._answers = vfs, table, answers
        self._open: dict[int, OpenDir] = {}
        self._numbers = count(1)
        self.calls: dict[int, Callable[[Request], bytes]] = {
            Op.OPENDIR: self._opendir,
            Op.READDIR: self._readdir,
            Op.READDIRPLUS: self._readdirplus,
            Op.RELEASEDIR: self._releasedir,
        }

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def _opendir(self, request: Request) -> bytes:
        known = self._table.known(request.node)
        self._vfs.children(self._table.node(known))  # raises if it is none
        keep = self._table.keeps_listing(known)
        number = next(self._numbers)
        self._open[number] = OpenDir(known)
        cached = Open.CACHE_DIR if self._answers.valid(known) == FOREVER else 0
        return protocol.OPEN_OUT.pack(number, cached | (Open.KEEP_CACHE if keep else 0), 0)

    def _names(self, directory: OpenDir, offset: int) -> list[tuple[str, Node]]:
        if directory.names is None or offset == 0:
            directory.turn = directory.known.turn
            directory.names = list(self._vfs.children(self._table.node(directory.known)))
        return directory.names

    def _readdir(self, request: Request) -> bytes:
        number, offset, size, *_ = fixed(protocol.READ_IN, request.body)
        names = self._names(self._open[number], offset)
        parts, room = [], size
        for at in range(offset, len(names) + 2):
            name, node = names[at - 2] if at >= 2 else (_DOTS[at][0], None)
            mode = S_IFDIR if node is None else self._vfs.attributes(node).mode
            part = protocol.dirent(_UNKNOWN, at + 1, mode, name.encode())
            room -= len(part)
            if room < 0:
                break
            parts.append(part)
        return b"".join(parts)

    def _readdirplus(self, request: Request) -> bytes:
        number, offset, size, *_ = fixed(protocol.READ_IN, request.body)
        directory = self._open[number]
        names = self._names(directory, offset)
        parts, room = [], size
        for at in range(offset, 2):
            parts.append(_NOBODY + protocol.dirent(_UNKNOWN, at + 1, S_IFDIR, _DOTS[at][0].encode()))
            room -= len(parts[-1])
        first = at = max(offset, 2) - 2
        encoded: list[bytes] = []
        while at < len(names):
            name = names[at][0].encode()
            room -= PLUS.size + -(-len(name) // 8) * 8
            if room < 0:
                break
            encoded.append(name)
            at += 1
        entered = self._table.enter(directory.known, directory.turn, names[first:at])
        parts += self._plus(entered, encoded, first + 3)
        return b"".join(parts)

    def _plus(self, entered: Iterable[tuple[Known, Node] | None], encoded: list[bytes], offset: int) -> Iterable[bytes]:
        for at, (found, name) in enumerate(zip(entered, encoded, strict=True), offset):
            if found is None:  # it went since the names were taken: listed, as of then, and not known
                yield _NOBODY + protocol.dirent(_UNKNOWN, at, 0, name)
                continue
            entry = self._answers.entry(*found)
            kind = (entry[15] >> 12) & 15
            yield PLUS.pack(*entry, found[0].id, at, len(name), kind) + name + bytes(-len(name) % 8)

    def _releasedir(self, request: Request) -> bytes:
        number, *_ = fixed(protocol.RELEASE_IN, request.body)
        directory = self._open.pop(number)
        self._table.listed(directory.known, directory.turn if directory.names is not None else None)
        return b""
