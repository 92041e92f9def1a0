"""The kernel's nodes: which number stands for which version of which path, and for how long.

A node is (path, version, turn): a path that shows another version is another
node, and a version that comes back is a new node too. So what the kernel
caches of a node never changes, but for a directory's names and times, and a
file's times and mode. A number is used once in a mount's life. A node lives
until the kernel has forgotten it as often as it was told of it.

When paths changed, `review` tells what the kernel must be told to forget:

- a name that shows another node, or a first one (the kernel may know that there
  is none), or none any more;
- the attributes of a node that stayed the same but for its times or mode;
- the names and times of each directory above.

Where versions clash a change shows at other names too, all of which have a
`~` in them; those that the kernel may know of are remembered by folder.

Threading: every method takes the lock; `find` is called with it held, answers
from memory and takes no lock of a caller. What is returned is never changed,
but for `Known`'s fields that say so.
"""

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from msgspec import Struct

from peer.catalogue.tree import File
from peer.catalogue.version import Version
from peer.mount.protocol import ROOT
from peer.vfs import Handle, Node, Seen, version_of

BESIDE = 4096
"""Names with a `~` that are remembered of one folder; what is not there is not told for long beyond that."""

_DIRECTORY = -1


class Stale(Exception):
    """The kernel asks by a number that stands for nothing any more."""


class Known(Struct, eq=False, gc=False):
    """A node that the kernel knows; a million of them may be. `version` stands for a version, and is not one."""

    id: int
    path: str
    version: int
    lookups: int = 0
    node: Node | None = None
    """Of a file that is open: what was opened."""
    told: Version | None = None
    """Of a file of the network: the version with the time that the kernel believes."""
    behind: bool = False
    """Of a file that is open: whether its time or mode changed since, and the kernel is to be told at its close."""
    turn: int = 0
    """Of a directory: counts its changes."""
    cached: int = -1
    """Of a directory: the turn whose listing the kernel may have in its cache."""
    handles: tuple[Handle, ...] = ()
    """Those that are open on it, all of one source; guarded by who opens them."""
    pages: bool = False
    """Whether the kernel's cache may hold bytes of what could be passed through."""
    seen: Seen | None = None
    """Of a file whose bytes the kernel may have all, and no others: what was open."""
    unsettled: bool = False
    """Whether the kernel's cache may hold other bytes than the version's."""

    def child(self, name: bytes) -> str:
        """The path of this name in it."""
        return _join(self.path, os.fsdecode(name))


@dataclass
class Forgotten:
    """What the kernel must be told: (parent's id, name) whose entry, files whose attributes, directories whose all."""

    entries: list[tuple[int, bytes]]
    attributes: list[Known]
    directories: list[int]


class Table:
    """The nodes that the kernel knows."""

    def __init__(self, root: Node, find: Callable[[str], Node | None]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._root = Known(ROOT, "", _version(root))
        self._root.lookups = 1
        self._ids: dict[int, Known] = {ROOT: self._root}
        self._paths: dict[str, Known] = {"": self._root}
        self._gone: dict[str, Known] = {}
        """The nodes that paths showed before, as long as the kernel knows them."""
        self._beside: dict[str, set[str]] = {}
        self._next = ROOT + 1

    def __len__(self) -> int:
        """How many nodes there are, the root among them."""
        return len(self._ids)

    def known(self, id: int) -> Known:
        """The node of a number. Raises Stale."""
        found = self._ids.get(id)
        if found is None:
            raise Stale
        return found

    def id_of(self, path: str) -> int:
        """The number by which the kernel knows what a path shows, or showed last; 0 if it does not."""
        found = self._paths.get(path) or self._gone.get(path)
        return found.id if found is not None else 0

    def gone_id_of(self, path: str) -> int:
        """The number of what it showed before, as long as the kernel knows that; else 0."""
        found = self._gone.get(path)
        return found.id if found is not None else 0

    def shown(self, known: Known) -> Node | None:
        """What the vfs shows at a node's path, if it is what the node stands for."""
        node = self._find(known.path)
        return node if node is not None and _version(node) == known.version else None

    def node(self, known: Known) -> Node:
        """What a node stands for, while it is shown or open. Raises Stale."""
        node = self.shown(known) or known.node
        if node is None:
            raise Stale
        return node

    def look_up(self, path: str) -> tuple[Known, Node] | None:
        """The node for what a path shows; the kernel is about to be told of it, or that nothing is there."""
        with self._lock:
            node = self._find(path)
            return None if node is None else (self._enter(path, node), node)

    def look_up_gone(self, path: str) -> Known | None:
        """The node that a path showed before; the kernel is about to be told of it again."""
        with self._lock:
            known = self._gone.get(path)
            if known is not None:
                known.lookups += 1
            return known

    def enter(self, folder: Known, turn: int, children: Iterable[tuple[str, Node]]) -> list[tuple[Known, Node] | None]:
        """The same for some children of a directory that were found when it was at this turn."""
        with self._lock:
            paths = [(_join(folder.path, name), node) for name, node in children]
            if folder.turn == turn:
                return [(self._enter(path, node), node) for path, node in paths]
            # Something changed since, and the kernel was told so before: what is told now must be true now.
            found = [(path, self._find(path)) for path, _ in paths]
            return [None if node is None else (self._enter(path, node), node) for path, node in found]

    def _enter(self, path: str, node: Node) -> Known:
        known, version = self._paths.get(path), _version(node)
        if known is None or known.version != version:
            if known is not None:
                self._gone[path] = known
            known = Known(self._next, path, version)
            self._next += 1
            self._ids[known.id] = self._paths[path] = known
            if "~" in path:
                self._remember(path)
        known.lookups += 1
        return known

    def keeps_listing(self, folder: Known) -> bool:
        """Whether what the kernel may have cached of a directory's listing is what it lists now."""
        with self._lock:
            return folder.cached == folder.turn

    def listed(self, folder: Known, turn: int | None) -> None:
        """A directory was listed as it was at this turn, or not at all, as far as the kernel may have it cached."""
        with self._lock:
            if turn is not None:
                folder.cached = turn

    def absent(self, path: str) -> bool:
        """The kernel is about to be told that nothing is there; whether it may believe that for long."""
        with self._lock:
            return self._remember(path)

    def renew(self, known: Known) -> None:
        """What the path shows is another node from now on, though the version is the same."""
        with self._lock:
            if self._paths.get(known.path) is known:
                del self._paths[known.path]

    def forget(self, id: int, lookups: int) -> bool:
        """The kernel forgets a node so many times; whether it does not know it any more."""
        with self._lock:
            known = self._ids.get(id)
            if known is None or known is self._root:
                return False
            known.lookups -= lookups
            if known.lookups > 0:
                return False
            del self._ids[id]
            if self._gone.get(known.path) is known:
                del self._gone[known.path]
            if self._paths.get(known.path) is known:
                del self._paths[known.path]
            shown = self._paths.get(known.path)
            if known.version == _DIRECTORY and (shown is None or shown.version != _DIRECTORY):
                self._beside.pop(known.path, None)
            return True

    def review(self, paths: Iterable[str]) -> Forgotten:
        """What the kernel must forget after these paths changed."""
        told = Forgotten([], [], [])
        above: set[str] = set()
        with self._lock:
            for path in self._concerned(paths, above):
                self._review(path, told)
            for path in above:
                known = self._paths.get(path)
                if known is not None:
                    known.turn += 1
                    told.directories.append(known.id)
        return told

    def _concerned(self, paths: Iterable[str], above: set[str]) -> set[str]:
        """The paths at which something else may show now; collects the directories above them."""
        concerned: set[str] = set()
        for path in paths:
            while path:
                concerned.add(path)
                path = path.rpartition("/")[0]
                if path in above:
                    break
                above.add(path)
                concerned.update(_join(path, name) for name in self._beside.get(path, ()))
        return concerned

    def _review(self, path: str, told: Forgotten) -> None:
        folder, _, name = path.rpartition("/")
        parent, known, node = self._paths.get(folder), self._paths.get(path), self._find(path)
        if known is not None:
            if node is not None and _version(node) == known.version:
                if known.version != _DIRECTORY:
                    told.attributes.append(known)
                    known.behind = bool(known.handles)
                return
            del self._paths[path]
            self._gone[path] = known
        if parent is not None:
            told.entries.append((parent.id, name.encode()))

    def _remember(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if "~" not in name:
            return True
        names = self._beside.setdefault(folder, set())
        if len(names) >= BESIDE and name not in names:
            return False
        names.add(name)
        return True


def _version(node: Node) -> int:
    """A number for a version, smaller in memory than its name: half of a cid's bits, most of a SHA-1's."""
    if type(node) is File:
        return int.from_bytes(node.version.key[:16])
    version = version_of(node)
    return hash(version) if version else _DIRECTORY


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
