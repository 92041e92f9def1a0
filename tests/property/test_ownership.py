"""Owners, copies, withdrawals and leases that end and return, in any order, at one path.

The world below is written from the words of the design alone ("Owners and copies"): each peer has a disk, which
stays when its lease ends; what is listed is asked of `resolve` and compared with what the words say.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.manifest import NOTHING_CID
from shoal.ownership import Version, is_withdrawn, next_rev, resolve
from shoal.wire import MAX_REV, Item

PATH = "data/model.bin"
PEERS = [letter * 64 for letter in "abc"]
CONTENTS = [digit * 64 for digit in "123"]
peers, contents, times = st.sampled_from(PEERS), st.sampled_from(CONTENTS), st.integers(0, 9)


@dataclass
class Disk:
    """What one machine has at the path; `said` are its own statements (rev, cid) since ever, the last is its state."""

    alive: bool = True
    own: tuple[int, str] | None = None
    mtime: int = 0
    said: list[tuple[int, str]] = field(default_factory=list)
    copies: dict[str, tuple[bool, dict[str, int]]] = field(default_factory=dict)
    withdrawn: dict[str, int] = field(default_factory=dict)

    def items(self, peer: str) -> list[Item]:
        """The lines that it announces."""
        nothing = dict(self.withdrawn)
        lines = [
            Item(PATH, cid, "copy" if whole else "partial", 1, self.mtime, "e" * 40, revs=revs)
            for cid, (whole, revs) in self.copies.items()
        ]
        if self.own and self.own[1] == NOTHING_CID:
            nothing[peer] = self.own[0]
        elif self.own:
            lines.append(Item(PATH, self.own[1], "own", 1, self.mtime, "e" * 40, revs={peer: self.own[0]}))
        if nothing:
            lines.append(Item(PATH, NOTHING_CID, "nothing", 0, 0, revs=nothing))
        return lines


class Network(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disks = {peer: Disk() for peer in PEERS}

    # What happens to people's machines.

    @rule(peer=peers, cid=contents, mtime=times, clock=times)
    def user_puts_a_version(self, peer: str, cid: str, mtime: int, clock: int) -> None:
        disk = self.disks[peer]
        disk.copies.pop(cid, None)
        disk.mtime = mtime
        self._say(peer, cid, clock)

    @rule(peer=peers)
    def user_removes_the_file(self, peer: str) -> None:
        disk = self.disks[peer]
        if disk.own and disk.own[1] != NOTHING_CID:
            disk.own = None

    @rule(peer=peers, clock=times)
    def owner_withdraws_the_path(self, peer: str, clock: int) -> None:
        if self.disks[peer].own:
            self._say(peer, NOTHING_CID, clock)

    @rule(peer=peers)
    def lease_ends(self, peer: str) -> None:
        self.disks[peer].alive = False

    @rule(peer=peers)
    def lease_returns(self, peer: str) -> None:
        self.disks[peer].alive = True

    @rule(peer=peers, back=st.integers(1, 3))
    def disk_is_restored_from_a_backup(self, peer: str, back: int) -> None:
        disk = self.disks[peer]
        if len(disk.said) >= back:
            disk.said = disk.said[: len(disk.said) - back + 1]
            disk.own = disk.said[-1]
            disk.copies.pop(disk.own[1], None)

    @rule(peer=peers, clock=times)
    def owner_sees_a_higher_rev_of_its_own(self, peer: str, clock: int) -> None:
        disk = self.disks[peer]
        if disk.alive and disk.own and self._seen(peer) > disk.own[0]:
            self._say(peer, disk.own[1], clock)

    # What the program does with copies.

    @precondition(lambda self: self.listed())
    @rule(peer=peers, whole=st.booleans(), data=st.data())
    def reader_fetches(self, peer: str, whole: bool, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(self.listed()))
        disk = self.disks[peer]
        if disk.alive and version.holders and not (disk.own and disk.own[1] == version.item.cid):
            disk.copies[version.item.cid] = whole, dict(version.owners)

    @rule(peer=peers, cid=contents)
    def superseded_copy_gives_way(self, peer: str, cid: str) -> None:
        disk = self.disks[peer]
        if disk.alive and cid in disk.copies and cid not in self.cids():
            _, revs = disk.copies.pop(cid)
            for owner in revs:
                rev, now = self.current(owner)
                if now == NOTHING_CID and owner != peer:
                    disk.withdrawn[owner] = max(rev, disk.withdrawn.get(owner, 0))

    @rule(peer=peers, cid=contents)
    def copy_is_evicted(self, peer: str, cid: str) -> None:
        self.disks[peer].copies.pop(cid, None)

    # What the words say.

    def living(self) -> dict[str, Disk]:
        return {peer: disk for peer, disk in self.disks.items() if disk.alive}

    def told(self, among: Iterable[str] = PEERS) -> dict[str, list[Item]]:
        return {peer: self.disks[peer].items(peer) for peer in among if self.disks[peer].alive}

    def remembered(self, owner: str) -> set[tuple[int, str]]:
        """What the living remember of an owner: (rev, cid)."""
        by_copies = {
            (revs[owner], cid)
            for disk in self.living().values()
            for cid, (_, revs) in disk.copies.items()
            if owner in revs
        }
        by_nothing = {
            (disk.withdrawn[owner], NOTHING_CID) for disk in self.living().values() if owner in disk.withdrawn
        }
        return by_copies | by_nothing

    def current(self, owner: str) -> tuple[int, str]:
        """What an owner's version is, as far as the living know."""
        disk = self.disks[owner]
        return disk.own if disk.alive and disk.own else max(self.remembered(owner), default=(-1, ""))

    def owners_of(self, cid: str) -> set[str]:
        """Everybody who is known to have put this version there, now or before."""
        told = {peer for peer, disk in self.living().items() if disk.own and disk.own[1] == cid}
        return told | {owner for owner in PEERS if any(known == cid for _, known in self.remembered(owner))}

    def shown(self) -> set[str]:
        """All that a living lease shows, with parts of it and with "nothing"."""
        return {item.cid for items in self.told().values() for item in items}

    def listed(self) -> list[Version]:
        return resolve(self.told())

    def cids(self) -> set[str]:
        return {version.item.cid for version in self.listed()}

    def _seen(self, owner: str) -> int:
        return max((rev for rev, _ in self.remembered(owner)), default=-1)

    def _say(self, peer: str, cid: str, clock: int) -> None:
        disk = self.disks[peer]
        used = disk.said[-1][0] if disk.said else 0
        disk.own = next_rev(used, self._seen(peer) if disk.alive else 0, clock), cid
        disk.said.append(disk.own)
        disk.withdrawn.pop(peer, None)

    # What must hold, always.

    @invariant()
    def what_is_listed_is_what_the_words_say(self) -> None:
        expected = set()
        for cid in self.shown() - {NOTHING_CID}:
            owners = self.owners_of(cid)
            went = {self.current(owner)[1] for owner in owners if self.current(owner)[1] != cid}
            all_moved_on = bool(owners) and all(self.current(owner)[1] != cid for owner in owners)
            if not (all_moved_on and went & self.shown()):
                expected.add(cid)
        assert self.cids() == expected

    @invariant()
    def no_users_file_is_hidden(self) -> None:
        by_cid = {version.item.cid: version for version in self.listed()}
        for peer, disk in self.living().items():
            if disk.own and disk.own[1] != NOTHING_CID:
                version = by_cid[disk.own[1]]
                assert version.owners[peer] == max(disk.own[0], self._seen(peer)) and peer in version.holders
                assert version.item.kind == "own" and version.mtime >= disk.mtime

    @invariant()
    def the_newest_version_that_anybody_alive_has_is_shown(self) -> None:
        for owner in PEERS:
            known = self.remembered(owner)
            if known and not (self.disks[owner].alive and self.disks[owner].own):
                _, newest = max(known)
                assert newest == NOTHING_CID or newest in self.cids()

    @invariant()
    def nothing_superseded_stands_beside_a_newer_version(self) -> None:
        for version in self.listed():
            owners = self.owners_of(version.item.cid)
            assert not owners or any(self.current(owner)[1] == version.item.cid for owner in owners)
            assert set(version.owners) == {o for o in owners if self.current(o)[1] == version.item.cid}

    @invariant()
    def equal_bytes_are_one_entry_with_all_their_holders(self) -> None:
        versions = self.listed()
        assert len({version.item.cid for version in versions}) == len(versions)
        for version in versions:
            have = {peer: item for peer, items in self.told().items() for item in items if item.cid == version.item.cid}
            assert version.holders == sorted(peer for peer, item in have.items() if item.kind != "partial")
            assert version.partial == sorted(peer for peer, item in have.items() if item.kind == "partial")
            own = [item.mtime for item in have.values() if item.kind == "own"]
            assert version.mtime == max(own or [item.mtime for item in have.values()])

    @invariant()
    def the_order_of_arrival_changes_nothing(self) -> None:
        for order in (PEERS[::-1], PEERS[1:] + PEERS[:1]):
            told = {peer: items[::-1] for peer, items in self.told(order).items()}
            assert resolve(told) == self.listed()

    @invariant()
    def a_path_is_withdrawn_when_only_nothing_is_left(self) -> None:
        assert is_withdrawn(self.told()) == (NOTHING_CID in self.shown() and not self.listed())


Network.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestNetwork = Network.TestCase


def own(cid: str, rev: int, peer: str, mtime: int = 0, x: bool = False) -> Item:
    return Item(PATH, cid, "own", 1, mtime, "e" * 40, x, revs={peer: rev})


def copy(cid: str, revs: dict[str, int], mtime: int = 0) -> Item:
    return Item(PATH, cid, "copy", 1, mtime, "e" * 40, revs=revs)


def test_a_copy_of_no_known_owner_is_listed() -> None:
    (version,) = resolve({"b": [copy("1", {})]})
    assert (version.item.cid, version.owners, version.holders) == ("1", {}, ["b"])


def test_an_old_copy_is_hidden_while_the_newer_version_lives_and_comes_back_after() -> None:
    old, new = copy("1", {"a": 1}), own("2", 2, "a")
    assert [version.item.cid for version in resolve({"a": [new], "b": [old]})] == ["2"]
    assert [version.item.cid for version in resolve({"b": [old]})] == ["1"]


def test_what_a_living_owner_says_outweighs_what_copies_remember() -> None:
    listed = resolve({"a": [own("1", 1, "a")], "b": [copy("2", {"a": MAX_REV})]})
    assert [version.item.cid for version in listed] == ["1"]


@pytest.mark.parametrize("newest", ["1", "2"])
def test_of_two_remembered_versions_the_higher_rev_is_the_newer(newest: str) -> None:
    copies = {"b": [copy("1", {"a": 2 if newest == "1" else 1})], "c": [copy("2", {"a": 2 if newest == "2" else 1})]}
    assert [version.item.cid for version in resolve(copies)] == [newest]


def test_a_living_owners_withdrawal_outweighs_what_copies_remember() -> None:
    nothing = Item(PATH, NOTHING_CID, "nothing", 0, 0, revs={"a": 2})
    assert resolve({"a": [nothing], "b": [copy("1", {"a": 5})]}) == []
    assert is_withdrawn({"a": [nothing], "b": [copy("1", {"a": 5})]})


def test_which_owners_item_is_shown_does_not_depend_on_order() -> None:
    plain, executable = own("1", 1, "a", mtime=5), own("1", 1, "b", mtime=5, x=True)
    assert resolve({"a": [plain], "b": [executable]}) == resolve({"b": [executable], "a": [plain]})


@pytest.mark.parametrize("seen", [MAX_REV - 1, MAX_REV])
def test_an_invented_rev_does_not_silence_the_owner(seen: int) -> None:
    assert next_rev(3, seen, 1_700_000_000_000) == MAX_REV
    assert next_rev(3, 9, 5) == 10
