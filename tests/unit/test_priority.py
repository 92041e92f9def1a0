"""What gives way does so for the CPU and the disk, thread by thread."""

import ctypes
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from peer.priority import give_way, idle_disk
from peer.share.hashers import Hashers
from peer.share.scrub import Scrubber
from peer.warm.warm import Warm
from tests.support.patience import until
from tests.support.share_by_hand import ME, HandShare

_IOPRIO_GET = {"x86_64": 252, "aarch64": 31}
IDLE = 3


def disk_class(thread: int) -> int:
    """The I/O class of a thread: 3 is idle."""
    number = _IOPRIO_GET.get(platform.machine())
    if number is None:
        pytest.skip("not known how to ask on this machine")
    return int(ctypes.CDLL(None).syscall(number, 1, thread)) >> 13


def gives_way(thread: int) -> bool:
    return os.getpriority(os.PRIO_PROCESS, thread) == 19 and disk_class(thread) == IDLE


def in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_thread_gives_way_and_no_other_does() -> None:
    found: list[bool] = []

    def work() -> None:
        give_way()
        found.append(gives_way(threading.get_native_id()))

    in_thread(work)
    assert found == [True]
    assert not gives_way(threading.get_native_id())
    assert disk_class(threading.get_native_id()) != IDLE


def test_the_disk_alone_and_for_a_while() -> None:
    found: list[int] = []

    def work() -> None:
        me = threading.get_native_id()
        with idle_disk():
            found.extend((disk_class(me), os.getpriority(os.PRIO_PROCESS, me)))
        found.append(disk_class(me))

    in_thread(work)
    assert found[0] == IDLE and found[1] < 19 and found[2] != IDLE


def named(name: str) -> list[int]:
    """The native ids of this process's threads of that name."""
    return [thread.native_id or 0 for thread in threading.enumerate() if thread.name.startswith(name)]


def test_hashing_scrubbing_and_warming_give_way(tmp_path: Path) -> None:
    with HandShare(tmp_path) as share:
        scrubber = Scrubber(share.layout, share.root, share.index, 0.0, lambda task: None, lambda message: None)
        hashers = Hashers(share.root, ME, lambda: None)
        warm = Warm(lambda file: None, lambda path, entry: "here", lambda cid: False, lambda: False)  # type: ignore[arg-type,return-value]
        scrubber.start()
        hashers.start()
        try:
            warm.start(lambda: iter(()))
            for name in ("scrub", "hash-", "warm"):
                until(lambda name=name: named(name) and all(map(gives_way, named(name))), 5, f"{name} gives way")
        finally:
            warm.close()
            hashers.stop()
            scrubber.stop()
