"""Real peers and folders of 200 small files: how often the holder is asked, what is fetched for nothing, what stays."""

from collections.abc import Iterator

import pytest

from tests.support.cached import holders
from tests.support.cluster import Cluster, Peer
from tests.support.faults import content, share
from tests.support.patience import until

pytestmark = [pytest.mark.mount, pytest.mark.real]
COUNT, SIZE = 200, 20_000
SPARE = 1 << 20
"""Bytes that may be fetched for nothing, and a quarter of what is read."""


def files(folder: str) -> list[str]:
    return [f"{folder}/{number:03}.bin" for number in range(COUNT)]


class Net:
    """Anna has folders of which each reader has one to himself."""

    def __init__(self, cluster: Cluster) -> None:
        for folder in ("all", "begun", "each", "tenth"):
            for name in files(folder):
                share(cluster, "anna", name, content(name, SIZE))
        self.cluster, self.tracker = cluster, cluster.tracker()
        self.anna = cluster.peer("anna")

    def reader(self, name: str, folder: str, *args: str) -> Peer:
        """A peer that has nothing yet."""
        peer = self.cluster.peer(name, *args)
        until(lambda: peer.ls(folder) == [file.rpartition("/")[2] for file in files(folder)], 20, "it sees all")
        return peer

    def asked(self) -> tuple[int, int]:
        """(requests, bytes) that anna answered so far."""
        transfers = self.anna.status()["transfers"]
        return transfers["served_requests"], transfers["served_bytes"]


@pytest.fixture(scope="module")
def net(shared_cluster: Cluster) -> Iterator[Net]:
    yield Net(shared_cluster)


def right(peer: Peer, names: list[str]) -> None:
    for name in names:
        assert peer.cat(name) == content(name, SIZE), name


def ahead(peer: Peer) -> tuple[int, int]:
    """(bytes fetched ahead, bytes of these that were read)."""
    transfers = peer.status()["transfers"]
    return transfers["fetched_ahead_bytes"], transfers["used_ahead_bytes"]


def kept(peer: Peer) -> set[str]:
    """The files in a share."""
    found = [path.relative_to(peer.local) for path in peer.local.rglob("*") if path.is_file()]
    return {str(path) for path in found if path.parts[0] != ".shoal"}


def test_with_no_prefetch_each_file_is_one_request(net: Net) -> None:
    """The first: while nobody else asks anna for anything."""
    cleo = net.reader("cleo", "each", "--no-prefetch")
    before, size = net.asked()
    right(cleo, files("each"))
    until(lambda: net.asked()[1] >= size + COUNT * SIZE, 10, "anna tells what she served")
    assert net.asked() == (before + COUNT, size + COUNT * SIZE)
    assert ahead(cleo) == (0, 0)


def test_a_folder_read_from_its_beginning_to_its_end_is_few_requests(net: Net) -> None:
    ben = net.reader("ben", "all")
    requests, size = net.asked()
    right(ben, files("all"))
    until(lambda: net.asked()[1] >= size + COUNT * SIZE, 10, "anna tells what she served")
    assert net.asked()[0] - requests < COUNT / 3
    fetched, used = ahead(ben)
    assert used > 0.9 * COUNT * SIZE
    assert fetched - used <= SPARE + COUNT * SIZE / 4
    until(lambda: kept(ben) == set(files("all")), 15, "all of it is kept")


def test_who_reads_one_in_ten_does_not_have_the_folder_fetched(net: Net) -> None:
    """Neither by tens, nor three in order out of thirty, as which he looks like one who goes on."""
    dora = net.reader("dora", "tenth")
    names = [name for number, name in enumerate(files("tenth")) if number % 30 < 3]
    right(dora, names)
    assert dora.fetched() <= 1.25 * len(names) * SIZE + SPARE
    right(dora, files("tenth")[5::10])
    read = {*names, *files("tenth")[5::10]}
    assert dora.fetched() <= 1.25 * len(read) * SIZE + SPARE < COUNT * SIZE


def test_what_is_never_opened_is_neither_in_the_share_nor_announced(net: Net) -> None:
    emil = net.reader("emil", "begun")
    read = files("begun")[:20]
    right(emil, read)
    fetched, used = until(lambda: (got := ahead(emil))[0] > got[1] and got, 10, "more is fetched than read")
    until(lambda: kept(emil) >= set(read), 15, "what was read is kept")
    until(lambda: all("emil" in holders(net.tracker)[name] for name in read), 15, "and announced")
    assert kept(emil) == set(read)
    told = holders(net.tracker)
    assert {name for name, names in told.items() if "emil" in names} == set(read)
    assert sorted(path.name for path in (emil.local / ".shoal" / "partial").iterdir()) == []
    assert fetched - used <= SPARE + len(read) * SIZE / 4
