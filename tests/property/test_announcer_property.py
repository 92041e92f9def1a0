from dataclasses import replace
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from peer import announcer
from peer.announcer import Card, Talk
from peer.share.rows import Row
from shoal.errors import Refused
from shoal.wire import Item
from tests.support.index_fake import FakeIndex
from tests.support.tracker_fake import FakeTracker

ME = "5" * 64
PATHS = ["a", "b/c", "b/d", "e"]
CIDS = ["1" * 64, "2" * 64]

EVICTIONS = ["gone", "kept", "not hidden", "reply lost", "request lost"]
"""What becomes of a copy that is asked for."""

rows = st.builds(
    lambda path, cid, kind, rev, state: Row(path, cid, kind, 1, rev, cid[:40], revs={ME: rev}, state=state),
    st.sampled_from(PATHS),
    st.sampled_from(CIDS),
    st.sampled_from(["own", "copy", "gone"]),
    st.integers(1, 3),
    st.sampled_from(["ok", "ok", "ok", "moving"]),
)
actions = st.one_of(
    st.tuples(st.just("change"), rows),
    st.tuples(st.just("change while it is read"), rows),
    st.tuples(st.just("say"), st.sampled_from(["heard", "heard", "request lost", "reply lost"])),
    st.tuples(st.just("a copy goes"), st.sampled_from(CIDS), st.sampled_from(EVICTIONS), st.lists(rows, max_size=2)),
    st.tuples(st.just("the tracker restarts")),
    st.tuples(st.just("another tracker")),
    st.tuples(st.just("old losses are forgotten")),
    st.tuples(st.just("the peer restarts")),
    st.tuples(st.just("the index is made anew")),
    st.tuples(st.just("the index is lost")),
)


class World:
    def __init__(self) -> None:
        self.trackers = [FakeTracker(), FakeTracker()]
        self.index = FakeIndex()
        self.epoch = 0
        self.the_peer_restarts()

    @property
    def tracker(self) -> FakeTracker:
        return self.trackers[0]

    def act(self, kind, *values) -> None:
        getattr(self, kind.replace(" ", "_"))(*values)

    def change(self, row):
        self.index.put(row)

    def change_while_it_is_read(self, row):
        self.index.meanwhile.append(lambda: self.index.put(row))

    def say(self, fate):
        message = self.talk.next()
        if fate == "request lost":
            return self.talk.lost(message)
        try:
            self.tracker.announce(message)
        except Refused as error:
            assert error.need == "all", error
            return self.talk.lost(message) if fate == "reply lost" else self.talk.send_all(message)
        return self.talk.lost(message) if fate == "reply lost" else self.talk.agreed(message)

    def a_copy_goes(self, cid, fate, meanwhile):
        """As the announcer does it, which asks when it is in step; `meanwhile` is what else changes."""
        if not self.talk.certain or self.tracker.leases.get(ME) is None:
            return
        if self.talk._known[0] != self.tracker.leases[ME].sequence:
            return  # it restarted, or is another one: it says so
        copies = [row for row in self.index.rows.values() if (row.cid, row.kind, row.state) == (cid, "copy", "ok")]
        if ME not in self.tracker.leases or not copies:
            return
        for row in meanwhile:
            self.index.put(row)
        if fate == "request lost":
            self.talk.unsure()
            return
        sequence = self.tracker.evict(ME, cid)
        if fate in ("reply lost", "not hidden"):
            self.talk.unsure()
            return
        copies = [row for row in self.index.rows.values() if (row.cid, row.kind, row.state) == (cid, "copy", "ok")]
        for row in copies:
            self.index.put(replace(row, state="moving"))
        if not copies:
            self.talk.unsure()
            return
        self.talk.evicted(sequence)
        for row in copies:
            self.index.put(replace(row, state="ok") if fate == "kept" else replace(row, kind="gone", revs={}))

    def the_tracker_restarts(self):
        self.tracker.restart()

    def another_tracker(self):
        self.trackers.reverse()
        self.talk.elsewhere()

    def old_losses_are_forgotten(self):
        self.index.forget_gone()

    def the_peer_restarts(self):
        self.epoch += 10
        self.talk = Talk(Card(ME, "", "me", 1), self.index, self.epoch)

    def the_index_is_made_anew(self):
        self.index = FakeIndex()
        self.the_peer_restarts()

    def the_index_is_lost(self):
        """While the peer runs."""
        self.index.rows.clear()
        self.index.sequence = self.index.oldest = 0


@settings(max_examples=300, deadline=None)
@given(st.lists(actions, max_size=30), st.integers(1, 3))
def test_the_tracker_s_list_becomes_the_index_s(steps, page):
    """Invariant: after any changes, losses and restarts, a few messages later the tracker's list is the index's."""
    with patch.object(announcer, "PAGE", page):
        world = World()
        for step in steps:
            world.act(*step)
        limit = 40 + 4 * len(world.index.meanwhile)
        world.say("heard")
        for _ in range(limit):
            if not world.talk.busy:
                break
            world.say("heard")
        world.say("heard")
        assert not world.talk.busy
    lease = world.tracker.leases[ME]
    assert sorted(map(str, lease.items.values())) == sorted(str(row.item()) for row in world.index.announced())
    assert lease.sequence == world.index.sequence


@settings(max_examples=200, deadline=None)
@given(st.lists(rows, max_size=6), st.lists(rows, max_size=30), st.integers(1, 3))
def test_the_whole_list_is_sent_once(before, meanwhile, page):
    """Invariant: while nothing is lost, the tracker gets the whole list once, whatever changes while it is read."""
    with patch.object(announcer, "PAGE", page):
        world = World()
        for row in before:
            world.change(row)
        for row in meanwhile:
            world.change_while_it_is_read(row)
        starts = refused = 0
        for _ in range(100):
            message = world.talk.next()
            starts += message.part == 0
            try:
                world.tracker.announce(message)
            except Refused:
                refused += 1
                world.talk.send_all(message)
            else:
                world.talk.agreed(message)
    assert (starts, refused) == (1, 1)
    assert not world.index.meanwhile and not world.talk.busy


@settings(max_examples=200, deadline=None)
@given(st.lists(rows, max_size=8), st.lists(st.tuples(st.sampled_from(CIDS), st.lists(rows, max_size=2)), max_size=4))
def test_a_copy_that_goes_costs_no_whole_list(before, evictions):
    """Invariant: however many copies of a content go, and whatever changes meanwhile, deltas are enough."""
    world = World()
    for row in before:
        world.change(row)
    for _ in range(5):
        world.say("heard")
    for cid, meanwhile in evictions:
        meanwhile = [row for row in meanwhile if row.cid != cid]
        world.a_copy_goes(cid, "gone", meanwhile)
        while world.talk.busy:
            message = world.talk.next()
            assert message.part is None
            world.tracker.announce(message)  # which refuses what does not follow
            world.talk.agreed(message)
        world.tracker.announce(world.talk.next())
    lease = world.tracker.leases[ME]
    assert sorted(map(str, lease.items.values())) == sorted(str(row.item()) for row in world.index.announced())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.builds(lambda n, size: (n, size), st.integers(0, 99), st.integers(1, 4000)), max_size=60))
def test_every_message_fits(files):
    """Invariant: whatever the names, a page of the list is never empty, and under the limit of bytes and of items."""
    items = [Item(f"{n}/" + "x" * size, "1" * 64, "own", 1, 1, "2" * 40, revs={ME: 1}) for n, size in files]
    with patch.object(announcer, "_FULL", 10_000), patch.object(announcer, "PAGE", 9):
        pages = list(announcer._pages(items))
    assert [item for page in pages for item in page] == items
    assert all(1 <= len(page) <= 9 for page in pages)
    assert all(len(page) == 1 or sum(len(item.path) for item in page) < 10_000 for page in pages)
