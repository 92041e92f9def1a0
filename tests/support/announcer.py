"""A peer's side of announcing, without a network: builds the messages that a right peer sends."""

import hashlib
import itertools
from collections.abc import Iterator

from shoal.manifest import DIR_CID, NOTHING_CID, Cid, link_cid
from shoal.wire import Announce, Digest, Item, peer_id

NOW_NS = 1_800_000_000_000_000_000
_REVS = itertools.count(1)


def cid_of(text: str) -> Cid:
    """A made-up cid."""
    return Cid(hashlib.sha256(text.encode()).hexdigest())


def sha1_of(text: str) -> str:
    """The SHA-1 that goes with a made-up cid."""
    return hashlib.sha1(text.encode()).hexdigest()


class Announcer:
    """One peer: its identity, its list, and the messages about them."""

    def __init__(self, name: str, port: int = 7000, epoch: int = 1, hint: int = 0) -> None:
        self.secret = hashlib.sha256(name.encode()).hexdigest()
        self.id = peer_id(self.secret)
        self.name, self.port, self.epoch, self.hint = name, port, epoch, hint
        self.sequence = 0
        self.items: dict[tuple[str, str], Item] = {}

    def own(self, path: str, text: str, mtime: int = 10**18, size: int = 3, rev: int | None = None) -> Item:
        """An own version of a path; `text` stands for its bytes."""
        revs = {self.id: next(_REVS) if rev is None else rev}
        return Item(path, cid_of(text), "own", size, mtime, sha1_of(text), revs=revs)

    def copy(
        self, path: str, text: str, revs: dict[str, int], kind: str = "copy", mtime: int = 10**18, x: bool = False
    ) -> Item:
        """A copy, or with kind "partial" a part of one."""
        return Item(path, cid_of(text), kind, 3, mtime, sha1_of(text), x, revs=revs)  # type: ignore[arg-type]

    def nothing(self, path: str, revs: dict[str, int] | None = None) -> Item:
        """A "nothing" of one's own, or with `revs` one that is remembered."""
        return Item(path, NOTHING_CID, "nothing", 0, 10**18, revs={self.id: next(_REVS)} if revs is None else revs)

    def link(self, path: str, target: str) -> Item:
        """A symlink."""
        return Item(path, link_cid(target), "own", 0, 10**18, link=target, revs={self.id: next(_REVS)})

    def folder(self, path: str) -> Item:
        """An empty directory."""
        return Item(path, DIR_CID, "own", 0, 10**18, revs={self.id: next(_REVS)})

    @property
    def digest(self) -> str:
        """The digest of the list."""
        digest = Digest()
        for item in self.items.values():
            digest.add(item)
        return str(digest)

    def message(self, **more: object) -> Announce:
        """A message with the state of now, and what is given."""
        base: dict[str, object] = {
            "id": self.id,
            "epoch": self.epoch,
            "sequence": self.sequence,
            "digest": self.digest,
            "name": self.name,
            "port": self.port,
            "hint": self.hint,
        }
        return Announce(**(base | more))  # type: ignore[arg-type]

    def renewal(self) -> Announce:
        """Nothing changed."""
        return self.message()

    def delta(self, put: list[Item] | None = None, drop: list[tuple[str, str]] | None = None) -> Announce:
        """Changes the list and says so."""
        for key in drop or []:
            self.items.pop((key[0], key[1]), None)
        for item in put or []:
            self.items[item.path, item.cid] = item
        base, self.sequence = self.sequence, self.sequence + 1
        return self.message(base=base, put=put or [], drop=drop or [])

    def whole(self, *items: Item, page: int = 1000) -> list[Announce]:
        """The whole list, in parts; with items given, these are the list from now on."""
        if items:
            self.items = {(item.path, item.cid): item for item in items}
            self.sequence += 1
        return list(self._parts(page))

    def _parts(self, page: int) -> Iterator[Announce]:
        items = list(self.items.values())
        starts = range(0, max(len(items), 1), page)
        for part, start in enumerate(starts):
            last = part == len(starts) - 1
            digest = self.digest if last else ""
            yield self.message(part=part, last=last, put=items[start : start + page], digest=digest)
