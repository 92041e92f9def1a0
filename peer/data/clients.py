"""Who is connected: so many in all, so many of one asker, and who has to go when one more comes."""

import threading
import time
from collections import Counter
from typing import Protocol


class Client(Protocol):
    """One connection. `idle`: from when on it may go, by the monotonic clock; None while it has a request."""

    asker: str
    idle: float | None

    def cut(self) -> None:
        """Ends it, soon."""
        ...


class Clients:
    """The open connections, and whose they are.

    When there is no room for one more, the one that has waited longest for a request makes room: its client may be
    told at any time that it is closed, and makes another one when it needs it.

    Threading: any thread; a lock guards the tables.
    """

    def __init__(self, most: int, each: int) -> None:
        """`most` connections in all, `each` of one asker."""
        self._most, self._each = most, each
        self._lock = threading.Lock()
        self._open: dict[Client, str] = {}
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def limit(self, most: int, each: int) -> None:
        """From now on so many; those that are open stay."""
        self._most, self._each = most, each

    def come(self, client: Client) -> bool:
        """Takes a connection in; False if there is no room."""
        with self._lock:
            if not self._make_room(client.asker, len(self._open) >= self._most):
                return False
            self._put(client, client.asker)
        return True

    def rename(self, client: Client, asker: str) -> bool:
        """The connection turns out to be this asker's; False if the asker has no room for it."""
        with self._lock:
            if client not in self._open or not self._make_room(asker, False):
                return False
            self._take(client)
            self._put(client, asker)
        client.asker = asker
        return True

    def go(self, client: Client) -> None:
        """The connection is over."""
        with self._lock:
            if client in self._open:
                self._take(client)

    def cut_all(self) -> int:
        """Cuts all connections; how many are not over yet."""
        with self._lock:
            for client in self._open:
                client.cut()
            return len(self._open)

    def _make_room(self, asker: str, full: bool) -> bool:
        """Sees to it that one more of the asker fits, by closing one that is idle if need be."""
        own = self._of[asker] >= self._each
        if not own and not full:
            return True
        now = time.monotonic()
        able = [(client.idle, client) for client, whose in self._open.items() if not own or whose == asker]
        idle = [(since, client) for since, client in able if since is not None and since <= now]
        if not idle:
            return False
        _, client = min(idle, key=lambda pair: pair[0])
        self._take(client)
        client.cut()
        return True

    def _put(self, client: Client, asker: str) -> None:
        self._open[client] = asker
        self._of[asker] += 1

    def _take(self, client: Client) -> None:
        asker = self._open.pop(client)
        self._of[asker] -= 1
        if not self._of[asker]:
            del self._of[asker]
