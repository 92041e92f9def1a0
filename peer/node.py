"""One peer, wired: what runs, in which order it starts and ends, and who tells whom.

    scanner ──Changed──► own share ──► catalogue, announcer ──► tracker
    tracker ──pages────► follower ──► catalogue ──► own share: duties ──► scanner
    programs ──► mount ──► vfs ──► swarm ──Keep──► scanner ──Kept──► swarm

Threading: `start`, `wait` and `stop` belong to the main thread. Messages of a
helper arrive on that helper's thread.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

from peer.announcer import Announcer, Card
from peer.catalogue.catalogue import Catalogue
from peer.catalogue.follower import Follower
from peer.catalogue.holders import Directory
from peer.catalogue.own import OwnShare
from peer.catalogue.trackers import Trackers
from peer.config import PeerConfig
from peer.following import Following
from peer.http.app import Control, make_app
from peer.http.guard import Guard
from peer.http.serve import HttpPort
from peer.identity import load_identity
from peer.layout import Layout
from peer.messages import Changed, Forget, Forgot, Kept, Opened, Progress, Rescan, Served, Skipped, ToPeer, ToScanner
from peer.mount.libfuse import Mount
from peer.process import Helper
from peer.progress import ScanProgress
from peer.share.local import LocalFiles
from peer.share.rows import IndexReader
from peer.status import Status, Told
from peer.swarm import Swarm, SwarmConfig
from peer.vfs import Vfs
from shoal import local as running
from shoal.errors import Busy, Gone, LocalError, Refused, UsageError
from shoal.http import Client
from shoal.names import printable
from shoal.units import show_address
from shoal.wire import Entry

log = logging.getLogger(__name__)
_FIRST = 3.0
"""Seconds to wait for the first catalogue before mounting without one."""
_OPENING = 30.0
"""Seconds that the scanner has to open the index."""
_FORGETTING = 10.0


class Node:
    """A running peer."""

    def __init__(self, config: PeerConfig, layout: Layout) -> None:
        """Nothing runs yet. The share is locked by the caller.

        Raises:
            UsageError: a port cannot be had.
            OSError: `.shoal/` cannot be written.
        """
        self._config, self._layout = config, layout
        self._identity = load_identity(layout)
        self._socket = _listen(config.port)
        self._told = Told()
        self._progress = ScanProgress()
        self._opened = threading.Event()
        self._forgetting: dict[str, Future[str]] = {}
        self._following: Following | None = None
        self._announcer: Announcer | None = None
        self._endings: list[Callable[[], object]] = []
        self.failed = threading.Event()

    def start(self, stop: threading.Event) -> Iterator[str]:
        """Starts everything; gives the URL of each listener once all can be used. Ends early when `stop` is set.

        Raises:
            UsageError: the http port cannot be had.
            LocalError: the index or the mount cannot be used.
        """
        config, layout = self._config, self._layout
        self._scanner: Helper[ToScanner, ToPeer] = Helper(
            "peer.share.scanner", [str(config.local), self._identity.id], ToPeer, self._from_scanner
        )
        self._scanner.start()
        self._endings.append(self._scanner.stop)
        self._wait_for_index(stop)
        index = IndexReader(layout.index)
        files = LocalFiles(layout, index)
        self._endings += [index.close, files.close]

        client = Client()
        trackers = Trackers([f"http://{show_address(*address)}" for address in config.trackers], client)
        self._catalogue = Catalogue(self._identity.id, config.name)
        own = OwnShare(self._catalogue, index, self._scanner.send)
        self._catalogue.changed_by(own.look)
        self._follower = Follower(self._catalogue, trackers, client, own.look_at_all)
        port = self._socket.getsockname()[1]
        card = Card(
            self._identity.id, self._identity.secret, config.name, port, config.advertise, self._follower.hint_port
        )
        announcer = self._announcer = Announcer(card, index, trackers, client, self._follower.heard)
        own.update()

        def follow() -> None:
            own.update()
            announcer.changed()

        self._following = Following(follow)
        self._following.start()
        self._endings.append(self._following.stop)

        directory = Directory(self._catalogue, trackers, client)
        status = self._status = Status(
            config, self._catalogue, trackers, index, lambda: self._swarm.stats(), self._state, self._told, client
        )
        self._swarm = Swarm(
            SwarmConfig(read_timeout=config.read_timeout),
            layout,
            directory.find_holders,
            self._scanner.send,
            observe=status.read_seconds.observe,
        )
        self._endings.append(self._swarm.close)
        self._vfs = Vfs(
            self._catalogue,
            self._swarm,
            files,
            index,
            layout,
            status.text,
            lambda path: self._scanner.send(Rescan(path)),
        )

        guard = Guard(_bound(config.http[0]), self._hosts(), config.token, config.open)
        if config.open:
            log.warning("--open: everybody who reaches the http port may change things")
        control = Control(status.status, status.ready, status.ls, status.peers, self.forget, status.registry)
        web = HttpPort(make_app(control, guard), *config.http)
        http_url = web.start()
        self._endings.append(web.stop)

        data_url = f"http://{show_address(config.advertise or _own_address(), port)}"
        status.urls = {"data": data_url, "http": http_url}
        self._data: Helper[object, Served] = Helper(
            "peer.data.server",
            [str(config.local), str(self._socket.fileno()), config.name, http_url],
            Served,
            self._told.serve,
            pass_fds=[self._socket.fileno()],
        )
        self._data.start()
        self._endings.append(self._data.stop)
        announcer.start()
        self._follower.start()
        self._endings.append(lambda: self._follower.stop(0.5))
        self._wait_for_catalogue(stop)
        if config.mount is not None and not stop.is_set():
            self._mount = Mount(self._vfs, config.mount, self._swarm.close)
            self._mount.start()
            self._endings.append(self._mount.stop)
            status.mounted = self._mount.mode
        if not stop.is_set():
            self._register(data_url, http_url)
            yield from (data_url, http_url)

    def wait(self, stop: threading.Event) -> None:
        """Returns when `stop` is set, or the mount ended by another's hand."""
        while not stop.wait(1.0):
            if self._config.mount is not None and not self._mount.alive:
                log.warning("%s was unmounted by somebody else; ending", self._config.mount)
                return

    def stop(self) -> None:
        """Ends everything, the newest first; gives the lease back meanwhile."""
        leaving = None
        if self._announcer is not None:
            leaving = threading.Thread(target=self._announcer.stop, args=(self._config.leave_timeout,), daemon=True)
            leaving.start()
        for end in reversed(self._endings):
            end()
        if leaving is not None:
            leaving.join(self._config.leave_timeout + 0.2)
        self._socket.close()

    def forget(self, path: str) -> None:
        """Withdraws one's own file at this path of the network.

        Raises:
            Gone: there is no such path. Refused: it is not one's own. Busy: the scanner is not there just now.
        """
        answer = self._forgetting.setdefault(path, Future())
        try:
            if not self._scanner.send(Forget(path)):
                raise Busy("the scanner is being started again; try again")
            why = answer.result(_FORGETTING)
        except FutureTimeout:
            raise Busy("the scanner did not answer in time; try again") from None
        finally:
            self._forgetting.pop(path, None)
        if why:
            if not self._catalogue.entries(path):
                raise Gone(f"no such path: {printable(path)}")
            raise Refused(f"{printable(path)}: {why}", 403)

    def _wait_for_index(self, stop: threading.Event) -> None:
        until = time.monotonic() + _OPENING
        while not self._opened.wait(0.1):
            if stop.is_set():
                return
            if time.monotonic() > until:
                raise LocalError(f"the index in {self._layout.state} could not be opened; the log above says why")

    def _wait_for_catalogue(self, stop: threading.Event) -> None:
        until = time.monotonic() + _FIRST
        while not stop.is_set() and time.monotonic() < until:
            if self._follower.first.wait(0.05):
                return

    def _from_scanner(self, message: ToPeer) -> None:
        match message:
            case Opened():
                self._opened.set()
            case Changed():
                if self._following is not None:
                    self._following.wake()
            case Progress():
                self._told.progress = message
                self._progress.update(message)
            case Skipped():
                self._told.skip(message)
                log.warning("not shared: %s: %s", printable(message.path), message.why)
            case Kept():
                self._swarm.kept(message)
            case Forgot():
                if (answer := self._forgetting.get(message.path)) is not None and not answer.done():
                    answer.set_result(message.why)
            case Served():
                pass  # the data server's, which says it on its own channel

    def _state(self, path: str, entry: Entry) -> str:
        return self._vfs.state(path, entry)

    def _hosts(self) -> frozenset[str]:
        hosts = {host.lower() for host in self._config.allowed_hosts}
        return frozenset(hosts | ({self._config.advertise.lower()} if self._config.advertise else set()))

    def _register(self, data_url: str, http_url: str) -> None:
        mount = str(self._config.mount) if self._config.mount is not None else None
        info = running.PeerInfo(os.getpid(), http_url, data_url, str(self._config.local), mount, self._config.name)
        try:
            self._endings.append(running.register(info))
        except LocalError as error:
            log.warning("%s", error)


def _listen(port: int) -> socket.socket:
    """The data port, on all addresses.

    Raises:
        UsageError: it cannot be had.
    """
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
        return socket.create_server(("", port), backlog=1024)
    except OSError as error:
        raise UsageError(f"cannot listen at the data port {port}: {error.strerror}") from None


def _own_address() -> str:
    """This machine's address on the default route, else that of loopback. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _bound(host: str) -> str:
    return host.partition("%")[0]
