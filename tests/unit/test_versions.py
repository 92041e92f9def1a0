"""Pins, tells and keeps, one at a time; `test_versions_property` has them all at once."""

import pytest

from peer.catalogue.tree import File
from peer.catalogue.version import Version
from peer.mount import versions
from peer.mount.versions import HIDDEN, SPARE, Again, Untold, Versions, Waits
from peer.swarm.pending import Done
from peer.vfs import Attributes, Handle
from peer.vfs.nodes import FILE
from shoal.names import SafePath
from shoal.wire import Entry

V1, V2, V3 = "1" * 64, "2" * 64, "3" * 64

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

    def begin(self, offset: int, size: int, done: Done) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def node(version: str) -> File:
    return File("file", SafePath("file"), Version.of(Entry(version, 0, 0)))


def tell(table: Versions, size: int, path: bytes = PATH) -> int:
    return table.tell(path, Attributes(FILE, size, 0)).size


def bind(table: Versions, handle: FakeHandle, path: bytes = PATH, opener: int = 1, now: float = 0.0) -> int:
    return table.bind(path, node(handle.version), handle, opener, now)[0]


def test_an_open_of_another_size_than_was_told_waits_until_it_was_told() -> None:
    table, handle = Versions(), FakeHandle(V2, 9)
    tell(table, 5)
    with pytest.raises(Untold):
        bind(table, handle)
    assert table.claim_spare(PATH, V1, opener=2) is None
    assert table.waiting and table.expire(SPARE - 0.01) == []
    assert tell(table, 5) == 9
    assert table.claim_spare(PATH, V2, opener=1) is handle
    assert table.claim_spare(PATH, V2, opener=1) is None  # it is taken
    assert table.expire(SPARE + 1) == []  # whoever took it will bind it
    number = bind(table, handle)
    assert table.handles == {number: handle} and not table.waiting
    assert table.release(number) is handle and not table.pins


def test_who_comes_back_finds_what_was_opened_whatever_shows_now() -> None:
    table, handle = Versions(), FakeHandle(V2, 9)
    with pytest.raises(Untold):
        bind(table, handle)
    assert table.claim_spare(PATH, V3, opener=2) is None
    assert table.claim_spare(PATH, V3, opener=1) is handle


def test_who_opens_what_another_waits_for_must_look_it_up_too() -> None:
    table, handle = Versions(), FakeHandle(V2, 9)
    with pytest.raises(Untold):
        bind(table, handle, opener=1)
    assert table.claim_spare(PATH, V2, opener=2) is handle
    with pytest.raises(Waits):  # what the kernel believes for it is from before
        bind(table, handle, opener=2)
    assert table.claim_spare(PATH, V2, opener=2) is handle
    bind(table, handle, opener=2)
    bind(table, FakeHandle(V2, 9), opener=1)


def test_of_two_sizes_told_nobody_knows_which_the_kernel_believes() -> None:
    """It asked twice at once; the answer that came second, it ignored."""
    table = Versions()
    tell(table, 5)
    tell(table, 9)
    with pytest.raises(Untold):
        bind(table, FakeHandle(V2, 9))


def test_a_handle_that_nobody_came_back_for_is_given_up() -> None:
    table, handle = Versions(), FakeHandle(V1, 9)
    with pytest.raises(Untold):
        bind(table, handle)
    with pytest.raises(Again) as caught:
        bind(table, FakeHandle(V1, 9), opener=2)
    assert not isinstance(caught.value, Waits)  # the caller closes the second one
    assert table.expire(SPARE) == [handle] and not table.pins and not table.waiting


def test_what_is_open_is_told_until_it_is_closed_or_moved() -> None:
    table, handle = Versions(), FakeHandle(V1, 5)
    tell(table, 5)
    number = bind(table, handle)
    assert tell(table, 9) == 5
    (pin,) = table.outdated(lambda pin: False)
    hidden = HIDDEN + b"1"
    assert table.move(pin, hidden)
    assert tell(table, 9) == tell(table, 9, hidden) == 5  # who asks by either path may be answered of either inode
    with pytest.raises(Waits):
        bind(table, FakeHandle(V1, 5))
    table.moved(pin, hidden, done=True)
    assert table.expire(SPARE)
    assert tell(table, 9) == 9 and tell(table, 0, hidden) == 5
    with pytest.raises(Untold):  # the new inode may have been made while the old one was told
        bind(table, FakeHandle(V2, 9), opener=5)
    assert table.outdated(lambda pin: False) == []
    again = bind(table, FakeHandle(V1, 5), hidden)
    with pytest.raises(Again):
        bind(table, FakeHandle("e" * 64, 5), hidden)
    table.release(number)
    table.release(again)
    assert not table.pins


def test_who_looked_at_one_path_has_not_looked_at_another() -> None:
    table, other = Versions(), b"/other"
    tell(table, 5)
    bind(table, FakeHandle(V1, 5))
    pin = table.pins[PATH]
    table.move(pin, HIDDEN + b"1")
    table.moved(pin, HIDDEN + b"1", done=True)
    tell(table, 9)
    with pytest.raises(Untold):
        bind(table, FakeHandle(V1, 5), other, opener=7)
    with pytest.raises(Untold):
        bind(table, FakeHandle(V2, 9), opener=7)


def test_what_could_not_be_moved_stays() -> None:
    table = Versions()
    tell(table, 5)
    number = bind(table, FakeHandle(V1, 5))
    pin = table.pins[PATH]
    assert table.move(pin, HIDDEN + b"1")
    table.moved(pin, HIDDEN + b"1", done=False)
    assert list(table.pins) == [PATH]
    table.move(pin, HIDDEN + b"2")
    table.release(number)  # meanwhile
    table.moved(pin, HIDDEN + b"2", done=True)
    assert not table.pins and not table.move(pin, HIDDEN + b"3")


def test_two_sources_are_never_open_on_one_path() -> None:
    table, handle = Versions(), FakeHandle(V2, 5)
    tell(table, 5)
    bind(table, FakeHandle(V1, 5))
    with pytest.raises(Waits) as caught:
        bind(table, handle, opener=7)
    assert not isinstance(caught.value, Untold)  # the cache of what is open is none of it
    (pin,) = table.outdated(lambda pin: True)  # another open waits for it
    leaving = table.leaving(PATH, opener=7)
    assert leaving is not None and not leaving.is_set() and table.leaving(PATH, opener=8) is None
    assert table.move(pin, HIDDEN + b"1")
    table.moved(pin, HIDDEN + b"1", done=True)
    assert leaving.is_set()
    assert tell(table, 7) == 5  # of what waits
    assert table.claim_spare(PATH, V3, opener=7) is handle
    bind(table, handle, opener=7)
    assert len(table.close()) == 2


def opened_and_closed(table: Versions, version: str, settled: bool = True, direct: bool = False) -> bool:
    handle = FakeHandle(version, 5)
    handle.is_settled, handle.direct = settled, direct
    tell(table, 5)
    number, keep = table.bind(PATH, node(version), handle, 1, 0.0)
    table.release(number)
    return keep


def test_the_cache_is_kept_for_the_same_version_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Versions()
    assert [opened_and_closed(table, version) for version in (V1, V1, V2, V1, V1)] == [0, 1, 0, 0, 1]
    assert opened_and_closed(table, V1, settled=False)
    assert not opened_and_closed(table, V1)
    assert not opened_and_closed(table, V1, direct=True)
    monkeypatch.setattr(versions, "CACHED", 0)
    assert opened_and_closed(table, V1)
    assert not opened_and_closed(table, V1)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "TOLD", 10)
    table = Versions()
    for number in range(1000):
        tell(table, 5, b"/%d" % number)
    assert len(table._young) + len(table._old) <= 2 * 11
    with pytest.raises(Untold):  # forgotten: the kernel is asked to look again
        bind(table, FakeHandle(V1, 5), b"/0")
