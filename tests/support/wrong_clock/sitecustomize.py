"""A machine whose wall clock is wrong: what the programs under test take for `time.time` is off by some seconds.

Python imports this before anything else when this directory is on PYTHONPATH. The offset stands in the file that
WRONG_CLOCK names, and is looked up at each call, so that the clock can jump. Files' times stay those of the kernel,
as after a jump; monotonic clocks go on, as they do everywhere. See `tests.support.faults.WrongClock`.
"""

import os
import time

if "WRONG_CLOCK" in os.environ:
    _file = os.open(os.environ["WRONG_CLOCK"], os.O_RDONLY | os.O_CLOEXEC)
    _right = time.time_ns

    def _time_ns() -> int:
        return _right() + int(os.pread(_file, 32, 0) or b"0") * 10**9

    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 1e9
