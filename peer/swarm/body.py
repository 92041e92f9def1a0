"""The body of an answer, as it comes over a connection: never beyond its length, and never for ever.

Threading: one thread at a time; `abort` from any.
"""

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from shoal.errors import Misbehaved, Unreachable

if TYPE_CHECKING:
    from peer.swarm.connection import Connection

GATHERED = 64 << 10
"""Bytes that come together where they come fast enough. A line that others use too brings a few KB at a time, and each
time costs hand-overs of the interpreter to other threads."""
SHORT = 0.01
"""Seconds over which a rate is measured at least."""


class Body:
    """The bytes of an answer, as they come. Close it in any case; the connection is kept if all of it was read.

    `size` is how many there are.
    """

    def __init__(self, connection: "Connection", size: int, early: bytes, fields: Mapping[bytes, bytes]) -> None:
        self._connection, self.size, self.fields = connection, size, fields
        self._left = size
        self._over = False
        self._ending = threading.Lock()
        self._early = memoryview(early)
        self._mark, self._since = time.monotonic(), 0

    def readinto(self, view: memoryview) -> int:
        """Puts the next bytes into the view, as many as there are: at least one.

        Raises:
            Unreachable: the connection was lost, or is too slow.
            Misbehaved: there are no more.
        """
        if self._left < len(view):
            if not self._left:
                raise Misbehaved("fewer bytes than asked for")
            view = view[: self._left]
        got = self._read_limited(view) if self._connection.limiter.rate else self._read(view)
        self._left -= got
        return got

    def _read(self, view: memoryview) -> int:
        if self._early:
            got = min(len(self._early), len(view))
            view[:got] = self._early[:got]
            self._early = self._early[got:]
        else:
            got = self._connection.receive_into(view)
            self._measure(got)
        return got

    def _read_limited(self, view: memoryview) -> int:
        """As `_read`, when the limit allows it. That time does not count as the holder's."""
        connection = self._connection
        began = time.monotonic()
        allowed = connection.limiter.take(connection.name, len(view), lambda: connection.aborted)
        self._mark += time.monotonic() - began
        if not allowed:
            raise Unreachable(f"the request to {connection.name} was given up")
        got = self._read(view[:allowed])
        connection.limiter.give_back(connection.name, allowed - got)
        return got

    def read(self) -> bytes:
        """All of it; raises as `readinto` does."""
        if len(self._early) == self._left and not self._connection.limiter.rate:
            self._left = 0
            return bytes(self._early)
        data = bytearray(self._left)
        view, done = memoryview(data), 0
        while done < len(data):
            done += self.readinto(view[done:])
        return bytes(data)

    def close(self) -> None:
        """Ends it; what was not read is lost with the connection."""
        with self._ending:
            self._over = True
        self._connection.end(whole=self._left == 0)

    def abort(self) -> None:
        """Has who reads it end soon, with Unreachable. Any thread."""
        with self._ending:
            if not self._over:  # else the connection is another's by now
                self._connection.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _measure(self, got: int) -> None:
        """So many bytes came: they may come together, or come too slowly."""
        self._since += got
        now = time.monotonic()
        passed = now - self._mark
        connection = self._connection
        if got < GATHERED or connection.gathers:
            connection.gather(self._left - got, self._since / max(passed, SHORT))
        config = connection.config
        if passed > config.stall_timeout:
            if self._since < config.lowest_speed * passed:
                raise Unreachable(f"{connection.name} is too slow: {self._since} bytes in {passed:.1f} s")
            self._mark, self._since = now, 0
