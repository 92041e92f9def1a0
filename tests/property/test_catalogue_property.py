from hypothesis import given, settings
from hypothesis import strategies as st

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.tree import File, Folder
from peer.share.rows import Row
from shoal.errors import Gone
from shoal.manifest import DIR_CID, NOTHING_CID
from shoal.wire import Item
from tests.support.tracker_fake import FakeTracker

ME, ANNA, BEN = "0" * 64, "a" * 64, "b" * 64
PATHS = ["a", "a/b.txt", "a/c", "d~anna", "d"]
CIDS = ["1" * 64, "2" * 64, DIR_CID]

paths, cids, others = st.sampled_from(PATHS), st.sampled_from(CIDS), st.sampled_from([ANNA, BEN])
revs = st.integers(1, 4)
actions = st.one_of(
    st.tuples(st.just("own"), others, paths, cids, revs),
    st.tuples(st.just("copy"), others, paths, cids, revs),
    st.tuples(st.just("nothing"), others, paths, revs),
    st.tuples(st.just("drop"), others, paths),
    st.tuples(st.just("leave"), others),
    st.tuples(st.just("my own"), paths, cids, revs),
    st.tuples(st.just("my copy"), paths, cids, others, revs),
    st.tuples(st.just("my loss"), paths),
    st.tuples(st.just("announce")),
    st.tuples(st.just("restart")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("page")),
    st.tuples(st.just("start over")),
)


class World:
    """A tracker, two other peers, and this peer's index, catalogue and announced list."""

    def __init__(self, page: int) -> None:
        self.tracker = FakeTracker(page)
        self.catalogue = Catalogue(ME, "me")
        self.rows: dict[tuple[str, str], Row] = {}
        self.theirs: dict[str, dict[tuple[str, str], Item]] = {ANNA: {}, BEN: {}}
        self.told: set[str] = set()
        self.catalogue.changed_by(lambda changed: self.told.update(changed.paths))
        self.shown = self.look()

    def look(self):
        return {path: self.catalogue.entries(path) for path in PATHS}

    def act(self, kind, *values) -> None:
        getattr(self, kind.replace(" ", "_"))(*values)
        now = self.look()
        # Whatever changed was told, and nothing else.
        assert {path for path in PATHS if now[path] != self.shown[path]} <= self.told
        self.shown = now
        self.told.clear()
        for (path, cid), row in self.rows.items():
            if row.kind == "own":
                assert cid in {entry.cid for entry in now[path]}, "one's own share is always shown"

    def own(self, peer, path, cid, rev):
        self._theirs(peer, Item(path, cid, "own", 0, rev, "" if cid == DIR_CID else cid[:40], revs={peer: rev}))

    def copy(self, peer, path, cid, rev):
        owner = ANNA if peer == BEN else BEN
        self._theirs(peer, Item(path, cid, "copy", 0, rev, "" if cid == DIR_CID else cid[:40], revs={owner: rev}))

    def nothing(self, peer, path, rev):
        self._theirs(peer, Item(path, NOTHING_CID, "nothing", 0, 0, revs={peer: rev}))

    def _theirs(self, peer, item):
        held = self.theirs[peer]
        if item.kind in ("own", "nothing"):
            for key in [k for k, i in held.items() if k[0] == item.path and i.kind in ("own", "nothing")]:
                del held[key]
        held[item.path, item.cid] = item
        self._announce(peer, held)

    def drop(self, peer, path):
        self.theirs[peer] = {key: item for key, item in self.theirs[peer].items() if key[0] != path}
        self._announce(peer, self.theirs[peer])

    def leave(self, peer):
        self.theirs[peer] = {}
        self.tracker.leave(peer)

    def my_own(self, path, cid, rev):
        for key in [key for key, row in self.rows.items() if key[0] == path and row.kind == "own"]:
            self._my(key, "gone")
        self._my((path, cid), "own", rev, {ME: rev})

    def my_copy(self, path, cid, owner, rev):
        if (path, cid) not in self.rows:
            self._my((path, cid), "copy", rev, {owner: rev})

    def my_loss(self, path):
        for key in [key for key in self.rows if key[0] == path]:
            self._my(key, "gone")

    def _my(self, key, kind, mtime=0, revs=None):
        path, cid = key
        row = Row(path, cid, kind, 0, mtime, "" if cid == DIR_CID else cid[:40], revs=revs or {})
        if kind == "gone":
            del self.rows[key]
        else:
            self.rows[key] = row
        self.catalogue.apply_rows([row])

    def announce(self):
        self._announce(ME, {key: row.item() for key, row in self.rows.items()})

    def _announce(self, peer, items):
        known = self.tracker.leases.get(peer)
        gone = tuple(key for key in (known.items if known else ()) if key not in items)
        self.tracker.put(peer, *items.values(), name={ANNA: "anna", BEN: "ben"}.get(peer, "me"), drop=gone)

    def restart(self):
        self.tracker.restart()
        self.tracker.settling = True

    def settle(self):
        for peer, items in self.theirs.items():
            if items:
                self._announce(peer, items)
        self.announce()
        self.tracker.settling = False

    def page(self):
        try:
            changes = self.tracker.changes(self.catalogue.version)
        except Gone:
            self.start_over()
            return True
        before = self.look()
        self.catalogue.apply(changes)
        if changes.settling:
            self.check_kept(before)
        return changes.more

    def check_kept(self, before):
        for path, entries in before.items():
            now = {entry.cid: entry for entry in self.catalogue.entries(path)}
            newest = self.tracker.withdrawn(path)
            for owner in (owner for entry in now.values() for owner in entry.owners):
                newest[owner.id] = max(owner.rev, newest.get(owner.id, 0))
            for entry in entries:
                past = entry.owners and all(newest.get(owner.id, 0) > owner.rev for owner in entry.owners)
                assert entry.cid in now or past, "a settling catalogue takes out only what was superseded"

    def start_over(self):
        self.catalogue.start_over()

    def expected(self, path):
        """The tracker's entries, and of one's own rows those that are not listed and not superseded."""
        listed = {entry.cid: entry for entry in self.tracker.entries(path)}
        newest = self.tracker.withdrawn(path)
        for entry in listed.values():
            for owner in entry.owners:
                newest[owner.id] = max(owner.rev, newest.get(owner.id, 0))
        mine = [row for row in self.rows.values() if row.path == path and row.cid not in listed]
        shown = [row for row in mine if row.kind == "own" or not all(newest.get(o, 0) > r for o, r in row.revs.items())]
        return {**{cid: entry.mtime for cid, entry in listed.items()}, **{row.cid: row.mtime for row in shown}}


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 4), st.lists(actions, max_size=30))
def test_the_catalogue_ends_as_the_tracker_and_the_index_say(page, steps):
    """Invariant: whatever came in whatever order, once all is pulled the tree is the tracker's state and one's rows."""
    world = World(page)
    for step in steps:
        world.act(*step)
    world.act("settle")
    while world.page():
        pass
    assert world.catalogue.settled
    for path in PATHS:
        assert {entry.cid: entry.mtime for entry in world.catalogue.entries(path)} == world.expected(path), path
        for entry in world.tracker.entries(path):
            if entry.owners or entry.holders != (ME,):
                assert entry in world.catalogue.entries(path)
    check_tree(world.catalogue)


def check_tree(catalogue):
    """Every version has one place in the tree, found by its shown path; folders are there only for what is in them."""
    found = []

    def look(folder: Folder):
        assert folder is catalogue.find(folder.path)
        for name, child in folder.children.items():
            path = f"{folder.path}/{name}" if folder.path else name
            assert catalogue.find(path) == child
            if isinstance(child, File):
                found.append((child.path, child.entry))
            else:
                look(child)
        versions = [e for path in PATHS for e in catalogue.entries(path) if is_in(path, e, folder.path)]
        assert folder.path == "" or versions, f"an empty folder: {folder.path}"
        assert folder.mtime == max((entry.mtime for entry in versions), default=0)

    look(catalogue.find(""))
    every = [(path, entry) for path in PATHS for entry in catalogue.entries(path) if not entry.is_dir]
    assert sorted(found, key=str) == sorted(every, key=str)
    assert catalogue.totals() == (len(every), 0)
    assert sorted((file.path, file.entry.cid) for _, file in catalogue.walk()) == sorted((p, e.cid) for p, e in every)
    for name, id in catalogue.peer_names().items():
        owned = [(file.path, file.entry.cid) for _, file in catalogue_walk(catalogue.peer_folder(name))]
        assert sorted(owned) == sorted((p, e.cid) for p, e in every if id in {owner.id for owner in e.owners})


def is_in(path, entry, folder):
    return not folder or path.startswith(folder + "/") or (path == folder and entry.is_dir)


def catalogue_walk(folder):
    for name, child in folder.children.items():
        if isinstance(child, File):
            yield name, child
        else:
            yield from catalogue_walk(child)
