"""Entries by path, in a tree of folders, as they are shown.

A folder keeps its names as they came; only where names clash is anything
computed, and that once until the folder changes. So looking a path up costs a
few dictionary look-ups, however many entries there are.

Threading: everything that begins with `_`, and `Tree.put`, is called with the
tree's lock held. What is public on `Folder` takes the lock itself; what it
returns never changes afterwards.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from msgspec import Struct

from peer.catalogue.namespace import shown_names
from peer.catalogue.version import Version
from shoal.names import SafePath
from shoal.wire import Entry

_Versions = Version | tuple[Version, ...]


class File(Struct, eq=False, gc=False):
    """A file or link as it is shown: its name in its folder, its path in the network, and which version of that."""

    name: str
    path: SafePath
    version: Version
    _entry: Entry | None = None

    @property
    def entry(self) -> Entry:
        """The version as an entry; made when it is asked for, which most are not."""
        if self._entry is None:
            self._entry = self.version.entry()
        return self._entry

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        return (self.name, self.path) == (other.name, other.path) and self.version.looks_like(other.version)


class Children(Mapping[str, "Folder | File"]):
    """What a folder shows, by shown name, as of one moment."""

    __slots__ = ("_of", "_path")

    def __init__(self, path: str, of: "dict[str, _Versions | File | Folder]") -> None:
        self._path, self._of = path, of

    def __getitem__(self, name: str) -> "Folder | File":
        found = self._of[name]
        if isinstance(found, (File, Folder)):
            return found
        return _file(self._path, name, found)

    def pairs(self) -> "Iterator[tuple[str, Folder | File]]":
        """The same as `items`, faster."""
        for name, found in self._of.items():
            yield name, found if isinstance(found, (File, Folder)) else _file(self._path, name, found)

    def __contains__(self, name: object) -> bool:
        return name in self._of

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)


class Held:
    """(path, versions) of a folder's files, links and empty directories, as of one moment."""

    def __init__(self, path: str, names: list[tuple[str, _Versions]]) -> None:
        self._path, self._names = path, names

    def __iter__(self) -> Iterator[tuple[SafePath, tuple[Version, ...]]]:
        for name, held in self._names:
            yield SafePath(_join(self._path, name)), _as_tuple(held)


class Folder:
    """A directory of the tree. `path` is shown as it is: a folder always has its own name; "" is the root."""

    __slots__ = ("_children", "_clashes", "_folders", "_mtime", "_names", "_parent", "_shown", "_tree", "name", "path")

    def __init__(self, tree: "Tree", parent: "Folder | None", name: str) -> None:
        self._tree, self._parent, self.name = tree, parent, name
        self.path: str = _join(parent.path, name) if parent is not None else ""
        self._folders: dict[str, Folder] = {}
        self._names: dict[str, _Versions] = {}
        self._clashes: set[str] = set()
        self._shown: tuple[int, dict[str, File]] | None = None
        self._children: tuple[int, Children] | None = None
        self._mtime: int | None = None

    @property
    def children(self) -> Children:
        """What it shows now."""
        with self._tree.lock:
            if self._children is None or self._children[0] != self._tree.living:
                # Where a name is a file's and a folder's too, the folder comes last and has it.
                of: dict[str, _Versions | File | Folder] = {**self._names}
                for name in self._clashes:
                    del of[name]
                of.update(self._beside())
                of.update(self._folders)
                self._children = self._tree.living, Children(self.path, of)
            return self._children[1]

    def names(self) -> tuple[list[str], list[str]]:
        """The names of what is in it and of the folders in it, as they are listed. The former may have more than files,
        and lack names that are shown beside others."""
        with self._tree.lock:
            return list(self._names), list(self._folders)

    @property
    def mtime(self) -> int:
        """The newest mtime of anything in it, in nanoseconds since 1970; 0 for the root of an empty tree."""
        with self._tree.lock:
            return self._newest()

    def folders(self) -> "list[Folder]":
        """The folders in it. Call with the lock held."""
        return list(self._folders.values())

    def held(self) -> "Held":
        """The versions of each path in it, as of now. Call with the lock held."""
        return Held(self.path, list(self._names.items()))

    def _newest(self) -> int:
        if self._mtime is None:
            own = _as_tuple(self._parent._names.get(self.name, ())) if self._parent is not None else ()
            self._mtime = max(
                chain(
                    (version.mtime for version in own if version.is_dir),
                    (version.mtime for held in self._names.values() for version in _as_tuple(held)),
                    (folder._newest() for folder in self._folders.values()),
                ),
                default=0,
            )
        return self._mtime

    def _lookup(self, name: str) -> "Folder | File | None":
        folder = self._folders.get(name)
        if folder is not None:
            return folder
        if self._clashes:
            shown = self._beside().get(name)
            if shown is not None or name in self._clashes:
                return shown
        held = self._names.get(name)
        return None if held is None else _file(self.path, name, held)

    def _beside(self) -> dict[str, File]:
        """What is shown of the names that clash, without the folders."""
        if not self._clashes:
            return {}
        if self._shown is None or self._shown[0] != self._tree.living:
            paths = {name: SafePath(_join(self.path, name)) for name in self._clashes}
            versions = {
                name: [(path, version.entry()) for version in _as_tuple(self._names[name])]
                for name, path in paths.items()
            }
            names = shown_names(versions, self._folders.__contains__, self._tree.name_of, self._names.__contains__)
            shown = {name: _shown(name, *version) for name, version in names.items() if version is not None}
            self._shown = self._tree.living, shown
        return self._shown[1]

    def _look_again(self, name: str) -> None:
        """Finds out whether this name clashes; forgets what was computed."""
        files = sum(not version.is_dir for version in _as_tuple(self._names.get(name, ())))
        if files > 1 or (files and name in self._folders):
            self._clashes.add(name)
        else:
            self._clashes.discard(name)
        self._shown = self._children = None


class Tree:
    """A tree of folders. `name_of` tells a living peer's name by id ("": not alive); `living` counts its changes."""

    def __init__(self, lock: threading.Lock, name_of: Callable[[str], str]) -> None:
        self.lock, self.name_of = lock, name_of
        self.living = 0
        self.root = Folder(self, None, "")
        self.turned: dict[str, bool] = {}
        """Folders made or taken away since somebody emptied this: whether each was there before."""
        self.files = self.bytes = 0
        """Totals of all versions of files and links; sizes that are not known count 0."""

    def find(self, path: str) -> Folder | File | None:
        """What is shown at this path; "" is the root. Call with the lock held."""
        if not path:
            return self.root
        head, _, last = path.rpartition("/")
        folder = self._folder(head)
        return None if folder is None else folder._lookup(last)

    def at(self, path: str) -> tuple[Version, ...]:
        """All versions of a path, by key. Call with the lock held."""
        head, _, last = path.rpartition("/")
        folder = self._folder(head)
        return () if folder is None else _as_tuple(folder._names.get(last, ()))

    def put(self, path: SafePath, versions: tuple[Version, ...]) -> None:
        """Sets the versions of a path, sorted by key; none takes it away. Call with the lock held."""
        head, _, name = path.rpartition("/")
        folder = self._folder(head)
        if folder is None:
            if not versions:
                return
            folder = self._make(head)
        old = _as_tuple(folder._names.get(name, ()))
        if versions:
            folder._names[name] = versions[0] if len(versions) == 1 else versions
        else:
            folder._names.pop(name, None)
        if any(version.is_dir for version in versions):
            self._child(folder, name)
        folder._look_again(name)
        self._count(old, versions)
        _age(folder, old, versions)
        child = folder._folders.get(name)
        if child is not None:
            child._mtime = None
        self._prune(folder if child is None else child)

    def _folder(self, path: str) -> Folder | None:
        folder = self.root
        if path:
            for part in path.split("/"):
                deeper = folder._folders.get(part)
                if deeper is None:
                    return None
                folder = deeper
        return folder

    def _make(self, path: str) -> Folder:
        folder = self.root
        for part in path.split("/"):
            folder = self._child(folder, part)
        return folder

    def _child(self, folder: Folder, name: str) -> Folder:
        child = folder._folders.get(name)
        if child is None:
            child = folder._folders[name] = Folder(self, folder, name)
            self.turned.setdefault(child.path, False)
            folder._look_again(name)
        return child

    def _prune(self, folder: Folder) -> None:
        """Takes away folders that nothing is in any more, from here upwards."""
        while folder._parent is not None and not folder._names and not folder._folders:
            parent, name = folder._parent, folder.name
            if any(version.is_dir for version in _as_tuple(parent._names.get(name, ()))):
                return
            del parent._folders[name]
            self.turned.setdefault(folder.path, True)
            parent._look_again(name)
            folder = parent

    def _count(self, old: tuple[Version, ...], new: tuple[Version, ...]) -> None:
        for versions, sign in ((old, -1), (new, 1)):
            for version in versions:
                if not version.is_dir:
                    self.files += sign
                    self.bytes += sign * version.size


def _age(folder: Folder | None, old: tuple[Version, ...], new: tuple[Version, ...]) -> None:
    """Keeps the folders' mtimes right upwards from here; one whose newest went is computed when it is asked for."""
    gone = max((version.mtime for version in old), default=None)
    come = max((version.mtime for version in new), default=None)
    while folder is not None:
        if folder._mtime is not None:
            if come is not None and come >= folder._mtime:
                folder._mtime = come
            elif gone == folder._mtime:
                folder._mtime = None
        folder = folder._parent


def _file(folder: str, name: str, held: _Versions) -> File:
    """The shown file of a name that does not clash."""
    version = held if isinstance(held, Version) else held[0]
    return File(name, SafePath(f"{folder}/{name}" if folder else name), version)


def _shown(name: str, path: SafePath, entry: Entry) -> File:
    return File(name, path, Version.of(entry))


def _as_tuple(held: _Versions) -> tuple[Version, ...]:
    return (held,) if isinstance(held, Version) else held


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
