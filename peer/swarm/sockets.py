"""All connections made to holders: so many in all, so many to one holder, idle ones kept for the next request.

Who finds none free waits in a queue. An idle one of another holder is closed for whoever is first in it; and if there
is none, one in use whose holder has been silent for `STUCK` seconds is cut, so that no number of stuck holders keeps
anybody from a good one.
"""

import threading
import time
from dataclasses import dataclass

from peer.limiter import Limiter
from peer.swarm.config import SwarmConfig
from peer.swarm.connection import Connection
from shoal.errors import Busy, Unreachable

PER_HOLDER = 8
"""Connections to one holder at most, those in use and those kept."""
STUCK = 1.0
"""Seconds of silence after which a connection is cut for one who waits; our turn at a holder takes less to come."""
LOOK = 0.2
"""Seconds after which who waits looks again whether one is stuck."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a holder is, and what it is called."""

    name: str
    host: str
    port: int


class _Waiter:
    """One who wants a connection, and gets it."""

    def __init__(self, address: Address, lock: threading.Lock) -> None:
        self.address = address
        self.served = threading.Condition(lock)
        self.connection: Connection | None = None


class Sockets:
    """The connections of one swarm.

    Threading: any thread; a lock guards the tables, and is not held while a socket is used.
    """

    def __init__(self, config: SwarmConfig) -> None:
        self.config = config
        self.limiter = Limiter(config.down_limit)
        """Of the bytes that come in."""
        self._lock = threading.Lock()
        self._idle: dict[Address, list[Connection]] = {}
        self._busy: dict[Connection, Address] = {}
        self._waiting: list[_Waiter] = []
        self._closed = False

    def figures(self) -> tuple[int, int]:
        """(connections in use or kept, threads that wait for one)."""
        with self._lock:
            return self._open, len(self._waiting)

    def take(self, address: Address) -> Connection:
        """A connection to the holder, for one request; `release` it.

        Raises:
            Busy: none was free for the time that a holder may be silent.
            Unreachable: the program ends.
        """
        waiter = _Waiter(address, self._lock)
        until = time.monotonic() + self.config.stall_timeout
        with self._lock:
            self._waiting.append(waiter)
            spare = self._serve()
        self._close(spare)
        while True:
            with self._lock:
                if waiter.connection is None and not self._closed:
                    waiter.served.wait(max(0.0, min(LOOK, until - time.monotonic())))
                if waiter.connection is not None:
                    return waiter.connection
                now = time.monotonic()
                if self._closed or now >= until:
                    self._waiting.remove(waiter)
                    if self._closed:
                        raise Unreachable("the program ends")
                    raise Busy(f"no connection to {address.name} is free")
                stuck = self._stuck(now)
            for connection in stuck:
                connection.abort()

    def release(self, connection: Connection) -> None:
        """The request is over, well or not."""
        with self._lock:
            address = self._busy.pop(connection)
            keep = connection.usable and not self._closed
            if keep:
                connection.used = time.monotonic()
                self._idle.setdefault(address, []).append(connection)
            spare = self._serve()
        if not keep:
            spare.append(connection)
        self._close(spare)

    def sweep(self, now: float) -> bool:
        """Closes what was idle for long; whether any connection is left."""
        with self._lock:
            kept = [connection for idle in self._idle.values() for connection in idle]
            old = [connection for connection in kept if now - connection.used >= self.config.idle_timeout]
            for connection in old:
                self._drop(connection)
            left = self._open > 0
        self._close(old)
        return left

    def leave(self, address: Address) -> None:
        """The holder is not there any more: ends its requests, and closes what is idle."""
        with self._lock:
            idle = self._idle.pop(address, [])
            busy = [connection for connection, whose in self._busy.items() if whose == address]
        self._end(busy, idle)

    def close(self) -> None:
        """Ends all requests, and closes what is idle; whoever waits gets an error."""
        with self._lock:
            self._closed = True
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
            busy = list(self._busy)
            for waiter in self._waiting:
                waiter.served.notify()
        self._end(busy, idle)

    def _end(self, busy: list[Connection], idle: list[Connection]) -> None:
        for connection in busy:
            connection.abort()
        self._close(idle)

    def _close(self, connections: list[Connection]) -> None:
        for connection in connections:
            connection.close()

    # -- called with the lock held -------------------------------------------------------------------------------------

    @property
    def _open(self) -> int:
        return len(self._busy) + sum(map(len, self._idle.values()))

    def _serve(self) -> list[Connection]:
        """Gives connections to those who wait, the first one first; what has to be closed for that."""
        spare: list[Connection] = []
        for waiter in list(self._waiting):
            connection = self._find(waiter.address, spare)
            if connection is not None:
                self._waiting.remove(waiter)
                self._busy[connection] = waiter.address
                waiter.connection = connection
                waiter.served.notify()
        return spare

    def _find(self, address: Address, spare: list[Connection]) -> Connection | None:
        if self._closed or self._uses(address) >= PER_HOLDER:
            return None
        if address in self._idle:
            connection = self._idle[address][-1]
            self._drop(connection)
            return connection
        if self._open >= self.config.max_sockets:
            kept = [idle[0] for idle in self._idle.values()]
            if not kept:
                return None
            oldest = min(kept, key=lambda connection: connection.used)
            self._drop(oldest)
            spare.append(oldest)
        return Connection(address.host, address.port, address.name, self.config, self.release, self.limiter)

    def _uses(self, address: Address) -> int:
        return sum(whose == address for whose in self._busy.values())

    def _drop(self, connection: Connection) -> None:
        """Takes a connection off the idle ones."""
        for address, idle in self._idle.items():
            if connection in idle:
                idle.remove(connection)
                if not idle:
                    del self._idle[address]
                return

    def _stuck(self, now: float) -> list[Connection]:
        """The connections to cut, as many as there are who wait for any to end; the most silent first."""
        short = sum(self._uses(waiter.address) < PER_HOLDER for waiter in self._waiting)
        short -= sum(connection.aborted for connection in self._busy)
        silent = [c for c in self._busy if not c.aborted and c.silent(now) >= STUCK]
        return sorted(silent, key=lambda connection: -connection.silent(now))[: max(0, short)]
