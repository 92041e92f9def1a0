"""Copies given up, for want of room or because somebody asks: never the last one.

    1. the tracker says yes: another peer has all of it; this peer is delisted in that step
    2. here the copy is hidden: it is not served any more
    3. another holder is asked itself, and has all of it
    4. then the copy is unlinked; else it is a copy again, and announced

Of two peers that ask each other in step 3 at least one is told no, for both have hidden theirs before, whatever
trackers said. What does not end well, or in time, ends with the copy kept.
"""

import http.client
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Literal, Protocol
from urllib.parse import urlsplit

from peer.announcer import Answer
from peer.cache.room import Room
from peer.messages import GaveUp, GiveUp, Step
from peer.share.rows import IndexReader
from peer.swarm.resolve import resolve
from shoal.errors import RemoteError
from shoal.wire import PeerRow

Outcome = Literal["evicted", "absent", "own", "pinned", "open", "last", "unsure", "later"]
"""What became of it. "absent": there was no copy; "own": one's user put it here, and it stays; "last": nobody else has
all of it; "unsure": nobody else says that it has, or the copy could not be taken away; "later": the tracker does not
answer, or its catalogue is settling.
"""
SCANNER = 5.0
"""Seconds that the scanner has for each step."""
SILENCE = 2.0
"""Seconds that a holder has to answer."""
ASKED = 3
"""Holders that are asked at most."""
log = logging.getLogger(__name__)


class Announcer(Protocol):
    """What of `peer.announcer` is used here."""

    def evict(self, cid: str, hide: Callable[[], bool]) -> Answer:
        """Whether the copies may go; if so they are delisted and hidden."""


class Evictor:
    """Gives copies up, one content after the other.

    Threading: any thread may call `give_up`, which waits for the network; `answered` belongs to the scanner's thread.
    One content is given up at a time, under a lock that only this is held for.
    """

    def __init__(
        self,
        index: IndexReader,
        room: Room,
        announcer: Announcer,
        whole_holders: Callable[[str], list[PeerRow]],
        send: Callable[[GiveUp], bool],
    ) -> None:
        """`whole_holders` tells who else, by the tracker, has all of a content; `send` sends to the scanner."""
        self._index, self._room, self._announcer = index, room, announcer
        self._holders, self._send = whole_holders, send
        self._one = threading.Lock()
        self._waiting: dict[tuple[str, Step], Future[int]] = {}
        self.stopping = False
        """Whether nothing more is given up."""

    def give_up(self, cid: str, others: int = 1) -> Outcome:
        """Gives up all copies of a content that are here, if they may go: so many others must have all of it."""
        with self._one:
            rows = [row for row in self._index.of(cid) if row.state == "ok"]
            copies = [row for row in rows if row.kind == "copy"]
            own = len(copies) < len(rows)
            if not copies:
                return "own" if own else "absent"
            if self._room.is_pinned(cid):
                return "pinned"
            if self._room.is_open(cid):
                return "open"
            if self.stopping:
                return "later"
            if own:  # the content stays: nobody need be asked
                return self._end(cid, self._do(cid, "hide") > 0)
            answer = self._announcer.evict(cid, lambda: self._do(cid, "hide") > 0)
            if answer == "no":
                return "last"
            if answer == "unsure":
                self._do(cid, "restore")
                return "later"
            return self._end(cid, self._others_have(cid, copies[0].size, others))

    def shed(self, cid: str) -> bool | None:
        """The same for the room; see `Room.sheds`."""
        outcome = self.give_up(cid)
        if outcome == "later":
            return None
        if outcome not in ("evicted", "absent"):
            log.debug("%s stays: %s", cid[:12], outcome)
        return outcome in ("evicted", "absent")

    def answered(self, message: GaveUp) -> None:
        """The scanner did a step."""
        waiting = self._waiting.get((message.cid, message.step))
        if waiting is not None and not waiting.done():
            waiting.set_result(message.copies)

    def _end(self, cid: str, go: bool) -> Outcome:
        if go and self._do(cid, "take") > 0:
            self._room.gone("copy", cid)
            return "evicted"
        self._do(cid, "restore")
        return "unsure"

    def _do(self, cid: str, step: Step) -> int:
        """Has the scanner do a step; of how many copies it did."""
        answer = self._waiting[cid, step] = Future()
        try:
            return answer.result(SCANNER) if self._send(GiveUp(cid, step)) else 0
        except FutureTimeout:
            return 0
        finally:
            del self._waiting[cid, step]

    def _others_have(self, cid: str, size: int, others: int) -> bool:
        """Whether so many are listed, now that this peer is not, and one of them says so itself."""
        rows = self._holders(cid)
        if len(rows) < others:
            return False
        random.shuffle(rows)
        return any(has_whole(row, cid, size) for row in rows[:ASKED])


def has_whole(holder: PeerRow, cid: str, size: int) -> bool:
    """Whether a peer says itself, over a connection of its own, that it has all `size` bytes of a content."""
    address = urlsplit(holder.url)
    try:
        _, (host, port) = resolve(address.hostname or "", address.port or 80, SILENCE)
        connection = http.client.HTTPConnection(host, port, timeout=SILENCE)
        try:
            connection.request("HEAD", f"/v1/content/{cid}", headers={"Accept-Encoding": "identity"})
            answer = connection.getresponse()
            length, tag = answer.getheader("Content-Length"), answer.getheader("ETag")
            return answer.status == 200 and length == str(size) and tag == f'"{cid}"'
        finally:
            connection.close()
    except (RemoteError, OSError, http.client.HTTPException, ValueError) as error:
        log.info("%s does not say whether it has %s: %s", holder.id[:12], cid[:12], error)
        return False
