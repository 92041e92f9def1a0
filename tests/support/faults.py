"""What the fault tests share: bytes, reads with their outcome, a watch over a mount, a peer's processes."""

import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from peer.layout import Layout
from peer.swarm.pieces import CHECKED, PiecesReader
from shoal.manifest import piece_size
from tests.support.cluster import READ, ROOT, Cluster, Peer
from tests.support.patience import until, within

QUICK = ("--ttl", "5", "--refresh", "1")
"""A third of the usual times, so that the tests need not wait for long leases to end."""
LIVELY = 2.0
"""Seconds in which listing and cached reads answer whatever else hangs."""
HONEST = (errno.EHOSTUNREACH, errno.EIO, errno.ESTALE)
"""What a read may end with when the right bytes cannot be had."""


def content(name: str, size: int) -> bytes:
    """The bytes that go by a name: the same for whoever shares them."""
    return random.Random(f"{name} {size}").randbytes(size)


def share(cluster: Cluster, name: str, path: str, data: bytes) -> None:
    """Puts a file into the share of a peer that may not run yet."""
    file = cluster.home / name / "local" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def in_background(call: Callable[[], bytes]) -> "Future[bytes]":
    """The result of a call that runs on a thread of its own, which a hanging call keeps to the program's end."""
    future: Future[bytes] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except OSError as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True, name="in-background").start()
    return future


def failure(call: Callable[[], object]) -> int:
    """The errno of a call that must fail."""
    try:
        got = call()
    except OSError as error:
        return error.errno or 0
    raise AssertionError(f"it gave {got!r:.100}")


def settled(peer: Peer) -> None:
    """Waits until the peer has a catalogue in which what is missing is gone."""
    until(lambda: peer.status()["tracker"]["settled"], 15, f"{peer.name}'s catalogue is settled")


def bytes_on_disk(peer: Peer, cid: str, size: int) -> int:
    """How many bytes of a download under way are on the peer's disk, checked."""
    reader = PiecesReader.open(Layout(peer.local), cid)
    if reader is None:
        return 0
    try:
        flags = reader.flags()
    finally:
        reader.close()
    piece = piece_size(size)
    return sum(min(piece, size - number * piece) for number, flag in enumerate(flags) if flag == CHECKED)


def helpers(peer: Peer) -> dict[str, int]:
    """The process ids of a peer's helpers by module, such as "peer.share.scanner"."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status, words = (entry / "stat").read_text(), (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        parent = int(status.rpartition(")")[2].split()[1])
        if parent == peer.pid and words[1:2] == [b"-m"]:
            found[words[2].decode()] = int(entry.name)
    return found


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process does nothing inside the block, in which it may be killed."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def told(peer: Peer, path: str, name: str) -> str:
    """What the mount tells of a path: "cid", "holders", "state" …"""
    return within(READ, os.getxattr, peer.mount / path, f"user.shoal.{name}").decode()


class Lively:
    """Lists a peer's mount and reads an own file of its all the time, and fails if that ever takes too long.

    Threading: one thread of its own between enter and exit.
    """

    def __init__(self, peer: Peer, own: str) -> None:
        """`own` is a file in the peer's share."""
        self._peer, self._own, self._data = peer, own, (peer.local / own).read_bytes()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="lively", daemon=True)
        self.turns, self.error = 0, ""

    def _look(self) -> None:
        while not self.error and not (self.turns and self._stopping.wait(0.05)):
            began = time.monotonic()
            try:
                listed = self._peer.ls(seconds=READ)
                data = self._peer.cat(self._own)
            except (OSError, AssertionError) as error:
                self.error = f"{self._peer.name}'s mount fails: {error!r}"
                return
            took = time.monotonic() - began
            if took > LIVELY or self._own not in listed or data != self._data:
                self.error = f"{self._peer.name}: {took:.1f} s for {len(listed)} names and {len(data)} bytes"
            self.turns += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stopping.set()
        self._thread.join(READ)
        if kind is None:
            assert not self.error, self.error
            assert not self._thread.is_alive(), f"{self._peer.name}'s mount does not answer"


class WrongClock:
    """A wall clock for the programs that are started inside it, helpers included; `set` makes it jump.

    with WrongClock(cluster.home / "clock", hours=-5) as clock:
        peer = cluster.peer("anna")
    clock.set(hours=3)
    """

    def __init__(self, file: Path, hours: float = 0) -> None:
        self._file = file
        self.set(hours)

    def set(self, hours: float) -> None:
        """How far it is ahead from now on."""
        self._file.touch()
        with open(self._file, "r+b", buffering=0) as file:
            file.write(f"{int(hours * 3600):<20}".encode())  # one write of one length: never read in halves

    def __enter__(self) -> Self:
        self._before = {name: os.environ.get(name) for name in ("PYTHONPATH", "WRONG_CLOCK")}
        os.environ["PYTHONPATH"] = str(ROOT / "tests/support/wrong_clock")
        os.environ["WRONG_CLOCK"] = str(self._file)
        return self

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
