"""Files removed, withdrawn, changed and shared twice: what becomes of copies, and that no user's file is lost."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.cluster import ROOT, Cluster, Peer, Tracker
from tests.support.faults import QUICK, content, helpers, settled, share, told
from tests.support.patience import until

pytestmark = [pytest.mark.mount, pytest.mark.real]
SIZE = 400_000


@dataclass
class Net:
    """anna owns, ben and cleo have copies; all three look."""

    tracker: Tracker
    anna: Peer
    ben: Peer
    cleo: Peer

    @property
    def all(self) -> tuple[Peer, Peer, Peer]:
        return self.anna, self.ben, self.cleo

    def copied(self, path: str, *readers: Peer) -> bytes:
        """A file of anna's, of which these have whole copies that the tracker knows."""
        data = content(path, SIZE)
        self.anna.put(path, data)
        for reader in readers:
            reader.wait_for(path)
            assert reader.cat(path) == data
            reader.wait_kept(path)
        until(lambda: self.holders(path) == 1 + len(readers), 15, "all holders are listed")
        return data

    def listed(self, path: str) -> list[dict[str, object]]:
        """The tracker's entries at a path."""
        found = self.tracker.get(f"/v1/files?prefix={path}")["files"]
        return [file for file in found if file["path"] == path]

    def holders(self, path: str) -> int:
        return sum(len(entry["holders"]) for entry in self.listed(path))  # type: ignore[arg-type,misc]


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Iterator[Net]:
    tracker = shared_cluster.tracker(*QUICK)
    for name in ("anna", "ben", "cleo"):
        share(shared_cluster, name, f"{name}.txt", b"here")
    made = [shared_cluster.peer(name, wait=False) for name in ("anna", "ben", "cleo")]
    for peer in made:
        peer.wait_ready()
    for peer in made:
        settled(peer)
    yield Net(tracker, *made)


def shoal(peer: Peer, *words: str) -> "subprocess.CompletedProcess[str]":
    """The `shoal` command, told to talk to this peer."""
    command = [str(ROOT / ".venv/bin/shoal"), "--peer", peer.http, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_copies_stay_when_the_owner_removes_its_own(net: Net) -> None:
    data = net.copied("removed", net.ben)
    (net.anna.local / "removed").unlink()
    until(lambda: net.holders("removed") == 1, 15, "the owner holds it no more")
    for peer in net.all:
        assert peer.sees("removed")
        assert peer.cat("removed") == data


def test_copies_go_when_the_owner_forgets(net: Net) -> None:
    net.copied("forgotten", net.ben, net.cleo)
    refused = shoal(net.ben, "forget", "forgotten")
    assert refused.returncode == 1, refused
    assert shoal(net.anna, "forget", "no-such-path").returncode == 4
    done = shoal(net.anna, "forget", "forgotten")
    assert done.returncode == 0, done.stderr
    for peer in net.all:
        peer.wait_gone("forgotten", 15)
    for peer in (net.ben, net.cleo):
        until(lambda peer=peer: not (peer.local / "forgotten").exists(), 15, f"{peer.name}'s copy is gone")  # type: ignore[misc]
    assert not net.listed("forgotten")


def test_what_was_forgotten_does_not_come_back_with_a_copy_that_slept(net: Net) -> None:
    net.copied("asleep", net.cleo)
    assert net.cleo.stop() == 0
    assert shoal(net.anna, "forget", "asleep").returncode == 0
    net.ben.wait_gone("asleep", 15)
    net.cleo.restart()
    settled(net.cleo)
    until(lambda: not (net.cleo.local / "asleep").exists(), 15, "cleo's copy is gone")
    for peer in net.all:
        peer.wait_gone("asleep", 15)


def test_a_copy_goes_though_the_scanner_died_when_it_was_told(net: Net) -> None:
    net.copied("told", net.ben)
    scanner = helpers(net.ben)["peer.share.scanner"]
    os.kill(scanner, signal.SIGSTOP)
    assert shoal(net.anna, "forget", "told").returncode == 0
    net.ben.wait_gone("told", 15)
    time.sleep(0.5)  # it was told, and did not hear it
    os.kill(scanner, signal.SIGKILL)
    until(lambda: not (net.ben.local / "told").exists(), 10, "ben's copy is gone")


def test_a_changed_file_supersedes_its_copies(net: Net) -> None:
    old = net.copied("changed", net.ben)
    new = content("changed again", SIZE + 1)
    net.anna.put("changed", new)
    for peer in net.all:
        peer.wait_for("changed", len(new))
        assert [name for name in peer.ls() if name.startswith("changed")] == ["changed"]
    assert len(net.listed("changed")) == 1
    assert net.cleo.cat("changed") == new
    # Who has only the old one keeps it until it has the new one.
    assert old in [file.read_bytes() for file in net.ben.local.rglob("*") if file.is_file()]
    assert net.ben.cat("changed") == new
    until(lambda: (net.ben.local / "changed").read_bytes() == new, 15, "the new copy takes the old one's place")


def test_an_old_copy_is_listed_again_when_nobody_alive_has_the_new_one(net: Net) -> None:
    old = net.copied("old", net.ben)
    new = content("new", SIZE + 1)
    net.anna.put("old", new)
    for peer in net.all:
        peer.wait_for("old", len(new))
    net.anna.kill()
    try:
        net.cleo.wait_for("old", len(old), 30)
        assert net.cleo.cat("old") == old
        assert net.ben.cat("old") == old
    finally:
        net.anna.restart()
    for peer in net.all:
        peer.wait_for("old", len(new))
    assert net.cleo.cat("old") == new


def test_two_owners_with_different_bytes_are_both_shown_everywhere(net: Net) -> None:
    ours, theirs = content("anna's", SIZE), content("ben's", SIZE + 1)
    net.anna.put("dir/two.txt", ours)
    net.ben.put("dir/two.txt", theirs)
    os.utime(net.anna.local / "dir/two.txt", (2_000_000_000 - 10**9, 10**9))
    os.utime(net.ben.local / "dir/two.txt", (2_000_000_000 - 10**9, 10**9 + 5))
    for peer in net.all:
        peer.wait_for("dir/two~anna.txt", len(ours))
        peer.wait_for("dir/two.txt", len(theirs))
        assert peer.ls("dir") == ["two.txt", "two~anna.txt"]
        assert peer.cat("dir/two.txt") == theirs and peer.cat("dir/two~anna.txt") == ours
        assert told(peer, "dir/two.txt", "owners") == "ben"
    # Each user's own file is what it was.
    assert (net.anna.local / "dir/two.txt").read_bytes() == ours
    assert (net.ben.local / "dir/two.txt").read_bytes() == theirs
    assert not (net.cleo.local / "dir/two~anna.txt").exists(), "a shown name is never written"
    os.utime(net.anna.local / "dir/two.txt", (10**9, 10**9 + 9))  # the newest wins, everywhere
    for peer in net.all:
        peer.wait_for("dir/two~ben.txt", len(theirs))
        assert peer.ls("dir") == ["two.txt", "two~ben.txt"]
        assert peer.cat("dir/two.txt") == ours


def test_a_users_own_file_is_never_overwritten_by_a_download(net: Net) -> None:
    """Though it appears while the download of the same path is under way, and before anybody heard of it."""
    theirs, mine = content("theirs", SIZE * 20), content("mine", 5000)
    net.anna.put("mine.bin", theirs)
    net.cleo.wait_for("mine.bin", len(theirs))
    with open(net.cleo.mount / "mine.bin", "rb", buffering=0) as file:
        begun = file.read(100_000)
        net.cleo.put("mine.bin", mine)
        assert begun + file.readall() == theirs
    until(lambda: {"mine.bin", "mine~anna.bin"} <= set(net.ben.ls()) or "mine~cleo.bin" in net.ben.ls(), 15, "both")
    until(lambda: net.cleo.status()["transfers"]["active"] == 0, 10, "nothing is under way")
    assert (net.cleo.local / "mine.bin").read_bytes() == mine
    net.cleo.kill()
    net.cleo.restart()
    assert (net.cleo.local / "mine.bin").read_bytes() == mine
    other = next(name for name in net.cleo.ls() if name in ("mine~anna.bin", "mine~cleo.bin"))
    assert {net.cleo.cat("mine.bin"), net.cleo.cat(other)} == {mine, theirs}


def test_a_copy_that_its_user_changes_is_the_users(net: Net) -> None:
    net.copied("edited", net.ben)
    mine = b"what ben made of it"
    (net.ben.local / "edited").chmod(0o644)
    (net.ben.local / "edited").write_bytes(mine)
    for peer in net.all:
        peer.wait_for("edited", len(mine))
        peer.wait_for("edited~anna", SIZE)
    assert told(net.cleo, "edited", "owners") == "ben"
    listing = json.loads(shoal(net.cleo, "ls", "edited", "--json").stdout)
    assert [entry["owners"] for entry in listing["entries"]] == [["ben"]]
    assert (net.ben.local / "edited").read_bytes() == mine
