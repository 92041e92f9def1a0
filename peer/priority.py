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

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
_WHO_PROCESS, _IDLE = 1, 3 << 13
_NICE = 19
log = logging.getLogger(__name__)
_said = threading.Event()


def give_way() -> None:
    """Puts the calling thread, and no other of its process, behind all others, for the CPU and for the disk."""
    thread = threading.get_native_id()
    try:
        os.setpriority(os.PRIO_PROCESS, thread, _NICE)
    except OSError as error:
        _say(f"no lower priority for the CPU: {error.strerror}")
    number = _IOPRIO_SET.get(platform.machine())
    if number is None:
        _say(f"no lower priority for the disk: not known for {platform.machine()}")
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, _WHO_PROCESS, thread, _IDLE) < 0:
        _say(f"no lower priority for the disk: {os.strerror(ctypes.get_errno())}")


def _say(why: str) -> None:
    """Once a process: it works all the same."""
    if not _said.is_set():
        _said.set()
        log.info("%s", why)
