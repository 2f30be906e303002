"""The methods of the services, from the bytes of a request to the bytes of its response."""

from __future__ import annotations

import random
from collections.abc import Callable

from recsys.config import Config
from recsys.errors import StateError
from recsys.experiments import Experiments
from recsys.exposure_log import Exposure
from recsys.extend import embedding_dimensions
from recsys.live import merged
from recsys.recommender import Recommender
from recsys.rules import NO_RULES
from recsys.sample_log import Sample
from recsys.types import Query
from recsys_server import codec, codec_assign, codec_catalog, codec_events, codec_rank, codec_slate
from recsys_server.catalogue import Catalogue
from recsys_server.codec_slate import Assignments
from recsys_server.engine import Engine, Method
from recsys_server.errors import NoBundleError, NoStateError
from recsys_server.interceptors import Respond
from recsys_server.placements import Placements
from recsys_server.slates import Served, Slates
from recsys_server.state import State
from recsys_server.telemetry import Telemetry

_ID_LENGTH, _IDS_AT_ONCE = 32, 256


class Handlers:
    """What each method does.

    Args:
        recommender: the one that serves now, asked once for each request; raises NoBundleError.
        experiments: those that hold now.
        engine: computes what is not kept.
        state: what is known of users; None without a state directory.
        catalogue: what the shop says of items between two trainings; None without a state directory.
        clock: unix seconds.
    """

    def __init__(  # the composition root names them all
        self,
        *,
        config: Config,
        recommender: Callable[[], Recommender],
        experiments: Callable[[], Experiments],
        slates: Slates,
        engine: Engine,
        state: State | None,
        catalogue: Catalogue | None,
        telemetry: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self._placements = Placements(config)
        self._recommender = recommender
        self._experiments = experiments
        self._slates = slates
        self._engine = engine
        self._state = state
        self._catalogue = catalogue
        self._telemetry = telemetry
        self._clock = clock
        self._random = random.Random()  # noqa: S311 - ids must be unique, not secret
        self._ids: list[str] = []

    def by_method(self) -> dict[str, Respond]:
        """What answers each method."""
        return {
            "Recommend": self.recommend,
            "SimilarItems": self.similar_items,
            "RankItems": self.rank_items,
            "AssignVariants": self.assign_variants,
            "RecordEvents": self.record_events,
            "UpsertItems": self.upsert_items,
            "DeleteItems": self.delete_items,
        }

    async def recommend(self, data: bytes, deadline: float) -> bytes:
        """RecommendationService.Recommend."""
        request = codec.request(data, self._placements, self._experiments(), int(self._clock()))
        recommender = self._recommender()
        query, version, degraded = self._informed(request.query, recommender.until)
        if self._samples(recommender, query):
            query = query._replace(trace=True)
        lately = version, request.query.live_events
        served = await self._slates.serve(recommender, query, request.assignments, deadline, lately)
        self._telemetry.slate((*degraded, *served.degraded), request.assignments)
        recommendation_id = self._new_id()
        if self._state is not None:
            self._record(self._state, recommendation_id, request, recommender.bundle_id, version, served)
        return codec_slate.response(
            recommendation_id, served.served_from, served.slate, served.wait, served.stages, degraded
        )

    async def similar_items(self, data: bytes, deadline: float) -> bytes:
        """RecommendationService.SimilarItems."""
        query = codec_rank.similar_query(data, self._placements, int(self._clock()))
        return await self._computed(query, (), "similar", deadline)

    async def rank_items(self, data: bytes, deadline: float) -> bytes:
        """RecommendationService.RankItems."""
        query, assignments = codec_rank.rank_query(data, self._placements, self._experiments(), int(self._clock()))
        return await self._computed(query, assignments, "rank_items", deadline)

    async def _computed(self, query: Query, assignments: Assignments, method: Method, deadline: float) -> bytes:
        """An answer with the fields of a RecommendResponse, which is never kept."""
        recommender = self._recommender()
        query, _, degraded = self._informed(query, recommender.until)
        computed = await self._engine.answer(recommender, query, deadline, method)
        slate = computed.slate
        self._telemetry.slate((*degraded, *slate.degraded), assignments)
        encoded = codec_slate.slate(slate, recommender.bundle_id, assignments)
        return codec_slate.response(
            self._new_id(), slate.served_from, encoded, computed.wait, computed.stages, degraded
        )

    async def assign_variants(self, data: bytes, deadline: float) -> bytes:  # noqa: ARG002  # it never waits
        """ExperimentService.AssignVariants."""
        unit_id, names, attributes = codec_assign.unit(data)
        return codec_assign.assigned(self._experiments().assign(unit_id, self._clock(), names, attributes))

    async def record_events(self, data: bytes, deadline: float) -> bytes:
        """EventService.RecordEvents."""
        if self._state is None:
            raise NoStateError("the server keeps no events; start it with --state DIR")
        events, rejections = codec_events.record_request(data, int(self._clock()))
        accepted = await self._state.recorder.record(events, deadline)
        self._telemetry.events(sum(accepted), len(accepted) - sum(accepted), len(rejections))
        return codec_events.record_response(accepted, rejections)

    async def upsert_items(self, data: bytes, deadline: float) -> bytes:
        """CatalogService.UpsertItems."""
        catalogue = self._items()
        changes, rejections = codec_catalog.upsert_request(data, *self._known_of_items())
        await catalogue.write(changes, deadline)
        return codec_catalog.upsert_response(len(changes), rejections)

    async def delete_items(self, data: bytes, deadline: float) -> bytes:
        """CatalogService.DeleteItems."""
        catalogue = self._items()
        changes, rejections = codec_catalog.delete_request(data)
        await catalogue.write(changes, deadline)
        return codec_catalog.delete_response(len(changes), rejections)

    def _new_id(self) -> str:
        """An id, of those that are made together, as one alone would take as long as all else about it."""
        if not self._ids:
            letters = self._random.randbytes(_IDS_AT_ONCE * _ID_LENGTH // 2).hex()
            self._ids = [letters[at : at + _ID_LENGTH] for at in range(0, len(letters), _ID_LENGTH)]
        return self._ids.pop()

    def _record(
        self, state: State, recommendation_id: str, request: codec.Request, bundle_id: str, version: int, served: Served
    ) -> None:
        """Keep what was served, and the features it was ranked by where these are wanted."""
        query = request.query
        state.exposures.record(
            Exposure(
                recommendation_id,
                query.now,
                query.user_id,
                request.placement,
                bundle_id,
                request.assignments,
                served.slate,
            )
        )
        if served.trace is not None:
            state.samples.record(Sample(query, bundle_id, version, served.trace))

    def _items(self) -> Catalogue:
        if self._catalogue is None:
            raise NoStateError("the server keeps nothing of items; start it with --state DIR")
        return self._catalogue

    def _known_of_items(self) -> tuple[int, frozenset[str]]:
        """Dimensions of the embeddings that the bundle knows, 0 where it has none; and the names of attributes."""
        try:
            model = self._recommender().model
        except NoBundleError:
            return 0, frozenset()
        return embedding_dimensions(model), model.catalogue.names

    def _informed(self, query: Query, since: int) -> tuple[Query, int, tuple[str, ...]]:
        """A query with all that its user did since a time (unix seconds), the version of it, and what is unreadable."""
        told = query
        if query.live_events:
            told = query._replace(live_events=merged((), query.live_events, since))
        if self._state is None or not query.user_id:
            return told, 0, ()
        try:
            return *self._state.informed(query, since), ()
        except StateError as error:
            self._telemetry.state_failed(str(error))
            return told, 0, ("state",)

    def _samples(self, recommender: Recommender, query: Query) -> bool:
        """Whether the features of an answer are kept: what rules and changed items do to it cannot be replayed."""
        if self._state is None or query.rules != NO_RULES or recommender.catalogue_version:
            return False
        return self._state.samples_next()
