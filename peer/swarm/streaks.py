"""Who reads small files one after another, and what to fetch ahead of them. Pure: opens in, wishes out.

Forces, each of which has a test:
- what comes next is what follows in the folder, then in the folders after it, by name or as the folder is listed
  (`find`, `tar`, `cp -r`): whoever gives the lists knows both orders;
- a streak is `FIRST` files in order; one or two are no reason to fetch anything;
- the window is twice as many as were read in order, at most `WINDOW` files and `WINDOW_BYTES`; it is filled again when
  half of it was read, so that few requests are made;
- of folders that the reader has not come to, little is fetched, and more the more often he went on to the next;
- who leaves files out, or reads them a little out of order, as several processes of one build do, goes on with a
  smaller window; who leaves out as many as he reads gets none;
- who reads only `.h` files gets no `.c` files, until he has read of several kinds;
- several readers, in one folder or in many, each have a streak of their own;
- whatever happens, no more is fetched and not read than `SPARE` and a quarter of what is read (`Budget`).

Threading: none of its own; whoever uses it holds a lock.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shoal.manifest import MIB
from shoal.names import SafePath
from shoal.wire import Entry

FIRST = 3
"""Files in order that make a streak."""
WINDOW, WINDOW_BYTES = 128, 4 * MIB
REACH = 8
"""Files that may be left out between two of one reader; files fetched of the first folder that comes next."""
KINDS = 3
"""Who has read more kinds than this (by the end of the name) is taken to read all."""
READERS = 32
"""Streaks that are remembered; the one that was longest not gone on with is forgotten."""
SPARE, MOST_SPARE = MIB, 4 * MIB
QUARTER = 4


class Next(NamedTuple):
    """A small file that comes next, and is not here."""

    path: SafePath
    entry: Entry

    @property
    def size(self) -> int:
        """Bytes; known of every small file."""
        return self.entry.size or 0


class Budget:
    """What may be fetched ahead: what was fetched and is not read is at most `SPARE` and a quarter of what is read.

    Credit does not pile up beyond `MOST_SPARE`: a long reading is no licence for a long waste.
    """

    def __init__(self) -> None:
        self.left = SPARE

    def fetch(self, size: int) -> bool:
        """Takes so many bytes out, if they are there."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def used(self, size: int) -> None:
        """So many bytes were read that had been fetched ahead; or they were not fetched after all."""
        self.left = min(self.left + size, MOST_SPARE)

    def read(self, size: int) -> None:
        """A file of so many bytes is read that was not here, fetched ahead or not."""
        self.left = min(self.left + size // QUARTER, MOST_SPARE)


class Streak:
    """One reader's way through the files of one order."""

    def __init__(self, order: str, path: SafePath) -> None:
        self.order = order
        self.length = 1
        """Files read in order, less those that were left out."""
        self.last: str = path
        """The last one of which it is known what comes after it; "" if nothing does."""
        self.asked = False
        """Whether somebody is finding out what does."""
        self._folder, self._kind = _split(path)
        self._kinds = {self._kind}
        self._went_on = 0
        self._coming: deque[tuple[Next, bool]] = deque()
        self._passed: OrderedDict[str, None] = OrderedDict()
        self._ahead = self._full = 0

    @property
    def window(self) -> int:
        """How many files may be ahead of the reader."""
        return min(2 * self.length, WINDOW) if self.length >= FIRST else 0

    @property
    def lacks(self) -> int:
        """How many more files it should be told of; 0 if it knows enough."""
        enough = max(self.window, REACH + 1)
        return 0 if self.asked or not self.last or len(self._coming) >= enough else 2 * enough - len(self._coming)

    @property
    def hungry(self) -> bool:
        """Whether it is time to fetch."""
        return self.length >= FIRST and 2 * self._ahead <= self._full and bool(self._coming)

    def listed(self, files: Sequence[Next], last: str) -> None:
        """These come after `last`, and what was looked at for that ends at the new `last`; "": nothing more comes."""
        self.asked = False
        self.last = last if files else ""
        self._coming.extend([(file, False) for file in files])

    def opened(self, path: str) -> bool:
        """Whether this is one of its files, now that it is opened."""
        for at, (file, fetched) in enumerate(self._coming):
            if at > REACH:
                break
            if file.path == path:
                self._advance(at, fetched)
                return True
        if path in self._passed:
            del self._passed[path]
            self.length += 2
            return True
        return False

    def _advance(self, left_out: int, fetched: bool) -> None:
        for _ in range(left_out):
            file, was_fetched = self._coming.popleft()
            self._ahead -= was_fetched
            if self._is_wanted(file):
                self._passed[file.path] = None
                self.length = max(1, self.length - 1)
        while len(self._passed) > REACH:
            self._passed.popitem(last=False)
        file, _ = self._coming.popleft()
        self._ahead -= fetched
        self.length += 1
        folder, kind = _split(file.path)
        self._kinds.add(kind)
        if folder != self._folder:
            self._folder = folder
            self._went_on += 1

    def wishes(self, budget: Budget) -> list[Next]:
        """What to fetch now, taken out of the budget; a file is told once."""
        if not self.hungry:
            return []
        wishes: list[Next] = []
        size, beyond, window = 0, 0, self.window
        for at, (file, fetched) in enumerate(self._coming):
            if _split(file.path)[0] != self._folder:
                beyond += 1
                if beyond > REACH << self._went_on:
                    break
            if fetched or not self._is_wanted(file):
                continue
            size += file.size
            if self._ahead >= window or size > WINDOW_BYTES or not budget.fetch(file.size):
                break
            self._coming[at] = file, True
            self._ahead += 1
            wishes.append(file)
        self._full = self._ahead
        return wishes

    def _is_wanted(self, file: Next) -> bool:
        return len(self._kinds) > KINDS or _split(file.path)[1] in self._kinds


class Streaks:
    """The streaks of all readers, through files in any of these orders."""

    def __init__(self, orders: Iterable[str]) -> None:
        self.budget = Budget()
        self._orders = tuple(orders)
        self._streaks: list[Streak] = []
        """Who went on last is last."""

    def opened(self, path: SafePath, size: int) -> None:
        """A small file that is not here is opened."""
        self.budget.read(size)
        if self._streaks and self._streaks[-1].length >= FIRST and self._streaks[-1].opened(path):
            return
        found = [streak for streak in self._streaks if streak.opened(path)]
        if not found:
            found = [Streak(order, path) for order in self._orders]
        elif (best := max(found, key=lambda streak: streak.length)).length >= FIRST:
            # The orders are the same here, or two readers are at the same place: one streak is enough.
            self._streaks = [streak for streak in self._streaks if streak not in found]
            found = [best]
        self._streaks = [*[streak for streak in self._streaks if streak not in found], *found][-READERS:]

    @property
    def waiting(self) -> bool:
        """Whether there is something to find out or to fetch for who read last."""
        return any(streak.lacks or streak.hungry for streak in self._streaks[-len(self._orders) :])

    def to_list(self) -> Streak | None:
        """A streak of whose next files too few are known; it counts as asked from now on."""
        for streak in reversed(self._streaks):
            if streak.lacks:
                return streak
        return None

    def wishes(self) -> list[Next]:
        """What to fetch now."""
        for streak in reversed(self._streaks):
            if wishes := streak.wishes(self.budget):
                return wishes
        return []


def _split(path: str) -> tuple[str, str]:
    """(folder, kind) of a file: what stands before the last slash, and after the last dot of the name."""
    folder, _, name = path.rpartition("/")
    stem, _, kind = name.rpartition(".")
    return folder, kind if stem else ""
