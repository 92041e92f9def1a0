"""Work that somebody waits for at the http port. It is named when it begins, asked after, and ended; when nobody asks
after it for `PATIENCE`, whoever wanted it is gone, be it by kill -9, and it is ended too.

Threading: any thread; a lock guards the table and is not held while a job is asked or ended. One thread looks after
the jobs while there are any.
"""

import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from shoal.errors import Busy, Gone

PATIENCE = 10.0
"""Seconds."""
MOST = 16
"""Jobs at a time at most."""


class Job(ABC):
    """Something under way."""

    @abstractmethod
    def progress(self, after: int) -> dict[str, Any]:
        """How far it is: plain values, `done` among them. Of a list that grows, what comes after its first `after`."""

    @abstractmethod
    def cancel(self) -> None:
        """Ends it soon; again, or after its end, is harmless."""


class Jobs:
    """The jobs by their names."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, tuple[Job, float]] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def check_room(self) -> None:
        """Raises Busy if there are too many."""
        if len(self._jobs) >= MOST:
            raise Busy(f"{MOST} jobs are under way; try again")

    def add(self, job: Job, name: str = "") -> str:
        """Its name, by which it is asked after from now on."""
        name = name or new_name()
        with self._lock:
            self._jobs[name] = job, self._clock()
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._look_after, name="jobs", daemon=True)
                self._thread.start()
        return name

    def progress(self, name: str, after: int) -> dict[str, Any]:
        """How far a job is. One that is done is forgotten a while after it was last asked after.

        Raises:
            Gone: there is no such job.
        """
        with self._lock:
            if name not in self._jobs:
                raise Gone("no such job, or nobody asked after it for too long")
            job = self._jobs[name][0]
            self._jobs[name] = job, self._clock()
        return {"job": name, **job.progress(after)}

    def cancel(self, name: str) -> None:
        """Ends a job, and forgets it; again is harmless."""
        with self._lock:
            job, _ = self._jobs.pop(name, (None, 0.0))
        if job is not None:
            job.cancel()

    def sweep(self) -> None:
        """Ends what nobody asks after."""
        now = self._clock()
        for name, (_, asked) in list(self._jobs.items()):
            if now - asked > PATIENCE:
                self.cancel(name)

    def close(self) -> None:
        """Ends all."""
        self._closing.set()
        for name in list(self._jobs):
            self.cancel(name)
        if self._thread is not None:
            self._thread.join()

    def _look_after(self) -> None:
        while not self._closing.wait(1.0):
            self.sweep()
            with self._lock:
                if not self._jobs:
                    self._thread = None
                    return


def new_name() -> str:
    """A job's name that nobody guesses."""
    return secrets.token_hex(8)
