"""`shoal warm` on real peers: what it fetches, says, and ends with."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import ROOT, Cluster, Peer, Tracker
from tests.support.faults import QUICK, content, settled, share
from tests.support.patience import until

pytestmark = [pytest.mark.real, pytest.mark.mount]
BIG = content("big", 9 << 20)
SHOAL = [str(Path(sys.executable).parent / "shoal")]


class Net:
    """Anna owns files, Ben wants them."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.tracker: Tracker = cluster.tracker(*QUICK)
        share(cluster, "anna", "big.bin", BIG)
        share(cluster, "anna", "empty", b"")
        share(cluster, "anna", "same.txt", b"anna's")
        share(cluster, "ben", "same.txt", b"ben's")
        for n in range(200):
            share(cluster, "anna", f"many/{n % 7}/{n}", content(str(n), 3000))
        self.anna, self.ben = cluster.peer("anna"), cluster.peer("ben")
        self.seen()

    def seen(self) -> None:
        settled(self.ben)
        self.ben.wait_for("big.bin", len(BIG))
        until(lambda: self.ben.status()["network"]["files"] >= 203, 20, "all files are listed")


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Net:
    return Net(shared_cluster)


def command(peer: Peer, *words: str) -> list[str]:
    return [*SHOAL, "--peer", peer.http, *words]


def shoal(peer: Peer, *words: str, code: int = 0) -> str:
    """What the command says on both outputs; it ends with that code."""
    done = subprocess.run(command(peer, *words), capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == code, (words, done)
    return done.stdout + done.stderr


def last_line(peer: Peer, *words: str, code: int = 0) -> Any:
    return json.loads(shoal(peer, *words, "--json", code=code).splitlines()[-1])


def test_folders_and_files_are_here_afterwards(net: Net) -> None:
    said = shoal(net.ben, "warm", "many", "big.bin", "empty")
    assert said.startswith("here: 202 of 202 files")
    assert (net.ben.local / "big.bin").read_bytes() == BIG
    assert (net.ben.local / "empty").read_bytes() == b""
    for n in range(200):
        assert (net.ben.local / f"many/{n % 7}/{n}").read_bytes() == content(str(n), 3000)
    fetched = net.ben.fetched()
    line = last_line(net.ben, "warm", "")
    assert (line["done"], line["files"], line["failures"]) == (True, line["files_total"], 0)
    assert line["here"] >= 202 and net.ben.fetched() - fetched < 100, "what was here is not fetched again"


def test_a_version_beside_another_is_fetched_by_its_shown_name(net: Net) -> None:
    names = [name for name in net.anna.ls() if name.startswith("same")]
    beside = next(name for name in names if "~" in name)
    shoal(net.anna, "warm", beside)
    shoal(net.anna, "warm", *names)
    assert {net.anna.cat(name) for name in names} == {b"anna's", b"ben's"}


def test_no_such_path_is_told_apart_from_one_that_fails(net: Net) -> None:
    assert "no such path: nowhere" in shoal(net.ben, "warm", "big.bin", "nowhere", code=4)
    assert "no such path" in shoal(net.ben, "scrub", "nowhere", code=4)
    eve = net.cluster.peer("eve")
    eve.put("of-eve/1", b"nobody else has this")
    eve.put("of-eve/2", b"nor this")
    net.anna.put("of-eve/3", b"anna has this")
    for n in (1, 2, 3):
        net.ben.wait_for(f"of-eve/{n}")
    eve.end()
    line = last_line(net.ben, "warm", "of-eve", code=1)
    assert sorted(failure["path"] for failure in line["failed"]) == ["of-eve/1", "of-eve/2"]
    assert all(failure["why"] for failure in line["failed"])
    assert (net.ben.local / "of-eve/3").read_bytes() == b"anna has this"


def test_interrupted_it_ends_once_and_the_fetch_with_it(net: Net) -> None:
    net.anna.put("huge.bin", content("huge", 30 << 20))
    net.ben.wait_for("huge.bin", 30 << 20)
    net.anna.pause()
    try:
        warming = subprocess.Popen(command(net.ben, "warm", "--json", "huge.bin"), stdout=-1, stderr=-1, cwd=ROOT)
        assert warming.stdout is not None
        assert not json.loads(warming.stdout.readline())["done"]
        warming.send_signal(signal.SIGINT)
        out, err = warming.communicate(timeout=10)
        assert warming.returncode == 130
        assert (err, b'"done": true' in out) == (b"", False)
    finally:
        net.anna.resume()
    fetched = net.ben.fetched()
    time.sleep(2.5)
    assert net.ben.fetched() - fetched <= 16 << 20, "what was under way, and no more"
    assert not (net.ben.local / "huge.bin").exists()
