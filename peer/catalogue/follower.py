"""Follows a tracker's catalogue: pulls its pages, at once when a hint says that there is something.

Hints are datagrams, and only hints: whoever sends one causes at most a pull. A
lost one costs a refresh, because every renewal carries the version.
"""

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.trackers import Trackers
from shoal.errors import Busy, Gone, Misbehaved, Refused, RemoteError
from shoal.http import Client
from shoal.wire import Changes, Renewed

log = logging.getLogger(__name__)
_REST = 0.1
"""Seconds between two pulls at least, however many hints come."""
_IDLE = 30.0
"""Seconds after which it pulls although nothing was heard."""
_STARTS = 3
"""How often one pull starts over at most."""
_WAIT = (0.25, 5.0)
"""Seconds until it tries again after a failure: the first time, and at most."""


class Follower:
    """Keeps a catalogue up to date with the tracker in use.

    `settled` is called on the follower's thread each time the catalogue has become settled.

    Threading: a thread of its own does all the network; `heard` and `stop` may be called by any thread.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        trackers: Trackers,
        client: Client,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalogue, self._trackers, self._client, self._on_settled = catalogue, trackers, client, settled
        self.first = threading.Event()
        """Set once a whole catalogue has come."""
        dual = socket.has_dualstack_ipv6()
        self._hints = socket.socket(socket.AF_INET6 if dual else socket.AF_INET, socket.SOCK_DGRAM)
        if dual:
            self._hints.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._hints.bind(("", 0))
        self._hints.setblocking(False)
        self.hint_port: int = self._hints.getsockname()[1]
        """The UDP port for hints."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()  # guards `_closed`: a descriptor must not be used once it is another's
        self._closed = False
        self._stopping = threading.Event()
        self._pause = 0.0
        self._refused = ""
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Starts the thread; the first pull is at once."""
        self._thread.start()

    def stop(self, timeout: float = 3.0) -> None:
        """Ends the thread, waiting at most `timeout` seconds for a request under way. Done twice it is done once."""
        self._stopping.set()
        self._ring()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        with self._lock:
            if not self._closed and not self._thread.is_alive():
                self._closed = True
                self._hints.close()
                os.close(self._wake)

    def heard(self, renewed: Renewed) -> None:
        """A renewal said where the catalogue is now."""
        if renewed.version != self._catalogue.version or renewed.settling != self._catalogue.settling:
            self._ring()

    def pull(self) -> bool:
        """Pulls until there is no more; whether the tracker answered."""
        catalogue, url = self._catalogue, self._trackers.current
        more, starts = True, 0
        while more and not self._stopping.is_set():
            since = {"since": catalogue.version} if catalogue.version else {}
            try:
                changes = self._client.get(f"{url}/v1/changes", Changes, since)
                if changes.more and changes.version == since.get("since"):
                    raise Misbehaved(f"{url} has more to say, but does not go on")
            except Gone as error:
                starts += 1
                if not since or starts > _STARTS:
                    return self._failed(url, error)
                catalogue.start_over()
                continue
            except (Busy, Refused) as error:  # it is alive: another one would not say yes
                self._trackers.answered(url)
                self._say_once(str(error))
                return False
            except RemoteError as error:
                return self._failed(url, error)
            self._trackers.answered(url)
            self._refused = ""
            before = catalogue.settled
            catalogue.apply(changes)
            more = changes.more
            if catalogue.known:
                self.first.set()
            if catalogue.settled and not before:
                self._on_settled()
        return True

    def _failed(self, url: str, error: RemoteError) -> bool:
        if self._trackers.failed(url, error):
            self._pause = 0.0  # the next tracker is asked at once
        return False

    def _say_once(self, said: str) -> None:
        if said != self._refused:
            self._refused = said
            log.warning("the tracker does not give its catalogue: %s", said)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            if self.pull():
                self._pause = 0.0
                # While it settles, what is unknown becomes known without any change.
                wait = 1.0 if self._catalogue.settling else _IDLE
            else:
                wait = self._pause
                self._pause = min(max(2 * self._pause, _WAIT[0]), _WAIT[1])
            self._stopping.wait(max(0.0, _REST - (time.monotonic() - began)))
            self._wait(wait)

    def _wait(self, seconds: float) -> None:
        """Waits until something is heard."""
        ready, _, _ = select.select([self._hints.fileno(), self._wake], [], [], seconds)
        if self._hints.fileno() in ready:
            self._drain()
        if self._wake in ready:
            os.eventfd_read(self._wake)

    def _drain(self) -> None:
        for _ in range(1000):  # what comes faster than it can be thrown away is a flood
            try:
                self._hints.recv(128)
            except BlockingIOError:
                return
            except OSError:  # a port was unreachable: an error of another's making
                continue

    def _ring(self) -> None:
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wake, 1)
