"""Who reads a part of a file is listed as a holder of parts, from the first piece until there is none or all."""

import pytest

from peer.layout import Layout
from peer.share.rows import IndexReader
from shoal.manifest import Cid, manifest_of
from tests.support.cluster import Cluster, Peer, Tracker
from tests.support.faults import QUICK, content, share
from tests.support.patience import until

pytestmark = [pytest.mark.mount, pytest.mark.real]
SIZE = 8 << 20


def listed(tracker: Tracker, kind: str) -> dict[str, int]:
    """How many peers the tracker lists as holders ("holders", "partial") of each path."""
    return {file["path"]: len(file[kind]) for file in tracker.get("/v1/files")["files"]}


def on_disk(peer: Peer) -> set[str]:
    """The contents whose pieces are in the peer's `.shoal/partial`."""
    return {path.stem for path in Layout(peer.local).partial.glob("*.bits")}


def told(peer: Peer) -> set[str]:
    """The contents that the peer's index says are there in part."""
    index = IndexReader(Layout(peer.local).index)
    try:
        return {row.cid for page in index.listed() for row in page if row.kind == "partial"}
    finally:
        index.close()


def test_a_reader_of_a_part_is_listed_until_it_has_all(cluster: Cluster) -> None:
    tracker = cluster.tracker(*QUICK)
    names = ["whole", "part"]
    for name in names:
        share(cluster, "anna", name, content(name, SIZE))
    cluster.peer("anna")
    ben = cluster.peer("ben")
    for name in names:
        ben.wait_for(name, SIZE)
        assert ben.cat(name, 3 << 20, 4096) == content(name, SIZE)[3 << 20 :][:4096]
    until(lambda: listed(tracker, "partial") == {"whole": 1, "part": 1}, 5, "ben is listed for its parts")
    assert ben.cat("whole") == content("whole", SIZE)
    until(lambda: listed(tracker, "holders") == {"whole": 2, "part": 1}, 10, "ben is listed for all of one")
    assert listed(tracker, "partial") == {"whole": 0, "part": 1}
    cid = manifest_of(content("part", SIZE)).cid
    assert told(ben) == on_disk(ben) == {cid}

    ben.kill()
    ben.restart()
    until(lambda: listed(tracker, "partial") == {"whole": 0, "part": 1}, 10, "it is listed again")
    assert told(ben) == on_disk(ben) == {Cid(cid)}
    assert ben.stop() == 0
    for file in Layout(ben.local).partial.iterdir():
        file.unlink()
    ben.restart()
    until(lambda: listed(tracker, "holders") == {"whole": 2, "part": 1}, 10, "ben is back")
    until(lambda: listed(tracker, "partial") == {"whole": 0, "part": 0}, 10, "nothing is listed that is not there")
    assert told(ben) == on_disk(ben) == set()
