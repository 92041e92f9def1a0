"""Rot on the disks of real peers: found, given to nobody, repaired from others."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from shoal.manifest import manifest_of
from tests.support.cluster import ROOT, Cluster, Peer, Tracker
from tests.support.faults import QUICK, content, settled, share
from tests.support.patience import until
from tests.support.rot import rot

pytestmark = [pytest.mark.real, pytest.mark.mount]
TWO, THREE, FOUR = (content(name, size) for name, size in (("2", 2_000_000), ("3", 3_000_000), ("4", 4000)))
ALONE = content("alone", 400_000)
FILES = {"d/two": TWO, "d/three": THREE, "d/four": FOUR, "alone": ALONE}


class Net:
    """Anna owns files, and Ben has copies of them; some of both rotted while they were off.

    Ben's are d/two, and `alone`, which Anna has no more; Anna's are d/three and d/four.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.tracker: Tracker = cluster.tracker(*QUICK)
        for path, data in FILES.items():
            share(cluster, "anna", path, data)
        self.anna = cluster.peer("anna", "--scrub-every", "0")
        self.ben = cluster.peer("ben", "--scrub-every", "0")
        self.seen(self.ben)
        scrub(self.ben, "warm", "d", "alone")
        for peer in (self.anna, self.ben):
            peer.stop()
        (self.anna.local / "alone").unlink()
        rot(self.ben.local, "d/two", 1_000_000)
        rot(self.ben.local, "alone", 7)
        rot(self.anna.local, "d/three", len(THREE) - 1)
        rot(self.anna.local, "d/four", 0)
        for peer in (self.anna, self.ben):
            peer.restart()
        for peer in (self.anna, self.ben):
            self.seen(peer)

    @staticmethod
    def seen(peer: Peer) -> None:
        """Waits until the peer knows all of both shares."""
        settled(peer)
        for path, data in FILES.items():
            peer.wait_for(path, len(data))
        until(lambda: peer.status()["share"]["scan"]["done"], 20, "the scan is done")

    def holders(self, data: bytes) -> list[str]:
        """Who the tracker says has all of these bytes."""
        found = self.tracker.get(f"/v1/holders/{manifest_of(data).cid}")["holders"]
        return sorted(peer["name"] for peer in found)


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Net:
    return Net(shared_cluster)


def scrub(peer: Peer, *words: str, code: int = 0) -> Any:
    """The last line of JSON."""
    command = [str(Path(sys.executable).parent / "shoal"), "--peer", peer.http, *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == code, (words, done)
    return json.loads(done.stdout.splitlines()[-1])


def given(peer: Peer, target: str) -> bytes | int:
    """What the data port gives, or the status with which it refuses."""
    try:
        with urllib.request.urlopen(f"{peer.url.rstrip('/')}/{target}", timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_rotten_copy_is_fetched_again_from_its_owner(net: Net) -> None:
    assert (net.ben.local / "d/two").read_bytes() != TWO
    line = scrub(net.ben, "scrub", "d", code=1)
    (found,) = line["failed"]
    assert (found["path"], found["kind"], found["outcome"]) == ("d/two", "copy", "fetched again")
    assert "piece 3 of 8" in found["why"]
    assert (line["files"], line["changed"]) == (3, 0)
    assert (net.ben.local / "d/two").read_bytes() == TWO
    assert len(list((net.ben.local / ".shoal/quarantine").iterdir())) == 1
    until(lambda: net.holders(TWO) == ["anna", "ben"], 10, "it is told as a copy again")
    assert scrub(net.ben, "scrub", "d")["failures"] == 0
    assert net.ben.metric("shoal_rotten_total") == 1
    assert net.ben.metric("shoal_scrubbed_bytes_total") >= len(TWO) + len(THREE)


def test_what_nobody_else_has_is_said_to_be_lost(net: Net) -> None:
    assert net.holders(ALONE) == ["ben"], "the last copy"
    (found,) = scrub(net.ben, "scrub", "alone", code=1)["failed"]
    assert found["outcome"].startswith("not to be had: ")
    assert not (net.ben.local / "alone").exists()
    kept = [len(file.read_bytes()) for file in (net.ben.local / ".shoal/quarantine").iterdir()]
    assert len(ALONE) in kept, "what there is of it is not thrown away"
    assert net.ben.said("not to be had")


def test_ones_own_rotten_file_is_reported_and_given_to_nobody(net: Net) -> None:
    rotten = (net.anna.local / "d/three").read_bytes()
    content_route = f"v1/content/{manifest_of(THREE).cid}"
    assert given(net.anna, content_route) == rotten, "nobody knows yet"
    (found,) = scrub(net.anna, "scrub", "d/three", code=1)["failed"]
    assert (found["path"], found["kind"]) == ("d/three", "own")
    assert given(net.anna, content_route) == given(net.anna, "d/three") == 404
    until(lambda: net.holders(THREE) == ["ben"], 10, "it is not told as held")
    status = net.anna.status()["scrub"]
    assert status["rotten_own"] == ["d/three"] and status["rotten_found"] == 1
    assert net.anna.metric("shoal_rotten_own_files") == 1
    assert net.anna.said("rotten: d/three")
    # Whoever reads it, here as elsewhere, gets the right bytes from the one who has them.
    assert net.anna.cat("d/three") == THREE
    assert net.ben.cat("d/three") == THREE
    assert (net.anna.local / "d/three").read_bytes() == rotten, "never replaced without being asked"
    # So it stays after a start,
    net.anna.stop()
    net.anna.restart()
    net.anna.wait_for("d/three", len(THREE))
    until(lambda: net.anna.status()["share"]["scan"]["done"], 20, "the scan is done")
    assert given(net.anna, content_route) in (404, THREE), "what Anna read just now is right"
    assert net.anna.cat("d/three") == THREE
    # until its owner does something about it: here, says that this is what is meant.
    os.utime(net.anna.local / "d/three")
    until(lambda: net.holders(rotten) == ["anna"], 20, "it is hashed as new")
    until(lambda: net.ben.cat("d/three") == rotten, 20, "it is the newer version")


def test_a_rotten_file_of_ones_own_that_goes_is_read_from_others_and_kept(net: Net) -> None:
    (found,) = scrub(net.anna, "scrub", code=1)["failed"]
    assert found["path"] == "d/four"
    (net.anna.local / "d/four").unlink()
    until(lambda: not net.anna.status()["scrub"]["rotten_own"], 15, "it is gone")
    scrub(net.anna, "warm", "d/four")
    assert (net.anna.local / "d/four").read_bytes() == FOUR
    until(lambda: net.holders(FOUR) == ["anna", "ben"], 10, "both have it")


def test_a_pass_that_nobody_asked_for_repairs_as_well(net: Net) -> None:
    net.ben.stop()
    net.ben.command[net.ben.command.index("--scrub-every") + 1] = "3"
    rot(net.ben.local, "d/two", 5)
    net.ben.restart()
    until(lambda: (net.ben.status()["scrub"]["found"] or [{}])[0].get("outcome") == "fetched again", 30, "it is mended")
    assert (net.ben.local / "d/two").read_bytes() == TWO
    until(lambda: net.ben.status()["scrub"]["pass"]["last"], 20, "the pass ends, and that is said")
    assert net.ben.metric("shoal_scrub_last_pass_seconds") > 1e9
