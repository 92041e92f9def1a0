"""What the network has: a tracker's pages and one's own index as one tree, for any thread to read.

What is shown where the two meet is decided in `merge`, under which names in `namespace`.
After `start_over` what was shown stays until a whole catalogue that is not settling has come without it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from peer.catalogue.checks import check_entry, check_peer
from peer.catalogue.difference import Difference
from peer.catalogue.duties import duties
from peer.catalogue.merge import Before, Merge
from peer.catalogue.namespace import newest, shown_names
from peer.catalogue.tree import File, Folder, Tree
from peer.catalogue.version import Version
from peer.messages import Seen, Supersede
from peer.share.rows import Row
from shoal.errors import DataError
from shoal.names import SafePath, safe_path
from shoal.wire import Changes, Entry, PeerRow

MAX_PATHS, MAX_PEERS = 20_000_000, 1_000_000
"""What a tracker lists beyond is skipped."""
_BATCH = 100
"""Paths changed in one hold of the lock: a reader waits for a millisecond or two."""

T = TypeVar("T")


class Catalogue:
    """The merged tree of one peer, whose id and name are given.

    Threading: one lock, held for short work in memory only. Any thread may read, and call `apply_rows`; `apply`
    and `start_over` are called by one thread, the follower's. Callbacks run on the thread that made the change,
    with no lock held.
    """

    def __init__(self, id: str, name: str) -> None:
        self.id, self.name = id, name
        self.version = ""
        """The tracker's VERSION that the tree has reached; "" before the first page."""
        self.settling = True
        self.known = False
        """Whether a whole catalogue has come, be it a settling one."""
        self.skipped = 0
        """Rows of trackers that were unfit and left out."""
        self._lock = threading.Lock()
        self._tree = Tree(self._lock, self._name_of)
        self._merge = Merge(id, name, self._tree)
        self._peers: dict[str, tuple[int, PeerRow]] = {}
        self._names: dict[str, str] | None = None
        self._building = threading.Lock()
        self._sync = 2
        self._whole = False
        self._settled = False
        self._callbacks: list[Callable[[Difference], None]] = []

    # What others ask

    def find(self, path: str) -> Folder | File | None:
        """What is shown at this path; "" is the root."""
        with self._lock:
            return self._tree.find(path)

    def entries(self, path: str) -> tuple[Entry, ...]:
        """All versions of a path of the network, the newest first."""
        with self._lock:
            versions = self._tree.at(path)
        return tuple(newest([version.entry() for version in versions]))

    def versions(self, path: str) -> tuple[Version, ...]:
        """The same as the tree keeps them, in no order."""
        with self._lock:
            return self._tree.at(path)

    def shown_of(self, path: str, versions: Iterable[Version], folder: bool) -> list[File]:
        """How these versions of a path would be shown, if there were, or were not, a folder of that name."""
        name = path.rpartition("/")[2]
        files = [version for version in versions if not version.is_dir]
        if len(files) == 1 and not folder:
            return [File(name, SafePath(path), files[0])]
        entries = [(SafePath(path), version.entry()) for version in files]
        with self._lock:
            names = shown_names({name: entries}, lambda other: folder and other == name, self._name_of)
        return [File(name, shown[0], Version.of(shown[1])) for name, shown in names.items() if shown is not None]

    def listed(self, path: str, cid: str) -> bool:
        """Whether this version of a path is (still) in the network, or here."""
        with self._lock:
            return any(version.cid == cid for version in self._tree.at(path))

    def peer(self, id: str) -> PeerRow | None:
        """A living peer."""
        with self._lock:
            found = self._peers.get(id)
        return None if found is None else found[1]

    def peers(self) -> list[PeerRow]:
        """All living peers by id, oneself included if a tracker lists one."""
        with self._lock:
            rows = [row for _, row in self._peers.values()]
        return sorted(rows, key=lambda row: row.id)

    def peer_names(self) -> dict[str, str]:
        """The ids of all living peers and oneself by a name that no two share: NAME, or NAME-DIGITS of the id."""
        with self._lock:
            if self._names is None:
                self._names = {}
                for id in sorted({self.id, *self._peers}):
                    name = self._name_of(id)
                    made = (name, *(f"{name}-{id[:length]}" for length in range(4, 65)))
                    self._names[next(name for name in made if name not in self._names)] = id
            return self._names

    def peer_folder(self, name: str) -> Folder | None:
        """The tree of what a peer owns, by its name in `peer_names`. The first time, all entries are looked through."""
        id = self.peer_names().get(name)
        if id is None:
            return None
        with self._building:
            tree = self._merge.owned.get(id)
            if tree is None:
                tree = Tree(self._lock, self._name_of)
                with self._lock:
                    self._merge.owned[id] = tree  # from here on it gets every change
                for paths in self._paths(lambda version: any(owner == id for owner, _ in version.who.owners)):
                    with self._lock:
                        for path in paths:
                            if id in self._merge.owned:
                                self._merge.put_owned(id, path)
        return tree.root

    def totals(self) -> tuple[int, int]:
        """(files and links, their bytes), all versions counted."""
        with self._lock:
            return self._tree.files, self._tree.bytes

    def walk(self, prefix: str = "") -> Iterator[tuple[str, File]]:
        """(shown path, file) of all files and links in the folder shown at `prefix`, or of the file that it is.

        Sorted by name within each folder; not one snapshot: each folder as it is when the walk reaches it.
        """
        found = self.find(prefix)
        if isinstance(found, File):
            yield prefix, found
        elif found is not None:
            yield from _walk(found)

    def changed_by(self, callback: Callable[[Difference], None]) -> None:
        """Has `callback` called, after each change, with the paths whose versions are others now."""
        self._callbacks.append(callback)

    @property
    def settled(self) -> bool:
        """Whether what is not in here is not in the network either."""
        return self._settled

    # What owners and copies owe each other

    def higher_rev(self, path: str) -> int:
        """The highest rev under which the tracker knows oneself as an owner at this path; -1 if it does not."""
        entries, withdrawn = self._told(path)
        revs = [owner.rev for entry in entries for owner in entry.owners if owner.id == self.id]
        return max(*revs, withdrawn.get(self.id, -1), -1)

    def duties(self, rows: Iterable[Row]) -> list[Seen | Supersede]:
        """What the scanner must be told about these rows of the index (all of each path); nothing while unsettled."""
        return duties(rows, self.id, self._told) if self._settled else []

    def _told(self, path: str) -> tuple[list[Entry], dict[str, int]]:
        """What the tracker lists at a path, and the revs of owners who withdrew it."""
        with self._lock:
            versions = self._merge.all(path)
            _, withdrawn = self._merge.withdrawn.get(path, (0, {}))
        return [version.entry() for version in versions if version.listed], withdrawn

    # What changes it

    def start_over(self) -> None:
        """The next page is the first one of a whole catalogue; until its end all that is shown stays."""
        self._sync += 1
        self._whole = self._settled = False
        self.version = ""

    def apply(self, changes: Changes) -> None:
        """Takes a page of the feed. What is unfit in it is skipped and counted."""
        rows = list(self._fit_peers(changes.peers))
        paths = [
            (path, [self._merge.version(entry, self._sync) for entry in self._fit(path, entries)])
            for name, entries in changes.paths
            if (path := self._fit_path(name)) is not None
        ]
        self.settling = changes.settling
        if changes.settling:
            self._settled = False
        changed = Difference()
        with self._lock:
            self._apply_peers(rows)
        for batch in _batches(paths):
            with self._lock:
                for path, versions in batch:
                    changed.add(path, self._list(path, versions, changes.withdrawn.get(path)))
        self.version = changes.version
        if not changes.more:
            self._whole = self.known = True
        if self._whole and not changes.settling and not self._settled:
            self._sweep(changed)
            self._settled = True
        self._tell(changed)

    def apply_rows(self, rows: Sequence[Row]) -> None:
        """Takes rows of one's own index, "gone" ones too, in the order of their changes."""
        changed = Difference()
        for batch in _batches(rows):
            with self._lock:
                for row in batch:
                    if row.state == "rotten":
                        row = replace(row, kind="gone")  # it is here for nobody
                    if row.state != "moving":
                        changed.add(row.path, self._merge.own(row))
        self._tell(changed)

    def _tell(self, changed: Difference) -> None:
        with self._lock:
            changed.folders, self._tree.turned = self._tree.turned, {}
            for tree in self._merge.owned.values():
                tree.turned.clear()  # nobody asks
        if changed.paths:
            for callback in self._callbacks:
                callback(changed)

    def _fit_path(self, name: str) -> SafePath | None:
        try:
            return safe_path(name)
        except DataError:
            self.skipped += 1
            return None

    def _fit(self, path: SafePath, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            try:
                check_entry(path, entry)
            except DataError:
                self.skipped += 1
            else:
                yield entry

    def _fit_peers(self, rows: Iterable[PeerRow]) -> Iterator[PeerRow]:
        for row in rows:
            try:
                check_peer(row)
            except DataError:
                self.skipped += 1
            else:
                yield row

    def _apply_peers(self, rows: Iterable[PeerRow]) -> None:
        for row in rows:
            if not row.url:
                self._drop_peer(row.id)
            elif row.id in self._peers or len(self._peers) < MAX_PEERS:
                self._peers[row.id] = self._sync, row
        if rows:
            self._peers_changed()

    def _drop_peer(self, id: str) -> None:
        self._peers.pop(id, None)
        self._merge.owned.pop(id, None)

    def _peers_changed(self) -> None:
        """Shown names are made from the names of the living."""
        self._names = None
        for tree in (self._tree, *self._merge.owned.values()):
            tree.living += 1

    def _name_of(self, id: str) -> str:
        if id == self.id:
            return self.name
        found = self._peers.get(id)
        return found[1].name if found is not None else ""

    def _list(self, path: SafePath, versions: list[Version], withdrawn: dict[str, int] | None) -> Before:
        if self._tree.files + len(self._merge.withdrawn) >= MAX_PATHS and not self._merge.all(path):
            self.skipped += 1
            return None
        if withdrawn:
            self._merge.withdrawn[path] = self._sync, withdrawn
        else:
            self._merge.withdrawn.pop(path, None)
        return self._merge.list(path, versions, self.settling)

    def _sweep(self, changed: Difference) -> None:
        """Takes out what the whole catalogue did not confirm; adds the paths that changed."""
        sync = self._sync
        for paths in self._paths(lambda version: 0 < version.listed < sync):
            with self._lock:
                for path in paths:
                    changed.add(path, self._merge.confirm(path, sync))
        with self._lock:
            for withdrawn in [path for path, (told, _) in self._merge.withdrawn.items() if told < sync]:
                del self._merge.withdrawn[withdrawn]
                changed.add(withdrawn, self._merge.confirm(SafePath(withdrawn), sync))
            for id in [id for id, (told, _) in self._peers.items() if told < sync]:
                self._drop_peer(id)
            self._peers_changed()

    def _paths(self, wanted: Callable[[Version], bool]) -> Iterator[Sequence[SafePath]]:
        """The paths that have a wanted version, in batches; the tree may change meanwhile."""
        stack = [self._tree.root]
        while stack:
            folder = stack.pop()
            with self._lock:
                stack.extend(folder.folders())
                held = folder.held()
            yield from _batches([path for path, versions in held if any(map(wanted, versions))])


def _walk(folder: Folder) -> Iterator[tuple[str, File]]:
    children = folder.children
    for name in sorted(children):
        child = children[name]
        if isinstance(child, Folder):
            yield from _walk(child)
        else:
            yield (f"{folder.path}/{name}" if folder.path else name), child


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(items), _BATCH):
        yield items[at : at + _BATCH]
