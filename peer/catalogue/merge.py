"""A tracker's entries and one's own index, merged path by path. Pure; no lock, no I/O.

- A version that a tracker lists is shown as the tracker says it, whether it is here or not.
- One's own version is shown also while no tracker lists it. So is a copy, unless it is superseded: all its
  owners have a higher rev in what is listed at the path, or withdrew it. Then it is hidden.
- What the owner here put something else in the place of is hidden at once, before a tracker heard of it.
- What one's own index lost, and nobody else is known to have, is not shown, whatever a tracker still says.
- While a catalogue is settling, what is missing from it is unknown: what was shown stays, as unconfirmed. Only a
  version whose owners all moved on to one that is listed goes at once.
"""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from peer.catalogue.tree import Tree
from peer.catalogue.version import Mine, Version, Who, pack
from peer.share.rows import Row
from shoal.names import SafePath
from shoal.wire import Entry, Owner

UNCONFIRMED = 1
"""The sync of a listed version that a settling catalogue no longer has; real syncs begin at 2."""
Before = tuple[Version, ...] | None
"""What was shown of a path, if what is shown now is different."""
_WHOS = 50_000
_NOBODY: Mapping[str, int] = {}


class Merge:
    """All versions of all paths, and the trees that show them. Not thread-safe: call it with the tree's lock held."""

    def __init__(self, id: str, name: str, tree: Tree) -> None:
        self._id, self._name = id, name
        self.tree = tree
        self.owned: dict[str, Tree] = {}
        """Trees of what some peers own, by id; kept up to date once they are in here."""
        self.withdrawn: dict[str, tuple[int, dict[str, int]]] = {}
        """Paths withdrawn: (the sync that said so, the owners' revs)."""
        self._hidden: dict[str, tuple[Version, ...]] = {}
        self._whos: dict[Who, Who] = {}

    def all(self, path: str) -> tuple[Version, ...]:
        """All versions of a path, the hidden ones last."""
        return self.tree.at(path) + self._hidden.get(path, ())

    def version(self, entry: Entry, listed: int, mine: Mine | None = None) -> Version:
        """The entry as the tree keeps it. Any thread may call this, without the lock."""
        who = Who(tuple([(owner.id, owner.name) for owner in entry.owners]), entry.holders)
        if len(self._whos) > _WHOS:
            self._whos.clear()
        return Version(pack(entry), self._whos.setdefault(who, who), listed, mine)

    def list(self, path: SafePath, listed: list[Version], settling: bool) -> Before:
        """The tracker lists these versions of a path and no others."""
        old = self.all(path)
        versions = {version.key: version for version in listed}
        for version in old:
            if version.mine is not None:
                _give_cid(versions, version)
        for version in old:
            now = versions.get(version.key)
            if now is not None:
                versions[version.key] = replace(now, mine=version.mine)
            elif version.listed and settling and not self._is_past(path, version.revs, listed):
                versions[version.key] = replace(version, listed=UNCONFIRMED)
            elif version.mine is not None:
                versions[version.key] = self._alone(version.entry(), version.mine)
        return self.put(path, versions.values())

    def own(self, row: Row) -> Before:
        """The index says this."""
        path = SafePath(row.path)
        versions = {version.key: version for version in self.all(path)}
        key = bytes.fromhex(row.cid)
        if row.kind in ("own", "copy"):
            own = row.kind == "own"
            mine = Mine(own, row.x, row.mtime, row.revs.get(self._id, 0), () if own else tuple(row.revs.items()))
            alone = self._alone(Entry(row.cid, row.size, row.mtime, row.sha1, row.x, row.link), mine)
            _give_cid(versions, alone)
            now = versions.get(key)
            versions[key] = replace(now, mine=mine) if now is not None and now.listed else alone
        else:
            version = versions.get(key)
            if version is None or version.mine is None:
                return None
            if version.listed and version.who.holders != (self._id,):
                versions[key] = replace(version, mine=None)
            else:
                del versions[key]
        return self.put(path, versions.values())

    def confirm(self, path: SafePath, sync: int) -> Before:
        """Takes out what the whole catalogue of this sync did not list."""
        versions = []
        for version in self.all(path):
            if not 0 < version.listed < sync:
                versions.append(version)
            elif version.mine is not None:
                versions.append(self._alone(version.entry(), version.mine))
        return self.put(path, versions)

    def put(self, path: SafePath, versions: Iterable[Version]) -> Before:
        """Sets all versions of a path."""
        every = tuple(sorted(versions, key=lambda version: version.key))
        hidden = tuple([version for version in every if self._is_hidden(path, version, every)])
        shown = tuple([version for version in every if version not in hidden]) if hidden else every
        if hidden:
            self._hidden[path] = hidden
        else:
            self._hidden.pop(path, None)
        old = self.tree.at(path)
        if old == shown:
            return None
        self.tree.put(path, shown)
        for id in self.owned:
            self.put_owned(id, path)
        return old if len(old) != len(shown) or not all(map(Version.looks_like, old, shown)) else None

    def put_owned(self, id: str, path: SafePath) -> None:
        """Brings a path in the tree of what this peer owns up to date."""
        owned = [version for version in self.tree.at(path) if any(owner == id for owner, _ in version.who.owners)]
        self.owned[id].put(path, tuple(owned))

    def _alone(self, entry: Entry, mine: Mine) -> Version:
        """A version that is here and that no tracker lists."""
        if mine.own:
            owners: tuple[Owner, ...] = (Owner(self._id, self._name, mine.rev),)
        else:
            owners = tuple([Owner(id, self.tree.name_of(id) or id[:8], rev) for id, rev in mine.revs])
        entry = replace(entry, mtime=mine.mtime, x=mine.x, owners=owners, holders=(self._id,))
        return self.version(entry, 0, mine)

    def _is_hidden(self, path: str, version: Version, every: tuple[Version, ...]) -> bool:
        mine = version.mine
        if mine is not None and mine.own:
            return False
        if not version.listed:
            return mine is not None and self._is_past(path, dict(mine.revs), every)
        # What a tracker lists is shown, unless it has not heard yet of what its owner here put in its place.
        used = version.revs.get(self._id)
        newest = max([other.mine.rev for other in every if other.mine is not None and other.mine.own], default=-1)
        return used is not None and used < newest and self._is_past(path, version.revs, every)

    def _is_past(self, path: str, revs: Mapping[str, int], others: Iterable[Version]) -> bool:
        """Whether all owners of a version with these revs moved on to listed or own ones, or withdrew the path."""
        now = dict(self.withdrawn[path][1] if path in self.withdrawn else _NOBODY)
        for other in others:
            if other.mine is not None and other.mine.own:
                now[self._id] = max(other.mine.rev, now.get(self._id, -1))
            if other.listed:
                for id, rev in other.revs.items():
                    now[id] = max(rev, now.get(id, -1))
        return bool(revs) and all(now.get(id, -1) > rev for id, rev in revs.items())


def _give_cid(versions: dict[bytes, Version], mine: Version) -> None:
    """Makes a listed version without a cid, if it has the SHA-1 of one that is here, the same version as that."""
    sha1 = mine.data[33:53]
    listed = versions.get(sha1)
    if listed is not None and mine.key not in versions:
        del versions[sha1]
        entry = replace(listed.entry(), cid=mine.cid, size=mine.size)
        versions[mine.key] = replace(listed, data=pack(entry))
