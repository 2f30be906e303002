"""One address for the metrics of all workers: their own ones, with the number of the worker as a label."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

TIMEOUT_SECONDS = 2.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""By no proxy, whatever the environment says: what is asked is on this machine."""


class WorkerMetrics(Collector):
    """Asks every worker whenever it is asked. Nothing is added up: a counter of a worker that died starts again alone.

    Args:
        ports: of each worker's own metrics on this machine; 0: it does not serve now.
    """

    def __init__(self, ports: Callable[[], Iterable[int]]) -> None:
        self._ports = ports

    def collect(self) -> Iterable[Metric]:
        """The metrics of the workers that answer."""
        joined: dict[str, Metric] = {}
        for worker, port in enumerate(self._ports()):
            for metric in _metrics(port) if port else ():
                family = joined.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    family.samples.append(sample._replace(labels={**sample.labels, "worker": str(worker)}))
        return joined.values()


def registry(ports: Callable[[], Iterable[int]]) -> CollectorRegistry:
    """A registry of nothing but the workers' metrics."""
    joined = CollectorRegistry()
    joined.register(WorkerMetrics(ports))
    return joined


def _metrics(port: int) -> Iterator[Metric]:
    try:
        with _OPENER.open(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_SECONDS) as page:
            text = page.read().decode()
    except (OSError, HTTPException):  # it has just died, perhaps in the middle of it
        return
    yield from text_string_to_metric_families(text)
