"""The announcer and the follower with a tracker in memory behind real sockets."""

import logging
import socket
import time
from contextlib import ExitStack

import pytest

from peer.announcer import Card, Talk
from peer.catalogue.holders import Directory
from peer.share.rows import Row
from shoal.errors import Refused
from shoal.wire import MAX_BODY, PAGE, Entry, Item, encode, peer_id
from tests.support.index_fake import FakeIndex
from tests.support.patience import until
from tests.support.peer_core import PeerCore
from tests.support.tracker_fake import FakeTracker, serve

SECRET = "5" * 64
ME = peer_id(SECRET)
ANNA = "a" * 64


def row(path: str, digit: str = "1", kind: str = "own") -> Row:
    return Row(path, digit * 64, kind, 1, 5, digit * 40, revs={ME: 1})


def item(path: str, digit: str = "1") -> Item:
    return Item(path, digit * 64, "own", 1, 5, digit * 40, revs={ANNA: 1})


def knows(tracker: FakeTracker, *paths: str) -> bool:
    with tracker.lock:
        lease = tracker.leases.get(ME)
        return lease is not None and {path for path, _ in lease.items} == set(paths)


@pytest.fixture
def tracker():
    tracker = FakeTracker(page=3)
    tracker.refresh = 0.2
    return tracker


def test_a_renewal_is_small_whatever_the_list():
    index = FakeIndex()
    talk = Talk(Card(ME, SECRET, "me", 7000), index, 1)
    for n in range(500):
        index.put(row(f"file {n}"))
    tracker = FakeTracker()
    sent = []
    for _ in range(10):
        message = talk.next()
        sent.append(message)
        try:
            tracker.announce(message)
        except Refused:
            talk.send_all(message)
        else:
            talk.agreed(message)
    assert len(encode(sent[-1])) < 400
    assert sum(len(message.put) for message in sent) == 500


def test_a_restarted_peer_need_not_send_its_list_again():
    index, tracker = FakeIndex(), FakeTracker()
    index.put(row("a"))
    tracker.put(ME, index.rows["a", "1" * 64].item())
    message = Talk(Card(ME, SECRET, "me", 7000), index, 99).next()
    tracker.announce(message)
    assert message.put == []


def test_after_a_lost_reply_the_tracker_is_asked_where_it_is():
    index, tracker = FakeIndex(), FakeTracker()
    index.put(row("a"))
    tracker.put(ME, index.rows["a", "1" * 64].item())
    talk = Talk(Card(ME, SECRET, "me", 7000), index, 99)
    talk.agreed(talk.next())
    index.put(row("b"))
    delta = talk.next()
    tracker.announce(delta)
    talk.lost(delta)  # it took it
    again = talk.next()
    assert (again.sequence, again.put) == (delta.sequence, [])
    tracker.announce(again)
    talk.agreed(again)
    assert not talk.busy


def test_where_changes_were_forgotten_the_whole_list_is_sent():
    index, tracker = FakeIndex(), FakeTracker()
    index.put(row("a"))
    tracker.put(ME, index.rows["a", "1" * 64].item())
    talk = Talk(Card(ME, SECRET, "me", 7000), index, 99)
    talk.agreed(talk.next())
    index.put(row("a", kind="gone"))
    index.forget_gone()
    message = talk.next()
    assert (message.part, message.last, message.put) == (0, True, [])


def test_an_index_made_anew_is_a_later_one():
    index, tracker = FakeIndex(), FakeTracker()
    for name in "abc":
        index.put(row(name))
    talk = Talk(Card(ME, SECRET, "me", 7000), index, 99)
    talk.send_all(talk.next())
    whole = talk.next()
    tracker.announce(whole)
    talk.agreed(whole)
    index.rows.clear()
    index.sequence = 0
    index.put(row("d"))
    message = talk.next()
    assert message.epoch > whole.epoch
    tracker.announce(message)
    assert {path for path, _ in tracker.leases[ME].items} == {"d"}


def test_what_changes_while_a_delta_is_read_comes_with_the_next():
    index, tracker = FakeIndex(), FakeTracker()
    index.put(row("a"))
    tracker.put(ME, index.rows["a", "1" * 64].item())
    talk = Talk(Card(ME, SECRET, "me", 7000), index, 99)
    talk.agreed(talk.next())
    index.put(row("b"))
    nothing = [lambda: None] * 2
    index.meanwhile = [*nothing, lambda: index.put(row("c"))]  # between the rows and the state
    for expected in ("b", "c"):
        message = talk.next()
        assert [item.path for item in message.put] == [expected]
        tracker.announce(message)
        talk.agreed(message)
    assert not talk.busy


def test_long_rows_are_split_by_bytes():
    index = FakeIndex()
    for n in range(600):
        index.put(row(f"{n}/" + "/".join(["ü" * 100] * 19)))
    talk = Talk(Card(ME, SECRET, "me", 7000), index, 1)
    talk.send_all(talk.next())
    while not (message := talk.next()).last:
        assert len(encode(message)) <= MAX_BODY
        assert len(message.put) <= PAGE
        talk.agreed(message)
    talk.agreed(message)
    assert message.part == 2
    for n in range(600):
        index.put(row(f"{n}/" + "/".join(["ü" * 100] * 19), kind="gone"))
    delta = talk.next()
    assert len(encode(delta)) <= MAX_BODY
    assert 0 < len(delta.drop) < 600


def test_there_and_back(tracker):
    with serve(tracker) as url, PeerCore(SECRET, url) as node:
        node.put(row("a"))
        until(lambda: knows(tracker, "a"), 5, "the tracker knows")
        until(lambda: node.sees("a"), 5, "the peer sees what it announced")
        with tracker.lock:
            for n in range(10):
                tracker.put(ANNA, item(f"b/{n}"), name="anna")
        until(lambda: node.sees("b/9"), 5, "a renewal says that there is more")
        assert node.follower.first.is_set()
        assert node.trackers.connected
        until(node.settled.is_set, 5, "settled was told")
        with tracker.lock:
            tracker.put(ANNA, drop=(("b/9", "1" * 64),))
        until(lambda: not node.sees("b/9"), 5, "what is gone goes")
        node.put(row("a", kind="gone"))
        until(lambda: knows(tracker), 5, "the tracker knows that it is gone")
        node.announcer.stop()
        assert ME not in tracker.leases, "the lease is given back"


def test_a_hint_makes_the_follower_pull_at_once(tracker):
    tracker.refresh = 60.0
    with (
        serve(tracker) as url,
        PeerCore(SECRET, url) as node,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hints,
    ):
        until(lambda: knows(tracker), 5, "announced")
        until(lambda: node.follower.first.is_set(), 5, "pulled")
        with tracker.lock:
            tracker.put(ANNA, item("b"), name="anna")
        hints.sendto(b"any", ("127.0.0.1", node.follower.hint_port))
        until(lambda: node.sees("b"), 5, "the hint was heard")


def test_a_flood_of_hints_causes_few_pulls(tracker):
    tracker.refresh = 60.0
    with (
        serve(tracker) as url,
        PeerCore(SECRET, url) as node,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hints,
    ):
        until(lambda: node.follower.first.is_set(), 5, "pulled")
        began = time.monotonic()
        for _ in range(300):
            hints.sendto(b"x" * 100, ("127.0.0.1", node.follower.hint_port))
            time.sleep(0.002)
        with tracker.lock:
            pulls = len([path for path in tracker.requests if "changes" in path])
        assert 2 < pulls < 4 + 10 * (time.monotonic() - began)


def test_a_tracker_that_restarts_knows_all_again(tracker, caplog):
    with serve(tracker) as url, PeerCore(SECRET, url) as node:
        for name in "abcde":
            node.put(row(name))
        until(lambda: knows(tracker, *"abcde"), 5, "announced")
        with tracker.lock:
            tracker.restart()
            tracker.settling = True
        until(lambda: knows(tracker, *"abcde"), 5, "announced again")
        with tracker.lock:
            tracker.settling = False
        until(lambda: node.catalogue.settled and node.catalogue.version == tracker.version, 5, "pulled again")
        assert all(node.sees(name) for name in "abcde")


def test_a_loss_and_a_return_are_logged_once(tracker, caplog):
    caplog.set_level(logging.INFO)
    with ExitStack() as stack:
        inner = ExitStack()
        url = inner.enter_context(serve(tracker))
        node = stack.enter_context(PeerCore(SECRET, url))
        node.put(row("a"))
        until(lambda: node.sees("a") and knows(tracker, "a"), 5, "announced")
        inner.close()
        until(lambda: not node.trackers.connected, 10, "lost")
        node.put(row("b"))
        assert node.sees("a"), "it goes on with what it knows"
        until(lambda: node.announcer._failures > 3, 20, "tried several times")
        port = int(url.rpartition(":")[2])
        tracker.restart()
        stack.enter_context(serve(tracker, port))
        until(lambda: knows(tracker, "a", "b"), 10, "announced again")
        until(lambda: node.catalogue.version == tracker.version, 10, "pulled again")
        lost = [record for record in caplog.records if "is lost" in record.message]
        back = [record for record in caplog.records if "answers again" in record.message]
        assert (len(lost), len(back)) == (1, 1)
        node.announcer.stop()
        node.follower.stop()


def test_the_next_tracker_is_used_and_the_first_again(tracker):
    second = FakeTracker()
    second.refresh = 0.2
    with ExitStack() as stack:
        inner = ExitStack()
        url = inner.enter_context(serve(tracker))
        other = stack.enter_context(serve(second))
        node = stack.enter_context(PeerCore(SECRET, url, other))
        node.put(row("a"))
        until(lambda: knows(tracker, "a"), 5, "the first knows")
        inner.close()
        until(lambda: knows(second, "a"), 10, "the second knows")
        tracker.restart()
        stack.enter_context(serve(tracker, int(url.rpartition(":")[2])))
        until(lambda: knows(tracker, "a"), 10, "the first knows again")
        assert node.trackers.current == url
        until(lambda: node.catalogue.version == tracker.version, 10, "and it is followed")
        node.announcer.stop()
        node.follower.stop()


def test_a_tracker_that_says_no_is_asked_now_and_then_and_it_is_said_once(tracker, caplog):
    with serve(tracker) as url, PeerCore(SECRET, url) as node:
        until(lambda: knows(tracker), 5, "announced")
        node.announcer._headers = {"Shoal-Proof": "6" * 64}
        until(lambda: node.announcer._failures > 3, 20, "asked several times")
        assert len([record for record in caplog.records if "does not take" in record.message]) == 1
        node.announcer._headers = {"Shoal-Proof": SECRET}
        until(lambda: node.announcer._failures == 0, 10, "taken again")


def test_a_tracker_that_does_not_go_on_is_no_tracker(tracker, caplog):
    plain = tracker.changes

    def stuck(since):
        tracker.requests.append("stuck")
        changes = plain(since)
        return type(changes)(tracker.catalogue + ".0", False, True, changes.peers, changes.paths)

    with tracker.lock:
        tracker.changes = stuck
    with serve(tracker) as url:
        node = PeerCore(SECRET, url)
        try:
            assert not node.follower.pull()
            assert tracker.requests.count("stuck") == 2
        finally:
            node.follower.stop()
            node.client.close()


def test_holders_are_asked_for(tracker):
    now = 0.0
    with serve(tracker) as url, PeerCore(SECRET, url) as node:
        with tracker.lock:
            tracker.put(ANNA, Item("b", "1" * 64, "own", 1, 5, "1" * 40, revs={ANNA: 1}), name="anna")
            tracker.put("b" * 64, Item("b", "1" * 64, "partial", 1, 5, "1" * 40, revs={ANNA: 1}), name="ben")
        directory = Directory(node.catalogue, node.trackers, node.client, lambda: now)
        entry = Entry("1" * 64, 1, 1, "1" * 40)
        assert directory.find_holders("b", entry, False) == []
        assert [row.name for row in directory.find_holders("b", entry, True)] == ["anna"], "ben does not have all of it"
        assert [row.name for row in directory.partial_of(entry.cid)] == ["ben"]
        question = f"/v1/holders/{entry.cid}"
        assert tracker.requests.count(question) == 1, "one for both"
        now = 1.1
        directory.partial_of(entry.cid)
        assert tracker.requests.count(question) == 2
