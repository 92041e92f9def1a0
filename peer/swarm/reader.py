"""An open handle on one version of a file."""

import threading
import time
from collections.abc import Callable
from typing import Self

from peer.swarm.content import Content
from peer.swarm.pending import Done, Pending
from shoal.errors import Unreachable


class Reader:
    """An open handle on one version of a file. `cid` is "" for a file of the seed's protocol, until it was read.

    Threading: any thread; several reads at a time are fine. A read under way when it is closed ends as it would.
    """

    def __init__(self, content: Content, observe: Callable[[float], None], closed: Callable[[], None]) -> None:
        self._content, self._observe, self._closed = content, observe, closed
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
        """`size` verified bytes from `offset` on; fewer only at the end of the file. Waits, raises as `read_into`."""
        data = bytearray(max(0, min(size, self._content.size - offset)))
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fills the view with verified bytes from `offset` on; how many, fewer only at the end of the file.

        Waits until they are here.

        Raises:
            Unreachable: nobody alive has it; or nothing useful came for the read timeout; or the program ends.
            Gone: all who are listed as holders say that they do not have it any more.
            Lied, Misbehaved: nobody gives it, and somebody gave what was wrong.
            LocalError: this machine's disk fails.
            DataError: the file is larger than can be checked.
        """
        ended = threading.Lock()
        ended.acquire()
        errors: list[BaseException | None] = []

        def done(error: BaseException | None) -> None:
            errors.append(error)
            ended.release()

        if self.begin(offset, view, done) is not None:
            ended.acquire()
            if (error := errors[0]) is not None:
                raise error
        return max(0, min(len(view), self._content.size - offset)) if offset >= 0 else 0

    def begin(self, offset: int, view: memoryview, done: Done) -> Pending | None:
        """The same without waiting: None if the view is filled; else `done` is told later how it ended.

        It is told, or this raises, what `read_into` raises.
        """
        size = min(len(view), self._content.size - offset)
        if size <= 0 or offset < 0:
            return None
        if not self._open:
            raise Unreachable("the file is not open any more")
        began = time.monotonic()

        def end(error: BaseException | None) -> None:
            self._observe(time.monotonic() - began)
            done(error)

        pending = self._content.begin(self._window, offset, view[:size], end)
        if pending is None:
            self._observe(time.monotonic() - began)
        return pending

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
