"""Pins, tells and keeps, against a kernel with one inode for each libfuse path."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peer.catalogue.tree import File
from peer.mount.versions import HIDDEN, SPARE, Again, Versions, Waits
from peer.vfs import Attributes, Handle, version_of
from peer.vfs.nodes import FILE
from shoal.names import SafePath
from shoal.wire import Entry

PATHS = [b"/a", b"/b"]
SIZES = {"v1": 10, "v2": 10, "v3": 30}


class FakeHandle(Handle):
    def __init__(self, version: str) -> None:
        self.version = self.source = version
        self.closed = False

    @property
    def attributes(self) -> Attributes:
        if self.closed:
            raise OSError("closed")
        return Attributes(FILE, SIZES[self.version], 0)

    def read_into(self, offset: int, view: memoryview) -> int:
        raise AssertionError

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@dataclass
class Inode:
    """What the kernel has: its size, what its page cache may hold, the handles open on it."""

    path: bytes
    size: int = -1
    cache: set[str] = field(default_factory=set)
    open: dict[int, FakeHandle] = field(default_factory=dict)


def node(path: bytes, version: str) -> File:
    return File(path[1:].decode(), SafePath(path[1:].decode()), Entry(version, SIZES[version], 0))


class Kernel(RuleBasedStateMachine):
    """All that is open on an inode is one version: its page cache holds that one alone, its size is that one's."""

    def __init__(self) -> None:
        super().__init__()
        self.versions, self.now, self.hidden = Versions(), 0.0, 0
        self.shown = dict.fromkeys(PATHS, "v1")
        self.inodes = {path: Inode(path) for path in PATHS}
        self.moved: list[Inode] = []
        self.handles: list[FakeHandle] = []

    def look_up(self, path: bytes) -> None:
        inode = self.inodes.setdefault(path, Inode(path))
        inode.size = self.versions.tell(path, Attributes(FILE, SIZES[self.shown[path]], 0)).size

    @rule(path=st.sampled_from(PATHS), version=st.sampled_from(sorted(SIZES)))
    def change(self, path: bytes, version: str) -> None:
        self.shown[path] = version

    @rule(path=st.sampled_from(PATHS))
    def stat(self, path: bytes) -> None:
        self.look_up(path)

    @rule(path=st.sampled_from(PATHS), fresh=st.booleans())
    def open(self, path: bytes, fresh: bool) -> None:
        """Not `fresh`: by what the kernel still believes. Coming back after ESTALE is to open again, fresh."""
        if fresh or path not in self.inodes:
            self.look_up(path)
        shown, inode = node(path, self.shown[path]), self.inodes[path]
        handle = self.versions.claim_spare(path, version_of(shown))
        if handle is None:
            handle = FakeHandle(self.shown[path])
            self.handles.append(handle)
        assert isinstance(handle, FakeHandle)
        try:
            number, keep = self.versions.bind(path, shown, handle, self.now)
        except Again as again:
            if not isinstance(again, Waits):
                handle.close()
            return
        if not keep:
            inode.cache.clear()
        inode.open[number] = handle
        inode.cache.add(handle.version)

    @precondition(lambda self: any(inode.open for inode in self.all()))
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        inode = data.draw(st.sampled_from([inode for inode in self.all() if inode.open]))
        number = data.draw(st.sampled_from(sorted(inode.open)))
        assert self.versions.release(number) is inode.open.pop(number)
        assert number not in self.versions.handles

    @rule()
    def watch(self) -> None:
        for handle in self.versions.expire(self.now):
            handle.close()
        for pin in self.versions.outdated(lambda pin: version_of(pin.node) == self.shown[pin.path]):
            self.hidden += 1
            old, new = pin.path, HIDDEN + str(self.hidden).encode()
            self.versions.move(old, new)
            self.versions.stay(pin)
            inode = self.inodes.pop(old)
            inode.path = new
            self.moved.append(inode)

    @rule(seconds=st.sampled_from([0.1, SPARE]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def all(self) -> list[Inode]:
        return [*self.inodes.values(), *self.moved]

    @invariant()
    def one_version_for_each_inode(self) -> None:
        for inode in self.all():
            for handle in inode.open.values():
                assert not handle.closed
                assert inode.cache == {handle.version}
                assert inode.size == SIZES[handle.version]

    @invariant()
    def nothing_is_kept_for_nobody(self) -> None:
        open_now = {number for inode in self.all() for number in inode.open}
        assert set(self.versions.handles) == open_now
        for path, pin in self.versions.pins.items():
            assert pin.path == path and (pin.handles or pin.spare is not None)

    def teardown(self) -> None:
        for inode in self.all():
            for number, handle in inode.open.items():
                assert self.versions.release(number) is handle
        for handle in self.versions.expire(self.now + SPARE):
            handle.close()
        assert not self.versions.pins and not self.versions.handles


Kernel.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestKernel = Kernel.TestCase
