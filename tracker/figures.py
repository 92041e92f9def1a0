"""What a tracker counts of itself, for Prometheus; in a registry of its own."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tracker.store import Totals


class Figures(Collector):
    """The counters, and what is read off the store when somebody looks.

    `totals` and `hints` (datagrams sent since the start) are asked at each look. Thread-safe if they are.
    """

    def __init__(self, totals: Callable[[], Totals], hints: Callable[[], int]) -> None:
        self._totals, self._hints = totals, hints
        self.registry = CollectorRegistry()
        self.announcements = Counter(
            "shoal_tracker_announcements", "Announcements, by HTTP status", ["status"], registry=self.registry
        )
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """What is listed now."""
        totals = self._totals()
        yield GaugeMetricFamily("shoal_tracker_peers", "Living peers", totals.peers)
        yield GaugeMetricFamily("shoal_tracker_files", "Whole files listed, each holder's counted", totals.files)
        yield GaugeMetricFamily("shoal_tracker_bytes", "Bytes of these files", totals.bytes)
        yield GaugeMetricFamily("shoal_tracker_settling", "1 while missing files are unknown", int(totals.settling))
        yield CounterMetricFamily("shoal_tracker_hints", "Hints sent", self._hints())
