"""Programs that read the content through handles of their own, one read after another, with pauses."""

from collections.abc import Callable, Iterator

from shoal.errors import RemoteError
from tests.support.simulated_swarm.clock import Clock
from tests.support.simulated_swarm.reading import Reader

PATIENT = 3
LONG = 60.0
"""Seconds after which a program begins no further read."""


class Program:
    """Does its reads, each (offset, size, seconds to wait after it), and begins none after so many seconds. After
    `PATIENT` errors it gives up.
    """

    def __init__(
        self,
        reader: Reader,
        reads: Iterator[tuple[int, int, float]],
        clock: Clock,
        ended: Callable[[], None],
        seconds: float = LONG,
    ) -> None:
        self.reader = reader
        self.errors: list[RemoteError] = []
        self.longest = 0.0
        """Seconds that a read took at most."""
        self.done = 0
        """Reads that gave their bytes."""
        self.over = 0.0
        """When it ended; 0: it has not."""
        self._clock, self._reads, self._ended, self._seconds = clock, reads, ended, seconds
        self._window = reader.window()
        self._began = 0.0

    def go_on(self) -> None:
        """Reads until it has to wait, or is done."""
        clock = self._clock
        for offset, size, pause in self._reads:
            if len(self.errors) == PATIENT or clock.now > self._seconds:
                break
            self._pause, self._began = pause, clock.now
            if not self.reader.begin(self._window, offset, size, self._came):
                return
            self.done += 1
            if pause:
                clock.at(clock.now + pause, self.go_on)
                return
        self.reader.leave(self._window)
        self.over = clock.now
        self._ended()

    def _came(self, error: RemoteError | None) -> None:
        self.longest = max(self.longest, self._clock.now - self._began)
        if error is not None:
            self.errors.append(error)
        else:
            self.done += 1
        self._clock.at(self._clock.now + self._pause, self.go_on)


def in_order(size: int, step: int, pause: float = 0.0) -> Iterator[tuple[int, int, float]]:
    """The reads of a program that reads all of it."""
    for offset in range(0, size, step):
        yield offset, min(step, size - offset), pause
