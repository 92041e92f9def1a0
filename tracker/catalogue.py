"""The catalogue: what all living leases add up to, by path; its version and its delta feed. Pure.

At each path stands either one `Listing` or a `Crowd`: the listings grouped by
equal rows, so that the thousandth copy of a version costs what the second did.
`ownership.resolve` says which versions are listed; only a change of what a
reader of the feed can see is logged.

A VERSION is `ID.NUMBER`. While a reader pages through its first read it is
`ID.NUMBER.START`: what was removed before START it never saw.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from shoal.manifest import DIR_CID, NOTHING_CID
from shoal.ownership import Version, current_versions, resolve
from shoal.wire import MAX_BODY, PAGE, Changes, Entry, Holders, Item, Owner, PeerRow, encode
from tracker import rows
from tracker.changelog import TOMBSTONES, ChangeLog, Place
from tracker.contents import Contents
from tracker.listing import FEED_HOLDERS, Crowd, Held, Listing
from tracker.ordered import Ordered

MAX_PATH_BODY = MAX_BODY // 2
"""Bytes of all entries of one path in the feed at most; what a flood of versions adds beyond is not in it."""
MAX_REVS = 64
"""Owners of one "nothing" in the feed at most."""
_TOKEN = re.compile(r"([0-9a-f]+)\.([0-9]{1,19})(?:\.([0-9]{1,19}))?", re.ASCII)
_PEER = "\0"  # before a peer's id, the key of its row in the log; no path has it


Seen = tuple[list[Entry], dict[str, int]]
"""What the feed shows of a path: its entries, and the revs of a "nothing" by owner."""


class Catalogue:
    """The merged entries of all listings. `id` is hex and new for each catalogue. Not thread-safe."""

    def __init__(self, id: str, tombstones: int = TOMBSTONES) -> None:
        self.id = id
        self.listings: dict[str, Listing] = {}
        self._log: ChangeLog[Held] = ChangeLog(tombstones)
        self._paths = Ordered(lambda: self._log.places)
        self._contents = Contents()

    @property
    def version(self) -> str:
        """The VERSION that a reader who knows everything has."""
        return f"{self.id}.{self._log.number}"

    # Changes

    def join(self, listing: Listing) -> None:
        """A new peer, with nothing yet."""
        self.listings[listing.id] = listing
        self._peer_changed(listing.id, listing)

    def move(self, listing: Listing, name: str, url: str) -> None:
        """The peer is listed under another name or URL from now on."""
        renamed = name != listing.name
        if not renamed and url == listing.url:
            return
        listing.name, listing.url = name, url
        self._peer_changed(listing.id, listing)
        if renamed:  # entries carry their owners' names
            for path in listing.rows:
                if self._owns(listing, path):
                    self._log.changed(self._log.places[path])

    def leave(self, listing: Listing) -> None:
        """The peer is gone, and all it held."""
        for path in list(listing.rows):
            self.change(listing, path, ())
        del self.listings[listing.id]
        self._peer_changed(listing.id, None)

    def _peer_changed(self, id: str, listing: Listing | None) -> None:
        place = self._log.place(_PEER + id)
        place.held = listing
        self._log.changed(place)

    def change(self, listing: Listing, path: str, new: tuple[bytes, ...]) -> None:
        """From now on the peer holds these rows at this path, and no others."""
        old = listing.at(path)
        if old == new:
            return
        if path not in self._log.places:
            self._paths.add(path)
        place = self._log.place(path)
        held = place.held
        if held is None or held is listing:  # nobody else is there: what it says is what is seen
            self._set(place, listing, old, new)
            self._log.changed(place)
            return
        if isinstance(held, Crowd) and self._hidden(held, listing, (*old, *new)):
            self._set(place, listing, old, new)
            return
        before = self.seen(path)
        self._set(place, listing, old, new)
        if self.seen(path) != before:
            self._log.changed(place)

    @staticmethod
    def _hidden(crowd: Crowd, listing: Listing, changed: tuple[bytes, ...]) -> bool:
        if len(changed) > 1 or crowd.seeds or rows.is_seed(changed[0]):
            return False
        return crowd.hides(listing, changed[0])

    def _set(self, place: Place[Held], listing: Listing, old: tuple[bytes, ...], new: tuple[bytes, ...]) -> None:
        self._count(listing, old, -1)
        self._put(place, listing, old, new)
        self._count(listing, new, 1)

    def _put(self, place: Place[Held], listing: Listing, old: tuple[bytes, ...], new: tuple[bytes, ...]) -> None:
        held = place.held
        if isinstance(held, Crowd):
            merged = self._merged(place.key, held) if held.seeds or any(map(rows.is_seed, new)) else ()
            for row in old:
                held.remove(listing, row)
            for row in new:
                held.add(listing, row)
            self._remerge(merged, self._merged(place.key, held) if held.seeds else ())
            place.held = held.simplest()
        elif held is None or held is listing:
            place.held = listing if new else None
        elif new:
            crowd = place.held = Crowd()
            for row in held.at(place.key):
                crowd.add(held, row)
            for row in new:
                crowd.add(listing, row)
            self._remerge((), self._merged(place.key, crowd) if crowd.seeds else ())
        if new:
            listing.rows[place.key] = new if len(new) > 1 else new[0]
        else:
            listing.rows.pop(place.key, None)

    def _count(self, listing: Listing, held: tuple[bytes, ...], step: int) -> None:
        for row in held:
            if not rows.is_content(row):
                continue
            partial = rows.kind_of(row) == "partial"
            if not partial:
                listing.files += step
                listing.bytes += step * rows.size_of(row)
            if not rows.is_seed(row):
                self._contents.count(listing, rows.cid_of(row), partial, step)

    # A seed peer's file is another holder of the entry with its path and SHA-1: listed among the cid's holders too.

    def _merged(self, path: str, crowd: Crowd) -> tuple[tuple[Listing, bytes], ...]:
        cids = _cids_by_sha1(path, crowd.lines(False))
        return tuple(
            (listing, bytes.fromhex(cids[item.sha1]))
            for listing, row in crowd.lines(True)
            if rows.is_seed(row) and (item := rows.unpack(path, row)).sha1 in cids
        )

    def _remerge(self, old: Iterable[tuple[Listing, bytes]], new: Iterable[tuple[Listing, bytes]]) -> None:
        for listing, cid in old:
            self._contents.count(listing, cid, False, -1)
        for listing, cid in new:
            self._contents.count(listing, cid, False, 1)

    # Reading

    def versions(self, path: str) -> list[Version]:
        """The listed versions of a path with all their holders.

        The cid of a version that only peers of the seed's protocol have is made up: see `shown_cid`.
        """
        return resolve(self._items(path, everybody=True))

    def seen(self, path: str) -> Seen:
        """What the feed shows of a path."""
        items = self._items(path, everybody=False)
        entries = {version.item.cid: self._entry(version) for version in resolve(items)}
        return self._fitting(path, entries), _withdrawn(items)

    def _items(self, path: str, everybody: bool) -> dict[str, list[Item]]:
        """What each peer holds at a path; unless `everybody`, with only as many peers as the feed depends on."""
        place = self._log.places.get(path)
        if place is None or place.held is None:
            return {}
        if isinstance(place.held, Listing):
            return {place.held.id: [rows.unpack(path, row) for row in place.held.at(path)]}
        lines = list(place.held.lines(everybody))
        items: dict[str, list[Item]] = {}
        ours = {}
        for listing, row in lines:
            item = rows.unpack(path, row)
            if not rows.is_seed(row):
                ours[item.cid] = item
            items.setdefault(listing.id, []).append(item)
        if place.held.seeds and (cids := _cids_by_sha1(path, lines)):
            for held in items.values():
                held[:] = [_merge(item, cids, ours) for item in held]
        return items

    def _fitting(self, path: str, entries: dict[str, Entry]) -> list[Entry]:
        """As many of a path's entries as fit; who comes first is served first: a flood of later ones hides none."""
        if len(entries) < 32 and all(len(entry.owners) < 32 for entry in entries.values()):
            return list(entries.values())
        held = self._log.places[path].held
        lines = held.lines(False) if isinstance(held, Crowd) else ()
        taken = {cid: at for at, cid in enumerate(dict.fromkeys(rows.cid_of(row).hex() for _, row in lines))}
        size, fitting = 0, []
        for cid in sorted(entries, key=lambda cid: taken.get(cid, 0)):
            size += len(encode(entries[cid])) + 1
            if size > MAX_PATH_BODY:
                break
            fitting.append(cid)
        return [entries[cid] for cid in sorted(fitting)]

    def _entry(self, version: Version) -> Entry:
        item = version.item
        cid = shown_cid(item)
        owners = tuple(Owner(id, self.owner_name(id, item.path), version.owners[id]) for id in sorted(version.owners))
        holders = tuple(version.holders[:FEED_HOLDERS])
        return Entry(
            cid, item.size if cid else None, version.mtime, item.sha1, item.x, item.link, owners=owners, holders=holders
        )

    def owner_name(self, id: str, path: str) -> str:
        """The name of an owner of something at a path; of one that owns nothing there now, the start of its id."""
        # Only what changes together with the path may be said here, or a reader of the feed would miss a change.
        listing = self.listings.get(id)
        return listing.name if listing is not None and self._owns(listing, path) else id[:8]

    @staticmethod
    def _owns(listing: Listing, path: str) -> bool:
        return any(rows.kind_of(row) == "own" for row in listing.at(path))

    def changes(self, since: str | None, settling: bool) -> Changes | None:
        """The next page of the feed after VERSION `since` (None: from the start); None if it has none from there."""
        number, start = 0, self._log.number
        if since is not None:
            match = _TOKEN.fullmatch(since)
            if match is None or match[1] != self.id:
                return None
            number = int(match[2])
            start = int(match[3]) if match[3] else number
            if max(number, start) > self._log.number or max(number, start) < self._log.horizon:
                return None
        peers: list[PeerRow] = []
        paths: list[tuple[str, list[Entry]]] = []
        withdrawn: dict[str, dict[str, int]] = {}
        size, more = 1024, False
        for place in self._log.after(number):
            seen = place.held is not None or place.number > start
            row, line = None, None
            nothing: dict[str, int] = {}
            if not seen:
                pass
            elif place.key.startswith(_PEER):
                row = _peer_row(place)
                size += len(encode(row)) + 1
            else:
                entries, nothing = self.seen(place.key)
                line = place.key, entries
                size += len(encode(line)) + 1 + (len(encode({place.key: nothing})) if nothing else 0)
            if size > MAX_BODY or len(peers) + len(paths) >= PAGE:
                more = True
                break
            if row:
                peers.append(row)
            if line:
                paths.append(line)
            if nothing:
                withdrawn[place.key] = nothing
            number = place.number
        if not more:
            return Changes(self.version, settling, more, peers, paths, withdrawn)
        token = f"{self.id}.{number}" + (f".{start}" if start > number else "")
        return Changes(token, settling, more, peers, paths, withdrawn)

    def paths(self, after: str = "", prefix: str = "") -> Iterator[str]:
        """The paths above `after` that begin with `prefix`, in order, with or without a listed version.

        No change may be made meanwhile.
        """
        for key in self._paths.after(max(after, "\1"), prefix):  # "\1": above all peers' keys, below any path
            place = self._log.places.get(key)
            if place is not None and place.held is not None:
                yield key

    def holders(self, cid: str) -> Holders:
        """Who has a content, whole and in parts: at most `PAGE` each."""
        whole: list[PeerRow] = []
        partial: list[PeerRow] = []
        for listing, counts in self._contents.of(bytes.fromhex(cid)):
            found = whole if counts[0] else partial
            if len(found) < PAGE:
                found.append(listing.row())
        return Holders(cid, whole, partial)

    def held_whole_elsewhere(self, cid: str, listing: Listing) -> bool:
        """Whether any other peer has all of a content."""
        return any(counts[0] and other is not listing for other, counts in self._contents.of(bytes.fromhex(cid)))


def shown_cid(item: Item) -> str:
    """The item's cid, or "" where it was made up for a file of the seed's protocol."""
    return "" if item.sha1 and item.cid == rows.seed_cid(item.sha1) else item.cid


def is_dir(item: Item) -> bool:
    """Whether it is an empty directory."""
    return item.cid == DIR_CID


def _peer_row(place: Place[Held]) -> PeerRow:
    if isinstance(place.held, Listing):
        return place.held.row()
    id = place.key.removeprefix(_PEER)
    return PeerRow(id, id[:8], "")


def _withdrawn(items: dict[str, list[Item]]) -> dict[str, int]:
    """The owners whose newest version of the path is "nothing", with its rev; the newest, should there be too many."""
    if not any(item.kind == "nothing" for held in items.values() for item in held):
        return {}
    current = current_versions((peer, item) for peer, held in items.items() for item in held)
    nothing = sorted((-rev, owner) for owner, (rev, cid) in current.items() if cid == NOTHING_CID)
    return {owner: -rev for rev, owner in nothing[:MAX_REVS]}


def _cids_by_sha1(path: str, lines: Iterable[tuple[Listing, bytes]]) -> dict[str, str]:
    """The cid at this path of each SHA-1: the one that was said first, should several claim it."""
    cids: dict[str, str] = {}
    for _, row in lines:
        if rows.is_content(row) and not rows.is_seed(row):
            item = rows.unpack(path, row)
            cids.setdefault(item.sha1, item.cid)
    return cids


def _merge(item: Item, cids: dict[str, str], ours: dict[str, Item]) -> Item:
    """A seed peer's item as one of the entry with its path and SHA-1, if there is one; any other item as it is."""
    if item.cid != rows.seed_cid(item.sha1) or item.sha1 not in cids:
        return item
    same = ours[cids[item.sha1]]
    return msgspec.structs.replace(same, kind="own", revs=item.revs)
