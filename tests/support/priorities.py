"""What priority a thread has, for the CPU and for the disk; and which threads of a peer read."""

import ctypes
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cluster import Peer
from tests.support.faults import helpers

_IOPRIO_GET = {"x86_64": 252, "aarch64": 31}
IDLE = 3


def disk_class(thread: int) -> int:
    """The I/O class of a thread: 3 is idle."""
    number = _IOPRIO_GET.get(platform.machine())
    if number is None:
        pytest.skip("not known how to ask on this machine")
    return int(ctypes.CDLL(None).syscall(number, 1, thread)) >> 13


def gives_way(thread: int) -> bool:
    """Whether a thread is behind all others, for the CPU and for the disk."""
    return os.getpriority(os.PRIO_PROCESS, thread) == 19 and disk_class(thread) == IDLE


@dataclass
class Reading:
    """A thread that reads: so many bytes since it was first looked at, and whether it gave way each time."""

    process: str
    began: int
    read: int = 0
    gives_way: bool | None = None
    """None: it was not looked at in the midst of its reading yet."""
    looked: bool | None = None


class Readers:
    """The threads of a peer that read, by id."""

    def __init__(self, peer: Peer) -> None:
        self._processes = {"peer": peer.pid, **helpers(peer)}
        self._seen: dict[int, Reading] = {}

    def look(self) -> None:
        """Looks at all threads. What is seen counts if it read before and after: it is not just beginning or ending."""
        for process, thread, count in self._counts():
            known = self._seen.setdefault(thread, Reading(process, count))
            reads = count > known.began + known.read
            if reads and known.looked is not None:
                known.gives_way = known.looked and known.gives_way is not False
            known.read, known.looked = count - known.began, None
            if reads:
                try:
                    known.looked = gives_way(thread)
                except ProcessLookupError:  # it ended just now
                    continue

    def of(self, process: str, least: int) -> list[Reading]:
        """Those of a process that read so many bytes at least, and were seen at it."""
        seen = [found for found in self._seen.values() if found.gives_way is not None]
        return [found for found in seen if found.process == process and found.read >= least]

    def _counts(self) -> Iterator[tuple[str, int, int]]:
        for process, pid in self._processes.items():
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    line = (task / "io").read_bytes().split(b"\n", 1)[0]
                except OSError:
                    continue
                yield process, int(task.name), int(line.removeprefix(b"rchar: "))


def put_on(cpu: int, peers: list[Peer]) -> None:
    """Has all threads of these peers run on one CPU from now on, and those that they start."""
    for peer in peers:
        for pid in (peer.pid, *helpers(peer).values()):
            for task in Path(f"/proc/{pid}/task").iterdir():
                try:
                    os.sched_setaffinity(int(task.name), {cpu})
                except ProcessLookupError:
                    continue
