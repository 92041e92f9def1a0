"""An open handle on one version of a file."""

import time
from collections.abc import Callable
from typing import Self

from peer.swarm.content import Content
from peer.swarm.pending import Done, Parts, Pending, read_into
from shoal.errors import Unreachable


class Reader:
    """An open handle on one version of a file. `cid` is "" for a file of the seed's protocol, until it was read.

    Threading: any thread; several reads at a time are fine. A read under way when it is closed ends as it would.
    """

    def __init__(
        self, content: Content, began: Callable[[], None], ended: Callable[[float], None], closed: Callable[[], None]
    ) -> None:
        """`began` and `ended` (after so many seconds) hear of each read, `closed` of the end."""
        self._content, self._began, self._ended, self._closed = content, began, ended, closed
        self._window = content.window()
        self._open = True

    @property
    def cid(self) -> str:
        """The content's id."""
        return self._content.cid

    @property
    def size(self) -> int:
        """The content's size in bytes."""
        return self._content.size

    def read(self, offset: int, size: int) -> bytes:
        """`size` verified bytes from `offset` on; fewer only at the end of the file. Waits until they are here.

        Raises:
            Unreachable: nobody alive has it; or nothing useful came for the read timeout; or the program ends.
            Gone: all who are listed as holders say that they do not have it any more.
            Lied, Misbehaved: nobody gives it, and somebody gave what was wrong.
            LocalError: this machine's disk fails.
            DataError: the file is larger than can be checked.
        """
        data = bytearray(max(0, min(size, self._content.size - offset)))
        read_into(self.begin, offset, memoryview(data))
        return bytes(data)

    def whole(self) -> int:
        """A new descriptor of the file, if it is on this disk whole and checked; else -1."""
        return self._content.whole() if self._open else -1

    def begin(self, offset: int, size: int, done: Done) -> Pending | None:
        """The same without waiting: `done` is told, at once or later, the bytes or what `read` would raise.

        What is returned waits; None if `done` was told already.
        """
        size = min(size, self._content.size - offset)
        if offset < 0 or size < 0 or (not size and (self._content.size or not self._content.cid)):
            done((), None)  # but who reads an empty file has it kept, as any other
            return None
        began = time.monotonic()
        self._began()

        def end(parts: Parts, error: BaseException | None) -> None:
            self._ended(time.monotonic() - began)
            done(parts, error)

        try:
            if not self._open:
                raise Unreachable("the file is not open any more")
            return self._content.begin(self._window, offset, size, end)
        except BaseException as error:  # noqa: BLE001 - it is theirs who asked
            end((), error)
            return None

    def close(self) -> None:
        """Ends the handle; again is harmless."""
        if self._open:
            self._open = False
            self._content.leave(self._window)
            self._closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
