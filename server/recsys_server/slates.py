"""The online decision, free of transport: computed, kept, popular or fallback."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from recsys.config import CacheSection
from recsys.recommender import Recommender
from recsys.types import Query, ServedFrom, Slate, Trace
from recsys_server import codec_slate
from recsys_server.cache import POPULAR_DEPTH, PopularCache, UserCache, popular_depth, user_key
from recsys_server.codec_slate import Assignments
from recsys_server.engine import Computed, Engine, Timings
from recsys_server.errors import EngineError, NoTimeError
from recsys_server.telemetry import Telemetry

MIB = 2**20
SKIPPED = ("retrieval",)


class Served(NamedTuple):
    """A slate on its way to the client; a tuple, as one is made for each request.

    Attributes:
        slate: encoded by ``codec_slate.slate``.
        served_from: how it was made.
        degraded: stages that failed.
        wait: seconds before the engine's batch began.
        stages: of that batch; empty when nothing was computed.
        trace: of a slate that was computed for a query that asked for it.
    """

    slate: bytes
    served_from: ServedFrom
    degraded: tuple[str, ...] = ()
    wait: float = 0.0
    stages: Timings = ()
    trace: Trace | None = None


class Slates:
    """Where each slate comes from.

    Args:
        patience: seconds that the popular slate, which many requests share, may wait for the engine.
        clock: monotonic seconds, the engine's.
    """

    def __init__(
        self,
        engine: Engine,
        section: CacheSection,
        patience: float,
        telemetry: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        async def compute(recommender: Recommender, query: Query) -> Slate:
            return (await engine.answer(recommender, query, clock() + patience, shared=True)).slate

        self._engine = engine
        self._telemetry = telemetry
        self._popular = PopularCache(
            compute,
            int(section.popular_mib * MIB),
            section.popular_seconds,
            lambda hit: telemetry.cache("popular", hit=hit),
            clock,
        )
        self._users = UserCache(int(section.user_mib * MIB), section.user_seconds, clock)

    async def serve(
        self,
        recommender: Recommender,
        query: Query,
        assignments: Assignments,
        deadline: float,
        lately: Hashable = None,
    ) -> Served:
        """The slate of a query; ``Engine.answer`` tells of the errors.

        Args:
            recommender: of the bundle that serves.
            query: what is asked.
            assignments: the variants that shape it.
            deadline: on the engine's clock.
            lately: tells the live events of a query from others of its user.
        """
        try:
            if query.explain or self._keeps_nothing(recommender, query):
                return await self._serve_computed(recommender, query, assignments, deadline)
            if recommender.is_personal(query):
                return await self._serve_personal(recommender, query, assignments, deadline, lately)
            return await self._serve_popular(recommender, query, assignments, deadline)
        except EngineError:
            return await self._fall_back(recommender, query, assignments)
        except NoTimeError:
            served = self._kept(recommender, query, assignments, lately)
            if served is None:
                raise
            return served

    def _keeps_nothing(self, recommender: Recommender, query: Query) -> bool:
        """Whether looking for a kept slate is in vain; who asks is looked up only where that decides."""
        users, popular = self._users.keeps_nothing, self._popular.keeps_nothing
        return users if users == popular or recommender.is_personal(query) else popular

    async def _serve_personal(
        self, recommender: Recommender, query: Query, assignments: Assignments, deadline: float, lately: Hashable
    ) -> Served:
        key = user_key(recommender, assignments, query, lately)
        kept = self._users.get(key)
        self._telemetry.cache("user", hit=kept is not None)
        if kept is not None:
            return Served(kept, ServedFrom.USER_CACHE)
        served = await self._serve_computed(recommender, query, assignments, deadline)
        if served.served_from is ServedFrom.MODEL and not served.degraded:
            self._users.put(key, served.slate)
        return served

    async def _serve_popular(
        self, recommender: Recommender, query: Query, assignments: Assignments, deadline: float
    ) -> Served:
        slate, complete = await self._cut_popular(recommender, query)
        if not complete:
            return await self._serve_computed(recommender, query, assignments, deadline)
        return _encoded(recommender, slate, assignments)

    async def _fall_back(self, recommender: Recommender, query: Query, assignments: Assignments) -> Served:
        deep = await self._popular.slate(recommender, query)
        return _encoded(recommender, _fallback(_cut(deep, query)), assignments)

    def _kept(
        self, recommender: Recommender, query: Query, assignments: Assignments, lately: Hashable
    ) -> Served | None:
        """What takes no time: the user's last slate, or the popular one, be they past their time."""
        if not self._users.keeps_nothing:
            own = self._users.kept(user_key(recommender, assignments, query, lately))
            if own is not None:
                return Served(codec_slate.degraded(own, SKIPPED), ServedFrom.USER_CACHE, SKIPPED)
        deep = self._popular.kept(recommender, query)
        cut = _cut(deep, query) if deep else None
        return _encoded(recommender, _fallback(cut), assignments) if cut and cut.items else None

    async def _serve_computed(
        self, recommender: Recommender, query: Query, assignments: Assignments, deadline: float
    ) -> Served:
        return _computed(await self._engine.answer(recommender, query, deadline), recommender, assignments)

    async def _cut_popular(self, recommender: Recommender, query: Query) -> tuple[Slate, bool]:
        """The popular slate as a query wants it, and whether that is all the catalogue has for it."""
        deep = await self._popular.slate(recommender, query)
        cut, depth = _cut(deep, query), popular_depth(query)
        complete = len(cut.items) >= query.slate_size or len(deep.items) < depth
        if (query.seed_item_ids or query.exclude_item_ids) and depth < POPULAR_DEPTH:
            complete = False  # what is left out changes where rules put the others
        return cut, complete


def _computed(computed: Computed, recommender: Recommender, assignments: Assignments) -> Served:
    slate, wait, stages = computed
    encoded = codec_slate.slate(slate, recommender.bundle_id, assignments)
    return Served(encoded, slate.served_from, slate.degraded, wait, stages, slate.trace)


def _encoded(recommender: Recommender, slate: Slate, assignments: Assignments) -> Served:
    return _computed(Computed(slate, 0.0, ()), recommender, assignments)


def _cut(deep: Slate, query: Query) -> Slate:
    """A popular slate without what a query leaves out, and no longer than it wants."""
    out = {*query.seed_item_ids, *query.exclude_item_ids}
    items = tuple(item for item in deep.items if item.item_id not in out) if out else deep.items
    return deep._replace(items=items[: query.slate_size])


def _fallback(slate: Slate) -> Slate:
    return slate._replace(served_from=ServedFrom.FALLBACK, degraded=SKIPPED)
