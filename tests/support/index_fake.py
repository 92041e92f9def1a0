"""An index in memory, with the methods of `IndexReader` that tests of its readers need."""

from collections.abc import Callable, Iterator

from peer.share.rows import Row
from shoal.wire import Digest


class FakeIndex:
    """`meanwhile` holds changes that happen between two reads: one is made after each."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.sequence = 0
        self.oldest = 0
        self.meanwhile: list[Callable[[], None]] = []

    def put(self, row: Row) -> None:
        self.sequence += 1
        row.sequence = self.sequence
        self.rows[row.path, row.cid] = row

    def forget_gone(self) -> None:
        """As the scanner does with what was told long ago."""
        for key in [key for key, row in self.rows.items() if row.kind == "gone"]:
            del self.rows[key]
        self.oldest = self.sequence

    def _read(self) -> None:
        if self.meanwhile:
            self.meanwhile.pop(0)()

    def at(self, path: str) -> list[Row]:
        return [row for row in self.rows.values() if row.path == path]

    def announced(self) -> list[Row]:
        return [row for _, row in sorted(self.rows.items()) if row.announced]

    def state(self) -> tuple[int, str, int]:
        digest = Digest()
        for row in self.announced():
            digest.add(row.item())
        found = self.sequence, str(digest) if self.sequence else "", self.oldest
        self._read()
        return found

    def changes(self, after: int, limit: int) -> list[Row]:
        rows = sorted((row for row in self.rows.values() if row.sequence > after), key=lambda row: row.sequence)
        self._read()
        return rows[:limit]

    def listed(self, page: int = 2) -> Iterator[list[Row]]:
        last = ("", "")
        while rows := [row for key, row in sorted(self.rows.items()) if key > last][:page]:
            last = rows[-1].path, rows[-1].cid
            self._read()
            yield [row for row in rows if row.announced]
