"""Pins: what of the network is kept here on purpose. What is pinned and not here is fetched, also what comes later.

The pins are in the index; here they are asked for, and what they cover is looked after.

Threading: any thread may call anything; `changed` is quick. A lock guards what is to be fetched; one thread
finds out what that is.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Protocol

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.tree import File
from peer.messages import Pin, Pinned
from peer.share.pins import covers, pinned_by
from peer.share.rows import IndexReader
from peer.warm.line import Wanted
from peer.warm.warm import Run
from shoal.errors import Busy, Gone, LocalError, Refused
from shoal.names import SafePath, printable, safe_path

ANSWER = 10.0
"""Seconds that the scanner has."""
AGAIN = 30.0, 3600.0
"""Seconds until what could not be had, or had no room, is tried again: the first time, and at most."""
log = logging.getLogger(__name__)


class Warm(Protocol):
    """What of `peer.warm` is used here."""

    def start(self, files: Callable[[], Iterator[Wanted]], ended: Callable[[Run], None]) -> Run:
        """Fetches files, and says when it is done with them."""


class Pins:
    """Pins and unpins, and has what is pinned fetched."""

    def __init__(
        self,
        index: IndexReader,
        catalogue: Catalogue,
        send: Callable[[Pin], bool],
        followed: Callable[[], object],
        warm: Warm,
    ) -> None:
        """`send` sends to the scanner; `followed` is called when the index has new pins; `warm` fetches."""
        self._index, self._catalogue, self._send, self._followed, self._warm = index, catalogue, send, followed, warm
        self._lock = threading.Lock()
        self._pins = frozenset(index.pins())
        self._todo: dict[str, None] = dict.fromkeys(sorted(self._pins))
        self._failed: dict[str, int] = {}
        self._retry = float("inf")
        self._asking: dict[str, Future[str]] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pins", daemon=True)

    def start(self) -> None:
        """Starts the thread that fetches."""
        self._thread.start()
        self._wake.set()

    def stop(self) -> None:
        """Ends it; what is being fetched ends when `warm` does."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def pin(self, path: str) -> None:
        """Pins what is shown at a path: a file, or a folder with all that is, and comes, beneath.

        Raises:
            Gone: there is no such path. Busy: it may not be known yet, or the scanner is not there just now.
        """
        found = self._catalogue.find(path)
        if found is None and not self._catalogue.settled:
            raise Busy(f"not known yet, as the catalogue is still coming in: {printable(path)}")
        if found is None:
            raise Gone(f"no such path: {printable(path)}")
        self._change(Pin(found.path if isinstance(found, File) else path, True))

    def unpin(self, path: str) -> None:
        """Takes the pins at and beneath a path away.

        Raises:
            Gone: it is not pinned. Refused: a folder above it is. Busy: the scanner is not there just now.
        """
        found = self._catalogue.find(path)
        if isinstance(found, File):
            path = found.path
        pins = frozenset(self._index.pins())
        above = pinned_by(pins, path)
        if above not in (None, path):
            raise Refused(f"{printable(path)} is pinned with {printable(str(above)) or 'everything'}: unpin that", 403)
        if above is None and not any(not path or pin.startswith(f"{path}/") for pin in pins):
            raise Gone(f"not pinned: {printable(path)}")
        self._change(Pin(path, False))

    def answered(self, message: Pinned) -> None:
        """The scanner did it."""
        if (answer := self._asking.get(message.path)) is not None and not answer.done():
            answer.set_result(message.why)

    def changed(self, paths: Iterable[str]) -> None:
        """The catalogue changed at these paths."""
        if not self._pins:
            return
        new = [path for path in paths if covers(self._pins, path)]
        if new:
            with self._lock:
                self._todo.update(dict.fromkeys(new))
            self._wake.set()

    def _change(self, message: Pin) -> None:
        if message.path:
            safe_path(message.path)
        answer = self._asking.setdefault(message.path, Future())
        try:
            if not self._send(message):
                raise Busy("the scanner is being started again; try again")
            why = answer.result(ANSWER)
        except FutureTimeout:
            raise Busy("the scanner did not answer in time; try again") from None
        finally:
            self._asking.pop(message.path, None)
        if why:
            raise LocalError(why)
        self._followed()
        with self._lock:
            self._pins = frozenset(self._index.pins())
            if message.pinned:
                self._todo[message.path] = None
        self._wake.set()

    # The thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(max(0.0, min(3600.0, self._retry - time.monotonic())))
            self._wake.clear()
            with self._lock:
                if time.monotonic() >= self._retry:
                    self._retry = float("inf")
                    self._todo.update(dict.fromkeys(self._failed))
                todo, self._todo = list(self._todo), {}
            if not self._stopping.is_set() and next(self._missing(todo), None) is not None:
                self._warm.start(lambda todo=todo: self._missing(todo), self._ended)  # type: ignore[misc]

    def _missing(self, paths: Iterable[str]) -> Iterator[Wanted]:
        """What is pinned and not here, at and beneath these paths of the network: of each the newest version."""
        for path in paths:
            for at in self._at_and_beneath(path):
                entries = self._catalogue.entries(at)
                wanted = entries[0] if entries and covers(self._pins, at) else None
                if (
                    wanted is not None
                    and wanted.cid
                    and not (wanted.link or wanted.is_dir or self._is_here(wanted.cid))
                ):
                    yield Wanted(at, SafePath(at), wanted)
                else:
                    with self._lock:
                        self._failed.pop(at, None)

    def _at_and_beneath(self, path: str) -> Iterator[str]:
        if self._catalogue.entries(path):
            yield path
        last = path
        for _, file in self._catalogue.walk(path):
            if file.path not in (last, path):
                yield file.path
            last = file.path

    def _ended(self, run: Run) -> None:
        """What could not be had, or kept, is tried again later."""
        first, most = AGAIN
        for failure in run.tally.failures:
            with self._lock:
                tries = self._failed[failure.path] = self._failed.get(failure.path, 0) + 1
                self._retry = min(self._retry, time.monotonic() + min(most, first * 2 ** min(tries - 1, 16)))
            level = logging.WARNING if tries == 1 else logging.DEBUG
            log.log(level, "pinned, and not here: %s: %s", printable(failure.path), failure.why)
        self._wake.set()

    def _is_here(self, cid: str) -> bool:
        return bool(self._index.of(cid, 1))
