"""Readers of many small files, played over the pure streaks: what would be fetched ahead is here at once."""

from peer.swarm.streaks import Next, Streaks
from shoal.names import SafePath
from shoal.wire import Entry


def small(path: str, size: int = 10_000) -> Next:
    """A small file; its cid is as good as any."""
    return Next(SafePath(path), Entry(path, size, 1))


class Reading:
    """Files in two orders; `fetched` are those fetched ahead, in order, `read` those that were opened."""

    def __init__(self, listed: list[Next], by_name: list[Next] | None = None) -> None:
        self.orders = {"listed": listed, "name": by_name or sorted(listed)}
        self.sizes = {file.path: file.size for file in listed}
        self.streaks = Streaks(self.orders)
        self.fetched: list[str] = []
        self.read: set[str] = set()
        self.hits = 0

    def open(self, path: str) -> bool:
        """A reader opens a file; whether it was fetched ahead."""
        fresh = path not in self.read
        hit = fresh and path in self.fetched
        if fresh:  # what was read is here, and nobody hears of it
            self.streaks.opened(SafePath(path), self.sizes[SafePath(path)])
            self.read.add(path)
            self.hits += hit
            if hit:
                self.streaks.budget.used(self.sizes[SafePath(path)])
        self.work()
        return hit

    def work(self) -> None:
        while (streak := self.streaks.to_list()) is not None:
            last, count = streak.last, streak.lacks
            streak.asked = True
            streak.listed(*self.after(last, streak.order, count))
        while wishes := self.streaks.wishes():
            for file in wishes:
                if file.path in self.fetched or file.path in self.read:
                    self.streaks.budget.used(file.size)
                else:
                    self.fetched.append(file.path)

    def after(self, path: str, order: str, count: int) -> tuple[list[Next], str]:
        files = self.orders[order]
        at = next(place for place, file in enumerate(files) if file.path == path) + 1
        found = files[at : at + count]
        cold = [file for file in found if file.path not in self.read]
        return cold, found[-1].path if len(found) == count else ""

    @property
    def unread(self) -> int:
        """Bytes that were fetched ahead and not read."""
        return sum(self.sizes[SafePath(path)] for path in self.fetched if path not in self.read)

    @property
    def bytes_read(self) -> int:
        return sum(self.sizes[SafePath(path)] for path in self.read)
