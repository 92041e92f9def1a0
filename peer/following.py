"""One's own share, followed as it changes: on a thread of its own, so that the scanner is never kept waiting."""

import threading
from collections.abc import Callable


class Following:
    """Calls `update`, on its own thread, after each `wake`; wakes that come meanwhile are one.

    The scanner's messages arrive on a thread that must not block: what an update leads to may be sent to the scanner.
    """

    def __init__(self, update: Callable[[], object]) -> None:
        self._update = update
        self._wanted = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="own-share", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """There is something new."""
        self._wanted.set()

    def stop(self) -> None:
        """Ends the thread after the update under way."""
        self._stopping = True
        self._wanted.set()
        if self._thread.ident is not None:
            self._thread.join(2)

    def _run(self) -> None:
        while self._wanted.wait() and not self._stopping:
            self._wanted.clear()
            self._update()
