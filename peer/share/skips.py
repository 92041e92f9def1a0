"""What cannot be shared, and why; each said once."""

from collections.abc import Callable

from peer.messages import Skipped
from shoal.names import printable

SKIPS_MAX = 10_000
"""Names that are remembered and said at most; a share with more of them is not told of the rest."""


class Skips:
    """The names on disk that cannot be shared now. Not thread-safe."""

    def __init__(self, say: Callable[[Skipped], None]) -> None:
        self._say = say
        self._why: dict[str, str] = {}
        self._seen: set[str] | None = None

    def __contains__(self, disk: str) -> bool:
        return disk in self._why

    def __len__(self) -> int:
        return len(self._why)

    def add(self, disk: str, why: str) -> None:
        """Notes a name; says it unless that was said."""
        if self._seen is not None:
            self._seen.add(disk)
        if self._why.get(disk) == why or (disk not in self._why and len(self._why) >= SKIPS_MAX):
            return
        self._why[disk] = why
        self._say(Skipped(printable(disk), printable(why), len(self._why)))

    def discard(self, disk: str) -> None:
        """The name can be shared now, or is gone."""
        self._why.pop(disk, None)

    def begin(self) -> None:
        """A walk over everything begins."""
        self._seen = set()

    def sweep(self) -> None:
        """A walk over everything ended: what it did not meet is not there any more."""
        seen, self._seen = self._seen or set(), None
        for disk in [disk for disk in self._why if disk not in seen]:
            del self._why[disk]
