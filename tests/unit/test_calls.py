"""What the libfuse adapter does around an open that the kernel must come back for."""

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from peer.catalogue.tree import File
from peer.catalogue.version import Version
from peer.mount.calls import Calls
from peer.mount.versions import Untold, Versions
from peer.swarm.pending import Done
from peer.vfs import Attributes, Handle
from peer.vfs.nodes import FILE
from shoal.names import SafePath
from shoal.wire import Entry

NODE = File("file", SafePath("file"), Version.of(Entry("1" * 64, 9, 0)))


class NineBytes(Handle):
    version = source = "1" * 64

    def __init__(self) -> None:
        self.closed = False

    @property
    def attributes(self) -> Attributes:
        return Attributes(FILE, 9, 0)

    def begin(self, offset: int, size: int, done: Done) -> None:
        raise AssertionError

    def close(self) -> None:
        self.closed = True


class Binding:
    """`void`: the paths of which the kernel was told to believe nothing any more; `thread` is who calls."""

    three = True

    def __init__(self) -> None:
        self.void: list[bytes] = []
        self.thread = 1

    def caller(self) -> int:
        return self.thread

    def make_void(self, path: bytes) -> None:
        self.void.append(path)


@pytest.fixture
def place() -> Any:
    opened: list[NineBytes] = []

    def open_it(node: File, flags: int) -> NineBytes:
        opened.append(NineBytes())
        return opened[-1]

    vfs: Any = SimpleNamespace(
        find=lambda path: NODE if path == "file" else None, open=open_it, attributes=lambda node: Attributes(FILE, 9, 0)
    )
    binding: Any = Binding()
    woken: list[None] = []
    calls = Calls(vfs, Versions(), binding, lambda: woken.append(None))
    return SimpleNamespace(calls=calls, binding=binding, opened=opened, woken=woken)


def test_what_the_kernel_believes_is_void_before_it_comes_back_for_a_size_it_was_not_told(place: Any) -> None:
    with pytest.raises(Untold):
        place.calls._bind(b"/file", 0)
    assert place.binding.void == [b"/file"] and place.woken
    number, _ = place.calls._bind(b"/file", 0)
    assert number and len(place.opened) == 1 and not place.opened[0].closed
    assert place.binding.void == [b"/file"]


def test_who_is_sent_back_while_another_waits_leaves_no_handle_behind(place: Any) -> None:
    with pytest.raises(Untold):
        place.calls._bind(b"/file", 0)
    guarded = place.calls.functions()["open"][0]
    assert place.calls._versions.claim_spare(b"/file", "1" * 64, 1) is place.opened[0]  # it is about to bind it
    place.binding.thread = 2
    place.binding.info = SimpleNamespace(from_address=lambda address: SimpleNamespace(flags=0))
    place.binding.threads_stay = False
    assert guarded(b"/file", 0) == -errno.ESTALE
    assert [handle.closed for handle in place.opened] == [False, True]
