"""Hands what is whole to the scanner, off the reader's path, and remembers what it waits for.

It is told of downloads that begin and of pieces that were taken away, too, in the order of all that.
It is handed over in bunches, for to keep and to announce a file costs more than to read it, and who reads many small
ones needs the CPU; so for a second at most it is in memory alone.
What the scanner was sent is lost when it dies: what it did not answer, the next one is sent again.

Threading: `begin`, `end`, `offer` and `answered` from any thread; one thread of its own sends. A lock guards what is
outstanding.
"""

import logging
import threading
import time
from collections.abc import Callable

from peer.messages import Begun, Ended, Keep
from peer.swarm.gathering import Gathering

PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts when the scanner is not there; it is started again by itself."""
PATIENCE = 60.0
"""Seconds after which an answer is not waited for any more: the scanner was started again and knows nothing of it."""
Told = Begun | Ended | Keep
"""What the scanner is told."""
log = logging.getLogger(__name__)


class Keeper:
    """Sends `Keep` messages, at most `limit` bytes of file data outstanding."""

    def __init__(
        self, keep: Callable[[Told], bool], limit: int, closing: threading.Event, lost: Callable[[str], None]
    ) -> None:
        """`lost` hears of what was offered and will not be answered, by cid."""
        self._keep, self._limit, self._closing, self._lost = keep, limit, closing, lost
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[float, Keep]] = {}
        self._size = 0
        self._begun: dict[str, Begun] = {}
        self._thread = Gathering("swarm-keep")

    def begin(self, message: Begun) -> None:
        """Says soon that pieces of a content are on disk; to a new scanner again, until `end` or it is kept."""
        with self._lock:
            self._begun[message.cid] = message
        self._submit(message)

    def end(self, cid: str) -> None:
        """Says soon that its pieces were taken away."""
        with self._lock:
            self._begun.pop(cid, None)
        self._submit(Ended(cid))

    def offer(self, message: Keep) -> bool:
        """Sends it soon. False if too much is outstanding; True also when this content is offered already."""
        size = len(message.data or b"")
        now = time.monotonic()
        with self._lock:
            if message.cid in self._waiting and now - self._waiting[message.cid][0] < PATIENCE:
                return True
            if self._size + size > self._limit:
                self._forget_old(now)
                if self._size + size > self._limit:
                    return False
            self._remove(message.cid)
            self._waiting[message.cid] = (now, message)
            self._size += size
        return self._submit(message)

    def offered(self, cid: str) -> bool:
        """Whether an answer is waited for."""
        with self._lock:
            return cid in self._waiting

    @property
    def crowded(self) -> bool:
        """Whether so much is outstanding that nothing more should be fetched without need."""
        return 2 * self._size > self._limit

    def again(self) -> None:
        """The scanner was started again: sends what is not answered once more. Again is harmless to the scanner."""
        with self._lock:
            messages: list[Told] = [*self._begun.values()]
            messages += [message for _, message in self._waiting.values()]
        for message in messages:
            self._submit(message)

    def answered(self, cid: str, kept: bool = False) -> Keep | None:
        """The scanner said what became of it; what was offered, if it was waited for."""
        with self._lock:
            begun = self._begun.pop(cid, None) if kept else self._begun.get(cid)
            answered = self._remove(cid)
        if begun is not None and not kept:
            self._submit(begun)  # its pieces stay where they are
        return answered

    def close(self) -> None:
        """Sends nothing more, and waits for the one under way."""
        self._thread.shutdown()

    def _submit(self, message: Told) -> bool:
        try:
            self._thread.submit(self._send, message)
        except RuntimeError:  # closed meanwhile
            self._give_up(message)
            return False
        return True

    def _give_up(self, message: Told) -> None:
        """It is not sent: what is waited for no more."""
        if isinstance(message, Keep):
            with self._lock:
                self._remove(message.cid)
            self._lost(message.cid)

    def _send(self, message: Told) -> None:
        for pause in (*PAUSES, None):
            if self._keep(message):
                return
            if pause is None or self._closing.wait(pause):
                break
        if isinstance(message, Keep):
            log.warning("the scanner takes no downloads; they are served from where they are")
        self._give_up(message)

    def _forget_old(self, now: float) -> None:
        for cid in [cid for cid, (sent, _) in self._waiting.items() if now - sent >= PATIENCE]:
            self._remove(cid)
            self._lost(cid)

    def _remove(self, cid: str) -> Keep | None:
        if cid not in self._waiting:
            return None
        _, message = self._waiting.pop(cid)
        self._size -= len(message.data or b"")
        return message
