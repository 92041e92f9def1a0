"""A reader that takes the time between any two bytes."""

import hashlib
import threading
import time
from pathlib import Path

from tests.support.cluster import READ
from tests.support.patience import until

STEP = 64 << 10


class Reading(threading.Thread):
    """Reads a file from its beginning to its end, 64 KiB at a time, on a thread of its own that begins at once.

    `count` bytes came so far; `stall` is the longest time between two of them, and before the first, in seconds;
    `error` is what ended it early.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(name=f"reading-{path.name}", daemon=True)
        self.count, self.stall = 0, 0.0
        self.error: OSError | None = None
        self._path, self._digest = path, hashlib.sha256()
        self.start()

    def run(self) -> None:
        buffer = memoryview(bytearray(STEP))
        last = time.monotonic()
        try:
            with open(self._path, "rb", buffering=0) as file:
                while got := file.readinto(buffer):
                    now = time.monotonic()
                    self.stall, last = max(self.stall, now - last), now
                    self._digest.update(buffer[:got])
                    self.count += got
        except OSError as error:
            self.error = error

    def has(self, size: float) -> None:
        """Waits until so many bytes came. Raises OSError as the read did."""

        def came() -> bool:
            if self.error is not None:
                raise self.error
            return self.count >= size or not self.is_alive()

        until(came, READ, f"{size:.0f} bytes of {self._path} came")

    def finish(self, seconds: float = 2 * READ) -> str:
        """Waits for the end; the SHA-256 of all that came, in hex. Raises OSError as the read did."""
        self.join(seconds)
        if self.error is not None:
            raise self.error
        assert not self.is_alive(), f"{self._path}: {self.count} bytes after {seconds:g} s, and no end"
        return self._digest.hexdigest()
