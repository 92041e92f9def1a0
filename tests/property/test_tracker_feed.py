"""The tracker's catalogue under any sequence of announcements, against a reader of its feed."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shoal.ownership import current_versions, resolve
from shoal.wire import Changes, Entry, Item, Leave
from tests.support.announcer import NOW_NS, Announcer, cid_of, sha1_of
from tracker import catalogue as catalogue_module
from tracker.catalogue import Catalogue
from tracker.leases import Lease, Leases, Where
from tracker.quotas import Limits
from tracker.settling import Settling

PATHS = ["a", "b", "d/e", "d/f"]
TEXTS = ["one", "two", "three"]
PEERS = 7
SEEDS = 2
TTL = 15.0


class Follower:
    """A reader of the feed: keeps what it was told, starts over when told to."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.version: str | None = None
        self.peers: dict[str, tuple[str, str]] = {}
        self.paths: dict[str, list[Entry]] = {}
        self.withdrawn: dict[str, dict[str, int]] = {}

    def read(self, page: Callable[[str | None], Changes | None]) -> bool:
        """Reads one page; whether there is more."""
        changes = page(self.version)
        if changes is None:
            self.restart()
            return True
        self.version = changes.version
        for peer in changes.peers:
            if peer.url:
                self.peers[peer.id] = (peer.name, peer.url)
            else:
                self.peers.pop(peer.id, None)
        for path, entries in changes.paths:
            for kept, now in ((self.paths, entries), (self.withdrawn, changes.withdrawn.get(path))):
                if now:
                    kept[path] = now  # type: ignore[index,assignment]
                else:
                    kept.pop(path, None)
        return changes.more

    def known(self) -> tuple[object, ...]:
        return self.peers, self.paths, self.withdrawn


class Feed(RuleBasedStateMachine):
    """After any announcements, expiries and leaves, a reader who follows the feed from any version knows what a reader
    who starts now is told; and that is what `resolve` says of the living peers' items."""

    @initialize(tombstones=st.sampled_from([2, 100]))
    def start(self, tombstones: int) -> None:
        self.now = 0.0
        self.living: dict[str, Lease] = {}
        self.catalogue = Catalogue("c0ffee", tombstones)
        self.leases = Leases(self.living, self.catalogue, Limits(), Settling(0.0, TTL))
        self.peers = [Announcer(f"peer{n}", 7000 + n) for n in range(PEERS)]
        self.seeds: dict[str, dict[str, str]] = {}
        self.ends: dict[str, float] = {}
        self.followers = [Follower() for _ in range(3)]

    def where(self, peer: Announcer) -> Where:
        return Where("10.0.0.1", "10.0.0.1", f"http://10.0.0.1:{peer.port}")

    def tell(self, peer: Announcer) -> None:
        """Whatever the tracker knows of it, the peer makes it know its list."""
        for message in peer.whole(page=2):
            outcome = self.leases.announce(message, self.where(peer), self.now, NOW_NS)
            assert outcome.status == 200, outcome
        self.ends[peer.id] = self.now + TTL

    def item(self, peer: Announcer, path: str, text: str, kind: str, rev: int, owner: int) -> Item:
        if kind == "own":
            return peer.own(path, text, mtime=10**18 + rev, rev=rev)
        remembered = {self.peers[owner].id: rev, self.peers[(owner + 1) % PEERS].id: 1}
        if kind == "nothing":
            return peer.nothing(path, None if owner == 0 else remembered)
        return peer.copy(path, text, remembered, kind, mtime=10**18 + rev, x=owner == 1)

    @rule(
        at=st.integers(0, PEERS - 1),
        path=st.sampled_from(PATHS),
        text=st.sampled_from(TEXTS),
        kind=st.sampled_from(["own", "copy", "copy", "partial", "nothing"]),
        rev=st.integers(1, 3),
        owner=st.integers(0, 2),
    )
    def put(self, at: int, path: str, text: str, kind: str, rev: int, owner: int) -> None:
        peer = self.peers[at]
        item = self.item(peer, path, text, kind, rev, owner)
        drop = []
        if kind in ("own", "nothing"):
            drop = [key for key, old in peer.items.items() if key[0] == path and old.kind in ("own", "nothing")]
        known = peer.id in self.living
        message = peer.delta([item], drop)
        if known:
            assert self.leases.announce(message, self.where(peer), self.now, NOW_NS).status == 200
            self.ends[peer.id] = self.now + TTL
        else:
            self.tell(peer)

    @rule(path=st.sampled_from(PATHS), text=st.sampled_from(TEXTS), rev=st.integers(1, 2))
    def everybody_copies(self, path: str, text: str, rev: int) -> None:
        for peer in self.peers[2:]:
            item = peer.copy(path, text, {self.peers[0].id: rev}, mtime=10**18 + rev)
            peer.items[path, item.cid] = item
            peer.sequence += 1
            self.tell(peer)

    @rule(at=st.integers(0, PEERS - 1), path=st.sampled_from(PATHS), text=st.sampled_from(TEXTS))
    def drop(self, at: int, path: str, text: str) -> None:
        peer = self.peers[at]
        known = peer.id in self.living
        message = peer.delta([], [(path, cid_of(text))])
        if known:
            assert self.leases.announce(message, self.where(peer), self.now, NOW_NS).status == 200
            self.ends[peer.id] = self.now + TTL

    @rule(at=st.integers(0, SEEDS - 1), files=st.dictionaries(st.sampled_from(PATHS), st.sampled_from(TEXTS)))
    def seed(self, at: int, files: dict[str, str]) -> None:
        id, url = cid_of(f"seed{at}"), f"http://10.0.0.2:{at + 1}"
        self.seeds[id] = {path: sha1_of(text) for path, text in files.items()}
        where = Where("10.0.0.2", "10.0.0.2", url)
        assert self.leases.refresh_seed(id, f"seed{at}", self.seeds[id], where, NOW_NS).status == 200
        self.ends[id] = self.now + TTL

    @rule(at=st.integers(0, PEERS - 1), name=st.sampled_from(["ann", "bob"]), port=st.integers(7000, 7001))
    def rename(self, at: int, name: str, port: int) -> None:
        peer = self.peers[at]
        peer.name, peer.port, peer.epoch = name, port, peer.epoch + 1
        self.tell(peer)

    @rule(at=st.integers(0, PEERS - 1))
    def leave(self, at: int) -> None:
        peer = self.peers[at]
        assert self.leases.leave(Leave(peer.id, peer.epoch)).status == 200
        self.ends.pop(peer.id, None)

    @rule(seconds=st.sampled_from([1.0, 8.0, 20.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds
        for id in [id for id, end in self.ends.items() if end <= self.now]:
            del self.ends[id]
            self.leases.ended(self.living.pop(id))

    @rule(who=st.integers(0, 2), page=st.sampled_from([1, 2, 1000]))
    def follow(self, who: int, page: int) -> None:
        """One page, as small as the test wants it."""
        self.read(self.followers[who], page)

    def read(self, follower: Follower, page: int) -> bool:
        before, catalogue_module.PAGE = catalogue_module.PAGE, page
        try:
            return follower.read(lambda since: self.catalogue.changes(since, False))
        finally:
            catalogue_module.PAGE = before

    @invariant()
    def right(self) -> None:
        if not hasattr(self, "catalogue"):
            return
        fresh = Follower()
        while self.read(fresh, 1000):
            pass
        assert fresh.version == self.catalogue.version
        paths, withdrawn = self.expected()
        assert fresh.paths == paths
        assert fresh.withdrawn == withdrawn
        assert set(fresh.peers) == set(self.ends)

    def expected(self) -> tuple[dict[str, list[Entry]], dict[str, dict[str, int]]]:
        """What everybody's own items add up to, by the shared rules alone."""
        paths, withdrawn = {}, {}
        for path in PATHS:
            held = {
                peer.id: [item for item in peer.items.values() if item.path == path]
                for peer in self.peers
                if peer.id in self.ends
            }
            if any(path in self.seeds[id] for id in self.seeds if id in self.ends):
                # How seed peers merge has tests of its own: here only that the feed follows it.
                if entries := self.catalogue.seen(path)[0]:
                    paths[path] = entries
                if nothing := self.catalogue.seen(path)[1]:
                    withdrawn[path] = nothing
                continue
            versions = resolve(held)
            if versions:
                seen = self.catalogue.seen(path)[0]
                assert [entry.cid for entry in seen] == [version.item.cid for version in versions]
                for entry, version in zip(seen, versions, strict=True):
                    assert {owner.id: owner.rev for owner in entry.owners} == version.owners
                    assert (entry.mtime, list(entry.holders)) == (version.mtime, version.holders[:3])
                    assert entry.x == version.item.x
                paths[path] = seen
            current = current_versions((id, item) for id, items in held.items() for item in items)
            nothings = any(item.kind == "nothing" for items in held.values() for item in items)
            gone = {owner: rev for owner, (rev, cid) in current.items() if cid == self.peers[0].nothing(path).cid}
            if nothings and gone:
                withdrawn[path] = gone
        return paths, withdrawn

    def teardown(self) -> None:
        if not hasattr(self, "catalogue"):
            return
        fresh = Follower()
        while self.read(fresh, 1000):
            pass
        for follower in self.followers:
            assert any(not self.read(follower, 3) for _ in range(100)), "a reader that nothing changes for gets there"
            assert follower.known() == fresh.known()


TestFeed = Feed.TestCase
TestFeed.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
