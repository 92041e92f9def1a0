"""The threads that hash, and the queue before them.

Two workers: one takes small files, the newest first; the other the large ones,
the smallest first (small files keep the interpreter busy rather than the disk, so a
second worker for them would only be in the way). A large file is interrupted every
64 MiB by much smaller ones, so that nothing waits for 100 GB. Both give
way to all else; what they find is committed by somebody else, so that no
lock of the index is held at that priority.

Both queues are bounded. Small files: `room` says whether a walk may go on.
Large ones: the largest are forgotten, and `forgot` says that another walk is due.

Threading: `put`, `room`, `take`, `idle` from any thread; one lock guards the queues and results.
"""

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from peer.beneath import Beneath
from peer.priority import give_way
from peer.share.hashing import Hashed, NotHashed, hash_file
from shoal.manifest import MIB

SMALL = MIB
QUEUE_MAX = 10_000
RESULTS_MAX = 1000
log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A file to hash. `key` orders: small ones by age, large ones by size."""

    key: int
    disk: str
    path: str
    size: int
    closed: bool


class Hashers:
    """A queue of files and two threads that hash them; `wake` is called when there are results."""

    def __init__(self, root: Beneath, peer: str, wake: Callable[[], None]) -> None:
        self._root, self._peer, self._wake = root, peer, wake
        self._small: list[Job] = []
        self._large: list[Job] = []
        self._queued: set[str] = set()
        self._running = 0
        self._results: deque[Hashed | NotHashed] = deque()
        self._lock = threading.Lock()
        self._queued_small = threading.Condition(self._lock)
        self._queued_large = threading.Condition(self._lock)
        self._taken = threading.Condition(self._lock)
        self._stopping = False
        self.forgot = False
        self._threads = [
            threading.Thread(target=self._run, args=(large,), name=f"hash-{n}", daemon=True)
            for n, large in enumerate((False, True))
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads; what is being hashed is abandoned."""
        with self._lock:
            self._stopping = True
            for condition in (self._queued_small, self._queued_large, self._taken):
                condition.notify_all()
        for thread in self._threads:
            thread.join()

    def put(self, disk: str, path: str, size: int, mtime: int, closed: bool) -> None:
        """Queues a file, unless it is queued. `mtime` in nanoseconds."""
        with self._lock:
            if disk in self._queued:
                return
            self._queued.add(disk)
            if size <= SMALL:
                heapq.heappush(self._small, Job(-mtime, disk, path, size, closed))
                self._queued_small.notify()
            else:
                heapq.heappush(self._large, Job(size, disk, path, size, closed))
                if len(self._large) > QUEUE_MAX:
                    self._forget_largest()
                self._queued_large.notify()

    def _forget_largest(self) -> None:
        self._large.sort()
        for job in self._large[QUEUE_MAX // 2 :]:
            self._queued.discard(job.disk)
        del self._large[QUEUE_MAX // 2 :]
        self.forgot = True

    @property
    def room(self) -> bool:
        """Whether a walk may queue more."""
        return len(self._small) < QUEUE_MAX

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, being hashed, or waiting to be taken."""
        with self._lock:
            return not (self._small or self._large or self._running or self._results)

    @property
    def drained(self) -> bool:
        """Whether no small file is queued: nothing more will come at once."""
        return not self._small

    def take(self, limit: int) -> list[Hashed | NotHashed]:
        """Up to `limit` results."""
        with self._lock:
            taken = [self._results.popleft() for _ in range(min(limit, len(self._results)))]
            self._taken.notify_all()
        return taken

    @property
    def ready(self) -> int:
        """How many results wait to be taken."""
        return len(self._results)

    def _run(self, large: bool) -> None:
        give_way()
        queued = self._queued_large if large else self._queued_small
        while True:
            with self._lock:
                while not self._stopping and not (queue := self._large if large else self._small):
                    queued.wait()
                if self._stopping:
                    return
                job = heapq.heappop(queue)
                self._running += 1
            self._hash(job)

    def _hash(self, job: Job) -> None:
        result = hash_file(self._root, job.disk, job.path, self._peer, job.closed, time.time, self._between)
        with self._lock:
            while len(self._results) >= RESULTS_MAX and not self._stopping:
                self._taken.wait()
            self._running -= 1
            self._queued.discard(job.disk)
            self._results.append(result)
            last = not self._small
        if last or len(self._results) == 1:  # else whoever takes them is awake
            self._wake()

    def _between(self, left: int) -> bool:
        """In the middle of a large file: hashes first what is much smaller than the rest of it."""
        while True:
            with self._lock:
                if self._stopping:
                    return False
                if not self._large or self._large[0].size > left // 4:
                    return True
                job = heapq.heappop(self._large)
                self._running += 1
            self._hash(job)
