"""Who asks for which content, so that readers of one content hear of each other, and the peer of what they have.

The data server notes what comes with requests (`peer.news`). Each answer for pieces names others who asked lately; what
they told of a download under way here goes to the peer's own readers, some twenty times a second at most.

Threading: any thread; a lock guards the tables. `flush` belongs to one thread.
"""

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import takewhile

from peer import bitmap
from peer.messages import Heard
from peer.news import MOST, READERS, News

LATELY = 15.0
"""Seconds for which who asked counts as a reader."""
CONTENTS = 1024
"""Contents whose askers are remembered at most; and askers of each."""
ASKERS = 16 * CONTENTS
"""Askers remembered at most, of all contents: some 5 MB. Beyond, the contents asked for longest ago are forgotten."""
PENDING = 256
"""Askers' news that wait to be told at most; beyond, the oldest are dropped: they will be said again."""
PAUSE = 0.05


class Askers:
    """The askers of each content."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock, self._dice = clock, random.Random()
        self._lock = threading.Lock()
        self._asked: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        self._count = 0  # of those who asked, over all contents
        self._pending: OrderedDict[tuple[str, str, str], tuple[tuple[int, int], int]] = OrderedDict()
        self._some = threading.Event()

    def asked(self, cid: str, address: str, told: News, partial: bool) -> None:
        """Somebody at that address asked for it and told this; `partial`: not all of it is here."""
        if not told.peer:
            return
        with self._lock:
            readers = self._asked.setdefault(cid, OrderedDict())
            self._asked.move_to_end(cid)
            self._count += told.peer not in readers
            readers[told.peer] = self._clock()
            readers.move_to_end(told.peer)
            if len(readers) > CONTENTS:
                readers.popitem(last=False)
                self._count -= 1
            while len(self._asked) > CONTENTS or self._count > ASKERS:
                _, forgotten = self._asked.popitem(last=False)
                self._count -= len(forgotten)
            if partial:
                _, pieces = self._pending.pop((cid, told.peer, address), ((0, 0), 0))
                self._pending[cid, told.peer, address] = told.want, pieces | told.pieces
                if len(self._pending) > PENDING:
                    self._pending.popitem(last=False)
                self._some.set()

    def others(self, cid: str, peer: str, known: set[str]) -> list[str]:
        """Who asked for it lately, but for that peer and who is known: at most `news.READERS`.

        Any of them: were it the latest, readers that came at one time would all know each other and nobody else.
        """
        since = self._clock() - LATELY
        with self._lock:
            lately = takewhile(lambda asked: asked[1] >= since, reversed(self._asked.get(cid, {}).items()))
            found = [id for id, _ in lately if id != peer and id not in known]
        return self._dice.sample(found, min(len(found), READERS))

    def flush(self, tell: Callable[[Heard], None]) -> None:
        """Waits for news, and tells them. Raises what `tell` raises."""
        self._some.wait()
        time.sleep(PAUSE)
        with self._lock:
            self._some.clear()
            pending, self._pending = self._pending, OrderedDict()
        for (cid, peer, address), (want, pieces) in pending.items():
            first = bitmap.lowest(pieces) & ~7 if pieces else 0
            count = min(pieces.bit_length() - first, 64 * MOST) if pieces else 0
            body = bitmap.to_wire((pieces >> first) & bitmap.span(0, count), count)
            tell(Heard(cid, peer, address, want, first, body))
