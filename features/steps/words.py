"""What the steps share: the people of a scenario, their files, and how sizes and lists are read."""

import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from behave import register_type

from shoal.units import parse_size
from tests.support.chaos import Faults
from tests.support.cluster import Peer

FAULTS = {
    "corrupts": Faults(corrupt_every=20_000),
    "is slow to answer": Faults(delay=0.02),
    "breaks again and again": Faults(cut_after=300_000),
    "repeats itself": Faults(duplicate_after=100_000),
    "falls silent": Faults(stall_after=300_000),
}


@dataclass
class Outcome:
    """What came of a read: its bytes or its error, and how long it took."""

    path: str
    data: bytes | None
    error: OSError | None
    seconds: float
    offset: int = 0


def attempt(path: str, read: Callable[[], bytes], offset: int = 0) -> Outcome:
    """The outcome of a read; only errors of the file system count as outcomes."""
    began = time.monotonic()
    try:
        data, error = read(), None
    except OSError as failed:
        data, error = None, failed
    return Outcome(path, data, error, time.monotonic() - began, offset)


class Watch:
    """Looks all the time whether a peer's folder shows these paths; `missed` names those it once did not."""

    def __init__(self, peer: Peer, paths: list[str]) -> None:
        self.missed: set[str] = set()
        self._peer, self._paths = peer, paths
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")
        self._thread.start()

    def close(self) -> None:
        """Ends the looking."""
        self._stopping.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stopping.wait(0.05):
            self.missed.update(path for path in self._paths if not self._peer.sees(path))


def content(path: str, size: int) -> bytes:
    """The bytes of a path: the same for whoever shares it at that size."""
    return random.Random(f"{path} {size}").randbytes(size)


def quoted(text: str) -> list[str]:
    """The names in quotation marks."""
    return re.findall(r'"([^"]+)"', text)


register_type(Size=parse_size)


def holders(context: Any, path: str) -> set[str]:
    """The names of those who have the file, as the tracking server knows them."""
    names = {peer["id"]: peer["name"] for peer in context.tracker.get("/v1/peers")["peers"]}
    files = context.tracker.get("/v1/files")["files"]
    return {names.get(id, id) for file in files if file["path"] == path for id in file["holders"]}
