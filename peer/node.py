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
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack

from peer.announcer import Announcer, Card
from peer.cache.copies import Copies
from peer.cache.room import Room, usual_min_free
from peer.catalogue.catalogue import Catalogue
from peer.catalogue.follower import Follower
from peer.catalogue.holders import Directory
from peer.catalogue.order import Orders
from peer.catalogue.own import OwnShare
from peer.catalogue.trackers import Trackers
from peer.config import PeerConfig
from peer.evict import Evictor
from peer.following import Following
from peer.http.app import Control, make_app
from peer.http.guard import Guard
from peer.http.serve import HttpPort
from peer.identity import load_identity, next_epoch
from peer.layout import Layout
from peer.manners import Limits, Manners
from peer.messages import (
    Changed,
    Forget,
    Forgot,
    FromData,
    GaveUp,
    Heard,
    Kept,
    Limit,
    Opened,
    Pinned,
    Progress,
    Rescan,
    Rotten,
    Scrubbed,
    Scrubbing,
    Served,
    Skipped,
    ToPeer,
    ToScanner,
)
from peer.mount.adapters import Mount, start_mount
from peer.pins import Pins
from peer.process import Helper
from peer.progress import ScanProgress
from peer.share.local import LocalFiles
from peer.share.rows import IndexReader
from peer.status import Status, Told
from peer.stock import Stock
from peer.swarm import Following as FollowingFiles
from peer.swarm import Others, Swarm, SwarmConfig
from peer.swarm.batch import LONGEST
from peer.swarm.source import HttpSources
from peer.vfs import Vfs
from peer.warm.care import Care
from shoal import local as running
from shoal.errors import Busy, Gone, LocalError, Refused, UsageError
from shoal.http import Client
from shoal.names import SafePath, printable
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
            UsageError: the data port cannot be had.
            OSError: `.shoal/` cannot be written.
        """
        self._config, self._layout = config, layout
        self._identity = load_identity(layout)
        self._epoch = next_epoch(layout, time.time_ns() // 1_000_000)
        self._socket = _listen(config.port)
        self._running = ExitStack()
        self._running.callback(self._socket.close)
        self._told = Told()
        self._progress = ScanProgress()
        self._opened = threading.Event()
        self._scanner_new = threading.Event()
        self._forgetting: dict[str, Future[str]] = {}
        self._scanner: Helper[ToScanner, ToPeer] = Helper(
            "peer.share.scanner",
            [str(config.local), self._identity.id, str(config.scrub_every)],
            ToPeer,
            self._from_scanner,
            self._scanner_started,
        )
        self._client = Client()
        self._catalogue = Catalogue(self._identity.id, config.name)
        self._following: Following | None = None
        self._announcer: Announcer | None = None
        self._swarm: Swarm | None = None
        self._care: Care | None = None
        self._evictor: Evictor | None = None
        self._pins: Pins | None = None
        self._mount: Mount | None = None
        self._data: Helper[Limit, FromData] | None = None

    def start(self, stop: threading.Event) -> list[str]:
        """Starts everything; the URL of each listener, once all can be used. Ends early when `stop` is set.

        Raises:
            UsageError: the http port cannot be had, or MOUNT cannot be mounted on.
            LocalError: the index or the mount cannot be used.
        """
        config, layout, catalogue = self._config, self._layout, self._catalogue

        # The share: what is here is in the tree from the first moment.
        self._scanner.start()
        self._running.callback(self._scanner.stop)
        if not self._wait_for_index(stop):
            return []
        index = IndexReader(layout.index)
        files = LocalFiles(layout, index)
        self._running.callback(index.close)
        self._running.callback(files.close)
        own = OwnShare(catalogue, index, self._scanner.send)
        catalogue.changed_by(lambda changed: own.look(changed.paths))
        own.update()

        # The cache: what is kept of others' files, and how much may be.
        min_free = usual_min_free(layout) if config.min_free is None else config.min_free
        room = Room(layout, config.cache_limit, min_free)
        copies = Copies(index, room)

        # The network: its catalogue in, one's own list out.
        trackers = Trackers([f"http://{show_address(*address)}" for address in config.trackers], self._client)
        follower = Follower(catalogue, trackers, self._client, own.look_at_all)
        self._running.callback(follower.stop, 0.5)
        secret, port = self._identity.secret, self._socket.getsockname()[1]
        card = Card(self._identity.id, secret, config.name, port, config.advertise, follower.hint_port, self._epoch)
        announcer = Announcer(card, index, trackers, self._client, follower.heard)

        def follow() -> None:
            own.update()
            copies.follow()
            announcer.changed()
            if self._scanner_new.is_set():
                self._scanner_new.clear()
                own.look_at_all()  # what the one before was told to do, and did not live to do

        self._following = Following(follow)
        self._following.start()
        self._running.callback(self._following.stop)

        # Reading.
        status = Status(config, catalogue, trackers, index, self._told, self._client)
        directory = Directory(catalogue, trackers, self._client)
        swarm_config = SwarmConfig(
            read_timeout=config.read_timeout, max_sockets=config.max_sockets, down_limit=config.down_limit
        )
        sources = HttpSources(swarm_config)
        swarm = Swarm(
            swarm_config,
            layout,
            directory.find_holders,
            self._scanner.send,
            sources,
            following=_files_after(catalogue, index) if config.prefetch else None,
            observe=status.read_seconds.observe,
            others=Others(self._identity.id, catalogue.peer, directory.partial_of),
            room=room,
        )
        self._swarm = swarm
        self._running.callback(swarm.close)
        self._running.callback(room.stop)
        rescan = lambda path: self._scanner.send(Rescan(path))  # noqa: E731
        vfs = Vfs(catalogue, swarm, files, index, layout, status.text, rescan, room)
        care = self._care = Care(catalogue, index, layout, swarm, vfs.state, self._scanner.send)
        self._running.callback(care.close)
        status.watch(swarm.stats, vfs.state, room.status, care)
        evictor = self._evictor = Evictor(index, room, announcer, directory.whole_holders, self._scanner.send)
        room.sheds["copy"] = evictor.shed
        pins = self._pins = Pins(index, catalogue, self._scanner.send, copies.follow, care.warm)
        catalogue.changed_by(lambda changed: pins.changed(changed.paths))
        stock = Stock(
            catalogue,
            index,
            room,
            evictor,
            pins,
            lambda cid: swarm.discard(cid, waiting=True),
            directory.whole_holders,
            lambda: trackers.connected,
        )
        room.start()

        # The two listeners.
        limits = Limits(config.down_limit, config.up_limit)
        manners = Manners(limits, config.max_sockets, sources, self._tell_data, lambda: self._told.served)
        status.more.append(manners.status)
        status.registry.register(manners)
        http_url = self._serve_http(status, manners, stock)
        data_url = f"http://{show_address(config.advertise or _own_address(), port)}"
        status.urls = {"data": data_url, "http": http_url}
        inherited = self._socket.fileno()
        words = [str(config.local), str(inherited), config.name, http_url]
        data: Helper[Limit, FromData] = Helper(
            "peer.data.server", words, FromData, self._from_data, manners.repeat, [inherited]
        )
        self._data = data
        data.start()
        self._running.callback(data.stop)
        self._announcer = announcer
        announcer.start()
        follower.start()
        self._wait_for_catalogue(follower, stop)
        pins.start()
        self._running.callback(pins.stop)

        if config.mount is not None and not stop.is_set():
            self._mount = start_mount(config.fuse, vfs, config.mount, swarm.close)
            self._running.callback(self._mount.stop)
            status.mounted = self._mount.mode
        self._register(data_url, http_url)
        return [data_url, http_url]

    def wait(self, stop: threading.Event) -> None:
        """Returns when `stop` is set, or the mount ended by another's hand."""
        while not stop.wait(1.0):
            if self._mount is not None and not self._mount.alive:
                log.warning("%s was unmounted by somebody else; ending", self._config.mount)
                return

    def stop(self) -> None:
        """Ends everything, the newest first; gives the lease back meanwhile."""
        leaving = None
        if self._evictor is not None:
            self._evictor.stopping = True
        if self._announcer is not None:
            seconds = self._config.leave_timeout
            leaving = threading.Thread(target=self._announcer.stop, args=(seconds,), name="leaving", daemon=True)
            leaving.start()
        self._running.close()
        if leaving is not None:
            leaving.join(self._config.leave_timeout + 0.2)
        self._client.close()

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

    def _wait_for_index(self, stop: threading.Event) -> bool:
        until = time.monotonic() + _OPENING
        while not self._opened.wait(0.1):
            if stop.is_set():
                return False
            if time.monotonic() > until:
                raise LocalError(f"the index in {self._layout.state} could not be opened; the log above says why")
        return True

    def _wait_for_catalogue(self, follower: Follower, stop: threading.Event) -> None:
        until = time.monotonic() + _FIRST
        while not stop.is_set() and time.monotonic() < until and not follower.first.wait(0.05):
            pass

    def _tell_data(self, message: Limit) -> bool:
        """Tells the data server; False if it is not there just now."""
        return self._data is not None and self._data.send(message)

    def _serve_http(self, status: Status, manners: Manners, stock: Stock) -> str:
        config = self._config
        if config.open:
            log.warning("--open: everybody who reaches the http port may change things")
        names = {name.lower() for name in (*config.allowed_hosts, config.advertise) if name}
        guard = Guard(config.http[0].partition("%")[0], frozenset(names), config.token, config.open)
        control = Control(
            status.status,
            status.ready,
            status.ls,
            status.peers,
            self.forget,
            status.registry,
            manners,
            self._care,
            stock,
        )
        port = HttpPort(make_app(control, guard), *config.http)
        url = port.start()
        self._running.callback(port.stop)
        return url

    def _scanner_started(self) -> None:
        """The one before, if there was one, died with what it had been sent."""
        if self._swarm is not None and self._following is not None:
            self._swarm.keep_again()
            self._scanner_new.set()
            self._following.wake()
            if self._care is not None:
                self._care.scanner_started()

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
                if self._swarm is not None:
                    self._swarm.kept(message)
                if self._care is not None:
                    self._care.kept(message)
            case Scrubbing() | Scrubbed() | Rotten():
                if self._care is not None:
                    self._care.take(message)
            case Pinned():
                if self._pins is not None:
                    self._pins.answered(message)
            case GaveUp():
                if self._evictor is not None:
                    self._evictor.answered(message)
            case Forgot():
                if (answer := self._forgetting.get(message.path)) is not None and not answer.done():
                    answer.set_result(message.why)

    def _from_data(self, message: FromData) -> None:
        match message:
            case Served():
                self._told.serve(message)
            case Heard():
                if self._swarm is not None:
                    self._swarm.heard(message)

    def _register(self, data_url: str, http_url: str) -> None:
        mount = str(self._config.mount) if self._config.mount is not None else None
        info = running.PeerInfo(os.getpid(), http_url, data_url, str(self._config.local), mount, self._config.name)
        try:
            self._running.callback(running.register(info))
        except LocalError as error:
            log.warning("%s", error)


def _files_after(catalogue: Catalogue, index: IndexReader) -> FollowingFiles:
    """What comes after a file and is not here: neither at its path, which the catalogue knows, nor at another."""
    orders = Orders(catalogue, LONGEST)

    def after(path: str, order: str, count: int) -> tuple[list[tuple[SafePath, Entry]], str]:
        files, last = orders.after(path, order, count)
        here = {row.cid for row in index.of_each([entry.cid for _, entry in files], len(files))} if files else ()
        return [file for file in files if file[1].cid not in here], last

    return after


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
