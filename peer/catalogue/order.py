"""Which files come after one, for who reads a folder from its beginning to its end, and then the next folder.

A folder's files come first, then its folders, each with all that is in it, by name or as the folder is listed. Files
larger than asked for, links, what has no cid, and what is here are left out.

The names of some folders are remembered for a short time: a folder of 100,000 files is not sorted for each file that is
read in it. What came meanwhile is missed, and what went is not found any more: no harm either way.

Threading: any thread; a lock guards what is remembered.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property

from cachetools import LRUCache

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.tree import File, Folder
from shoal.names import SafePath
from shoal.wire import Entry

REMEMBERED = 64
"""Folders whose names are remembered, and for how many seconds."""
FRESH = 2.0
MOST_LOOKED_AT = 500
"""Files and folders that are looked at for one question."""


class _Names:
    """The names in one folder."""

    def __init__(self, folder: Folder, now: float) -> None:
        self.read_at = now
        self.files, self.folders = folder.names()

    @cached_property
    def sorted_files(self) -> list[str]:
        return sorted(self.files)

    @cached_property
    def sorted_folders(self) -> list[str]:
        return sorted(self.folders)

    @cached_property
    def _file_places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.files)}

    @cached_property
    def _folder_places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.folders)}

    def files_after(self, name: str, by_name: bool) -> int:
        """The place of the first file after this one."""
        if by_name:
            return bisect_right(self.sorted_files, name)
        return self._file_places.get(name, len(self.files)) + 1

    def folder_after(self, name: str, by_name: bool) -> str | None:
        """The first folder after this one; after "", the first of all."""
        if by_name:
            names, place = self.sorted_folders, bisect_right(self.sorted_folders, name)
        else:
            names, place = self.folders, self._folder_places.get(name, len(self.folders)) + 1 if name else 0
        return names[place] if place < len(names) else None


class Orders:
    """The files of a catalogue in the order in which they are read."""

    def __init__(self, catalogue: Catalogue, largest: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`largest`: bytes of the largest file that is told."""
        self._catalogue, self._largest, self._clock = catalogue, largest, clock
        self._lock = threading.Lock()
        self._remembered: LRUCache[str, _Names] = LRUCache(REMEMBERED)

    def after(self, path: str, order: str, count: int) -> tuple[list[tuple[SafePath, Entry]], str]:
        """At most `count` files after a path, by "name" or as "listed", and the last path that was looked at ("": there
        are no more)."""
        by_name = order == "name"
        found: list[tuple[SafePath, Entry]] = []
        here: str | None
        here, _, last = path.rpartition("/")
        left = MOST_LOOKED_AT
        while here is not None and (names := self._names(here)) is not None:
            at = names.files_after(last, by_name) if last else 0
            last = ""
            for name in (names.sorted_files if by_name else names.files)[at : at + left]:
                path = f"{here}/{name}" if here else name
                node = self._catalogue.find(path)
                if isinstance(node, File) and self._fits(node):
                    found.append((node.path, node.entry))
                    if len(found) == count:
                        return found, path
                left -= 1
            left -= 1
            if left <= 0:
                return found, path
            here = self._next_folder(here, names, by_name)
        return found, ""

    def _fits(self, file: File) -> bool:
        version = file.version
        if version.mine is not None or version.is_link or not version.cid:
            return False
        size = version.stat()[1]
        return size is not None and 0 < size <= self._largest

    def _next_folder(self, here: str, names: _Names, by_name: bool) -> str | None:
        """The first folder in this one, else the next beside it, else the next beside one above; None: it was last."""
        inner = names.folder_after("", by_name)
        if inner is not None:
            return f"{here}/{inner}" if here else inner
        while here:
            above, _, name = here.rpartition("/")
            beside = self._names(above)
            if beside is None:
                return None
            if (next := beside.folder_after(name, by_name)) is not None:
                return f"{above}/{next}" if above else next
            here = above
        return None

    def _names(self, path: str) -> _Names | None:
        now = self._clock()
        with self._lock:
            names: _Names | None = self._remembered.get(path)
        if names is not None and now - names.read_at < FRESH:
            return names
        folder = self._catalogue.find(path)
        if not isinstance(folder, Folder):
            return None
        fresh = _Names(folder, now)
        if names is not None and names.files == fresh.files and names.folders == fresh.folders:
            names.read_at, fresh = now, names  # sorted already
        with self._lock:
            self._remembered[path] = fresh
        return fresh
