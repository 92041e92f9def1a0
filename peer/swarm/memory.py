"""Verified bytes in memory, bounded: small files until they are kept, and pieces that the disk has no room for."""

import threading
from collections import OrderedDict
from collections.abc import Callable


class Memory:
    """Pieces by (cid, number). When it is full, what was longest not used goes.

    Threading: any thread; a lock guards the table. `dropped` is called without it.
    """

    def __init__(self, limit: int, dropped: Callable[[str, int], None]) -> None:
        """`limit` in bytes; `dropped(cid, number)` hears of what had to go for want of room."""
        self._limit, self._dropped = limit, dropped
        self._lock = threading.Lock()
        self._pieces: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0

    def put(self, cid: str, number: int, data: bytes) -> None:
        """Remembers a piece."""
        gone = []
        with self._lock:
            self._size += len(data) - len(self._pieces.pop((cid, number), b""))
            self._pieces[cid, number] = data
            while self._size > self._limit and len(self._pieces) > 1:
                key, old = self._pieces.popitem(last=False)
                self._size -= len(old)
                gone.append(key)
        for key in gone:
            self._dropped(*key)

    def get(self, cid: str, number: int) -> bytes | None:
        """The piece, if it is still here."""
        with self._lock:
            data = self._pieces.get((cid, number))
            if data is not None:
                self._pieces.move_to_end((cid, number))
            return data

    def forget(self, cid: str, number: int) -> None:
        """Forgets one piece."""
        with self._lock:
            self._size -= len(self._pieces.pop((cid, number), b""))

    def has(self, cid: str) -> bool:
        """Whether the first piece of a content is here."""
        return (cid, 0) in self._pieces

    def drop(self, cid: str, count: int = 1) -> None:
        """Forgets a content of `count` pieces."""
        with self._lock:
            for number in range(count):
                self._size -= len(self._pieces.pop((cid, number), b""))

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size
