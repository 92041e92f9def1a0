"""So many bytes a second, shared fairly between those who ask. Pure: time is an argument, in seconds.

A bucket fills at the rate. Who is next takes from it once it is not in debt, and may leave a debt of what was taken: so
over any time no more is granted than the rate allows, and `BURST` seconds of it, and one grant.

Who is next: start-time fair queueing. A request's tag is where its asker's last one ended, or, if the asker was away,
a little behind the tag served last; the lowest tag is first. So an asker that always wants gets its share of the bytes,
however many requests the others have waiting, and one that pauses for a moment catches up and no more.
"""

import heapq
from dataclasses import dataclass, field
from itertools import count

BURST = 0.125
"""Seconds' worth that may be granted at once after a pause."""
GRANTS = 32
"""Grants a second, about: a grant is this part of the rate."""
LEAST, MOST = 1 << 10, 1 << 20
"""Bytes of one grant, unless less is asked for."""
SMALL = 64 << 10
"""Bytes by which an asker may be ahead of its share and still have a small request granted at once."""
ASKERS = 1024
"""Askers remembered at a time; beyond, all are forgotten, and it is fair from there on."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One request for `size` bytes. `granted` says that they may be sent now."""

    asker: str
    size: int
    granted: bool = False


@dataclass(slots=True, order=True)
class _Queued:
    tag: float
    number: int
    ticket: Ticket = field(compare=False)


class Shares:
    """What is granted to whom, and when. `rate` in bytes a second; 0: no limit, everything at once. Not thread-safe."""

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self._level, self._at = 0.0, now
        self._served = 0.0  # the tag served last
        self._latest = 0.0  # the end of the last of all requests
        self._ends: dict[str, float] = {}  # where each asker's last request ended
        self._queue: list[_Queued] = []
        self._numbers = count()

    @property
    def most(self) -> int:
        """Bytes of one grant at most."""
        return max(LEAST, min(MOST, self.rate // GRANTS))

    @property
    def waiting(self) -> int:
        """How many requests are not granted yet."""
        return len(self._queue)

    @property
    def first(self) -> Ticket | None:
        """Whose turn it is next."""
        return self._queue[0].ticket if self._queue else None

    def set_rate(self, rate: int, now: float) -> None:
        """From now on this rate; what was granted stays granted."""
        self._fill(now)
        self.rate = rate
        self._level = max(min(self._level, rate * BURST), float(-self.most))  # no debt that a low rate never ends

    def ask(self, asker: str, want: int, now: float) -> Ticket:
        """Asks for `want` bytes; the ticket may be for fewer. `advance` grants it."""
        self._fill(now)
        ticket = Ticket(asker, min(want, self.most) if self.rate else want)
        heapq.heappush(self._queue, _Queued(self._charge(asker, ticket.size), next(self._numbers), ticket))
        return ticket

    def small(self, asker: str, size: int, now: float) -> bool:
        """Grants a small request past all that wait, unless its asker had more than its share of such already.

        It leaves a debt, for which those who wait in turn wait longer, its asker most of all.
        """
        self._fill(now)
        if self.rate and self._start("small " + asker) > self._served + SMALL:
            return False
        self._charge("small " + asker, size)
        self._charge(asker, size)
        self._level -= size
        return True

    def withdraw(self, ticket: Ticket) -> None:
        """The asker does not want it any more; it was not granted."""
        self._queue = [queued for queued in self._queue if queued.ticket is not ticket]
        heapq.heapify(self._queue)
        self._ends[ticket.asker] = self._start(ticket.asker) - ticket.size

    def give_back(self, asker: str, size: int) -> None:
        """So many of the bytes granted were not used."""
        self._level += size
        self._ends[asker] = self._start(asker) - size

    def advance(self, now: float) -> tuple[list[Ticket], float | None]:
        """(the tickets granted now, seconds until the next one may be, None if nobody waits)."""
        self._fill(now)
        granted = []
        while self._queue and (not self.rate or self._level > -1):  # a part of a byte is no debt
            queued = heapq.heappop(self._queue)
            self._served = max(self._served, queued.tag)
            self._level -= queued.ticket.size
            queued.ticket.granted = True
            granted.append(queued.ticket)
        return granted, -self._level / self.rate if self._queue else None

    def _fill(self, now: float) -> None:
        # No limit is a bucket that is always level: what is granted then is owed by nobody later.
        passed, self._at = now - self._at, now
        self._level = min(self._level + self.rate * passed, self.rate * BURST) if self.rate else 0.0

    def _start(self, asker: str) -> float:
        """The tag of what the asker asks for next; one that was away is behind by a few grants at most."""
        return max(self._ends.get(asker, 0.0), self._served - 4 * self.most)

    def _charge(self, asker: str, size: int) -> float:
        if len(self._ends) > ASKERS or (not self._queue and self._level >= 0):  # nobody lacks anything: a new account
            self._served = max(self._served, self._latest)
            self._ends.clear()
        tag = self._start(asker)
        self._ends[asker] = tag + size
        self._latest = max(self._latest, tag + size)
        return tag
