"""What the kernel was told of and has forgotten again takes no memory: 200,000 names, in and out."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest

from peer.mount import protocol
from peer.mount.answers import ENTRY
from peer.mount.directories import PLUS
from peer.mount.protocol import ROOT, Op, Request
from peer.mount.requests import Requests
from peer.mount.table import Table
from peer.swarm.pending import Parts
from shoal.wire import Entry, Owner
from tests.support.mounted import NOW, OTHER, Network, network

FOLDERS, NAMES = 200, 1000
LISTING = 64 << 10
"""Bytes of one answer to READDIRPLUS."""


class Kernel:
    """Counts how often it was told of each node, as a real one does."""

    def __init__(self, net: Network) -> None:
        root = net.vfs.find("")
        assert root is not None
        self.table = Table(root, net.vfs.find)
        self.requests = Requests(net.vfs, self.table, self._take, lambda task: task())
        self.lookups: dict[int, int] = {}
        self._answer = b""
        self._uniques = count(2, 2)

    def _take(self, head: bytes, data: Parts) -> None:
        self._answer = head

    def ask(self, opcode: int, body: bytes, node: int = ROOT) -> bytes:
        self.requests.answer(Request(opcode, next(self._uniques), node, 1, memoryview(body)))
        length, error, _ = protocol.OUT_HEADER.unpack_from(self._answer)
        assert not error and length == len(self._answer)
        return self._answer[protocol.OUT_HEADER.size :]

    def told(self, node: int) -> int:
        if node:
            self.lookups[node] = self.lookups.get(node, 0) + 1
        return node

    def look_up(self, parent: int, name: bytes) -> int:
        return self.told(ENTRY.unpack(self.ask(Op.LOOKUP, name + b"\0", parent))[0])

    def list(self, folder: int) -> dict[bytes, int]:
        """The nodes of a folder by name, as READDIRPLUS tells them, told once more each."""
        (handle, *_) = protocol.OPEN_OUT.unpack(self.ask(Op.OPENDIR, bytes(8), folder))
        found: dict[bytes, int] = {}
        offset = 0
        while body := self.ask(Op.READDIRPLUS, protocol.READ_IN.pack(handle, offset, LISTING, 0, 0, 0, 0), folder):
            at = 0
            while at < len(body):
                node, *_, offset, length, _ = PLUS.unpack_from(body, at)
                name = body[at + PLUS.size : at + PLUS.size + length]
                at += PLUS.size + -(-length // 8) * 8
                if self.told(node):
                    found[name] = node
        self.ask(Op.RELEASEDIR, protocol.RELEASE_IN.pack(handle, 0, 0, 0), folder)
        return found

    def forget_one_by_one(self) -> None:
        for node, lookups in reversed(self.lookups.items()):  # what is in a folder first
            self._quietly(Op.FORGET, protocol.FORGET_IN.pack(lookups), node)
        self.lookups.clear()

    def forget_in_batches(self) -> None:
        pairs = list(reversed(self.lookups.items()))
        for at in range(0, len(pairs), 4000):
            batch = pairs[at : at + 4000]
            body = protocol.BATCH_FORGET_IN.pack(len(batch)) + b"".join(protocol.FORGET_ONE.pack(*p) for p in batch)
            self._quietly(Op.BATCH_FORGET, body, ROOT)
        self.lookups.clear()

    def _quietly(self, opcode: int, body: bytes, node: int) -> None:
        self._answer = b""
        self.requests.answer(Request(opcode, next(self._uniques), node, 1, memoryview(body)))
        assert not self._answer, "nobody waits for an answer to this"

    def knows_the_root_alone(self) -> bool:
        table = self.table
        return (len(table), list(table._ids), list(table._paths), set(table._beside) - {""}) == (1, [ROOT], [""], set())


FORGETS = [Kernel.forget_one_by_one, Kernel.forget_in_batches]


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    with network(tmp_path) as made:
        yield made


def entry(version: int) -> Entry:
    cid = sha256(b"%d" % version).hexdigest()
    return Entry(cid, 1, NOW + version, sha1=f"{version:040x}", owners=(Owner(OTHER, "lab2", 1),), holders=(OTHER,))


def test_names_that_were_listed_and_looked_up_are_forgotten_to_the_last(net: Network) -> None:
    net.put({f"d{d}/f{n}": [entry(d * NAMES + n)] for d in range(FOLDERS) for n in range(NAMES)})
    kernel = Kernel(net)
    folders = {name: node for name, node in kernel.list(ROOT).items() if name.startswith(b"d")}
    assert len(folders) == FOLDERS
    for name, folder in folders.items():
        names = kernel.list(folder)
        assert len(names) == NAMES and kernel.list(folder) == names
        assert kernel.look_up(ROOT, name) == folder
        assert all(kernel.look_up(folder, n) == names[n] for n in (b"f0", b"f500", b"f999"))
        assert kernel.look_up(folder, b"none") == 0
    assert len(kernel.table) == 1 + FOLDERS + FOLDERS * NAMES
    assert (kernel.lookups[names[b"f1"]], kernel.lookups[names[b"f500"]]) == (2, 3)
    told = list(kernel.lookups.items())
    kernel.lookups = dict(told[::2])
    kernel.forget_in_batches()
    assert len(kernel.table) == 1 + len(told[1::2])
    kernel.lookups = dict(told[1::2])
    kernel.forget_one_by_one()
    assert kernel.knows_the_root_alone()
    assert kernel.list(ROOT).keys() >= folders.keys()  # and all can be had again
    kernel.forget_in_batches()
    assert kernel.knows_the_root_alone()


@pytest.mark.parametrize("forget", FORGETS)
def test_versions_that_were_replaced_and_went_are_forgotten_to_the_last(
    net: Network, forget: Callable[[Kernel], None]
) -> None:
    """Also what the kernel knew of at names with a `~`, which are remembered for each folder."""
    kernel = Kernel(net)
    paths = [f"d{d}/f{n}{'~lab2' if n % 3 == 0 else ''}" for d in range(20) for n in range(50)]
    for turn in range(3):
        net.put({path: [entry(turn * len(paths) + number)] for number, path in enumerate(paths)})
        kernel.table.review(paths)
        for name, folder in kernel.list(ROOT).items():
            if name.startswith(b"d"):
                assert len(kernel.list(folder)) == 50
                assert kernel.look_up(folder, b"none~lab2") == 0
    assert len(kernel.table) == 1 + 20 + 3 * len(paths)
    net.put({path: [] for path in paths[::2]})
    kernel.table.review(paths[::2])
    forget(kernel)
    assert kernel.knows_the_root_alone()


@pytest.mark.parametrize("forget", FORGETS)
def test_a_folder_that_became_a_file_is_forgotten_with_what_was_beside_it(
    net: Network, forget: Callable[[Kernel], None]
) -> None:
    net.put({"d/file~lab2": [entry(1)]})
    kernel = Kernel(net)
    kernel.list(kernel.look_up(ROOT, b"d"))
    net.put({"d/file~lab2": []})
    net.put({"d": [entry(2)]})
    kernel.table.review(["d", "d/file~lab2"])
    kernel.look_up(ROOT, b"d")
    forget(kernel)
    assert kernel.knows_the_root_alone()
