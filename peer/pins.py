"""Pins: what of the network is kept here on purpose. What is pinned and not here is fetched, also what comes later.

The pins are in the index; here they are asked for, and what they cover is looked after.

Threading: any thread may call anything; `changed` is quick. A lock guards what is to be fetched; one thread fetches.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Protocol

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.tree import File
from peer.messages import Pin, Pinned
from peer.share.pins import covers, pinned_by
from peer.share.rows import IndexReader
from shoal.errors import Busy, Gone, LocalError, Refused, ShoalError
from shoal.names import SafePath, printable, safe_path
from shoal.wire import Entry

ANSWER = 10.0
"""Seconds that the scanner has."""
KEPT = 15.0
"""Seconds until what was fetched must be a copy."""
AGAIN = 30.0, 3600.0
"""Seconds until what could not be had, or had no room, is tried again: the first time, and at most."""
log = logging.getLogger(__name__)


class Reader(Protocol):
    """An open content."""

    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of it. Raises ShoalError."""

    def close(self) -> None:
        """Ends it."""


def fetch_by(open: Callable[[SafePath, Entry], Any]) -> Callable[[SafePath, Entry], None]:
    """What fetches a version by reading it to its end, opened by `open`. Raises ShoalError."""

    def fetch(path: SafePath, entry: Entry) -> None:
        reader: Reader = open(path, entry)
        try:
            for offset in range(0, reader.size, 1 << 20):
                reader.read(offset, 1 << 20)
            if not reader.size:
                reader.read(0, 1)
        finally:
            reader.close()

    return fetch


class Pins:
    """Pins and unpins, and has what is pinned fetched."""

    def __init__(
        self,
        index: IndexReader,
        catalogue: Catalogue,
        send: Callable[[Pin], bool],
        followed: Callable[[], object],
        fetch: Callable[[SafePath, Entry], None],
    ) -> None:
        """`send` sends to the scanner; `followed` is called when the index has new pins; `fetch` reads a version to
        its end, so that it is kept, or raises ShoalError.
        """
        self._index, self._catalogue, self._send, self._followed, self._fetch = index, catalogue, send, followed, fetch
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
        """Ends it; a read under way ends when the swarm does."""
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
            if time.monotonic() >= self._retry:
                self._retry = float("inf")
                with self._lock:
                    self._todo.update(dict.fromkeys(self._failed))
            while not self._stopping.is_set() and (path := self._next()) is not None:
                self._look(path)

    def _next(self) -> str | None:
        with self._lock:
            path = next(iter(self._todo), None)
            if path is not None:
                del self._todo[path]
            return path

    def _look(self, path: str) -> None:
        """Fetches what is missing at and beneath a path of the network."""
        for at in self._paths(path):
            if self._stopping.is_set():
                return
            if not covers(self._pins, at):
                self._failed.pop(at, None)
                continue
            entries = self._catalogue.entries(at)
            if not entries or not _is_file(entries[0]) or self._is_here(entries[0].cid):
                self._failed.pop(at, None)
                continue
            why = self._try(SafePath(at), entries[0])
            if not why:
                self._failed.pop(at, None)
                continue
            tries = self._failed[at] = self._failed.get(at, 0) + 1
            log.log(
                logging.WARNING if tries == 1 else logging.DEBUG, "pinned, and not here: %s: %s", printable(at), why
            )
            first, most = AGAIN
            self._retry = min(self._retry, time.monotonic() + min(most, first * 2 ** min(tries - 1, 16)))

    def _paths(self, path: str) -> Iterable[str]:
        if self._catalogue.entries(path):
            yield path
        seen = ""
        for _, file in self._catalogue.walk(path):
            if file.path not in (seen, path):
                yield file.path
            seen = file.path

    def _try(self, path: SafePath, entry: Entry) -> str:
        """Fetches a version, and waits until it is kept; why not, or ""."""
        try:
            self._fetch(path, entry)
        except ShoalError as error:
            return str(error)
        until = time.monotonic() + KEPT
        while not self._is_here(entry.cid):
            if self._stopping.wait(0.05):
                return "the program ends"
            if time.monotonic() > until:
                return "it was read, and is not kept"
        return ""

    def _is_here(self, cid: str) -> bool:
        return bool(self._index.of(cid, 1))


def _is_file(entry: Entry) -> bool:
    return bool(entry.cid) and not entry.link and not entry.is_dir
