"""The scrub: what is kept is read again, all of it in a given time, and found rotten before somebody needs it.

One thread reads, and gives way to everything. What was asked for by `Scrub` goes first, at full speed; else the pass
goes on that runs by itself, in the pace of `rounds`. What is wrong is acted upon by the keeper's thread (`rotten`),
so that no lock of the index is held by who may wait for the CPU.

Threading: `ask`, `end`, `stop` from any thread; `take` and `write_down` on the keeper's; all else on the scrub's own.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from peer.beneath import Beneath
from peer.layout import Layout
from peer.messages import EndScrub, Message, Scrub, Scrubbed, Scrubbing
from peer.priority import Patience, give_way
from peer.share.check import Check, Disk
from peer.share.index import Index
from peer.share.rounds import COST, Round, rest, wait
from peer.share.rows import IndexReader, Row
from shoal.errors import BadManifest, LocalError
from shoal.manifest import Cid, Manifest
from shoal.names import STATE_DIR

NOTE = "scrub"
"""The key of the `Round` among the index's notes."""
SAY_EVERY, NOTE_EVERY, WEIGH_EVERY = 0.25, 10.0, 600.0
OPEN_FOR = 1.0
"""Seconds that a file is held open between two pieces at most: one that is deleted frees its room."""
_PAGE = 100
_LONG = 3600.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What became of a check that was not simply right. `job` is whose it was, or ""."""

    job: str
    row: Row
    verdict: str
    why: str


@dataclass(frozen=True)
class Noted:
    """Where the pass is, to be written down."""

    text: str


class Scrubber:
    """The thread. `put` is given what the keeper is to do; `say` takes messages to the peer.

    `every`: seconds of a pass; 0: only what is asked for is read.
    """

    def __init__(
        self,
        layout: Layout,
        root: Beneath,
        index: Index,
        every: float,
        put: Callable[[Judged | Noted | Scrubbing], None],
        say: Callable[[Message], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._layout, self._root, self._every = layout, root, every
        self._put, self._say, self._clock = put, say, clock
        self._round = _round_of(index.noted(NOTE), clock())
        self._index: IndexReader
        self._disk: Disk
        self._patience: Patience
        self._asked: deque[Scrub] = deque()
        self._over: set[str] = set()
        self._page: deque[Row] = deque()
        self._check: Check | None = None
        self._total, self._files_total, self._weighed = 0, 0, float("-inf")
        self._noted = self._said = float("-inf")
        self._bytes = self._files = 0
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)

    def start(self) -> None:
        """Starts the thread; the index must be open."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the piece under way."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def ask(self, message: Scrub | EndScrub) -> None:
        """Begins, or ends, a scrub that somebody waits for."""
        if isinstance(message, Scrub):
            self._asked.append(message)
        else:
            self._over.add(message.job)
        self._wake.set()

    def where(self) -> str:
        """Where the pass is, as it is written down."""
        return msgspec.json.encode(self._round).decode()

    def _run(self) -> None:
        give_way()
        self._index, self._disk = IndexReader(self._layout.index), Disk()  # both of this thread alone
        self._patience = Patience()
        try:
            while not self._stopping:
                if self._asked:
                    self._do(self._asked.popleft())
                    continue
                pause = self._go_on() if self._every else _LONG
                self._patience.rest()
                if pause > OPEN_FOR:
                    self._close()
                if pause:
                    self._tell(pause > OPEN_FOR)
                    self._wake.wait(min(pause, _LONG))
                    self._wake.clear()  # what was asked before this is seen by the next round, `stop` too
        finally:
            self._close()
            self._index.close()

    # What was asked for.

    def _do(self, asked: Scrub) -> None:
        files_total, bytes_total = self._index.weight(asked.path)
        files = read = changed = 0
        said = float("-inf")

        for row in self._rows(asked.path):
            check = self._checked(row)
            while not self._stopping and asked.job not in self._over:
                read += (size := check.step())
                self._bytes += size
                if check.verdict:
                    break
                self._patience.rest()
                if time.monotonic() - said > SAY_EVERY:
                    said = time.monotonic()
                    self._say(Scrubbing(asked.job, files, files_total, read, bytes_total, changed, False))
            check.close()
            if not check.verdict:
                break
            files += 1
            changed += check.verdict == "changed"
            self._judge(asked.job, check)
        self._over.discard(asked.job)
        done = not self._stopping
        self._put(
            Scrubbing(asked.job, files, files_total, read, bytes_total, changed, done)
        )  # after all that was found

    def _rows(self, prefix: str) -> Iterator[Row]:
        path = cid = ""
        while rows := self._index.kept(path, cid, prefix, _PAGE):
            path, cid = rows[-1].path, rows[-1].cid
            yield from rows

    def _checked(self, row: Row, piece: int = 0) -> Check:
        name = row.disk if row.place == "local" else f"{STATE_DIR}/{self._layout.copies.name}/{row.cid}"
        manifest = None
        try:
            if (body := self._index.manifest(row.cid)) is not None:  # else the row is gone since it was read
                manifest = Manifest.decode(body, Cid(row.cid))
        except BadManifest as error:
            log.error("in the index: %s", error)
        return Check(self._root, row, name, manifest, piece, self._disk)

    def _judge(self, job: str, check: Check) -> None:
        self._files += 1
        if check.verdict != "right" or check.row.state == "rotten":
            self._put(Judged(job, check.row, check.verdict, check.why))

    # The pass that runs by itself.

    def _go_on(self) -> float:
        """Reads one piece, if it is time; seconds until the next."""
        now = self._clock()
        if self._round.ended and not wait(self._round, 0, self._every, now):
            self._round = self._round.next(now, self._every)
            self._weighed = float("-inf")
        if time.monotonic() - self._weighed > WEIGH_EVERY:
            self._weighed = time.monotonic()
            self._files_total, size = self._index.weight("")
            self._total = size + COST * self._files_total
        if not self._files_total and not self._round.files:
            self._round.began = now  # there is nothing yet: the pass begins when there is
            return min(WEIGH_EVERY, self._every)
        if pause := wait(self._round, self._total, self._every, now):
            return pause
        began, cost = time.monotonic(), self._round.cost
        self._read()
        return rest(self._round.cost - cost, time.monotonic() - began)

    def _read(self) -> None:
        at = self._round
        check = self._check or self._next()
        if check is None:
            at.ended, at.path, at.cid, at.piece = self._clock(), "", "", 0
            self._noted = float("-inf")
            return
        self._check = check
        size = check.step()
        at.path, at.cid, at.piece = check.row.path, check.row.cid, check.piece
        at.bytes, at.cost = at.bytes + size, at.cost + size
        self._bytes += size
        if check.verdict:
            self._close()
            at.piece, at.files, at.cost = 0, at.files + 1, at.cost + COST
            at.rotten += check.verdict == "rotten"
            self._judge("", check)

    def _next(self) -> Check | None:
        """The check to begin, or to go on with; None at the end of the pass."""
        at = self._round
        if at.piece:
            for row in self._index.kept(at.path, "", at.path, _PAGE):
                if row.cid == at.cid:
                    return self._checked(row, at.piece)
            at.piece = 0  # it is not here any more
        if not self._page:
            self._page.extend(self._index.kept(at.path, at.cid, "", _PAGE))
        while self._page:
            row = self._page.popleft()
            if (row.path, row.cid) > (at.path, at.cid):
                return self._checked(row)
        return None

    def _close(self) -> None:
        """Gives the file back that is open; the page of rows is read anew, for it may be old by then."""
        self._page.clear()
        if self._check is not None:
            self._check.close()
            self._check = None

    def _tell(self, resting: bool) -> None:
        now = time.monotonic()
        if now - self._said > (0 if resting else 1.0):
            self._said = now
            at = self._round
            last = at.ended or at.last
            self._say(Scrubbed(self._bytes, self._files, at.files, self._files_total, at.began, last))
        if self._every and now - self._noted > NOTE_EVERY:
            self._noted = now
            self._put(Noted(self.where()))


def _round_of(text: str, now: float) -> Round:
    """The pass that was written down; a new one, if there is none or it cannot be read."""
    try:
        return msgspec.json.decode(text, type=Round) if text else Round(now)
    except msgspec.DecodeError:
        return Round(now)


def write_down(index: Index, noted: Noted) -> None:
    """Remembers where the pass is; what cannot be written now is written later."""
    try:
        index.note(NOTE, noted.text)
    except LocalError as error:
        log.debug("%s", error)
