"""Pins, tells and keeps, against a kernel with one inode for each libfuse path, and libfuse's table."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peer.catalogue.tree import File
from peer.catalogue.version import Version
from peer.mount.versions import HIDDEN, SPARE, Again, Pin, Untold, Versions, Waits
from peer.swarm.pending import Done
from peer.vfs import Attributes, Handle, version_of
from peer.vfs.nodes import FILE
from shoal.names import SafePath
from shoal.wire import Entry

V1, V2, V3 = "1" * 64, "2" * 64, "3" * 64

PATHS = [b"/a", b"/b"]
SIZES = {V1: 10, V2: 10, V3: 30}


class FakeHandle(Handle):
    def __init__(self, version: str) -> None:
        self.version = self.source = version
        self.closed = False

    @property
    def attributes(self) -> Attributes:
        if self.closed:
            raise OSError("closed")
        return Attributes(FILE, SIZES[self.version], 0)

    def begin(self, offset: int, size: int, done: Done) -> None:
        raise AssertionError

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@dataclass(eq=False)
class Inode:
    """What the kernel has: its size, what its page cache may hold, the handles open on it; and libfuse's path."""

    path: bytes
    size: int = -1
    since: int = 0
    """When its size was told, or made void (the kernel's attr_version); 0: never."""
    cache: set[str] = field(default_factory=set)
    open: dict[int, FakeHandle] = field(default_factory=dict)


@dataclass(eq=False)
class Question:
    """A LOOKUP of a name, or a GETATTR of an inode, on its way."""

    path: bytes
    asked: int
    inode: Inode | None
    by_name: bool = True
    size: int | None = None
    found: Inode | None = None


def node(path: bytes, version: str) -> File:
    return File(path[1:].decode(), SafePath(path[1:].decode()), Version.of(Entry(version, SIZES[version], 0)))


class Kernel(RuleBasedStateMachine):
    """All that is open on an inode is one version: its page cache holds that one alone, its size is that one's.

    Questions are asked, answered by us, looked up in libfuse's table and believed by the kernel at any time of their
    own, many at once; the kernel drops an answer when a newer one came since it asked. A move takes its time as well.
    """

    def __init__(self) -> None:
        super().__init__()
        self.versions, self.now, self.hidden, self.clock = Versions(), 0.0, 0, 0
        self.shown = dict.fromkeys(PATHS, V1)
        self.table: dict[bytes, Inode] = {}  # libfuse's
        self.names: dict[bytes, Inode] = {}  # the kernel's
        self.inodes: list[Inode] = []
        self.asked: list[Question] = []
        self.sent_back: dict[int, bytes] = {}  # thread -> the path that it must look up and open again
        self.moving: tuple[Pin, bytes, bool] | None = None
        self.handles: list[FakeHandle] = []

    # A question, step by step

    def ask(self, path: bytes) -> Question | None:
        inode = self.names.get(path)
        if inode is None and any(question.path == path and question.inode is None for question in self.asked):
            return None  # the kernel looks a name that it does not know up once
        return Question(path, self.clock, inode)

    def answer(self, question: Question) -> None:
        if question.by_name:
            path, shown = question.path, self.shown[question.path]
        else:
            assert question.inode is not None
            path = question.inode.path
            shown = self.shown.get(path, "")
        held = self.versions.held(path)
        if shown:
            question.size = self.versions.tell(path, Attributes(FILE, SIZES[shown], 0)).size
        elif held is not None:
            question.size = self.versions.tell(path, held).size

    def find(self, question: Question) -> None:
        if question.by_name and question.path not in self.table:
            self.table[question.path] = Inode(question.path)
            self.inodes.append(self.table[question.path])
        question.found = self.table[question.path] if question.by_name else question.inode

    def believe(self, question: Question) -> None:
        found, path = question.found, question.path
        assert found is not None
        if question.by_name:
            if question.inode is not None and question.inode is not found:  # another inode: the name is asked for anew
                if self.names.get(path) is question.inode:
                    del self.names[path]
                return
            if question.inode is None:
                self.names[path] = found
        if question.size is not None and found.since <= question.asked:
            self.clock += 1
            found.size, found.since = question.size, self.clock

    def look_up(self, path: bytes) -> bool:
        """All of it at once."""
        for _ in range(2):
            question = self.ask(path)
            if question is None:
                return False
            self.answer(question)
            self.find(question)
            self.believe(question)
            if path in self.names:
                return True
        return False

    @rule(path=st.sampled_from(PATHS))
    def ask_by_name(self, path: bytes) -> None:
        question = self.ask(path)
        if question is not None and len(self.asked) < 4:
            self.asked.append(question)

    @precondition(lambda self: self.inodes)
    @rule(data=st.data())
    def ask_by_inode(self, data: st.DataObject) -> None:
        inode = data.draw(st.sampled_from(self.inodes))
        if len(self.asked) < 4 and inode.since:
            self.asked.append(Question(inode.path, self.clock, inode, by_name=False))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), steps=st.integers(1, 3))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        question = data.draw(st.sampled_from(self.asked))
        for _ in range(steps):
            if question.size is None and question.found is None:
                self.answer(question)
                if question.size is None or not question.by_name:
                    self.find(question)
            elif question.found is None:
                self.find(question)
            else:
                self.asked.remove(question)
                self.believe(question)
                return

    # Everything else

    @rule(path=st.sampled_from(PATHS), version=st.sampled_from(sorted(SIZES)))
    def change(self, path: bytes, version: str) -> None:
        self.shown[path] = version

    @rule(path=st.sampled_from(PATHS), thread=st.integers(1, 3))
    def open(self, path: bytes, thread: int) -> None:
        """By what the kernel believes; a thread that was sent back looks up first, and comes back."""
        back = self.sent_back.pop(thread, None)
        path = back or path
        if (back is not None or path not in self.names) and not self.look_up(path):
            return
        inode = self.names[path]
        shown = node(path, self.shown[path])
        if inode.path != path:  # it has a hidden one
            pin = self.versions.pins.get(inode.path)
            if pin is None:
                self.versions.send_back(thread)
                self.sent_back[thread] = path
                return
            assert isinstance(pin.node, File)
            shown = pin.node
        handle = self.versions.claim_spare(inode.path, version_of(shown), thread)
        if handle is None:
            assert shown.entry is not None
            handle = FakeHandle(shown.entry.cid)
            self.handles.append(handle)
        assert isinstance(handle, FakeHandle)
        try:
            number, keep = self.versions.bind(inode.path, shown, handle, thread, self.now)
        except Again as again:
            if not isinstance(again, Waits):
                handle.close()
            elif isinstance(again, Untold):
                self.clock += 1
                inode.since = self.clock
                inode.cache.clear()
            self.sent_back[thread] = path
            return
        if not keep:
            inode.cache.clear()
        inode.open[number] = handle
        inode.cache.add(handle.version)

    @precondition(lambda self: any(inode.open for inode in self.inodes))
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        inode = data.draw(st.sampled_from([inode for inode in self.inodes if inode.open]))
        number = data.draw(st.sampled_from(sorted(inode.open)))
        assert self.versions.release(number) is inode.open.pop(number)
        assert number not in self.versions.handles

    @rule()
    def watch(self) -> None:
        """One step of the thread that moves."""
        for handle in self.versions.expire(self.now):
            handle.close()
        if self.moving is None:
            for pin in self.versions.outdated(lambda pin: version_of(pin.node) == self.shown[pin.path]):
                self.hidden += 1
                hidden = HIDDEN + str(self.hidden).encode()
                assert self.versions.move(pin, hidden)
                self.moving = pin, hidden, False
                return
            return
        pin, hidden, renamed = self.moving
        if not renamed:
            inode = self.table.pop(pin.path)
            inode.path = hidden
            self.moving = pin, hidden, True
            return
        self.versions.moved(pin, hidden, True)
        self.moving = None

    @rule(seconds=st.sampled_from([0.1, SPARE]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def one_version_for_each_inode(self) -> None:
        for inode in self.inodes:
            for handle in inode.open.values():
                assert not handle.closed
                assert inode.cache == {handle.version}
                assert inode.size == SIZES[handle.version]

    @invariant()
    def nothing_is_kept_for_nobody(self) -> None:
        open_now = {number for inode in self.inodes for number in inode.open}
        assert set(self.versions.handles) == open_now
        for path, pin in self.versions.pins.items():
            assert pin.moving or (pin.path == path and pin.handles)

    def teardown(self) -> None:
        if self.moving is not None:
            pin, hidden, renamed = self.moving
            self.versions.moved(pin, hidden, renamed)
        for inode in self.inodes:
            for number, handle in inode.open.items():
                assert self.versions.release(number) is handle
        for handle in self.versions.expire(self.now + SPARE):
            handle.close()
        assert not self.versions.pins and not self.versions.handles and not self.versions.waiting


Kernel.TestCase.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
TestKernel = Kernel.TestCase
