"""`shoal pin`, `unpin`, `evict`, `free` and `du` as people and programs see them: what is said, and how it ends."""

import os

import pytest

from tests.support.cached import fetch, holders, said, settled, shoal
from tests.support.cluster import Cluster, Peer, Tracker
from tests.support.faults import content, share
from tests.support.faults import settled as knows_all
from tests.support.patience import until

pytestmark = [pytest.mark.real, pytest.mark.mount]
MIB = 1 << 20
FILES = {"d/one": MIB, "d/two": MIB, "e/f": 5000, "last": 3000}
MINE = b"ben's own"


class Net:
    """Anna owns files, of which Ben has copies; of `last` his is the only one. `mine` is his own."""

    def __init__(self, cluster: Cluster) -> None:
        self.tracker: Tracker = cluster.tracker("--ttl", "3", "--refresh", "0.5")
        for path, size in FILES.items():
            share(cluster, "anna", path, content(path, size))
        share(cluster, "ben", "mine", MINE)
        self.anna = cluster.peer("anna", "--no-mount")
        self.ben: Peer = cluster.peer("ben", "--cache-limit", "64M")
        for path in (*FILES, "mine"):
            self.ben.wait_for(path)
        self.all_here()
        (self.anna.local / "last").unlink()
        until(lambda: holders(self.tracker)["last"] == ["ben"], 15, "Ben has the last copy")
        settled(self.tracker)
        knows_all(self.ben)

    def all_here(self) -> None:
        """Ben has copies of all again."""
        if not all((self.ben.local / path).exists() for path in FILES):
            fetch(self.ben, "")
        until(lambda: all("ben" in who for who in holders(self.tracker).values()), 15, "all is told")


@pytest.fixture(scope="module")
def shared_net(shared_cluster: Cluster) -> Net:
    return Net(shared_cluster)


@pytest.fixture
def net(shared_net: Net) -> Net:
    """All copies are here."""
    if shared_net.tracker.running:
        shared_net.all_here()
    return shared_net


def test_what_is_given_up_is_said_and_gone_and_not_here_is_no_error(net: Net) -> None:
    assert said(net.ben, "evict", "/d/one/") == (0, "d/one: given up\ngiven up: 1 files, 1.0 MiB\n", "")
    assert not (net.ben.local / "d/one").exists()
    assert said(net.ben, "evict", "d/one") == (0, "d/one: not here\ngiven up: 0 files, 0 B\n", "")
    code, told = shoal(net.ben, "evict", "d", "e/f")
    assert code == 0
    assert [(result["path"], result["bytes"], result["outcome"]) for result in told["results"]] == [
        ("d/two", MIB, "evicted"),
        ("e/f", 5000, "evicted"),
    ]
    assert sorted(os.listdir(net.ben.local)) == [".shoal", "last", "mine"], "folders made for copies are gone too"
    until(lambda: holders(net.tracker)["d/two"] == ["anna"], 5, "it is not listed")


def test_what_may_not_go_is_one_error_and_stays(net: Net) -> None:
    for path, why in (("mine", "yours"), ("last", "nobody else has all of it")):
        assert said(net.ben, "evict", path) == (1, "", f"shoal: {path}: {why}: it stays\n")
        code, told = shoal(net.ben, "evict", path)
        ((only,), outcome) = told["results"], {"mine": "own"}.get(path, path)
        assert (code, only["path"], only["outcome"]) == (1, path, outcome)
    with open(net.ben.mount / "e/f", "rb") as held:
        assert said(net.ben, "evict", "e/f") == (1, "", "shoal: e/f: open: it stays\n")
        assert held.read() == content("e/f", 5000)
    code, out, error = said(net.ben, "evict", "last", "e/f")
    assert (code, out) == (1, "e/f: given up\ngiven up: 1 files, 4.9 KiB\n"), "the others go all the same"
    assert error == "shoal: last: nobody else has all of it: it stays\n"
    assert (net.ben.local / "mine").read_bytes() == MINE
    assert (net.ben.local / "last").read_bytes() == content("last", 3000)
    assert holders(net.tracker)["last"] == holders(net.tracker)["mine"] == ["ben"]


def failed(net: Net, *words: str) -> tuple[int, str, str]:
    """(exit code, output, the error without who said so), of which there is one line."""
    code, out, error = said(net.ben, *words)
    assert error.startswith("shoal: ") and error.count("\n") == 1, error
    return code, out, error.removeprefix("shoal: ").removeprefix(f"{net.ben.http} answered ").rstrip("\n")


def test_a_path_that_does_not_exist_is_one_error(net: Net) -> None:
    for verb in ("pin", "evict", "du"):
        assert failed(net, verb, "d/nowhere") == (4, "", "404: no such path: d/nowhere")
        assert failed(net, verb, "d/nowhere", "--json")[::2] == (4, "404: no such path: d/nowhere")
    code, out, error = said(net.ben, "evict", "nowhere", "d/one", "nothing")
    assert (code, out) == (4, "d/one: given up\ngiven up: 1 files, 1.0 MiB\n"), "the others go all the same"
    assert error.count("no such path: nowhere\n") == error.count("no such path: nothing\n") == 1
    assert failed(net, "pin", "../mine")[:2] == (4, "")


def test_pins_are_said_counted_and_taken_back(net: Net) -> None:
    assert said(net.ben, "pin", "d") == (0, "pinned: d\n", "")
    assert said(net.ben, "pin", "d") == (0, "pinned: d\n", ""), "again is harmless"
    assert shoal(net.ben, "pin", "/e/f") == (0, {"path": "e/f", "pinned": True})
    code, told = shoal(net.ben, "du")
    assert (code, told["pins"], told["pinned"]) == (0, ["d", "e/f"], {"files": 3, "bytes": 2 * MIB + 5000})
    assert said(net.ben, "evict", "d/two") == (1, "", "shoal: d/two: pinned: it stays\n")
    assert failed(net, "unpin", "d/two") == (1, "", "403: d/two is pinned with d: unpin that")
    assert shoal(net.ben, "free", "--keep", "1") == (0, {"keep": 1, "results": [], "kept": 4})
    until(
        lambda: {file["path"] for file in _listed(net.tracker) if file["pinned"]} == {"d/one", "d/two", "e/f"},
        5,
        "it is told",
    )
    assert shoal(net.ben, "unpin", "d") == (0, {"path": "d", "pinned": False})
    assert said(net.ben, "unpin", "e/f") == (0, "not pinned any more: e/f\n", "")
    assert failed(net, "unpin", "e/f") == (4, "", "404: not pinned: e/f")
    assert failed(net, "unpin", "nowhere") == (4, "", "404: not pinned: nowhere")
    assert shoal(net.ben, "du")[1]["pinned"] == {"files": 0, "bytes": 0}
    assert said(net.ben, "pin", "e") == (0, "pinned: e\n", "")
    assert said(net.ben, "pin", "/") == (0, "pinned: everything\n", "")
    assert shoal(net.ben, "du")[1]["pinned"]["files"] == 4
    assert said(net.ben, "unpin", "/") == (0, "not pinned any more: everything\n", "")
    told = shoal(net.ben, "du")[1]
    assert (told["pins"], told["pinned"]["files"]) == ([], 0), "those beneath as well"
    assert said(net.ben, "evict", "d/two")[0] == 0


def _listed(tracker: Tracker) -> list[dict[str, object]]:
    files: list[dict[str, object]] = tracker.get("/v1/files")["files"]
    return files


def test_free_gives_up_what_so_many_others_have(net: Net) -> None:
    assert said(net.ben, "free", "--keep", "2") == (0, "given up: 0 files, 0 B\n", "")
    assert shoal(net.ben, "free", "--keep", "2") == (0, {"keep": 2, "results": [], "kept": 4})
    assert said(net.ben, "free")[0] == said(net.ben, "free", "--keep", "0")[0] == 2
    code, out, error = said(net.ben, "free", "--keep", "1")
    *lines, last = out.splitlines()
    assert (code, error, last) == (0, "", "given up: 3 files, 2.0 MiB")
    assert sorted(lines) == ["d/one: given up", "d/two: given up", "e/f: given up"]
    assert sorted(os.listdir(net.ben.local)) == [".shoal", "last", "mine"]


def test_du_counts_what_is_kept(net: Net) -> None:
    code, told = shoal(net.ben, "du")
    assert code == 0
    assert told["own"] == {"files": 1, "bytes": len(MINE)}
    assert told["copies"] == {"files": 4, "bytes": sum(FILES.values())}
    assert told["pinned"] == told["partial"] == {"files": 0, "bytes": 0}
    assert (told["limits"]["used"], told["limits"]["limit"]) == (2 * MIB + 8192 + 4096, 64 * MIB)
    assert shoal(net.ben, "du", "d/one")[1]["copies"] == {"files": 1, "bytes": MIB}
    code, out, error = said(net.ben, "du", "d")
    lines = [line.split() for line in out.splitlines()]
    assert (code, error) == (0, "")
    assert lines[:-1] == [
        ["FILES", "SIZE"],
        ["own", "0", "0", "B"],
        ["copies", "2", "2.0", "MiB"],
        ["pinned", "0", "0", "B"],
        ["partial", "0", "0", "B"],
    ]
    assert out.splitlines()[-1].startswith("cache: 2.0 MiB of 64.0 MiB; disk: ")


def test_without_a_tracker_nothing_goes_and_trying_again_may_help(net: Net) -> None:
    net.tracker.kill()
    stays = "no tracker can tell yet whether another has all of it: it stays; try again"
    assert said(net.ben, "evict", "d/one") == (5, "", f"shoal: d/one: {stays}\n")
    code, told = shoal(net.ben, "evict", "d/one")
    assert (code, told["results"][0]["outcome"]) == (5, "later")
    until(lambda: failed(net, "free", "--keep", "1") == (5, "", "503: no tracker answers; try again"), 5, "it knows")
    assert (net.ben.local / "d/one").read_bytes() == content("d/one", MIB)
    assert said(net.ben, "pin", "d/one") == (0, "pinned: d/one\n", ""), "pins are this peer's own business"
