"""Pins, tells and keeps, one at a time; `test_versions_property` has them all at once."""

import pytest

from peer.catalogue.tree import File
from peer.mount import versions
from peer.mount.versions import HIDDEN, SPARE, Again, Versions, Waits
from peer.vfs import Attributes, Handle
from peer.vfs.nodes import FILE
from shoal.names import SafePath
from shoal.wire import Entry

PATH = b"/file"


class FakeHandle(Handle):
    def __init__(self, version: str, size: int) -> None:
        self.version = self.source = version
        self.size = size
        self.is_settled = True

    @property
    def attributes(self) -> Attributes:
        return Attributes(FILE, self.size, 0)

    @property
    def settled(self) -> bool:
        return self.is_settled

    def read_into(self, offset: int, view: memoryview) -> int:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def node(version: str) -> File:
    return File("file", SafePath("file"), Entry(version, 0, 0))


def tell(table: Versions, size: int, path: bytes = PATH) -> int:
    return table.tell(path, Attributes(FILE, size, 0)).size


def test_an_open_of_another_size_than_was_told_waits_until_it_was_told() -> None:
    table, handle = Versions(), FakeHandle("v2", 9)
    tell(table, 5)
    with pytest.raises(Waits):
        table.bind(PATH, node("v2"), handle, 0.0)
    assert table.claim_spare(PATH, "v1") is None
    assert table.claim_spare(PATH, "v2") is handle
    assert table.claim_spare(PATH, "v2") is None  # it is taken
    with pytest.raises(Waits):  # nobody asked since
        table.bind(PATH, node("v2"), handle, 0.0)
    assert table.waiting and table.expire(SPARE - 0.01) == []
    assert tell(table, 5) == 9
    assert table.claim_spare(PATH, "v2") is handle
    assert table.expire(SPARE + 1) == []  # whoever took it will bind it
    number, _ = table.bind(PATH, node("v2"), handle, 0.0)
    assert table.handles == {number: handle} and not table.waiting
    assert table.release(number) is handle and not table.pins


def test_a_handle_that_nobody_came_back_for_is_given_up() -> None:
    table, handle = Versions(), FakeHandle("v1", 9)
    with pytest.raises(Waits):
        table.bind(PATH, node("v1"), handle, 0.0)
    with pytest.raises(Again):  # the caller closes the second one
        table.bind(PATH, node("v1"), FakeHandle("v1", 9), 0.0)
    assert table.expire(SPARE) == [handle] and not table.pins


def test_what_is_open_is_told_until_it_is_closed_or_moved() -> None:
    table, handle = Versions(), FakeHandle("v1", 5)
    tell(table, 5)
    number, _ = table.bind(PATH, node("v1"), handle, 0.0)
    assert tell(table, 9) == 5
    (pin,) = table.outdated(lambda pin: False)
    hidden = HIDDEN + b"1"
    table.move(PATH, hidden)
    assert tell(table, 9) == 9 and tell(table, 0, hidden) == 5
    assert table.outdated(lambda pin: False) == []
    again, _ = table.bind(hidden, node("v1"), FakeHandle("v1", 5), 0.0)
    with pytest.raises(Again):
        table.bind(hidden, node("v1"), FakeHandle("elsewhere", 5), 0.0)
    assert pin.leaving is None
    table.release(number)
    table.release(again)
    assert not table.pins


def test_two_sources_are_never_open_on_one_path() -> None:
    table = Versions()
    tell(table, 5)
    table.bind(PATH, node("v1"), FakeHandle("v1", 5), 0.0)
    with pytest.raises(Again) as caught:
        table.bind(PATH, node("v2"), FakeHandle("v2", 5), 0.0)
    assert not isinstance(caught.value, Waits)
    (pin,) = table.outdated(lambda pin: True)  # another open waits for it
    assert pin.leaving is not None and not pin.leaving.is_set()
    leaving = pin.leaving
    table.move(PATH, HIDDEN + b"1")
    assert leaving.is_set()
    tell(table, 5)
    table.bind(PATH, node("v2"), FakeHandle("v2", 5), 0.0)
    assert len(table.close()) == 2


def opened_and_closed(table: Versions, version: str, settled: bool = True, direct: bool = False) -> bool:
    handle = FakeHandle(version, 5)
    handle.is_settled, handle.direct = settled, direct
    tell(table, 5)
    number, keep = table.bind(PATH, node(version), handle, 0.0)
    table.release(number)
    return keep


def test_the_cache_is_kept_for_the_same_version_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Versions()
    assert [opened_and_closed(table, version) for version in ("v1", "v1", "v2", "v1", "v1")] == [0, 1, 0, 0, 1]
    assert opened_and_closed(table, "v1", settled=False)
    assert not opened_and_closed(table, "v1")
    assert not opened_and_closed(table, "v1", direct=True)
    monkeypatch.setattr(versions, "CACHED", 0)
    assert opened_and_closed(table, "v1")
    assert not opened_and_closed(table, "v1")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "TOLD", 10)
    table = Versions()
    for number in range(1000):
        tell(table, 5, b"/%d" % number)
    assert len(table._young) + len(table._old) <= 2 * 11
    with pytest.raises(Waits):  # forgotten: the kernel is asked to look again
        table.bind(b"/0", node("v1"), FakeHandle("v1", 5), 0.0)
