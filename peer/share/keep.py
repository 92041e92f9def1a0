"""The keeper: does what the peer asks of the share, in order, on a thread of its own.

Finished downloads are kept in batches: what came while the last batch was made
is the next. Nothing here waits for hashing.

Threading: `put` from any thread; the copies belong to the keeper's thread.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from peer.beneath import Beneath
from peer.layout import Layout
from peer.messages import (
    Begun,
    Ended,
    Forget,
    Forgot,
    GaveUp,
    GiveUp,
    Keep,
    Message,
    Pin,
    Pinned,
    Scrubbing,
    Seen,
    Supersede,
)
from peer.share.copies import Copies
from peer.share.durable import Durable, Proved
from peer.share.giveup import GivingUp
from peer.share.index import Index
from peer.share.moves import Moves
from peer.share.partials import begin, end
from peer.share.recover import Recovery
from peer.share.rotten import act
from peer.share.scrub import Judged, Noted, Scrubber, write_down
from peer.share.withdraw import forget, seen, withdrawn
from shoal.errors import LocalError
from shoal.names import printable

BATCH = 200
"""Downloads of one batch at most."""
GATHER = 0.1
"""Seconds for which downloads are gathered: a batch costs two commits, and those who read small files need the CPU."""
RETRY = 5.0
"""Seconds until moves are ended that the index had no room for."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Released:
    """A content's copy inside `.shoal` may not be needed any more."""

    cid: str


Task = Begun | Ended | Keep | GiveUp | Pin | Forget | Supersede | Seen | Released | Proved | Judged | Noted | Scrubbing


class Keeper:
    """Does the peer's tasks; `answer` takes `Kept` and `Forgot`, `look` names on disk that should be looked at."""

    def __init__(
        self,
        layout: Layout,
        root: Beneath,
        index: Index,
        peer: str,
        answer: Callable[[Message], None],
        look: Callable[[str], None],
        scrub_every: float = 0.0,
    ) -> None:
        self._root, self._index, self._peer, self._answer, self._look = root, index, peer, answer, look
        self._moves = Moves(layout, root, index, peer)
        self._copies = Copies(self._moves)
        self._giving_up = GivingUp(self._moves, self._copies)
        self._recovery = Recovery(self._moves, self._copies)
        self._tasks: deque[Task] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._unsettled = False
        self._durable = Durable(root, index, peer, self.put)
        self.scrubber = Scrubber(layout, root, index, scrub_every, self.put, answer)
        self._thread = threading.Thread(target=self._run, name="keep", daemon=True)

    def recover(self) -> None:
        """Ends what a crash interrupted; before anybody reads the index.

        Raises:
            LocalError: the index cannot be written.
        """
        self._recovery.run()
        self._durable.recover()
        self._index.repin()

    def start(self) -> None:
        """Starts the threads."""
        self._durable.start()
        self._thread.start()
        self.scrubber.start()

    def stop(self) -> None:
        """Ends the threads after the task under way, and syncs what was kept."""
        self.scrubber.stop()
        self._stop.set()
        self._wake.set()
        self._thread.join()
        write_down(self._index, Noted(self.scrubber.where()))
        self._durable.stop()
        self._moves.close()

    def put(self, task: Task) -> None:
        """Adds a task."""
        self._tasks.append(task)
        self._wake.set()

    def released(self, cid: str) -> None:
        """A content's copy inside `.shoal` may not be needed any more."""
        self.put(Released(cid))

    def _run(self) -> None:
        retry = 0.0
        while not self._stop.is_set():
            if not self._tasks:
                self._wake.wait(RETRY if self._unsettled else None)
                self._wake.clear()  # what was put before this is seen below or in the next round, `stop` too
                if self._tasks and isinstance(self._tasks[0], Keep):
                    self._stop.wait(GATHER)
            if self._unsettled and time.monotonic() >= retry:
                retry = time.monotonic() + RETRY
                self._settle()
            keeps: list[Keep] = []
            while self._tasks and len(keeps) < BATCH and isinstance(self._tasks[0], Keep):
                if any(keep.path == self._tasks[0].path for keep in keeps):
                    break  # of one path, one after the other
                keeps.append(self._tasks.popleft())  # type: ignore[arg-type]
            if keeps:
                self._keep(keeps)
            elif self._tasks:
                self._do(self._tasks.popleft())

    def _keep(self, keeps: list[Keep]) -> None:
        for kept in self._copies.keep(keeps):
            if not kept.place:
                self._unsettled = True
                log.debug("%s is not kept: %s", printable(kept.path), kept.why)  # the peer says it, once
            else:
                self._do(Ended(kept.cid))  # at other paths: the pieces are no more
            self._answer(kept)

    def _settle(self) -> None:
        try:
            self._recovery.end_moves(self._durable.unproved | self._giving_up.hidden)
        except LocalError as error:
            log.debug("moves are not ended yet: %s", error)
        else:
            self._unsettled = False

    def _do(self, task: Task) -> None:
        now = time.time_ns()
        try:
            match task:
                case Begun():
                    if begin(self._index, task):
                        self._look(task.path)
                case Ended(cid):
                    for path in end(self._index, cid):
                        self._look(path)
                case GiveUp(cid, step):
                    give = self._giving_up
                    paths = {"hide": give.hide, "take": give.take, "restore": give.restore}[step](cid)
                    for path in paths if step != "hide" else ():
                        self._look(path)
                    self._answer(GaveUp(cid, step, len(paths)))
                case Pin(path, pinned):
                    self._index.pin(path, pinned)
                    self._answer(Pinned(path))
                case Forget(path):
                    why = forget(self._index, path, self._peer, now)
                    self._look(path)
                    self._answer(Forgot(path, why))
                case Supersede(path, cid, nothing):
                    self._copies.take_away(path, cid)
                    if nothing is not None:
                        withdrawn(self._index, path, nothing, now)
                    self._look(path)
                case Seen(path, rev):
                    seen(self._index, path, self._peer, rev, now // 1_000_000)
                case Released(cid):
                    self._copies.release(cid)
                case Judged():
                    act(self._moves, task, self._answer, self._look)
                case Noted():
                    write_down(self._index, task)
                case Scrubbing():
                    self._answer(task)
                case Proved():
                    self._durable.take(task)
                    self._look(task.row.disk)
        except LocalError as error:
            log.error("%s", error)
            if isinstance(task, Forget):
                self._answer(Forgot(task.path, str(error)))
            elif isinstance(task, GiveUp):
                self._answer(GaveUp(task.cid, task.step, 0))
            elif isinstance(task, Pin):
                self._answer(Pinned(task.path, str(error)))
