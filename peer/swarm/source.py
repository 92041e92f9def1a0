"""Holders as sources of bytes: what the swarm asks of one, and the real one over HTTP.

There are two kinds: `HttpSource` here, and one in memory in the tests, which lies, stalls and dies as it is told to.
One contract suite runs on both. What a source gives is unverified; nobody but the swarm takes it.
"""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote, urlsplit

from peer.limiter import Limiter
from peer.swarm.config import SwarmConfig
from peer.swarm.sockets import Address, Sockets
from shoal.errors import Misbehaved
from shoal.names import SafePath
from shoal.wire import PeerRow


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

    Threading: any thread; each request has a connection of its own.
    """

    def __init__(self, row: PeerRow, sockets: Sockets) -> None:
        self.url, self._sockets = row.url, sockets
        self._address = _address(row)

    @property
    def name(self) -> str:
        """The peer's name."""
        return self._address.name

    def get(
        self, target: str, first: int = 0, end: int | None = None, size: int | None = None, say: bytes = b""
    ) -> Body:
        """See `Source.get`. Waits while all connections that there may be are in use."""
        connection = self._sockets.take(self._address)
        try:
            return connection.get(target, first, end, size, say)
        except BaseException:
            self._sockets.release(connection)
            raise

    def close(self) -> None:
        """Ends all requests, and closes what is idle."""
        self._sockets.leave(self._address)


def _address(row: PeerRow) -> Address:
    try:
        parts = urlsplit(row.url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        host, port = "", 0
    if not host.isascii() or not host or parts.scheme != "http":
        raise Misbehaved(f"the address of {row.name} is not one")
    return Address(row.name, host, port)


class HttpSources:
    """The sources of all holders that were asked lately.

    Threading: any thread; a lock guards the table.
    """

    def __init__(self, config: SwarmConfig) -> None:
        self._sockets = Sockets(config)
        self._lock = threading.Lock()
        self._sources: dict[str, HttpSource] = {}

    @property
    def limiter(self) -> Limiter:
        """The limit on the bytes that come in."""
        return self._sockets.limiter

    def figures(self) -> tuple[int, int]:
        """(connections made to holders, threads that wait for one)."""
        return self._sockets.figures()

    def of(self, row: PeerRow) -> HttpSource:
        """The source for a holder. Raises Misbehaved if its address is not one."""
        with self._lock:
            source = self._sources.get(row.id)
            if source is not None and source.url == row.url:
                return source
            old, source = source, HttpSource(row, self._sockets)
            self._sources[row.id] = source
        if old is not None:
            old.close()
        return source

    def sweep(self, now: float) -> bool:
        """Closes idle connections; whether any are left."""
        return self._sockets.sweep(now)

    def close(self) -> None:
        """Ends all requests under way, and those to come."""
        self._sockets.close()
