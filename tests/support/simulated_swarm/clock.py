"""What happens when, in simulated time."""

import heapq
import math
from collections.abc import Callable
from typing import Any


class Clock:
    """Calls things at their times, those of one time in the order in which they were given. `now` in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._number = 0

    @property
    def busy(self) -> bool:
        """Whether anything is to happen."""
        return bool(self._heap)

    def at(self, when: float, call: Callable[..., object], *args: Any) -> None:
        """Has it called then, or as soon as may be when that is over."""
        if when < math.inf:
            self._number += 1
            heapq.heappush(self._heap, (when, self._number, call, args))

    def run(self, until: float = math.inf) -> None:
        """Time passes until then, or until nothing more is to happen."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, call, args = heapq.heappop(heap)
            self.now = max(self.now, when)
            call(*args)
        if until < math.inf:
            self.now = max(self.now, until)

    def end(self) -> None:
        """Nothing more is to happen."""
        self._heap.clear()
