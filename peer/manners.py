"""How much of the network this peer takes: its limits, which can be changed while it runs, and its sockets.

Threading: any thread. The limits are one frozen value that is replaced whole, with a lock.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from peer.messages import Limit, Served
from peer.swarm.source import HttpSources


@dataclass(frozen=True)
class Limits:
    """Bytes a second, off other peers and to them; 0: no limit."""

    down: int
    up: int


class Manners(Collector):
    """The limits of one peer: told to the sources here, and to the data server in its process."""

    def __init__(
        self,
        limits: Limits,
        sockets: int,
        sources: HttpSources,
        tell: Callable[[Limit], bool],
        served: Callable[[], Served],
    ) -> None:
        """`sockets`: connections at most, made and taken, each. `tell` sends to the data server, `served` is the last
        that it said.
        """
        self._lock = threading.Lock()
        self._limits, self._most = limits, sockets
        self._sources, self._tell, self._served = sources, tell, served

    @property
    def limits(self) -> Limits:
        """As they are now."""
        return self._limits

    def change(self, down: int | None, up: int | None) -> Limits:
        """Sets the limits that are given; all of them then."""
        with self._lock:
            limits = self._limits
            limits = replace(limits, down=limits.down if down is None else down, up=limits.up if up is None else up)
            self._limits = limits
            self._sources.limiter.limit(limits.down)
            self.repeat()
        return limits

    def repeat(self) -> None:
        """Tells the data server, which has just been started and knows nothing."""
        self._tell(Limit(self._limits.up, self._most))  # if it is not there, it is told when it is

    def status(self) -> dict[str, dict[str, int]]:
        """Limits in bytes a second, and sockets, for `/v1/status`."""
        made, made_waiting = self._sources.figures()
        served = self._served()
        return {
            "limits": {"down_bytes": self._limits.down, "up_bytes": self._limits.up},
            "sockets": {
                "limit": self._most,
                "made": made,
                "made_waiting": made_waiting,
                "taken": served.connections,
                "taken_sending": served.sent,
                "taken_waiting": served.waiting,
            },
        }

    def collect(self) -> Iterator[Metric]:
        """The metrics, for Prometheus."""
        told = self.status()
        limits = GaugeMetricFamily("shoal_limit_bytes", "Bytes a second at most, 0 for no limit.", labels=["direction"])
        for direction, rate in (("down", self._limits.down), ("up", self._limits.up)):
            limits.add_metric([direction], rate)
        yield limits
        for name, text, keys in (
            ("shoal_sockets", "Connections with other peers now.", ("made", "taken")),
            (
                "shoal_sockets_waiting",
                "Requests that wait: for a connection, for their turn.",
                ("made_waiting", "taken_waiting"),
            ),
        ):
            family = GaugeMetricFamily(name, text, labels=["side"])
            for key in keys:
                family.add_metric([key.partition("_")[0]], told["sockets"][key])
            yield family
        yield GaugeMetricFamily("shoal_sockets_limit", "Connections at most, of each side.", self._most)
