"""The lease and the list, told to the tracker in use.

`Talk` decides what to say next, given what the tracker agreed to; `Announcer`
says it. All of the list is in the index, by the sequence of its changes, so
nothing of it is kept here:

    renewal  the tracker has (sequence, digest), and nothing changed since
    delta    rows changed after the sequence that the tracker has
    parts    all rows, when the tracker says that it needs them

A copy is given up between two announcements: the tracker, which must say yes, delists it in that step, and its list has
the next number then. So that the index's list is the same again, the copy is hidden before anything more is said.

The parts are not one snapshot: their sequence is the one from before the first
row was read, so what changed meanwhile comes once more, as a delta. A put of
what is known replaces it, a drop of what is not there is nothing.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Literal, Protocol

from peer.catalogue.trackers import Trackers
from peer.share.rows import Row
from shoal.errors import Busy, Refused, RemoteError
from shoal.http import Client
from shoal.wire import MAX_BODY, PAGE, PROOF, Announce, Digest, Evict, Evicted, Item, Leave, Renewed, encode

log = logging.getLogger(__name__)
_FULL = MAX_BODY * 7 // 8
"""Bytes of items in one message at most; the rest is for what stands around them."""
_COALESCE = 0.05
"""Seconds in which changes are gathered into one message."""
_REFRESH = (0.2, 60.0)
"""A tracker's refresh is kept between these, in seconds."""
_RETRY = 0.25
"""Seconds until the second try after a failure; twice that until the next, up to a refresh."""
_EVICTING, _ASKING = 10.0, 3.0
"""Seconds until an eviction is answered, and until the tracker must have said yes or no."""
_PATIENCE = 3
"""How often the whole list is asked for before it is taken for a failure."""


class Index(Protocol):
    """What of `peer.share.rows.IndexReader` is used here."""

    def state(self) -> tuple[int, str, int]:
        """(sequence, digest of the announced list at it, the oldest sequence that `changes` can answer from)."""

    def changes(self, after: int, limit: int) -> list[Row]:
        """Rows changed after that sequence number, oldest change first, "gone" ones too."""

    def listed(self) -> Iterator[list[Row]]:
        """All announced rows, in pages; not one snapshot."""


@dataclass(frozen=True)
class Card:
    """What a peer says of itself. `port` is its data port, `hint` its UDP port for hints."""

    id: str
    secret: str = field(repr=False)
    name: str
    port: int
    advertise: str = ""
    hint: int = 0
    epoch: int = 0
    """Grows with every start; 0: the clock."""


class Talk:
    """What to say to a tracker next: pure, but for reading the index. Not thread-safe.

    Ask `next`, then say what became of it: `agreed`, `send_all` or `lost`.
    """

    def __init__(self, card: Card, index: Index, epoch: int) -> None:
        self._card, self._index, self.epoch = card, index, epoch
        self._known: tuple[int, str] | None = None
        """(sequence, digest or "") of the list that the tracker is known to have."""
        self._maybe: list[tuple[int, str]] | None = None
        """What else it may have: after a lost reply before or after, after a start the list of the run before."""
        self._after: int | None = None
        """The index's sequence up to which the tracker was told, if that is not its list's: it delisted something."""
        self._said = 0
        """The highest sequence that was said of this epoch."""
        self._parts: Iterator[Announce] | None = None

    @property
    def busy(self) -> bool:
        """Whether there is something to say before the next renewal is due."""
        sequence, digest = self._state()
        return self._known is None or self._known[0] != sequence or self._is_new(sequence, digest)

    @property
    def certain(self) -> bool:
        """Whether it is known which list the tracker has."""
        return self._known is not None

    def elsewhere(self) -> None:
        """From now on it is another tracker."""
        self._known = self._maybe = self._parts = self._after = None

    def evicted(self, sequence: int) -> None:
        """The tracker delisted a copy, its list has this number now, and the copy is hidden in the index."""
        assert self._known is not None
        if self._after is None:
            self._after = self._known[0]
        self._known = sequence, ""

    def unsure(self) -> None:
        """The tracker may have another list than was said, with any number: all is sent again.

        In a new epoch, for its number may be one that the index has not reached.
        """
        self.epoch += 1
        self._known, self._maybe, self._parts, self._after, self._said = None, [], None, None, 0

    def next(self) -> Announce:
        """The message to send now."""
        sequence, digest = self._state()
        if self._is_new(sequence, digest):
            self.unsure()
        if self._known is not None and self._base() < self._index.state()[2]:
            self._known, self._maybe, self._after = None, [], None
        if self._known is not None:
            if sequence == self._known[0]:
                return self._message(sequence, digest)
            return self._delta(self._known[0])
        if self._maybe is None:
            self._maybe = [(sequence, digest)]
        if self._maybe:
            return self._message(*self._maybe[0])
        if self._parts is None:
            self._parts = self._whole()
        return next(self._parts)

    def _base(self) -> int:
        """The index's sequence up to which the tracker was told."""
        assert self._known is not None
        return self._known[0] if self._after is None else self._after

    def agreed(self, message: Announce) -> None:
        """The tracker took the message."""
        if message.part is not None and not message.last:
            return
        self._known = message.sequence, message.digest
        self._maybe = self._parts = self._after = None

    def send_all(self, message: Announce) -> None:
        """The tracker does not know what the message builds upon."""
        guessed = self._known is None and message.base is None and message.part is None
        self._maybe = self._maybe[1:] if guessed and self._maybe else []
        self._known = self._parts = self._after = None

    def lost(self, message: Announce) -> None:
        """No answer: the tracker may have taken the message or not."""
        if message.base is None and message.part is None:
            return
        after = [(message.sequence, message.digest)] if message.base is not None or message.last else []
        before = [self._known] if self._known is not None else []
        self._maybe = [state for state in (*after, *before) if state[1]]
        self._known = self._parts = self._after = None

    def _is_new(self, sequence: int, digest: str) -> bool:
        """Whether the index was lost and made anew: its sequences mean other lists than before."""
        known = self._known is not None and self._known[0] == sequence and self._known[1] not in ("", digest)
        return known or sequence < self._said

    def _state(self) -> tuple[int, str]:
        sequence, digest, _ = self._index.state()
        return sequence, digest or str(Digest())

    def _delta(self, base: int) -> Announce:
        after = self._base()
        rows = self._index.changes(after, PAGE)
        put: list[Item] = []
        drop: list[tuple[str, str]] = []
        last, size, all_of_it = after, 0, len(rows) < PAGE
        for row in rows:
            item = row.item() if row.announced else None
            size += len(encode(item if item is not None else (row.path, row.cid))) + 1
            if size > _FULL:
                all_of_it = False
                break
            if item is not None:
                put.append(item)
            else:
                drop.append((row.path, row.cid))
            last = row.sequence
        if all_of_it:
            sequence, digest = self._state()
            if not self._index.changes(last, 1):
                # Nothing changed since the rows were read: the tracker's list will be the index's at `sequence`.
                return self._message(sequence, digest, base=base, put=put, drop=drop)
            if last == after:
                return self._delta(base)
        return self._message(last, "", base=base, put=put, drop=drop)

    def _whole(self) -> Iterator[Announce]:
        sequence, _ = self._state()
        items: list[Item] = []
        number = 0
        for page in _pages(row.item() for rows in self._index.listed() for row in rows):
            if items:
                yield self._message(sequence, "", part=number, put=items)
                number += 1
            items = page
        _, digest = self._state()
        if self._index.changes(sequence, 1):
            digest = ""
        yield self._message(sequence, digest, part=number, last=True, put=items)

    def _message(
        self,
        sequence: int,
        digest: str,
        base: int | None = None,
        part: int | None = None,
        last: bool = False,
        put: list[Item] | None = None,
        drop: list[tuple[str, str]] | None = None,
    ) -> Announce:
        card = self._card
        self._said = max(self._said, sequence)
        return Announce(
            card.id,
            self.epoch,
            sequence,
            digest,
            card.name,
            card.port,
            card.advertise,
            card.hint,
            base,
            part,
            last,
            put or [],
            drop or [],
        )


def _pages(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The items in lists that each fit into a message."""
    page: list[Item] = []
    size = 0
    for item in items:
        length = len(encode(item)) + 1
        if page and (len(page) == PAGE or size + length > _FULL):
            yield page
            page, size = [], 0
        page.append(item)
        size += length
    if page:
        yield page


Answer = Literal["yes", "no", "unsure"]


@dataclass
class Eviction:
    """A copy that is to go: what hides it, and where the answer goes."""

    cid: str
    hide: Callable[[], bool]
    answer: "Future[Answer]" = field(default_factory=Future)


class Announcer:
    """Keeps the lease alive and the tracker's list right.

    `renewed` is called on the announcer's thread with each answer; it must be quick.

    Threading: a thread of its own does all the network; `changed`, `evict` and `stop` may be called by any thread.
    """

    def __init__(
        self,
        card: Card,
        index: Index,
        trackers: Trackers,
        client: Client,
        renewed: Callable[[Renewed], None] = lambda renewed: None,
    ) -> None:
        self._card, self._trackers, self._client, self._renewed = card, trackers, client, renewed
        self._talk = Talk(card, index, card.epoch or time.time_ns() // 1_000_000)
        self._headers = {PROOF: card.secret}
        self._url = ""
        self._refresh = 5.0
        self._failures = self._asked = 0
        self._refused = ""
        self._settling, self._ttl = True, 15.0
        self._alone = 0.0
        """Since when no other tracker can list this peer, in monotonic seconds."""
        self._agreed = 0.0
        self._evictions: deque[Eviction] = deque()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)

    def start(self) -> None:
        """Starts the thread; the first announcement is at once."""
        self._thread.start()

    def changed(self, sequence: int = 0) -> None:
        """The index has changes (up to `sequence`)."""
        self._wake.set()

    def evict(self, cid: str, hide: Callable[[], bool]) -> Answer:
        """Asks whether this peer's copies of a content may go; "yes": they are delisted, and `hide` hid them.

        "no": nobody else has all of it. "unsure": the tracker does not answer, or its catalogue is settling, or they
        could not be hidden. Waits for a few seconds at most; `hide` is called on the announcer's thread.
        """
        eviction = Eviction(cid, hide)
        self._evictions.append(eviction)
        self._wake.set()
        try:
            return eviction.answer.result(_EVICTING)
        except FutureTimeout:
            return "unsure" if eviction.answer.cancel() else eviction.answer.result(_EVICTING)

    def stop(self, timeout: float = 3.0) -> None:
        """Ends the thread and gives the lease back, all within `timeout` seconds. Done twice it is done once."""
        ends = time.monotonic() + timeout
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        left = ends - time.monotonic()
        if self._trackers.connected and left > 0:
            leave = Leave(self._card.id, self._talk.epoch)
            try:
                self._client.post(f"{self._trackers.current}/v1/leave", leave, type(None), self._headers, left)
            except RemoteError as error:
                log.info("the lease was not given back, and will run out: %s", error)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._evictions and self._in_step:
                self._evict(self._evictions.popleft())
                continue
            wait = self._say()
            if wait and self._failures:  # what changed does not help it to answer
                self._answer_all("unsure")
                self._stopping.wait(wait)
            elif wait and not self._evictions and self._wake.wait(wait):
                self._stopping.wait(_COALESCE if not self._evictions else 0)
            if wait:
                self._trackers.prefer()
        self._answer_all("unsure")

    @property
    def _in_step(self) -> bool:
        """Whether it is known which list the tracker in use has, and the lease needs nothing yet."""
        fresh = time.monotonic() < self._agreed + self._refresh
        return fresh and self._url == self._trackers.current and not self._failures and self._talk.certain

    def _answer_all(self, answer: Answer) -> None:
        while self._evictions:
            eviction = self._evictions.popleft()
            if eviction.answer.set_running_or_notify_cancel():
                eviction.answer.set_result(answer)

    def _evict(self, eviction: "Eviction") -> None:
        if eviction.answer.set_running_or_notify_cancel():
            eviction.answer.set_result(self._ask(eviction))

    def _ask(self, eviction: "Eviction") -> Answer:
        if self._settling:  # it may have settled since it last said so
            self._say()
        if self._settling or not self._in_step or time.monotonic() < self._alone:
            return "unsure"
        message = Evict(self._card.id, eviction.cid)
        try:
            told = self._client.post(f"{self._url}/v1/evict", message, Evicted, self._headers, _ASKING)
        except RemoteError as error:
            log.info("whether a copy may go is not known: %s", error)
            self._talk.unsure()
            return "unsure"
        if not told.ok:
            return "no"
        if not eviction.hide():
            self._talk.unsure()
            return "unsure"
        self._talk.evicted(told.sequence)
        return "yes"

    def _say(self) -> float:
        """Says one thing; the seconds until the next, 0 if it is to be said at once."""
        url = self._trackers.current
        if url != self._url:
            if self._url:
                self._alone = time.monotonic() + self._ttl  # until then the one before may list this peer
            self._url = url
            self._talk.elsewhere()
        self._wake.clear()  # before the index is read: what changes from here on wakes again
        message = self._talk.next()
        try:
            renewed = self._client.post(f"{url}/v1/announce", message, Renewed, self._headers)
        except Refused as error:
            self._trackers.answered(url)
            if error.need != "all":
                return self._put_off(message, error)
            self._talk.send_all(message)
            self._asked += 1
            return 0.0 if self._asked <= _PATIENCE else self._back_off()
        except Busy as error:
            self._trackers.answered(url)
            return self._put_off(message, error)
        except RemoteError as error:
            self._talk.lost(message)
            return 0.0 if self._trackers.failed(url, error) else self._back_off()
        self._trackers.answered(url)
        self._talk.agreed(message)
        self._agreed = time.monotonic()
        self._settling, self._ttl = renewed.settling, renewed.ttl
        self._refresh = min(max(renewed.refresh, _REFRESH[0]), _REFRESH[1])
        self._failures, self._refused = 0, ""
        self._renewed(renewed)
        if self._talk.busy:
            return 0.0
        self._asked = 0
        return self._refresh

    def _put_off(self, message: Announce, error: RemoteError) -> float:
        """It is alive and says no, or later."""
        self._talk.lost(message)
        if str(error) != self._refused:
            self._refused = str(error)
            log.warning("the tracker does not take this peer's announcement: %s", error)
        return self._back_off()

    def _back_off(self) -> float:
        self._failures += 1
        return float(min(self._refresh, _RETRY * 2 ** min(self._failures, 16)))
