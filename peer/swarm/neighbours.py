"""Who else reads one content: met in what peers tell along with pieces, and asked now and then for what they have.

Only ids are taken from what is told, and only of peers that a tracker lists: nobody can have us call an address.

Of a crowd each peer knows `MOST`: any of those it met, all as likely (a reservoir; Vitter, Random sampling with a
reservoir, 1985). Were it the first it met, a crowd would fall apart: who came early would know each other, be full, and
hear nothing of what the later ones have.

Threading: any thread; the tables are small, and a lock guards them.
"""

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from peer.swarm.commons import Commons
from shoal.wire import PeerRow

MOST = 100
"""Neighbours of one content at most."""
POLL = 0.5
"""Seconds after which a neighbour with whom nothing was exchanged is asked what it has."""
AT_ONCE = 16
"""Neighbours asked at one time at most."""


@dataclass(slots=True)
class Neighbour:
    """One other reader; when something was last exchanged with it, and what of our pieces it was told."""

    row: PeerRow
    exchanged: float = float("-inf")
    told: int = 0


class Neighbours:
    """The other readers of one content."""

    def __init__(self, commons: Commons, dice: random.Random | None = None) -> None:
        self._commons, self._dice = commons, dice or random.Random()
        self._lock = threading.Lock()
        self._known: dict[str, Neighbour] = {}
        self._met: set[str] = set()

    def rows(self) -> list[PeerRow]:
        """Those who are known."""
        with self._lock:
            return [neighbour.row for neighbour in self._known.values()]

    def met(self, ids: Iterable[str]) -> list[PeerRow]:
        """These read it too; those of them that are known from now on, some of them in another's place."""
        new: list[PeerRow] = []
        for id in ids:
            if id in self._known or id == self._commons.others.me or (id in self._met and len(self._known) >= MOST):
                continue
            row = self._commons.others.find(id)
            if row is not None and row.url and not row.seed and self._take(id, row):
                new.append(row)
        return new

    def _take(self, id: str, row: PeerRow) -> bool:
        """Makes it a neighbour, if it is to be one."""
        with self._lock:
            self._met.add(id)
            if len(self._known) >= MOST:
                if self._dice.randrange(len(self._met)) >= MOST:
                    return False
                del self._known[self._dice.choice(list(self._known))]
            self._known[id] = Neighbour(row)
        return True

    def forget(self, id: str) -> None:
        """It has nothing of it any more, or cannot be reached."""
        with self._lock:
            self._known.pop(id, None)
            self._met.discard(id)

    def due(self, now: float) -> list[str]:
        """Those to ask what they have, the longest not heard first."""
        with self._lock:
            old = [(n.exchanged, id) for id, n in self._known.items() if now - n.exchanged >= POLL]
            chosen = [id for _, id in sorted(old)[:AT_ONCE]]
            for id in chosen:
                self._known[id].exchanged = now
        return chosen

    def told(self, id: str) -> int:
        """Which of our pieces it was told of."""
        neighbour = self._known.get(id)
        return neighbour.told if neighbour is not None else 0

    def tell(self, id: str, pieces: int, now: float) -> None:
        """It is being told of these, in an exchange at that time."""
        neighbour = self._known.get(id)
        if neighbour is not None:
            neighbour.told, neighbour.exchanged = pieces, now

    def failed(self, id: str) -> None:
        """What it was told last may not have arrived."""
        neighbour = self._known.get(id)
        if neighbour is not None:
            neighbour.told, neighbour.exchanged = 0, float("-inf")
