"""The way out, which all connections share: whose answer is sent now, and how many bytes of it.

A large answer waits for its turn (`turns`) before its head is sent; while it is sent, each chunk waits for its part of
the up-limit (`peer.shares`). A small answer waits for neither, unless its asker had more than its share of such.
"""

import threading
import time
from collections.abc import Callable
from ipaddress import ip_address

from peer.data.turns import SLOTS, Part, Turn, Turns
from peer.limiter import Limiter
from shoal.errors import Busy
from shoal.manifest import KIB, is_cid

LOOK = 0.5
"""Seconds after which who waits looks again: that somebody crawls is not told, it is seen."""
_EACH = 24 * KIB
"""Bytes a second that an answer must get under a limit, or fewer are sent at a time: readers give up at 16 KiB/s."""


class Uplink:
    """See the module.

    Threading: any thread; a lock guards the turns, another the rate's shares. Nobody waits with one held.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns = Turns()
        self._began: dict[Turn, threading.Event] = {}
        self._limiter = Limiter()

    @property
    def rate(self) -> int:
        """The up-limit in bytes a second; 0: none."""
        return self._limiter.rate

    @property
    def sent(self) -> int:
        """Large answers being sent."""
        return self._turns.sent

    @property
    def waiting(self) -> int:
        """Large answers that wait for their turn."""
        return self._turns.waiting

    @property
    def contended(self) -> bool:
        """Whether somebody waits for a turn."""
        return self._turns.waiting > 0

    def limit(self, rate: int) -> None:
        """From now on at most `rate` bytes a second; 0: no limit."""
        self._limiter.limit(rate)
        with self._lock:
            self._turns.slots = max(1, min(SLOTS, rate // _EACH)) if rate else SLOTS
            self._advance()

    def begin(self, asker: str, size: int, part: Part, patience: float, gone: Callable[[], bool]) -> Turn:
        """Waits for the turn of an answer of `size` bytes, these pieces; `end` it.

        Raises:
            Busy: its turn did not come within `patience` seconds, or before its client was `gone`.
        """
        with self._lock:
            turn = self._turns.ask(asker, size, part)
        return self._come(turn, patience, gone)

    def again(self, turn: Turn, patience: float, gone: Callable[[], bool]) -> Turn:
        """The answer had a turn's bytes, and goes on when its turn comes again. Raises Busy as `begin` does."""
        with self._lock:
            turn = self._turns.again(turn, time.monotonic())
        return self._come(turn, patience, gone)

    def end(self, turn: Turn) -> None:
        """The answer is over, well or not."""
        with self._lock:
            self._turns.end(turn, time.monotonic())
            self._advance()

    def chunk(self, turn: Turn, want: int) -> int:
        """Waits until the limit allows bytes of an answer: how many, at most `want`."""
        if not self._limiter.rate:
            return want
        began = time.monotonic()
        granted = self._limiter.take(turn.asker, want)
        turn.since += time.monotonic() - began
        return granted

    def small(self, asker: str, size: int) -> None:
        """Counts the bytes of a small answer. It waits only if the asker had more than its share of them."""
        self._limiter.small(asker, size)

    def _come(self, turn: Turn, patience: float, gone: Callable[[], bool]) -> Turn:
        """Waits until it is its turn; if that does not come, the turn is taken back. Raises Busy."""
        until = time.monotonic() + patience
        began = threading.Event()
        with self._lock:
            self._began[turn] = began
            if turn.begun:
                began.set()
        left = 0.0
        while not began.wait(left):
            with self._lock:
                self._advance()
                if turn.begun:
                    break
                left = min(until - time.monotonic(), LOOK)
                if left <= 0 or gone():
                    self._turns.end(turn, time.monotonic())
                    break
        with self._lock:
            del self._began[turn]
        if not turn.begun:
            raise Busy("others are being served; a moment")
        return turn

    def _advance(self) -> None:
        for turn in self._turns.advance(time.monotonic()):
            if turn in self._began:
                self._began[turn].set()


def asker_of(address: str, claimed: bytes) -> str:
    """Who asks: the address. On loopback, where all peers of a machine have the same, also the id that it claims.

    Elsewhere an id counts for nothing: who lies would be many.
    """
    id = claimed.decode("latin-1")
    if not is_cid(id):  # an id has the form of a cid
        return address
    return f"{address} {id}" if ip_address(address.partition("%")[0]).is_loopback else address
