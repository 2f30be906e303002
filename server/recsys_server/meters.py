"""Prometheus metrics of what happens with every call: they cost a call a fifth of what the client library's own do."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector


class Counts(Collector):
    """A counter by some labels, without a lock: one thread counts, and whoever reads may be one call behind.

    Args:
        name: without its end "_total".
        documentation: what is counted.
        labels: their names.
        registry: tells of it.
        clock: unix seconds.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        registry: CollectorRegistry,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._clock = clock
        self._counts: dict[tuple[str, ...], int] = {}
        self._created: dict[tuple[str, ...], float] = {}
        registry.register(self)

    def add(self, *values: str) -> None:
        """One more of what these labels stand for."""
        if values not in self._counts:
            self._created[values] = self._clock()
            self._counts[values] = 0
        self._counts[values] += 1

    def collect(self) -> Iterator[Metric]:
        """The counts by now."""
        metric = Metric(self._name, self._documentation, "counter")
        for values, count in [*self._counts.items()]:
            labels = dict(zip(self._labels, values, strict=True))
            metric.add_sample(f"{self._name}_total", labels, count)
            metric.add_sample(f"{self._name}_created", labels, self._created[values])
        yield metric


class _Durations:
    """Those of one label: how many end in each bucket, their sum, and since when."""

    __slots__ = ("created", "ends", "sum")

    def __init__(self, buckets: int, created: float) -> None:
        self.ends = [0] * buckets
        self.sum = 0.0
        self.created = created


class Durations(Collector):
    """A histogram of seconds by one label, as :class:`Counts`.

    Args:
        name: of the metric.
        documentation: what takes so long.
        label: its name.
        bounds: of the buckets, inclusive, rising.
        registry: tells of it.
        clock: unix seconds.
        known: values of the label that are there from the start.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        label: str,
        bounds: Sequence[float],
        registry: CollectorRegistry,
        clock: Callable[[], float],
        known: Sequence[str] = (),
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = bounds
        self._written = [*map(str, bounds), "+Inf"]
        self._clock = clock
        self._durations = {value: self._new() for value in known}
        registry.register(self)

    def observe(self, value: str, seconds: float) -> None:
        """Something took so long."""
        own = self._durations.get(value)
        if own is None:
            own = self._durations[value] = self._new()
        own.ends[bisect_left(self._bounds, seconds)] += 1
        own.sum += seconds

    def collect(self) -> Iterator[Metric]:
        """The durations by now."""
        metric = Metric(self._name, self._documentation, "histogram")
        for value, own in [*self._durations.items()]:
            labels = {self._label: value}
            reached = [*accumulate(own.ends)]
            for bound, count in zip(self._written, reached, strict=True):
                metric.add_sample(f"{self._name}_bucket", labels | {"le": bound}, count)
            metric.add_sample(f"{self._name}_count", labels, reached[-1])
            metric.add_sample(f"{self._name}_sum", labels, own.sum)
            metric.add_sample(f"{self._name}_created", labels, own.created)
        yield metric

    def _new(self) -> _Durations:
        return _Durations(len(self._written), self._clock())
