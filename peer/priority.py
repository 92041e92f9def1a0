"""How work that nobody waits for gives way to all else: one place, for scanning, hashing, scrubbing and warming.

Linux has a priority for each thread. For the disk it is idle: such requests go when there are no others (with a
scheduler that knows priorities, such as bfq and mq-deadline; with none all are equal). For the CPU it is nice 19 and
not the idle policy: while a thread holds the interpreter's lock, all others of its process wait until it is scheduled.
One that hashes beside one that works for 0.2 ms at a time, on two cores, for 6 s each, beside so many busy programs:

                 what the other one takes, 99 % and at most    hashed beside 2 programs
    2 programs   nice 19: 0.6 and 7 ms, idle: 3.0 and 40 ms    nice 0: 744, 10: 65, 19: 47, idle: 36 MiB/s
    4 programs   nice 19: 3.1 and 17 ms, idle: 3.2 and 27 ms
"""

import ctypes
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_WHO_PROCESS, _NONE, _IDLE = 1, 0, 3 << 13
_NICE = 19
REST, LONGEST = 2.0, 0.1
"""Seconds of rest for each in which a thread waited for a CPU; and at most at a time."""
_SHORT = 0.0002
"""Seconds that are waited for a CPU now and then also when nobody else is there."""
_libc = ctypes.CDLL(None, use_errno=True)
log = logging.getLogger(__name__)
_said = threading.Event()


def give_way() -> None:
    """Puts the calling thread, and no other of its process, behind all others, for the CPU and for the disk."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    except OSError as error:
        _say(f"no lower priority for the CPU: {error.strerror}")
    _set_disk(_IDLE)


@contextmanager
def idle_disk() -> Iterator[None]:
    """The same, inside and for the disk only: for a thread that does other work too. It is at its usual one after."""
    _set_disk(_IDLE)
    try:
        yield
    finally:
        _set_disk(_NONE)


class Patience:
    """Rests of a thread that gives way, while others want its CPU: `rest` after each bit of work.

    A nice value counts within a session, or a control group, only: Linux shares the CPUs evenly between those (see
    autogroup in sched(7)). A peer's thread at nice 19 takes half of a CPU that a program of another session would use.
    So a thread that had to wait for its CPU leaves it for longer than it waited.

    Threading: all of it belongs to the thread that made it.
    """

    def __init__(self) -> None:
        self._waited = _waited()

    def rest(self) -> float:
        """Rests if it had to wait since the last time; for how many seconds."""
        before, self._waited = self._waited, _waited()
        pause = min(LONGEST, REST * (self._waited - before))
        if pause < REST * _SHORT:
            return 0.0
        time.sleep(pause)
        return pause


def _waited() -> float:
    """Seconds for which the calling thread waited for a CPU since it began; 0 if that is not told."""
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
            return int((file.read() or b"").split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _set_disk(priority: int) -> None:
    number = _IOPRIO_SET.get(platform.machine())
    if number is None:
        _say(f"no lower priority for the disk: not known for {platform.machine()}")
    elif _libc.syscall(number, _WHO_PROCESS, threading.get_native_id(), priority) < 0:
        _say(f"no lower priority for the disk: {os.strerror(ctypes.get_errno())}")


def _say(why: str) -> None:
    """Once a process: it works all the same."""
    if not _said.is_set():
        _said.set()
        log.info("%s", why)
