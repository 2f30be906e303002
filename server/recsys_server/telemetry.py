"""Prometheus metrics. No label ever holds an id of a user or an item."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, start_http_server

from recsys.recommender import Recommender
from recsys_server.errors import AddressError
from recsys_server.front.methods import METHODS
from recsys_server.meters import Counts, Durations
from recsys_server.settings import address

_QUIET_SECONDS = 60.0
_log = logging.getLogger(__name__)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def listen(text: str, registry: CollectorRegistry) -> str:
    """Serve /metrics at an address (empty: nowhere), from a thread of its own; the address with its real port.

    Raises:
        AddressError: it is taken, or not one of this machine's.
    """
    if not text:
        return "none"
    host, port = address(text)
    try:
        server, _ = start_http_server(port, host.strip("[]"), registry)
    except (OSError, UnicodeError) as error:  # as a name of a host that cannot be one
        why = getattr(error, "strerror", None) or "no such host"
        raise AddressError(f"metrics address {text}: {why}; choose another with --metrics") from error
    return f"{host}:{server.server_port}"


def _by_labels(metric: Counter) -> Callable[..., Counter]:
    """The part of a metric that some labels stand for, found once for good: finding it costs more than counting."""
    return lru_cache(maxsize=None)(metric.labels)


class Telemetry:
    """What the server tells of itself.

    Args:
        clock: unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._quiet_until = -math.inf
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._define_calls()
        self._define_bundle()

    def _define_calls(self) -> None:
        registry = self.registry
        self._rpc_seconds = Durations(
            "recsys_rpc_duration_seconds", "Time in the server.", "method", _SECONDS, registry, self._clock, METHODS
        )
        self._requests = Counts("recsys_requests", "Answered calls.", ("method", "code"), registry, self._clock)
        self._stage_seconds = Durations(
            "recsys_stage_duration_seconds", "Time in a stage, of a batch.", "stage", _SECONDS, registry, self._clock
        )
        self._degraded = Counter("recsys_degraded", "Slates served by a fallback.", ["reason"], registry=registry)
        self._cache_requests = _by_labels(
            Counter("recsys_cache_requests", "Look-ups in a cache.", ["cache", "result"], registry=registry)
        )
        self._exposures = _by_labels(
            Counter("recsys_exposures", "Slates that a variant shaped.", ["experiment", "variant"], registry=registry)
        )
        self._events = _by_labels(Counter("recsys_events", "Events that came in.", ["result"], registry=registry))
        self._exposures_dropped = Counter(
            "recsys_exposures_dropped", "Exposures and samples that were not recorded.", registry=registry
        )

    def _define_bundle(self) -> None:
        registry = self.registry
        self._bundle = Gauge("recsys_bundle_info", "1 for the bundle that serves.", ["bundle"], registry=registry)
        self._bundle_age = Gauge("recsys_bundle_age_seconds", "Time since the bundle was made.", registry=registry)
        self._bundle_age.set(math.nan)
        self._bundle_failures = Counter("recsys_bundle_failures", "Bundles that were refused.", registry=registry)
        self._experiments_failures = Counter(
            "recsys_experiments_failures", "Experiments files that were refused.", registry=registry
        )

    def front(self, pid: Callable[[], int]) -> None:
        """Tell of the processor time and memory of the process that speaks gRPC, whose id is asked for each time."""
        ProcessCollector(namespace="recsys_front", pid=pid, registry=self.registry)

    def call(self, method: str, code: str, seconds: float) -> None:
        """One call came to its end."""
        self._rpc_seconds.observe(method, seconds)
        self._requests.add(method, code)

    def stages(self, stages: Iterable[tuple[str, float]]) -> None:
        """One batch went through the engine: the seconds of each stage."""
        for stage, seconds in stages:
            self._stage_seconds.observe(stage, seconds)

    def slate(self, degraded: Iterable[str], assignments: Iterable[tuple[str, str]]) -> None:
        """One slate is served."""
        for reason in degraded:
            self._degraded.labels(reason).inc()
        for experiment, variant in assignments:
            self._exposures(experiment, variant).inc()

    def cache(self, cache: str, *, hit: bool) -> None:
        """One look-up in a cache: "user" or "popular"."""
        self._cache_requests(cache, "hit" if hit else "miss").inc()

    def events(self, accepted: int, duplicate: int, rejected: int) -> None:
        """One call of RecordEvents is answered."""
        for result, count in (("accepted", accepted), ("duplicate", duplicate), ("rejected", rejected)):
            self._events(result).inc(count)

    def exposures_dropped(self, count: int) -> None:
        """Exposures were not recorded: too many waited, or the disk failed."""
        self._exposures_dropped.inc(count)

    def state_failed(self, message: str) -> None:
        """What a user did lately could not be read: the log says it once a minute."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            _log.error("slates are served without what users did since the bundle: %s", message)

    def bundle(self, recommender: Recommender) -> None:
        """Another bundle serves."""
        self._bundle.clear()
        self._bundle.labels(recommender.bundle_id).set(1)
        created_time = recommender.created_time  # not the recommender: a gauge must not keep its memory
        self._bundle_age.set_function(lambda: self._clock() - created_time)

    def bundle_refused(self) -> None:
        """A bundle was refused."""
        self._bundle_failures.inc()

    def experiments_refused(self) -> None:
        """An experiments file was refused."""
        self._experiments_failures.inc()
