"""Hands what is whole to the scanner, off the reader's path, and remembers what it waits for.

It is handed over in bunches, for to keep and to announce a file costs more than to read it, and who reads many small
ones needs the CPU; so for a second at most it is in memory alone.
What the scanner was sent is lost when it dies: what it did not answer, the next one is sent again.

Threading: `offer` and `answered` from any thread; one thread of its own sends. A lock guards what is outstanding.
"""

import logging
import threading
import time
from collections.abc import Callable

from peer.messages import Keep
from peer.swarm.gathering import Gathering

PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts when the scanner is not there; it is started again by itself."""
PATIENCE = 60.0
"""Seconds after which an answer is not waited for any more: the scanner was started again and knows nothing of it."""
log = logging.getLogger(__name__)


class Keeper:
    """Sends `Keep` messages, at most `limit` bytes of file data outstanding."""

    def __init__(self, keep: Callable[[Keep], bool], limit: int, closing: threading.Event) -> None:
        self._keep, self._limit, self._closing = keep, limit, closing
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[float, Keep]] = {}
        self._size = 0
        self._thread = Gathering("swarm-keep")

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

    @property
    def crowded(self) -> bool:
        """Whether so much is outstanding that nothing more should be fetched without need."""
        return 2 * self._size > self._limit

    def again(self) -> None:
        """The scanner was started again: sends what is not answered once more. Again is harmless to the scanner."""
        with self._lock:
            messages = [message for _, message in self._waiting.values()]
        for message in messages:
            self._submit(message)

    def answered(self, cid: str) -> Keep | None:
        """The scanner said what became of it; what was offered, if it was waited for."""
        with self._lock:
            return self._remove(cid)

    def close(self) -> None:
        """Sends nothing more, and waits for the one under way."""
        self._thread.shutdown()

    def _submit(self, message: Keep) -> bool:
        try:
            self._thread.submit(self._send, message)
        except RuntimeError:  # closed meanwhile
            self.answered(message.cid)
            return False
        return True

    def _send(self, message: Keep) -> None:
        for pause in (*PAUSES, None):
            if self._keep(message):
                return
            if pause is None or self._closing.wait(pause):
                break
        log.warning("the scanner takes no downloads; they are served from where they are")
        self.answered(message.cid)

    def _forget_old(self, now: float) -> None:
        for cid in [cid for cid, (sent, _) in self._waiting.items() if now - sent >= PATIENCE]:
            self._remove(cid)

    def _remove(self, cid: str) -> Keep | None:
        if cid not in self._waiting:
            return None
        _, message = self._waiting.pop(cid)
        self._size -= len(message.data or b"")
        return message
