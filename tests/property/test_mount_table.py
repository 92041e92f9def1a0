"""The kernel's nodes against a model of the kernel's caches and of what is shown."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peer.catalogue.tree import File
from peer.catalogue.version import Version
from peer.mount.protocol import ROOT
from peer.mount.table import Known, Stale, Table
from peer.vfs import Node, StateDir
from shoal.names import SafePath
from shoal.wire import Entry

V1, V2 = "1" * 64, "2" * 64

FOLDERS = ["d", "e"]
PATHS = ["a", "d/a", "d/b", "e/a~x"]


def file(path: str, version: str, mtime: int) -> File:
    return File(path.rpartition("/")[2], SafePath(path), Version.of(Entry(version, 1, mtime)))


@dataclass
class Cached:
    """What the kernel believes: names by (parent's id, name), 0: nothing there; and the times of nodes."""

    entries: dict[tuple[int, bytes], int] = field(default_factory=dict)
    mtimes: dict[int, int] = field(default_factory=dict)
    lookups: dict[int, int] = field(default_factory=dict)


class Kernel(RuleBasedStateMachine):
    """Once it was told to forget, all that the kernel still believes of a path is what the path shows."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, Node] = {name: StateDir(name, dict) for name in FOLDERS}
        self.root = StateDir("", dict)
        self.table = Table(self.root, self.find)
        self.kernel = Cached()
        self.changed: set[str] = set()
        self.ids: dict[int, tuple[str, str]] = {}
        self.mtime = 0

    def find(self, path: str) -> Node | None:
        return self.shown.get(path) if path else self.root

    def parent(self, path: str) -> int | None:
        """The id of the folder that a path is in, as the kernel knows it."""
        folder = path.rpartition("/")[0]
        return ROOT if not folder else self.kernel.entries.get((ROOT, folder.encode())) or None

    def learn(self, path: str, found: tuple[Known, Node] | None) -> None:
        parent = self.parent(path)
        assert parent is not None
        name = path.rpartition("/")[2].encode()
        self.kernel.entries[parent, name] = found[0].id if found is not None else 0
        if found is not None:
            known, node = found
            self.kernel.lookups[known.id] = self.kernel.lookups.get(known.id, 0) + 1
            if isinstance(node, File):
                self.kernel.mtimes[known.id] = node.entry.mtime
                told = self.ids.setdefault(known.id, (path, node.entry.cid))
                assert told == (path, node.entry.cid), "a number stands for one version of one path"

    @rule(path=st.sampled_from(PATHS + FOLDERS))
    def look_up(self, path: str) -> None:
        if self.parent(path) is None:
            return
        known = self.table.look_up(path)
        if known is not None or self.table.absent(path):
            self.learn(path, known)

    @rule(path=st.sampled_from(PATHS), version=st.sampled_from(["", V1, V2]))
    def change(self, path: str, version: str) -> None:
        self.mtime += 1
        if version:
            self.shown[path] = file(path, version, self.mtime)
        else:
            self.shown.pop(path, None)
        self.changed.add(path)

    @rule()
    def tell(self) -> None:
        told = self.table.review(self.changed)
        self.changed.clear()
        for parent, name in told.entries:
            self.kernel.entries.pop((parent, name), None)
        for id in (known.id for known in told.attributes):
            self.kernel.mtimes.pop(id, None)

    @rule(path=st.sampled_from(FOLDERS))
    def list(self, path: str) -> None:
        id = self.kernel.entries.get((ROOT, path.encode()))
        if not id:
            return
        folder = self.table.known(id)
        turn = folder.turn
        children = [(p.rpartition("/")[2], node) for p, node in self.shown.items() if p.startswith(path + "/")]
        for (name, _), known in zip(children, self.table.enter(folder, turn, children), strict=True):
            self.learn(f"{path}/{name}", known)

    @precondition(lambda self: self.kernel.lookups)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.kernel.lookups)))
        inside = [entry for (parent, _), entry in self.kernel.entries.items() if parent == id]
        if any(entry in self.kernel.lookups for entry in inside):
            return  # the kernel does not forget a directory before what is in it
        count = self.kernel.lookups.pop(id)
        self.kernel.entries = {key: n for key, n in self.kernel.entries.items() if n != id}
        self.kernel.mtimes.pop(id, None)
        assert self.table.forget(id, count)
        try:
            self.table.known(id)
        except Stale:
            return
        raise AssertionError("it is still known")

    @invariant()
    def what_is_believed_is_so(self) -> None:
        if self.changed:
            return
        for path in PATHS:
            parent = self.parent(path)
            if parent is None:
                continue
            believed = self.kernel.entries.get((parent, path.rpartition("/")[2].encode()))
            node = self.shown.get(path)
            if believed == 0:
                assert node is None
            elif believed is not None:
                assert isinstance(node, File)
                assert self.ids[believed][1] == node.entry.cid
                assert self.kernel.mtimes.get(believed, node.entry.mtime) == node.entry.mtime

    @invariant()
    def nothing_is_kept_for_nobody(self) -> None:
        assert len(self.table) == 1 + len(self.kernel.lookups)


Kernel.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestKernel = Kernel.TestCase
