"""The methods of the services, from the bytes of a request to the bytes of its response."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from recsys.config import Config
from recsys.experiments import Experiments
from recsys.recommender import Recommender
from recsys_server import codec
from recsys_server.slates import Slates
from recsys_server.telemetry import Telemetry


class Handlers:
    """What each method does.

    Args:
        recommender: the one that serves now, asked once for each request; raises NoBundleError.
        experiments: those that hold now.
        clock: unix seconds.
    """

    def __init__(  # the composition root names them all
        self,
        *,
        config: Config,
        recommender: Callable[[], Recommender],
        experiments: Callable[[], Experiments],
        slates: Slates,
        telemetry: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._recommender = recommender
        self._experiments = experiments
        self._slates = slates
        self._telemetry = telemetry
        self._clock = clock

    async def recommend(self, data: bytes, deadline: float) -> bytes:
        """RecommendationService.Recommend."""
        query, assignments = codec.query(data, self._config, self._experiments(), int(self._clock()))
        served = await self._slates.serve(self._recommender(), query, assignments, deadline)
        self._telemetry.slate(served.degraded, assignments)
        return codec.response(uuid.uuid4().hex, served.served_from, served.stage_seconds, served.slate)

    async def assign_variants(self, data: bytes, deadline: float) -> bytes:  # noqa: ARG002  # it never waits
        """ExperimentService.AssignVariants."""
        unit_id, names, attributes = codec.unit(data)
        return codec.assigned(self._experiments().assign(unit_id, self._clock(), names, attributes))
