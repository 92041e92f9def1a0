"""Holders as sources of bytes: what the swarm asks of one, and the real one over HTTP.

There are two kinds: `HttpSource` here, and one in memory in the tests, which lies, stalls and dies as it is told to.
One contract suite runs on both. What a source gives is unverified; nobody but the swarm takes it.
"""

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote, urlsplit

from peer.swarm.config import SwarmConfig
from peer.swarm.connection import Connection
from shoal.errors import Busy, Misbehaved, Unreachable
from shoal.names import SafePath
from shoal.wire import PeerRow

CONNECTIONS = 8
"""Connections to one holder at most, those in use and those kept."""


def by_cid(cid: str) -> str:
    """The target of a content's bytes."""
    return f"/v1/content/{cid}"


def by_path(path: SafePath) -> str:
    """The target of a file by its path, as peers of the seed's protocol serve it."""
    return "/" + quote(path, safe="/")


class Body(Protocol):
    """The bytes of an answer, as they come; see `connection.Body`. Closed by whoever got it."""

    size: int
    fields: Mapping[bytes, bytes]
    """Of the answer's head; names in lower case."""

    def readinto(self, view: memoryview) -> int:
        """Puts the next bytes into the view, at least one. Raises Unreachable, Misbehaved."""
        ...

    def read(self) -> bytes:
        """All that is left. Raises as `readinto`."""
        ...

    def close(self) -> None:
        """Ends it, read or not."""
        ...

    def abort(self) -> None:
        """Has who reads it end soon, with Unreachable. Any thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Source(Protocol):
    """One holder."""

    @property
    def name(self) -> str:
        """The peer's name."""
        ...

    def get(
        self, target: str, first: int = 0, end: int | None = None, size: int | None = None, say: bytes = b""
    ) -> Body:
        """Asks for the bytes first ≤ n < end of a thing of `size` bytes; for all of it when `end` is None or `size`.

        `say` are lines of the request's head, each with its end.

        Raises:
            Unreachable: no connection, or no answer in time.
            Busy: it said: later.
            Gone: it does not have it.
            Refused: it said no.
            Misbehaved: it answered something else than was asked for.
        """
        ...


class Sources(Protocol):
    """All holders, by their rows."""

    def of(self, row: PeerRow) -> Source:
        """The source for a holder; the same one as long as its address is."""
        ...

    def sweep(self, now: float) -> bool:
        """Lets go what was not used for long; whether something is left that will have to go."""
        ...

    def close(self) -> None:
        """Ends every request under way with Unreachable, soon."""
        ...


class HttpSource:
    """A holder's data port, over kept-alive connections.

    Threading: any thread; each request has a connection of its own, the lock guards the lists of them.
    """

    def __init__(self, row: PeerRow, config: SwarmConfig) -> None:
        self.url, self._name, self._config = row.url, row.name, config
        self._host, self._port = _address(row)
        self._free = threading.Condition()
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._closed = False

    @property
    def name(self) -> str:
        """The peer's name."""
        return self._name

    def get(
        self, target: str, first: int = 0, end: int | None = None, size: int | None = None, say: bytes = b""
    ) -> Body:
        """See `Source.get`. Waits while all of the holder's connections are in use."""
        connection = self._take()
        try:
            return connection.get(target, first, end, size, say)
        except BaseException:
            self._give_back(connection)
            raise

    def sweep(self, now: float) -> bool:
        """Closes connections that were idle for long; whether any is left."""
        with self._free:
            old = [c for c in self._idle if now - c.used >= self._config.idle_timeout]
            self._idle = [c for c in self._idle if c not in old]
            left = bool(self._idle or self._busy)
        for connection in old:
            connection.close()
        return left

    def close(self) -> None:
        """Ends all requests, and closes what is idle."""
        with self._free:
            self._closed = True
            idle, self._idle = self._idle, []
            for connection in self._busy:
                connection.abort()
            self._free.notify_all()
        for connection in idle:
            connection.close()

    def _take(self) -> Connection:
        deadline = time.monotonic() + self._config.stall_timeout
        with self._free:
            while not self._closed and not self._idle and len(self._busy) >= CONNECTIONS:
                if not self._free.wait(deadline - time.monotonic()):
                    raise Busy(f"all connections to {self._name} are in use")
            if self._closed:
                raise Unreachable("the program ends")
            connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = Connection(self._host, self._port, self._name, self._config, self._give_back)
            self._busy.add(connection)
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._free:
            self._busy.discard(connection)
            keep = connection.usable and not self._closed
            if keep:
                connection.used = time.monotonic()
                self._idle.append(connection)
            self._free.notify()
        if not keep:
            connection.close()


def _address(row: PeerRow) -> tuple[str, int]:
    try:
        parts = urlsplit(row.url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        host, port = "", 0
    if not host.isascii() or not host or parts.scheme != "http":
        raise Misbehaved(f"the address of {row.name} is not one")
    return host, port


class HttpSources:
    """The sources of all holders that were asked lately.

    Threading: any thread; a lock guards the table.
    """

    def __init__(self, config: SwarmConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._sources: dict[str, HttpSource] = {}
        self._closed = False

    def of(self, row: PeerRow) -> HttpSource:
        """The source for a holder. Raises Misbehaved if its address is not one."""
        with self._lock:
            source = self._sources.get(row.id)
            if source is not None and source.url == row.url:
                return source
            old, source = source, HttpSource(row, self._config)
            self._sources[row.id] = source
            closed = self._closed
        if old is not None:
            old.close()
        if closed:
            source.close()
        return source

    def sweep(self, now: float) -> bool:
        """Closes idle connections; whether any are left."""
        with self._lock:
            sources = list(self._sources.values())
        return sum(source.sweep(now) for source in sources) > 0  # each of them, not only up to the first

    def close(self) -> None:
        """Ends all requests under way, and those to come."""
        with self._lock:
            self._closed = True
            sources = list(self._sources.values())
        for source in sources:
            source.close()
