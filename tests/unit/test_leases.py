"""The rules of announcements, with a clock that the test moves."""

import logging

import pytest
from msgspec.structs import replace

from shoal.errors import DataError
from shoal.wire import Announce, Evict, Evicted, Item, Leave
from tests.support.announcer import NOW_NS, Announcer, cid_of, sha1_of
from tracker import leases as leases_module
from tracker.leases import Outcome, Where
from tracker.memory import MemoryStore
from tracker.patience import PatientClock
from tracker.quotas import Limits

TTL = 15.0


class Room:
    """A store whose clocks the test moves."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.now, self.now_ns = 100.0, NOW_NS
        self.store = MemoryStore(TTL, limits or Limits(), timer=lambda: self.now, clock=lambda: self.now_ns)

    def say(self, message: Announce, address: str = "10.0.0.1") -> Outcome:
        url = f"http://{address}:{message.port}"
        return self.store.announce(message, Where(address, address, url))[0]

    def tell(self, peer: Announcer, *items: Item, address: str = "10.0.0.1", page: int = 1000) -> None:
        for message in peer.whole(*items, page=page):
            assert self.say(message, address).status == 200

    def paths(self) -> list[str]:
        return [file.path for file in self.store.files("", "", 1000, "").files]

    def peers(self) -> list[str]:
        return [peer.name for peer in self.store.peers()]

    def settling(self) -> bool:
        return self.store.state().settling


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def ann() -> Announcer:
    return Announcer("ann")


def test_a_first_renewal_is_told_to_send_all_and_leaves_nothing(room: Room, ann: Announcer) -> None:
    outcome = room.say(ann.renewal())
    assert (outcome.status, outcome.need) == (409, "all")
    assert room.peers() == []
    assert len(room.store._leases._quotas._usage) == 0


def test_a_list_a_renewal_a_change(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"), ann.own("b", "two"))
    assert room.say(ann.renewal()).status == 200
    assert room.paths() == ["a", "b"]
    assert room.say(ann.delta([ann.own("c", "three")], [("a", cid_of("one"))])).status == 200
    assert room.paths() == ["b", "c"]
    assert room.say(ann.renewal()).status == 200


def test_renewals_change_no_version(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    before = room.store.state().version
    assert room.say(ann.renewal()).status == 200
    assert room.store.state().version == before


@pytest.mark.parametrize("wrong", [{"sequence": 7}, {"digest": "0" * 32}, {"digest": ""}])
def test_a_renewal_of_another_list_is_refused(room: Room, ann: Announcer, wrong: dict[str, object]) -> None:
    room.tell(ann, ann.own("a", "one"))
    outcome = room.say(ann.message(**wrong))
    assert (outcome.status, outcome.need) == (409, "all")
    assert room.paths() == ["a"]


def test_a_lease_ends_when_it_is_not_renewed(room: Room, ann: Announcer) -> None:
    bob = Announcer("bob")
    room.tell(ann, ann.own("a", "one"))
    room.tell(bob, bob.own("b", "two"))
    room.now += TTL - 1
    assert room.say(bob.renewal()).status == 200
    room.now += 1.5
    room.store.sweep()
    assert (room.peers(), room.paths()) == (["bob"], ["b"])
    assert room.store.holders(cid_of("one")).holders == []


def test_an_ended_lease_is_gone_for_every_reader_before_any_sweep(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    version = room.store.state().version
    room.now += TTL
    changes = room.store.changes(version)
    assert changes is not None
    assert (changes.paths, [peer.url for peer in changes.peers]) == ([("a", [])], [""])


def test_what_is_said_after_an_end_is_a_new_lease(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    room.now += TTL
    assert room.say(ann.renewal()).need == "all"
    room.tell(ann)
    assert room.paths() == ["a"]


# Replays


def test_a_replayed_renewal_keeps_nobody_alive(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    old = ann.renewal()
    assert room.say(ann.delta([ann.own("b", "two")])).status == 200
    room.now += TTL - 1
    assert room.say(old).status == 409
    room.now += 1
    assert room.peers() == []


def test_a_lower_epoch_never_wins(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    replays = [ann.renewal(), *ann.whole(), replace(ann.renewal(), base=ann.sequence, sequence=ann.sequence + 1)]
    ann.epoch, ann.port = 2, 7999
    assert room.say(ann.renewal()).status == 200
    for replay in replays:
        assert room.say(replay).status == 409
    assert room.store.peers()[0].url == "http://10.0.0.1:7999"
    assert room.say(ann.renewal()).status == 200


def test_a_lower_sequence_never_wins(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    (old,) = ann.whole()
    delta = ann.delta([ann.own("b", "two")])
    assert room.say(delta).status == 200
    assert room.say(old).status == 409
    assert room.say(delta).status == 409
    assert room.paths() == ["a", "b"]


def test_an_older_list_does_not_take_the_place_of_one_under_way(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    (old,) = ann.whole(ann.own("b", "two"))
    first, second = ann.whole(ann.own("c", "three"), ann.own("d", "four"), page=1)
    assert room.say(first).status == 200
    assert room.say(old).status == 409
    assert room.say(second).status == 200
    assert room.paths() == ["c", "d"]


def test_a_later_start_may_count_from_the_beginning(room: Room, ann: Announcer) -> None:
    ann.sequence = 500
    room.tell(ann, ann.own("a", "one"))
    ann.epoch, ann.sequence = 2, 0
    room.tell(ann, ann.own("b", "two"))
    assert room.paths() == ["b"]
    assert room.say(ann.renewal()).status == 200


def test_a_replayed_leave_ends_nothing(room: Room, ann: Announcer) -> None:
    ann.epoch = 5
    room.tell(ann, ann.own("a", "one"))
    assert room.store.leave(Leave(ann.id, 4)).status == 409
    assert room.paths() == ["a"]
    assert room.store.leave(Leave(ann.id, 5)).status == 200
    assert room.store.leave(Leave(ann.id, 5)).status == 200
    assert room.paths() == []


# Changes


def test_a_change_that_does_not_follow_is_refused_whole(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    ann.delta([ann.own("lost", "x")])
    assert room.say(ann.delta([ann.own("b", "two")])).need == "all"
    assert room.paths() == ["a"]


def test_a_change_to_the_same_sequence_is_refused(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    message = ann.message(base=ann.sequence, put=[ann.own("b", "two")], digest="")
    assert room.say(message).need == "all"
    assert room.paths() == ["a"]


def test_a_change_with_another_digest_is_refused_whole(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    message = replace(ann.delta([ann.own("b", "two")]), digest="f" * 32)
    assert room.say(message).need == "all"
    assert room.paths() == ["a"]


def test_a_change_in_several_messages_is_checked_at_its_end(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    assert room.say(replace(ann.delta([ann.own("b", "two")]), digest="")).status == 200
    assert room.say(ann.delta([ann.own("c", "three")])).status == 200
    assert room.paths() == ["a", "b", "c"]


def test_an_own_version_takes_the_place_of_the_last(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    message = replace(ann.delta([ann.own("a", "two")]), digest="")  # and no drop of the old one
    assert room.say(message).status == 200
    assert [file.cid for file in room.store.files("", "", 10, "").files] == [cid_of("two")]
    assert room.say(ann.renewal()).need == "all"


def test_own_versions_and_copies_of_one_path_stand_side_by_side(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"), ann.copy("a", "two", {cid_of("someone"): 1}))
    assert len(room.paths()) == 2


def test_too_many_versions_of_one_path(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    many = [ann.copy("a", f"copy {n}", {}) for n in range(20)]
    with pytest.raises(DataError):
        room.say(ann.delta(many))
    assert room.paths() == ["a"]


# Whole lists


def test_the_old_list_stands_until_the_new_one_is_complete(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"), ann.own("b", "two"))
    first, second = ann.whole(ann.own("b", "two"), ann.own("c", "three"), page=1)
    assert room.say(first).status == 200
    assert room.paths() == ["a", "b"]
    assert room.say(second).status == 200
    assert room.paths() == ["b", "c"]


def test_a_whole_list_with_another_digest_changes_nothing(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    (message,) = ann.whole(ann.own("b", "two"))
    assert room.say(replace(message, digest="f" * 32)).need == "all"
    assert room.paths() == ["a"]
    assert not room.store._leases.under_way


def test_parts_out_of_order_are_refused(room: Room, ann: Announcer) -> None:
    first, second, third = ann.whole(*(ann.own(name, name) for name in "abc"), page=1)
    assert room.say(second).need == "all"
    assert room.say(first).status == 200
    assert room.say(third).need == "all"
    assert room.say(second).status == 200
    assert room.say(third).status == 200
    assert room.paths() == ["a", "b", "c"]


def test_a_list_whose_next_part_does_not_come_is_dropped(room: Room, ann: Announcer) -> None:
    room.tell(ann, ann.own("a", "one"))
    renewal = ann.renewal()
    first, second = ann.whole(ann.own("b", "two"), ann.own("c", "three"), page=1)
    assert room.say(first).status == 200
    for _ in range(4):
        room.now += 10
        assert room.say(renewal).status == 200
        room.store.sweep()
    assert not room.store._leases.under_way
    assert room.say(second).need == "all"
    assert room.paths() == ["a"]


def test_a_peer_with_an_empty_list_is_listed(room: Room, ann: Announcer) -> None:
    room.tell(ann)
    assert room.say(ann.renewal()).status == 200
    assert room.peers() == ["ann"]


# Times


def test_an_mtime_in_the_future_is_cut_once(room: Room, ann: Announcer) -> None:
    item = ann.own("a", "one", mtime=NOW_NS + 10**12)
    room.tell(ann, item)
    seen = room.store.changes(None)
    room.now_ns += 10**11
    assert room.say(ann.renewal()).status == 200  # the digest is of what was said
    room.tell(ann)  # all again: still the same
    assert room.say(ann.delta([item])).status == 200
    assert seen is not None
    assert seen.paths[0][1][0].mtime == NOW_NS
    again = room.store.changes(None)
    assert again is not None
    assert again.paths == seen.paths
    assert again.version == seen.version
    newer = replace(item, revs={ann.id: 10**6})
    assert room.say(ann.delta([newer])).status == 200
    changed = room.store.changes(None)
    assert changed is not None
    assert changed.paths[0][1][0].mtime == NOW_NS + 10**11


# Quotas


def test_leases_of_one_source_are_limited_and_the_living_stay(ann: Announcer) -> None:
    room = Room(Limits(leases=2))
    bob, eve = Announcer("bob"), Announcer("eve")
    room.tell(ann, ann.own("a", "one"))
    room.tell(bob, bob.own("b", "two"))
    assert [room.say(message).status for message in eve.whole(eve.own("c", "three"))] == [429]
    assert room.peers() == ["ann", "bob"]
    room.tell(eve, eve.own("c", "three"), address="10.0.0.2")
    assert room.say(ann.renewal(), address="10.0.0.1").status == 200
    assert room.say(eve.renewal(), address="10.0.0.1").status == 429  # nor by moving there
    assert room.store.leave(Leave(bob.id, bob.epoch)).status == 200
    assert room.say(eve.renewal(), address="10.0.0.1").status == 200
    assert room.paths() == ["a", "c"]


def test_files_of_one_source_are_limited_and_the_living_stay(ann: Announcer) -> None:
    room = Room(Limits(files=3))
    bob = Announcer("bob")
    room.tell(ann, ann.own("a", "one"), ann.own("b", "two"))
    room.tell(bob, bob.own("c", "three"))
    renewal, change = bob.renewal(), bob.delta([bob.own("d", "four")])
    room.now += TTL - 1
    assert room.say(ann.renewal()).status == 200
    assert room.say(change).status == 429
    room.now += TTL - 1
    assert room.say(renewal).status == 200  # it was refused for its files, and lives
    assert room.say(ann.renewal()).status == 200
    first, second = bob.whole(bob.own("e", "five"), bob.own("f", "six"), page=1)
    assert room.say(first).status == 200  # in place of "c"
    assert room.say(second).status == 429
    assert room.paths() == ["a", "b", "c"]


def test_files_do_not_pass_a_quota_by_moving_to_its_address(ann: Announcer) -> None:
    room = Room(Limits(files=3))
    bob = Announcer("bob")
    room.tell(ann, ann.own("a", "one"), ann.own("b", "two"))
    room.tell(bob, bob.own("c", "three"), bob.own("d", "four"), address="10.0.0.2")
    assert room.say(bob.renewal(), address="10.0.0.1").status == 429
    assert room.say(bob.renewal(), address="10.0.0.2").status == 200
    assert room.paths() == ["a", "b", "c", "d"]
    assert room.say(ann.delta([], [("a", cid_of("one"))])).status == 200
    assert room.say(bob.renewal(), address="10.0.0.1").status == 200


def test_a_list_may_be_sent_again_however_full_the_quota(ann: Announcer) -> None:
    room = Room(Limits(files=3))
    items = [ann.own(name, name) for name in "abc"]
    room.tell(ann, *items, page=1)
    room.tell(ann, *items, page=1)
    assert room.say(ann.delta([ann.own("d", "d")], [("a", cid_of("a"))])).status == 200


def test_long_rows_count_more(ann: Announcer) -> None:
    room = Room(Limits(files=10))
    long = "/".join(["x" * 250] * 12)
    assert [room.say(message).status for message in ann.whole(*(ann.own(f"{long}{n}", "y") for n in range(4)))] == [429]


def test_a_tracker_has_an_end_too(room: Room, ann: Announcer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "MAX_LEASES", 2)
    for n in range(4):
        peer = Announcer(f"peer{n}")
        outcome = [room.say(message, f"10.0.1.{n}").status for message in peer.whole(peer.own(f"f{n}", "x"))]
        assert outcome == [200 if n < 2 else 429]
    assert room.paths() == ["f0", "f1"]


def test_quotas_are_given_back(room: Room) -> None:
    for n in range(5):
        peer = Announcer(f"peer{n}")
        room.tell(peer, *(peer.own(f"{n}/{m}", f"{m}") for m in range(3)), page=2)
        assert room.say(peer.delta([peer.own("more", "m")], [(f"{n}/1", cid_of("1"))]), "10.0.0.9").status == 200
        room.say(peer.whole(peer.own("z", "z"), page=1)[0], "10.0.0.9")
        peer.whole(peer.own("z", "z"), peer.own("y", "y"), page=1)
    room.now += TTL
    room.store.sweep()
    assert room.store._leases._quotas._usage == {}
    assert not room.store._leases.under_way


# Giving up a copy


def test_a_copy_may_go_only_while_another_has_it(room: Room, ann: Announcer) -> None:
    bob = Announcer("bob")
    item = ann.own("a", "one")
    room.tell(ann, item)
    room.tell(bob, bob.copy("a", "one", item.revs), bob.own("b", "two"))
    assert room.store.evict(Evict(ann.id, cid_of("one"))) == Evicted(False, ann.sequence)  # her own
    assert room.store.evict(Evict(bob.id, cid_of("one"))) == Evicted(True, bob.sequence + 1)
    assert [peer.id for peer in room.store.holders(cid_of("one")).holders] == [ann.id]
    bob.delta([], [("a", cid_of("one"))])
    assert room.say(bob.renewal()).status == 200  # the tracker took that number and this digest
    assert room.store.evict(Evict(cid_of("nobody"), cid_of("one"))) is None


def test_of_two_copies_one_stays(room: Room, ann: Announcer) -> None:
    bob = Announcer("bob")
    for peer in (ann, bob):
        room.tell(peer, peer.copy("a", "one", {cid_of("gone"): 1}))
    assert room.store.evict(Evict(ann.id, cid_of("one"))) == Evicted(True, ann.sequence + 1)
    assert room.store.evict(Evict(bob.id, cid_of("one"))) == Evicted(False, bob.sequence)


def test_parts_are_no_whole_copy(room: Room, ann: Announcer) -> None:
    bob = Announcer("bob")
    room.tell(ann, ann.copy("a", "one", {}))
    room.tell(bob, bob.copy("a", "one", {}, kind="partial"))
    assert room.store.evict(Evict(ann.id, cid_of("one"))) == Evicted(False, ann.sequence)
    holders = room.store.holders(cid_of("one"))
    assert ([peer.id for peer in holders.holders], [peer.id for peer in holders.partial]) == ([ann.id], [bob.id])


# Settling


def test_a_new_catalogue_settles_for_one_ttl(room: Room, ann: Announcer) -> None:
    assert room.settling()
    room.tell(ann)
    room.now += TTL - 0.1
    assert room.settling()
    room.now += 0.2
    assert not room.settling()


def test_it_settles_on_while_a_list_is_under_way(room: Room, ann: Announcer) -> None:
    parts = ann.whole(*(ann.own(f"{n}", "x") for n in range(9)), page=1)
    for part in parts[:-1]:
        assert room.say(part).status == 200
        room.now += 10
        assert room.settling() == (room.now < 100 + TTL or room.now < 220)
    assert room.say(parts[-1]).status == 200
    assert not room.settling()


def test_it_settles_on_while_announcers_are_put_off_but_not_for_ever(room: Room, ann: Announcer) -> None:
    while room.now < 215:
        room.now += 5
        assert room.say(ann.renewal()).need == "all"
        assert room.settling()
    room.now = 221
    assert room.say(ann.renewal()).need == "all"
    assert not room.settling()


# What cannot be right


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", "a~b", "a\x1b[2Jb", "a\u202eb", "a\nb"], ids=["", "/", "..", "~", "esc", "bidi", "lf"]
)
def test_bad_peer_names(room: Room, ann: Announcer, name: str) -> None:
    with pytest.raises(DataError):
        room.say(ann.message(name=name, part=0, last=True))
    assert room.peers() == []


def test_names_are_logged_so_that_they_steer_nothing(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """A name may have characters that nobody sees; in the log they are seen."""
    peer = Announcer("an\u200bn")
    with caplog.at_level(logging.INFO):
        room.tell(peer, peer.own("a", "one"))
        assert room.store.leave(Leave(peer.id, peer.epoch)).status == 200
        room.tell(peer, peer.own("a", "one"))
        room.now += TTL
        room.store.sweep()
        room.store.refresh_seed("5" * 64, "b\u200bx", {}, Where("10.0.0.1", "10.0.0.1", "http://10.0.0.1:7000"))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 5
    assert all(line.isprintable() and "\\u200b" in line for line in said)


@pytest.mark.parametrize("path", ["../a", "/a", "a//b", "a/./b", "a\0", "a\x1b[m", "\u202ea", ".shoal/x", "e\u0301"])
def test_bad_paths(room: Room, ann: Announcer, path: str) -> None:
    with pytest.raises(DataError):
        room.say(ann.whole(ann.own(path, "x"))[0])
    assert room.paths() == []


def test_nobody_owns_in_anothers_name(room: Room, ann: Announcer) -> None:
    item = replace(ann.own("a", "one"), revs={cid_of("another"): 5})
    with pytest.raises(DataError):
        room.say(ann.whole(item)[0])


def test_mixtures_of_the_three_forms(room: Room, ann: Announcer) -> None:
    room.tell(ann)
    for more in ({"base": 0, "part": 0}, {"put": [ann.own("a", "x")]}, {"part": 0, "drop": [("a", cid_of("x"))]}):
        with pytest.raises(DataError):
            room.say(ann.message(**more))


# Peers of the seed's protocol


def seed(room: Room, files: dict[str, str], port: int = 1, limits: str = "10.0.0.5") -> Outcome:
    where = Where(limits, limits, f"http://{limits}:{port}")
    return room.store.refresh_seed(cid_of(f"seed{port}"), "seed", files, where)


def test_a_seed_peer_says_all_each_time(room: Room) -> None:
    assert seed(room, {"a": sha1_of("one"), "b": sha1_of("two")}).status == 200
    version = room.store.state().version
    room.now_ns += 10**9
    assert seed(room, {"a": sha1_of("one"), "b": sha1_of("two")}).status == 200
    assert room.store.state().version == version
    assert seed(room, {"b": sha1_of("two")}).status == 200
    assert room.paths() == ["b"]
    room.now += TTL
    assert room.paths() == []


def test_a_seed_file_merges_with_an_entry_of_equal_path_and_sha1(room: Room, ann: Announcer) -> None:
    seed(room, {"a": sha1_of("one"), "b": sha1_of("two")})
    room.tell(ann, ann.own("a", "one", size=77), ann.own("b", "other"))
    files = room.store.files("", "", 10, "").files
    assert [(file.path, file.cid, file.size, len(file.holders)) for file in files if file.path == "a"] == [
        ("a", cid_of("one"), 77, 2)
    ]
    assert {(file.cid, file.size) for file in files if file.path == "b"} == {("", None), (cid_of("other"), 3)}
    holders = room.store.holders(cid_of("one")).holders
    assert {peer.seed for peer in holders} == {True, False}
    seed(room, {"b": sha1_of("two")})
    assert [peer.seed for peer in room.store.holders(cid_of("one")).holders] == [False]
    room.now += TTL
    room.store.sweep()
    assert room.store._catalogue._contents._holders == {}


def test_a_copy_of_a_seed_file_gives_way_when_its_sha1_changes(room: Room, ann: Announcer) -> None:
    seed(room, {"a": sha1_of("one")})
    (file,) = room.store.files("", "", 10, "").files
    room.tell(ann, ann.copy("a", "one", {file.owners[0].id: file.owners[0].rev}))
    (merged,) = room.store.files("", "", 10, "").files
    assert (merged.cid, len(merged.holders)) == (cid_of("one"), 2)
    seed(room, {"a": sha1_of("new")})
    (newer,) = room.store.files("", "", 10, "").files
    assert (newer.cid, newer.sha1, newer.size) == ("", sha1_of("new"), None)
    room.now += TTL - 1
    assert room.say(ann.renewal()).status == 200
    room.now += 1
    (left,) = room.store.files("", "", 10, "").files
    assert left.cid == cid_of("one")


def test_a_seed_peer_has_quotas_too() -> None:
    room = Room(Limits(leases=1, files=2))
    assert seed(room, {"a": sha1_of("one")}).status == 200
    assert seed(room, {str(n): sha1_of("x") for n in range(3)}).status == 429
    assert seed(room, {"b": sha1_of("two")}, port=2).status == 429
    assert room.paths() == ["a"]


def test_cids_made_up_for_seed_files_are_never_shown(room: Room) -> None:
    seed(room, {"a": sha1_of("one")})
    changes = room.store.changes(None)
    assert changes is not None
    assert changes.paths[0][1][0].cid == ""
    assert changes.paths[0][1][0].size is None


# A tracker that was stopped itself


def test_a_tracker_that_was_stopped_delists_nobody_for_it(ann: Announcer) -> None:
    room = Room()
    clock = PatientClock(lambda: room.now)
    room.store = MemoryStore(TTL, Limits(), timer=clock, clock=lambda: room.now_ns)

    def run(seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            room.now += 0.5
            room.store.sweep()

    room.tell(ann, ann.own("a", "one"))
    run(TTL - 5)
    room.now += 1000  # SIGSTOP
    room.store.sweep()
    assert room.peers() == ["ann"]
    run(2)
    assert room.peers() == ["ann"]
    assert room.settling()
    run(4)
    assert room.peers() == []
