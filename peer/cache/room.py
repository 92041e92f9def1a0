"""Room on the disk: whether more may come, and what is taken away for it.

Who wants to write asks `take` first, piece by piece, and is told at once. What has no room is not kept; meanwhile one
thread takes away what goes first, a little before there is none. It asks who keeps it (`sheds`) to let it go, which
may take its time.

Threading: any thread; one lock guards the shelf, held for short work in memory and one statvfs. `sheds` and `again`
are called by the thread of `start`, without the lock.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

from peer.cache.reads import load_reads, save_reads
from peer.cache.shelf import Kind, Shelf
from peer.layout import Layout

BLOCK = 4096
"""Files take whole blocks."""
PIECE = 1 << 20
"""Bytes that there must be room for before those that found none are told to try again, if so much is made."""
MEASURED = 0.05
"""Seconds for which what the disk said of its free bytes counts."""
OWED = 2.0
"""Seconds in which the disk may still be busy freeing what was taken away."""
TICK, SOON = 10.0, 1.0
"""Seconds until the thread looks again: when all is well, and when something found no room."""
SAVE = 60.0
"""Seconds between two notes of what was read last."""
PATIENCE = 1.0
"""Seconds for which nothing may go before that is said: what was just read may be on its way to become a copy."""
TIRED = 100
"""What could not go, in one go: then a pause."""
log = logging.getLogger(__name__)


def usual_min_free(layout: Layout) -> int:
    """Bytes of the share's disk that stay free if nobody says otherwise: 1 GiB or 5 % of it, whichever is less."""
    disk = os.statvfs(layout.local)
    return min(1 << 30, disk.f_blocks * disk.f_frsize // 20)


class Room:
    """Counts what is kept on the share's disk, and keeps it within its limits. `limit` 0 and `min_free` 0: no limit."""

    def __init__(
        self, layout: Layout, limit: int = 0, min_free: int = 0, free: Callable[[], int] | None = None
    ) -> None:
        """`free` tells the bytes that are free, if not the share's disk."""
        self._layout = layout
        self._measure = free or self._free_of_disk
        self._lock = threading.Lock()
        self._shelf = Shelf(limit, min_free)
        self.sheds: dict[Kind, Callable[[str], bool | None]] = {}
        """By kind, what takes a content away. True: it is gone; False: it may not go; None: that is not known now."""
        self.again: Callable[[], None] = lambda: None
        """Called when there is room after there was none."""
        self.say: Callable[[str], None] = lambda why: None
        """Told why nothing is kept any more."""
        self.full = ""
        """Why nothing is kept just now although it should be; "" if all is."""
        self._evicted = self._evicted_bytes = self._not_kept_bytes = 0
        self._denied = self._unknown = False
        self._stuck = float("inf")
        """Since when nothing may go."""
        self._measured, self._free = float("-inf"), 0
        self._owed: list[tuple[float, int]] = []
        self._order: dict[str, None] = {}
        self._saved, self._unsaved = 0.0, False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="room", daemon=True)

    def start(self) -> None:
        """Starts the thread that makes room."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it after what it does just now, for which it waits a moment; notes what was read last."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(2.0)
        self._save()

    # For those who write

    def take(self, kind: Kind, cid: str, size: int) -> bool:
        """Whether so many bytes more of it may be written; they are counted then."""
        size = _on_disk(size)
        with self._lock:
            free = self._free_now()
            taken = self._shelf.has_room(size, free)
            if taken:
                self._shelf.add(kind, cid, size)
                self._free -= size
            else:
                self._denied = True
            wake = not taken or self._shelf.excess(free - size) > 0
        if wake:
            self._wake.set()
        return taken

    def give(self, kind: Kind, cid: str, size: int) -> None:
        """They were not written."""
        with self._lock:
            self._shelf.add(kind, cid, -_on_disk(size))

    def not_kept(self, size: int) -> None:
        """So many bytes were read and could not be kept."""
        with self._lock:
            self._not_kept_bytes += size

    def found(self, kind: Kind, cid: str, size: int) -> None:
        """So many bytes of it are on disk, whether there was room or not."""
        with self._lock:
            self._shelf.set(kind, cid, size)
            wake = self._shelf.excess(self._free_now()) > 0
        if wake:
            self._wake.set()

    def turn(self, kind: Kind, cid: str, into: Kind, other: str = "") -> None:
        """It became something else, such as a copy."""
        with self._lock:
            self._shelf.turn(kind, cid, into, other or cid)

    def size(self, kind: Kind, cid: str) -> int:
        """Its bytes on disk."""
        with self._lock:
            return self._shelf.size(kind, cid)

    def gone(self, kind: Kind, cid: str) -> None:
        """It is not on disk any more; again is harmless."""
        with self._lock:
            self._shelf.gone(kind, cid)

    # For those who read

    def opened(self, cid: str) -> None:
        """Somebody opened it: until it is closed it does not go."""
        with self._lock:
            self._shelf.opened(cid)

    def closed(self, cid: str) -> None:
        """That one closed it."""
        with self._lock:
            self._shelf.closed(cid)
            if not self._shelf.is_open(cid):
                self._order.pop(cid, None)
                self._order[cid] = None
                self._unsaved = True

    def is_open(self, cid: str) -> bool:
        """Whether anybody has it open."""
        with self._lock:
            return self._shelf.is_open(cid)

    def is_pinned(self, cid: str) -> bool:
        """Whether it is pinned."""
        with self._lock:
            return self._shelf.is_pinned(cid)

    def pin(self, cid: str, pinned: bool) -> None:
        """Whether it is kept whatever room is needed."""
        with self._lock:
            self._shelf.pin(cid, pinned)

    # At the start

    def remember(self) -> None:
        """Takes over what was read last before the start, once all that is kept was `found` in the order it came."""
        for cid in load_reads(self._layout):
            with self._lock:
                self._order[cid] = None
                self._shelf.opened(cid)
                self._shelf.closed(cid)

    # For people

    def status(self) -> dict[str, object]:
        """Numbers: bytes unless they say otherwise. `limit` 0: none."""
        with self._lock:
            shelf = self._shelf
            return {
                "used": shelf.used,
                "limit": shelf.limit,
                "free": self._measure(),
                "min_free": shelf.min_free,
                "copies": shelf.totals["copy"][1],
                "partial": shelf.totals["partial"][1],
                "prefetched": shelf.totals["early"][1],
                "pinned": shelf.pinned_bytes(),
                "evicted": self._evicted,
                "evicted_bytes": self._evicted_bytes,
                "not_kept_bytes": self._not_kept_bytes,
                "not_kept": self.full,
            }

    # The thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(SOON if self._denied or self._unknown else TICK)
            self._wake.clear()
            self._make_room()
            if time.monotonic() - self._saved > SAVE:
                self._save()
            if self._denied:
                self._stopping.wait(
                    SOON if self._unknown else MEASURED
                )  # who is refused piece after piece need not wake it each time

    def _make_room(self) -> None:
        refused = 0
        nothing = self._unknown = False
        while not self._stopping.is_set() and refused < TIRED:
            now = time.monotonic()
            with self._lock:
                if self._shelf.excess(self._free_now() + self._owing(now)) <= 0:
                    break
                first = self._shelf.first(now)
                size = self._shelf.size(*first) if first is not None else 0
                free = self._free
            if first is None:
                nothing = True
                break
            gone = self._let_go(*first)
            if gone is None:
                nothing = self._unknown = True
                break
            if gone:
                with self._lock:
                    self._shelf.gone(*first)
                    self._measured = float("-inf")
                    freed = self._free_now() - free
                    self._owed.append((now + OWED, max(0, size - freed)))
                    self._evicted += 1
                    self._evicted_bytes += size
            else:
                refused += 1
                with self._lock:
                    self._shelf.refused(*first, now)
        self._tell(nothing)

    def _let_go(self, kind: Kind, cid: str) -> bool | None:
        shed = self.sheds.get(kind)
        return shed is not None and shed(cid)

    def _tell(self, nothing: bool) -> None:
        """For those who found no room: there is some now, or why there will be none."""
        now = time.monotonic()
        self._stuck = min(self._stuck, now) if nothing else float("inf")
        if not self._denied:
            return
        with self._lock:
            shelf, free = self._shelf, self._free_now()
            room = shelf.has_room(min(PIECE, shelf.ahead), free)  # more than that is not made ahead
            why = _LIMITED if shelf.limit and shelf.used + PIECE > shelf.limit else _LOW
        if room:
            self._denied = False
            self.again()  # who finds none again says so again
            if not self._denied:
                self.full = ""
        elif now - self._stuck >= PATIENCE and why != self.full:
            self.full = why
            self.say(why)

    def _owing(self, now: float) -> int:
        self._owed = [(until, size) for until, size in self._owed if until > now]
        return sum(size for _, size in self._owed)

    def _free_now(self) -> int:
        now = time.monotonic()
        if now - self._measured > MEASURED:
            self._measured, self._free = now, self._measure()
        return self._free

    def _free_of_disk(self) -> int:
        disk = os.statvfs(self._layout.local)
        return disk.f_bavail * disk.f_frsize

    def _save(self) -> None:
        with self._lock:
            self._saved = time.monotonic()
            if not self._unsaved:
                return
            self._unsaved = False
            order = list(self._order)
        save_reads(self._layout, order)


_LIMITED = "the cache limit (--cache-limit) is reached, and nothing of the cache may go now"
_LOW = "no space left on the share's disk but what is to stay free (--min-free), and nothing of the cache may go now"


def _on_disk(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
