"""Who lied, stalled or died, and until when it is not asked. Time is an argument, in seconds of a monotonic clock.

- A liar, and who breaks the protocol, is not asked for that content for a long time, and for twice as long each time.
  Who does it twice, whatever the content, is doubted for a while: asked only when nobody else has what is wanted.
- A holder that cannot be reached, or falls silent, is not asked for anything, for twice as long with each
  failure in a row, until it gives a good piece. The first failure that costs nobody time (a refused or lost
  connection) is forgiven almost at once: its server may just have been started again.
- Who says that it does not have the content ("gone") is not asked for it for a short time, twice as long each time,
  and there is no blame: else slow ones could say so in turn, for as long as somebody waits.

Threading: any thread; a lock guards the tables.
"""

import threading
from dataclasses import dataclass
from typing import TypeVar

from shoal.errors import Busy, Gone, Lied, Misbehaved, RemoteError, Unreachable

Key = TypeVar("Key")
FIRST_LIE, LONGEST_LIE = 10.0, 640.0
FIRST_GONE, LONGEST_GONE = 2.0, 32.0
BUSY_TIME = 0.3
FIRST_FAST, FIRST_SLOW, LONGEST = 0.3, 1.0, 8.0
DOUBTED, LONGEST_DOUBT = 60.0, 1920.0
"""Seconds for which a holder is doubted that lied twice, and twice as long with each lie more."""
FORGIVEN = 60.0
"""Seconds after a penalty's end at which its strikes are forgotten."""
MOST = 4096
"""Entries of a table at most; beyond, the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """Not to be asked before `until`, because of `error`; `strikes` failures in a row led to it."""

    until: float
    error: RemoteError
    strikes: int = 1


class Bench:
    """The holders that are not asked just now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[str, Penalty] = {}
        self._contents: dict[tuple[str, str], Penalty] = {}
        self._lies: dict[str, Penalty] = {}

    def failed(self, holder: str, cid: str, error: RemoteError, now: float, slow: bool = False) -> None:
        """The holder did not give what was asked; `slow`: and that took time, as a stall does."""
        error = type(error)(str(error))  # without the frames that it came through
        with self._lock:
            if isinstance(error, Unreachable):
                strikes = _strikes(self._holders.get(holder), now)
                pause = FIRST_FAST if strikes == 1 and not slow else _doubled(FIRST_SLOW, strikes, LONGEST)
                if strikes:
                    _put(self._holders, holder, Penalty(now + pause, error, strikes))
            elif isinstance(error, Misbehaved):
                strikes = _strikes(self._contents.get((holder, cid)), now)
                if strikes:
                    pause = _doubled(FIRST_LIE, strikes, LONGEST_LIE)
                    _put(self._contents, (holder, cid), Penalty(now + pause, error, strikes))
                    self._note_lie(holder, error, now)
            elif isinstance(error, Busy):
                _put(self._contents, (holder, cid), Penalty(now + BUSY_TIME, error))
            else:
                strikes = _strikes(self._contents.get((holder, cid)), now)
                if strikes:
                    pause = _doubled(FIRST_GONE, strikes, LONGEST_GONE)
                    _put(self._contents, (holder, cid), Penalty(now + pause, error, strikes))

    def good(self, holder: str) -> None:
        """The holder gave something that was right: its failures are forgiven."""
        if holder in self._holders:
            with self._lock:
                self._holders.pop(holder, None)

    def doubted(self, holder: str, now: float) -> bool:
        """Whether the holder is to be asked only when nobody else has what is wanted."""
        found = self._lies.get(holder) if self._lies else None
        return found is not None and found.strikes > 1 and now < found.until

    def until(self, holder: str, cid: str) -> float:
        """When the holder may be asked for the content again; 0 if at any time."""
        # Without the lock: a plan asks for each of its holders, all the time, and a look at a table is whole by itself.
        found = self._holders.get(holder) if self._holders else None
        other = self._contents.get((holder, cid)) if self._contents else None
        until = found.until if found is not None else 0.0
        return other.until if other is not None and other.until > until else until

    def why(self, holder: str, cid: str) -> RemoteError | None:
        """What the holder did last with this content, or at all; None if nothing bad is known."""
        with self._lock:
            found = self._contents.get((holder, cid)) or self._holders.get(holder)
        return found.error if found else None

    def dead(self, holder: str, now: float) -> bool:
        """Whether the holder cannot be reached, as far as is known now."""
        with self._lock:
            penalty = self._holders.get(holder)
        return penalty is not None and now < penalty.until

    def _note_lie(self, holder: str, error: RemoteError, now: float) -> None:
        old = self._lies.get(holder)
        strikes = 1 if old is None or now >= old.until + FORGIVEN else old.strikes + 1
        pause = _doubled(DOUBTED, strikes - 1, LONGEST_DOUBT)
        _put(self._lies, holder, Penalty(now + pause, error, strikes))


def verdict(errors: list[RemoteError]) -> RemoteError:
    """One error for a read that nobody answered, from what each holder did.

    A lie or a broken protocol before all; nobody has it any more only if all of them say so; else nobody alive has it.
    """
    # New objects: one that is raised again and again gathers the frames of all who raised it.
    for kind in (Lied, Misbehaved):
        for error in errors:
            if isinstance(error, kind):
                return kind(str(error))
    if errors and all(isinstance(error, Gone) for error in errors):
        return Gone(str(errors[0]))
    return Unreachable(f"nobody alive has it: {errors[0]}" if errors else "nobody alive has it")


def _strikes(old: Penalty | None, now: float) -> int:
    """How many failures in a row this one makes; 0 when several failed together, which is one failure."""
    if old is None or now >= old.until + FORGIVEN:
        return 1
    return 0 if now < old.until else old.strikes + 1


def _doubled(first: float, strikes: int, longest: float) -> float:
    """The pause after so many failures in a row: twice as long with each, up to the longest."""
    doublings = max(0, min(strikes - 1, 10))  # who is away for days fails thousands of times
    return min(first * (1 << doublings), longest)


def _put(table: dict[Key, Penalty], key: Key, penalty: Penalty) -> None:
    table.pop(key, None)  # so that it becomes the newest
    table[key] = penalty
    if len(table) > MOST:
        del table[next(iter(table))]
