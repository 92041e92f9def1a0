"""Hints: datagrams that say there is something to pull.

A hint is the catalogue's VERSION as ASCII. It goes to the address that a lease
was announced from and to no other, and a lost one costs nothing: the next
renewal carries the version. What a hint causes is a pull, so rounds of hints
are spaced such that all who get one pull no more often than this tracker answers.

Threading: `changed` may be called by any thread and only sets a flag; one thread sends.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

log = logging.getLogger(__name__)

PULLS = 2000
"""Pulls a second that hints may cause."""
LEAST = 0.05
"""Seconds between two rounds of hints at least."""


def pause(receivers: int) -> float:
    """Seconds until the next round after one to so many receivers."""
    return max(LEAST, receivers / PULLS)


class Hints:
    """Sends a round of hints after a change. `receivers` gives the VERSION and everybody's (address, UDP port)."""

    def __init__(self, receivers: Callable[[], tuple[str, list[tuple[str, int]]]]) -> None:
        self._receivers = receivers
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
        self.sent = 0
        """Datagrams sent since the start."""

    def start(self) -> None:
        """Starts the sending thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the sending thread."""
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def changed(self) -> None:
        """There is something to pull."""
        self._changed.set()

    def _run(self) -> None:
        told = ""
        while self._changed.wait() and not self._stopping.is_set():
            self._changed.clear()
            began = time.monotonic()
            version, receivers = self._receivers()
            if version != told:
                told = version
                self.sent += send(version, receivers)
                self._stopping.wait(max(0.0, began + pause(len(receivers)) - time.monotonic()))


def send(version: str, receivers: Iterable[tuple[str, int]]) -> int:
    """Sends one hint to each; how many left this machine."""
    hint = version.encode()
    sent = 0
    with ExitStack() as stack:
        sockets: dict[socket.AddressFamily, socket.socket] = {}
        for address, port in receivers:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                if family not in sockets:
                    sockets[family] = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                sockets[family].sendto(hint, socket.MSG_DONTWAIT, (address, port))
                sent += 1
            except OSError as error:  # no route, or a full queue: the receiver learns of it by its next renewal
                log.debug("no hint to %s: %s", address, error)
    return sent
