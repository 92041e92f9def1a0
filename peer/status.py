"""What a peer says of itself: `/v1/status`, `.shoal/status`, `/metrics`, `shoal ls` and `shoal peers`.

Threading: any thread may ask; the counters that messages feed are replaced whole.
"""

import shutil
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from peer.catalogue.catalogue import Catalogue
from peer.catalogue.trackers import Trackers
from peer.catalogue.tree import File, Folder
from peer.config import PeerConfig
from peer.messages import Progress, Served, Skipped
from peer.share.rows import IndexReader
from peer.swarm import Stats
from peer.warm.care import Care
from shoal import __version__
from shoal.errors import Gone
from shoal.http import Client
from shoal.names import printable
from shoal.wire import PAGE, Entry

_SKIPS = 100
"""Skipped files that are told by name; the rest is counted."""
_LOW_DISK = 16 << 20
"""Free bytes under which the disk is not fine."""

_CACHE_GAUGES = {
    "used": "Bytes on disk of copies and of pieces of downloads.",
    "limit": "What they may be at most; 0: no limit.",
    "min_free": "What is to stay free of the share's disk.",
    "pinned": "Bytes of copies that are never evicted.",
    "partial": "Bytes of pieces of downloads.",
}
_CACHE_COUNTERS = {
    "evicted_bytes": "Its bytes.",
    "not_kept_bytes": "Bytes that were read and found no room on disk.",
}


class Told:
    """The last that the helpers said."""

    def __init__(self) -> None:
        self.progress = Progress(0, 0, 0, 0, False)
        self.skips: deque[Skipped] = deque(maxlen=_SKIPS)
        self.skipped = 0
        self._served = Served(0, 0, 0)
        self._before = (0, 0)

    def skip(self, message: Skipped) -> None:
        """A file cannot be shared."""
        self.skips.append(message)
        self.skipped = message.total

    def serve(self, message: Served) -> None:
        """The data server counted; started again, it begins at 0."""
        if message.requests < self._served.requests:
            self._before = (self.served_bytes, self.served_requests)
        self._served = message

    @property
    def served_bytes(self) -> int:
        """Bytes sent to other peers since this peer started."""
        return self._before[0] + self._served.bytes

    @property
    def served_requests(self) -> int:
        """Requests answered since this peer started."""
        return self._before[1] + self._served.requests

    @property
    def connections(self) -> int:
        """Open connections at the data port."""
        return self._served.connections

    @property
    def served(self) -> Served:
        """The last that the data server said."""
        return self._served


class Status(Collector):
    """Gathers, from everything that runs, what people and programs ask about a peer."""

    def __init__(
        self,
        config: PeerConfig,
        catalogue: Catalogue,
        trackers: Trackers,
        index: IndexReader,
        told: Told,
        client: Client,
    ) -> None:
        self._config, self._catalogue, self._trackers, self._index = config, catalogue, trackers, index
        self._told, self._client = told, client
        self._swarm: Callable[[], Stats]
        self._state: Callable[[str, Entry], str]
        self._care: Care
        self._cache: Callable[[], dict[str, Any]]
        self._began = time.monotonic()
        self.mounted = ""
        """How the mount runs, "" before it does."""
        self.urls: dict[str, str] = {}
        """The listeners: "data" and "http"."""
        self.more: list[Callable[[], dict[str, Any]]] = []
        """What others have to say in the status: each gives parts of it by name."""
        self.registry = CollectorRegistry()
        self.read_seconds = Histogram(
            "shoal_read_seconds",
            "Time that a read of the mount waited for other peers.",
            registry=self.registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
        )
        self.registry.register(self)

    def watch(
        self,
        swarm: Callable[[], Stats],
        state: Callable[[str, Entry], str],
        cache: Callable[[], dict[str, Any]],
        care: Care,
    ) -> None:
        """Where downloads are counted, what says whether a version is here, how full the cache is, and what scrubs;
        before anybody asks.
        """
        self._swarm, self._state, self._cache, self._care = swarm, state, cache, care

    def ready(self) -> str:
        """Why the peer is not ready, or "". It does not wait for the scan."""
        if self._config.mount is not None and not self.mounted:
            return "not mounted yet"
        if not self._trackers.connected and time.monotonic() - self._began < 3:
            return "no tracker answered yet"
        if shutil.disk_usage(self._config.local).free < _LOW_DISK:
            return f"the disk of {self._config.local} is full"
        return ""

    def status(self) -> dict[str, Any]:
        """Everything, as plain values: sizes in bytes, times in seconds."""
        stats, progress, told = self._swarm(), self._told.progress, self._told
        own, own_bytes, copies, copy_bytes = self._index.totals()
        files, size = self._catalogue.totals()
        connected = self._trackers.connected
        parts = {name: part for more in self.more for name, part in more().items()}
        return {
            "id": self._catalogue.id,
            "name": self._config.name,
            "version": __version__,
            "local": str(self._config.local),
            "data": self.urls.get("data", ""),
            "http": self.urls.get("http", ""),
            "ready": not self.ready(),
            "why": self.ready(),
            "mount": {"path": str(self._config.mount or ""), "mode": self.mounted},
            "tracker": {
                "url": self._trackers.current,
                "connected": connected,
                "state": "connected" if connected else "no tracker answers; trying again",
                "version": self._catalogue.version,
                "settled": self._catalogue.settled,
            },
            "network": {"files": files, "bytes": size, "peers": len(self._catalogue.peers())},
            "share": {
                "own": own,
                "own_bytes": own_bytes,
                "copies": copies,
                "copy_bytes": copy_bytes,
                "skipped": told.skipped,
                "skips": [{"path": printable(skip.path), "why": skip.why} for skip in told.skips],
                "scan": {
                    "done": progress.done,
                    "files": progress.files,
                    "files_total": progress.files_total,
                    "bytes": progress.bytes,
                    "bytes_total": progress.bytes_total,
                },
            },
            "scrub": self._care.told(),
            "cache": self._cache(),
            "transfers": {
                "active": stats.active,
                "fetched_bytes": stats.fetched,
                "served_bytes": told.served_bytes,
                "served_requests": told.served_requests,
                "connections": told.connections,
                "rejected_pieces": stats.rejected,
                "condemned": stats.condemned,
                "memory_bytes": stats.memory,
                "fetched_ahead_bytes": stats.fetched_ahead,
                "used_ahead_bytes": stats.used_ahead,
            },
            **parts,
        }

    def text(self) -> bytes:
        """The status for `.shoal/status`."""
        return msgspec.json.format(msgspec.json.encode(self.status()), indent=2) + b"\n"

    def ls(self, path: str, after: str = "") -> dict[str, Any]:
        """The folder at this shown path, or the one file: a page of names after `after`, and `next` if there are more.

        Raises:
            Gone: there is no such path.
        """
        path = path.strip("/")
        found = self._catalogue.find(path)
        if found is None:
            raise Gone(f"no such path: {printable(path)}")
        if isinstance(found, File):
            return {"path": path, "entries": [self._line(found.name, found)]}
        children = found.children
        names = sorted(children)
        at = bisect_right(names, after) if after else 0
        page = names[at : at + PAGE]
        told = {"path": path, "entries": [self._line(name, children[name]) for name in page]}
        return told | {"next": page[-1]} if at + PAGE < len(names) else told

    def _line(self, name: str, child: File | Folder) -> dict[str, Any]:
        if isinstance(child, Folder):
            return {"name": name, "type": "dir", "size": 0, "mtime": iso(child.mtime), "owners": []}
        entry = child.entry
        return {
            "name": name,
            "type": "link" if entry.link else "file",
            "size": entry.size,
            "mtime": iso(entry.mtime),
            "x": entry.x,
            "link": entry.link or None,
            "cid": entry.cid or None,
            "state": self._state(child.path, entry),
            "owners": [owner.name for owner in entry.owners],
        }

    def peers(self) -> list[dict[str, Any]]:
        """The tracker's list of peers; without a tracker, what is known here.

        Raises:
            RemoteError: the tracker does not answer as it should.
        """
        if self._trackers.connected:
            found = self._client.get(f"{self._trackers.current}/v1/peers", dict[str, Any], total=2.0)
            return list(found.get("peers", []))
        return [{"id": row.id, "name": row.name, "url": row.url} for row in self._catalogue.peers()]

    def collect(self) -> Iterator[Metric]:
        """The metrics, for Prometheus."""
        stats = self._swarm()
        fetched = CounterMetricFamily("shoal_fetched_bytes", "Verified bytes fetched, by peer.", labels=["source"])
        for source, size in stats.fetched.items():
            fetched.add_metric([source], size)
        yield fetched
        files, size = self._catalogue.totals()
        for name, text, value in (
            ("shoal_served_bytes", "Bytes sent to other peers.", self._told.served_bytes),
            ("shoal_served_requests", "Requests of other peers answered.", self._told.served_requests),
            ("shoal_fetched_ahead_bytes", "Bytes of small files fetched before they were read.", stats.fetched_ahead),
            ("shoal_used_ahead_bytes", "Bytes of these that were read since.", stats.used_ahead),
            ("shoal_rejected_pieces", "Pieces that were not what their hash says.", stats.rejected),
            ("shoal_scrubbed_bytes", "Bytes read again and compared with their hashes.", self._care.scrubbed_bytes),
            ("shoal_rotten", "Files, copies and downloads that were found rotten.", self._care.found),
        ):
            yield CounterMetricFamily(name, text, value)
        own, own_bytes, copies, copy_bytes = self._index.totals()
        for name, text, value in (
            ("shoal_network_files", "Files listed in the network.", files),
            ("shoal_network_bytes", "Their bytes.", size),
            ("shoal_own_files", "Files of one's own that are shared.", own),
            ("shoal_own_bytes", "Their bytes.", own_bytes),
            ("shoal_copies", "Whole copies kept.", copies),
            ("shoal_copy_bytes", "Their bytes.", copy_bytes),
            ("shoal_skipped_files", "Files that cannot be shared.", self._told.skipped),
            ("shoal_rotten_own_files", "One's own files that are rotten, and given to nobody.", self._care.rotten_own),
            ("shoal_scrub_last_pass_seconds", "When all was last read again, since 1970.", int(self._care.last_pass)),
            ("shoal_active_downloads", "Contents being fetched now.", stats.active),
            ("shoal_tracker_connected", "1 if a tracker answers.", int(self._trackers.connected)),
        ):
            yield GaugeMetricFamily(name, text, value)
        cache = self._cache()
        for name, text in _CACHE_GAUGES.items():
            yield GaugeMetricFamily(f"shoal_cache_{name}_bytes", text, cache[name])
        yield CounterMetricFamily("shoal_cache_evicted", "What was taken away for want of room.", cache["evicted"])
        for name, text in _CACHE_COUNTERS.items():
            yield CounterMetricFamily(f"shoal_cache_{name}", text, cache[name])

    def describe(self) -> Iterable[Metric]:
        """Nothing: so that registering does not collect."""
        return ()


def iso(nanoseconds: int) -> str:
    """A time in nanoseconds since 1970 as ISO 8601 in UTC; the ends of the calendar for what lies beyond."""
    try:
        moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC).replace(microsecond=nanoseconds % 10**9 // 1000)
    except (OverflowError, ValueError, OSError):
        moment = (datetime.max if nanoseconds > 0 else datetime.min).replace(tzinfo=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment.year > 999 else "1000-01-01T00:00:00.000000Z"
