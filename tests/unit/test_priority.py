"""What gives way does so for the CPU and the disk, thread by thread."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peer import priority
from peer.priority import Patience, give_way, idle_disk
from peer.share.hashers import Hashers
from peer.share.scrub import Scrubber
from peer.warm.warm import Warm
from tests.support.patience import until
from tests.support.priorities import IDLE, disk_class, gives_way
from tests.support.share_by_hand import ME, HandShare


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


def test_who_waited_for_the_cpu_rests_longer_than_that_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    waited, slept = [0.0], list[float]()
    monkeypatch.setattr(priority, "_waited", lambda: waited[0])
    monkeypatch.setattr(time, "sleep", slept.append)
    patience = Patience()
    assert patience.rest() == 0.0
    for more, pause in ((0.02, 0.04), (0.0, 0.0), (0.0001, 0.0), (3.0, 0.1)):
        waited[0] += more
        assert patience.rest() == pytest.approx(pause)
    assert slept == [pytest.approx(0.04), pytest.approx(0.1)]


def _work_for_ever() -> None:
    while True:
        pass


def test_beside_a_busy_program_a_thread_knows_that_it_waits() -> None:
    found: list[bool] = []
    busy = multiprocessing.get_context("spawn").Process(target=_work_for_ever, daemon=True)

    def work() -> None:
        patience, end = Patience(), time.monotonic() + 10
        while not any(found) and time.monotonic() < end:
            sum(range(1_000_000))
            found.append(patience.rest() > 0)

    busy.start()
    try:
        cpu = min(os.sched_getaffinity(0))
        os.sched_setaffinity(busy.pid or 0, {cpu})

        def on_one_cpu() -> None:
            os.sched_setaffinity(0, {cpu})  # of this thread
            work()

        in_thread(on_one_cpu)
    finally:
        busy.kill()
        busy.join()
        busy.close()
    assert any(found)


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
