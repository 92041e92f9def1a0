"""What a peer says of itself: the listing comes in pages that lose nothing."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from peer.catalogue.catalogue import Catalogue
from peer.share.rows import Row
from peer.status import Status
from shoal.errors import Gone
from shoal.wire import PAGE

ME = "a" * 64
COUNT = 2 * PAGE + 5


@pytest.fixture
def status() -> Status:
    catalogue = Catalogue(ME, "anna")
    catalogue.apply_rows(
        [Row(f"d/{n:05}", f"{n:064x}", "own", 1, 0, "2" * 40, revs={ME: 1}, sequence=n + 1) for n in range(COUNT)]
    )
    made = Status(*cast(Any, [None, catalogue, None, None, None, None]))
    made.watch(cast(Any, SimpleNamespace), lambda path, entry: "here", dict, cast(Any, SimpleNamespace()))
    return made


def test_pages_give_every_name_once_in_order(status: Status) -> None:
    names: list[str] = []
    after, pages = "", 0
    while True:
        page = status.ls("/d/", after)
        names += [line["name"] for line in page["entries"]]
        pages += 1
        assert pages <= 3
        if "next" not in page:
            break
        after = page["next"]
    assert names == [f"{n:05}" for n in range(COUNT)]


def test_one_file_and_no_such_path(status: Status) -> None:
    (line,) = status.ls("d/00000")["entries"]
    assert (line["type"], line["state"], line["owners"]) == ("file", "here", ["anna"])
    with pytest.raises(Gone, match=r"no such path: no\\x1b\[2Jthing"):
        status.ls("no\x1b[2Jthing")
