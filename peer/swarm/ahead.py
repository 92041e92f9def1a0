"""Verified contents of one piece that were fetched before anybody asked for them: in memory, bounded, kept nowhere.

What is read leaves; what nobody reads goes when there is no room for what comes, the oldest first, or when it is
dropped. A content that is on its way can be waited for.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from shoal.manifest import Manifest


class Arrived(NamedTuple):
    """A content and its manifest."""

    manifest: Manifest
    data: bytes


class Ahead:
    """Threading: any thread; a lock guards the tables."""

    def __init__(self, limit: int, used: Callable[[int], None]) -> None:
        """`limit` in bytes; `used` hears, with no lock held, how many are read."""
        self._limit, self._used = limit, used
        self._changed = threading.Condition()
        self._coming: set[str] = set()
        self._here: OrderedDict[str, Arrived] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size

    def expect(self, cid: str) -> bool:
        """It will be fetched; False if it is here, or on its way already."""
        with self._changed:
            if cid in self._here or cid in self._coming:
                return False
            self._coming.add(cid)
            return True

    def arrived(self, manifest: Manifest, data: bytes) -> None:
        """It is here: bytes of which the manifest was made."""
        with self._changed:
            self._coming.discard(manifest.cid)
            self._here[manifest.cid] = Arrived(manifest, data)
            self._size += len(data)
            self._shrink(self._limit)
            self._changed.notify_all()

    def failed(self, cid: str) -> None:
        """It will not come."""
        with self._changed:
            self._coming.discard(cid)
            self._changed.notify_all()

    def get(self, cid: str) -> Arrived | None:
        """The content, if it is here; it stays."""
        return self._here.get(cid)

    def take(self, cid: str, wait: float = 0.0) -> Arrived | None:
        """The content, which leaves, because it is read; one on its way is waited for, up to so many seconds."""
        if cid not in self._here and cid not in self._coming:
            return None
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: cid not in self._coming, wait)
            found = self._here.pop(cid, None)
            if found is None:
                return None
            self._size -= len(found.data)
        self._used(len(found.data))
        return found

    def drop(self, size: int | None = None) -> int:
        """Lets go at least so many bytes, the oldest first; all of them if not told. How many."""
        with self._changed:
            before = self._size
            self._shrink(0 if size is None else max(0, before - size))
            return before - self._size

    def _shrink(self, most: int) -> None:
        while self._size > most:
            _, old = self._here.popitem(last=False)
            self._size -= len(old.data)
