"""A vfs over a real catalogue, a share made by hand, and a swarm of contents in memory that tests change."""

import itertools
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peer.catalogue.catalogue import Catalogue
from peer.config import Fuse
from peer.mount.adapters import start_mount
from peer.mount.mounting import current_rows
from peer.share.local import LocalFiles
from peer.share.rows import IndexReader
from peer.swarm.pending import Done, Pending
from peer.vfs import Vfs
from shoal.errors import Unreachable
from shoal.manifest import link_cid, manifest_of
from shoal.names import SafePath
from shoal.wire import Changes, Entry, Owner, PeerRow
from tests.support.share_fixture import Share

# The mount's threads are this process's own. A child closes the files of the mount that it inherited, and waits for the
# mount to hear of it; with vfork this process would wait for the child meanwhile, with the interpreter's lock held.
subprocess._USE_VFORK = False  # type: ignore[attr-defined]

ME, OTHER = "a" * 64, "b" * 64
NOW = 1_700_000_000_000_000_000


class FakeReader:
    """A reader of bytes in memory; `swarm.reads` has what it was asked."""

    def __init__(self, swarm: "FakeSwarm", key: str, path: str) -> None:
        self._swarm, self._key, self._path = swarm, key, path
        self.size = len(swarm.contents[key])

    def read(self, offset: int, size: int) -> bytes:
        self._swarm.reads.append((self._path, offset, size))
        if self._key in self._swarm.held and not self._swarm.let_go.wait(60):
            raise AssertionError("nobody let the reader go")
        if (error := self._swarm.errors.get(self._key)) is not None:
            raise error
        return bytes(self._swarm.contents[self._key][offset : offset + size])

    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        def read() -> None:
            try:
                data = self.read(offset, size)
            except BaseException as failure:  # noqa: BLE001 - it is theirs who wait
                done((), failure)
            else:
                done((data,), None)

        if self._key not in self._swarm.held or self._swarm.let_go.is_set():
            read()
            return None
        threading.Thread(target=read, daemon=True).start()
        return Pending(offset, size, done)

    def whole(self) -> int:
        return -1

    def close(self) -> None:
        self._swarm.open_readers -= 1


class FakeSwarm:
    """`errors`: what reading a cid raises; `held`: cids whose readers wait until `let_go`."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes | memoryview] = {}
        self.errors: dict[str, BaseException] = {}
        self.held: set[str] = set()
        self.let_go = threading.Event()
        self.reads: list[tuple[str, int, int]] = []
        self.opened: list[str] = []
        self.open_readers = 0

    def open(self, path: SafePath, entry: Entry) -> FakeReader:
        self.opened.append(path)
        key = entry.cid or entry.sha1
        if key not in self.contents:
            raise Unreachable(f"nobody has {path}")
        self.open_readers += 1
        return FakeReader(self, key, path)

    def ready(self, path: SafePath, entry: Entry) -> FakeReader | None:
        return None

    def holds(self, cid: str) -> bool:
        return False

    def state(self, entry: Entry) -> str:
        return "remote" if (entry.cid or entry.sha1) in self.contents else "unreachable"

    def close(self) -> None:
        """As when the program ends: waiting reads get an error."""
        for key in self.held:
            self.errors[key] = Unreachable("the program ends")
        self.let_go.set()


class Network:
    """What the peer knows and has; `vfs` is over it."""

    def __init__(self, local: Path) -> None:
        self.share = Share(local)
        self.catalogue = Catalogue(ME, "me")
        self.swarm = FakeSwarm()
        self.index = IndexReader(self.share.layout.index)
        self.files = LocalFiles(self.share.layout, self.index)
        self.rescans: list[str] = []
        self.status = b'{"ok": true}\n'
        self.vfs = Vfs(
            self.catalogue,
            self.swarm,
            self.files,
            self.index,
            self.share.layout,
            lambda: self.status,
            self.rescans.append,
        )
        self._version = itertools.count(1)
        self._mtimes = itertools.count(NOW, 1_000_000_000)
        self.put({})

    def close(self) -> None:
        self.files.close()
        self.index.close()

    def put(self, paths: dict[str, list[Entry]]) -> None:
        """What the tracker lists at these paths now."""
        peers = [PeerRow(ME, "me", "http://127.0.0.1:1"), PeerRow(OTHER, "lab2", "http://127.0.0.1:2")]
        version = f"x-{next(self._version)}"
        self.catalogue.apply(Changes(version, settling=False, more=False, peers=peers, paths=list(paths.items())))

    def remote(self, path: str, data: bytes, x: bool = False) -> Entry:
        """Lists a file of another peer in place of what was there, and has the swarm hold it."""
        manifest = manifest_of(data)
        entry = Entry(
            manifest.cid,
            len(data),
            next(self._mtimes),
            sha1=manifest.sha1,
            x=x,
            owners=(Owner(OTHER, "lab2", 1),),
            holders=(OTHER,),
        )
        self.swarm.contents[manifest.cid] = data
        self.put({path: [entry]})
        return entry

    def seed(self, path: str, data: bytes) -> Entry:
        """Lists a file of a peer of the seed's protocol."""
        sha1 = manifest_of(data).sha1
        entry = Entry("", None, next(self._mtimes), sha1=sha1, owners=(Owner(OTHER, "lab2", 1),), holders=(OTHER,))
        self.swarm.contents[sha1] = data
        self.put({path: [entry]})
        return entry

    def link(self, path: str, target: str) -> None:
        """Lists a link of another peer."""
        entry = Entry(link_cid(target), 0, next(self._mtimes), link=target, owners=(Owner(OTHER, "lab2", 1),))
        self.put({path: [entry]})

    def own(self, path: str, data: bytes, kind: str = "own", place: str = "local") -> str:
        """Writes a file into the share and lists it; its cid."""
        manifest = self.share.add(path, data, place, kind)
        self.catalogue.apply_rows(self.index.at(path))
        return manifest.cid


def is_mounted(point: Path) -> bool:
    """Whether anything is, dead or alive: `os.path.ismount` says no to what does not answer."""
    return any(row.point == str(point) for row in current_rows())


@contextmanager
def network(directory: Path) -> Iterator[Network]:
    """A network whose share is `directory/local`."""
    (directory / "local").mkdir()
    made = Network(directory / "local")
    try:
        yield made
    finally:
        made.close()


@contextmanager
def mounted(directory: Path, fuse: Fuse) -> Iterator[tuple[Network, Path]]:
    """A network, and where it is mounted by this adapter. Programs must be run by a shell: what Python starts itself,
    it starts holding its lock, and a program in the mount could not be read."""
    point = directory / "mount"
    point.mkdir()
    with network(directory) as made:
        mount = start_mount(fuse, made.vfs, point, made.swarm.close)
        try:
            yield made, point
        finally:
            mount.stop()
            assert not is_mounted(point)
