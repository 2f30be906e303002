"""A small recommender that keeps the real one's promises, and a real server around it."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from recsys.errors import BundleError
from recsys.types import Answer, Query, ServedFrom, ServingParameters, Slate, SlateItem
from recsys.v1 import (
    experiment_service_pb2_grpc,
    recommendation_service_pb2_grpc,
)
from recsys_server.app import App
from recsys_server.settings import ServerSettings, Settings


class FakeRecommender:
    """Knows items i0, i1, ... in order of popularity; its known users get them in the opposite order."""

    until = created_time = 1_700_000_000
    catalogue_version = 0

    def __init__(self, bundle_id: str = "b1", n_items: int = 600, users: Sequence[str] = ("known",)) -> None:
        self.bundle_id = bundle_id
        self.item_ids = [f"i{num}" for num in range(n_items)]
        self.users = set(users)
        self.batches: list[list[Query]] = []
        self.open = threading.Event()  # while not set, answers wait
        self.open.set()
        self.started = threading.Event()  # an answer has begun
        self.poison = "no user"  # answers to this user raise
        self.degraded: tuple[str, ...] = ()
        self.seconds = 0.0  # of each query's retrieval
        self.rank_seconds = 0.0  # of each query's ranking, with as many candidates as by default

    def is_personal(self, query: Query) -> bool:
        return query.user_id in self.users or any(seed in self.item_ids for seed in query.seed_item_ids)

    def answer(self, queries: Sequence[Query], timer: Callable[[], float]) -> Answer:
        start = timer()
        self.batches.append(list(queries))
        self.started.set()
        assert self.open.wait(10)
        if any(query.user_id == self.poison for query in queries):
            raise ValueError("poison")
        slates = tuple(map(self._slate, queries))
        time.sleep(self.seconds * len(queries))
        retrieved = timer()
        time.sleep(sum(map(self._ranking, queries)))
        ranked = {"rank": timer() - retrieved} if self.rank_seconds else {}
        return Answer(slates, {"retrieve": retrieved - start, **ranked})

    def _ranking(self, query: Query) -> float:
        share = query.parameters.candidates / ServingParameters().candidates
        return self.rank_seconds * share if query.parameters.use_ranker else 0.0

    def similar(self, queries: Sequence[Query], timer: Callable[[], float]) -> Answer:
        return self.answer([query._replace(user_id="") for query in queries], timer)

    def rank_items(self, queries: Sequence[Query], timer: Callable[[], float]) -> Answer:
        start = timer()
        self.batches.append(list(queries))
        return Answer(tuple(map(self._ordered, queries)), {"rank": timer() - start})

    def _ordered(self, query: Query) -> Slate:
        given = list(dict.fromkeys(query.seed_item_ids))
        known = sorted((item for item in given if item in self.item_ids), key=self.item_ids.index)
        if personal := query.user_id in self.users or bool(query.live_events):
            known.reverse()
        ordered = [(item, ("als",)) for item in known] + [(item, ()) for item in given if item not in known]
        items = tuple(SlateItem(item, 1.0 / rank, sources) for rank, (item, sources) in enumerate(ordered, start=1))
        return Slate(items, ServedFrom.MODEL if personal else ServedFrom.POPULAR_CACHE)

    def _slate(self, query: Query) -> Slate:
        personal = self.is_personal(query)
        out = {*query.exclude_item_ids, *query.seed_item_ids}
        ordered = self.item_ids[::-1] if personal else self.item_ids
        kept = [item_id for item_id in ordered if item_id not in out][: query.slate_size]
        items = tuple(SlateItem(item_id, 1.0 / rank, ("als",)) for rank, item_id in enumerate(kept, start=1))
        served_from = ServedFrom.MODEL if personal else ServedFrom.POPULAR_CACHE
        return Slate(items, served_from, self.degraded if personal else ())


class FakeRegistry:
    """A registry in memory; a recommender of None is a damaged bundle."""

    def __init__(self, *recommenders: FakeRecommender) -> None:
        self.recommenders: dict[str, FakeRecommender | None] = {one.bundle_id: one for one in recommenders}
        self.alias = recommenders[-1].bundle_id if recommenders else None
        self.loads: list[str] = []

    def publish(self, recommender: FakeRecommender) -> None:
        self.recommenders[recommender.bundle_id] = recommender
        self.alias = recommender.bundle_id

    def publish_damaged(self, bundle_id: str) -> None:
        self.recommenders[bundle_id] = None
        self.alias = bundle_id

    def live(self) -> str | None:
        return self.alias

    def path(self, bundle_id: str) -> Path:
        return Path("versions", bundle_id)

    async def load(self, path: Path) -> FakeRecommender:
        self.loads.append(path.name)
        recommender = self.recommenders[path.name]
        if recommender is None:
            raise BundleError(f"bundle {path.name}: items.npy is damaged")
        return recommender


There = Callable[[Coroutine], asyncio.Future]
"""Runs a coroutine on the loop of a server."""


class Client:
    """What a backend has: a channel, stubs, and eyes for the details of an error."""

    def __init__(self, app: App, channel: grpc.aio.Channel, there: There = asyncio.ensure_future) -> None:
        self.app = app
        self.there = there
        self.channel = channel
        recommendation = recommendation_service_pb2_grpc.RecommendationServiceStub(channel)
        self.recommend = recommendation.Recommend
        self.similar_items = recommendation.SimilarItems
        self.rank_items = recommendation.RankItems
        self.assign = experiment_service_pb2_grpc.ExperimentServiceStub(channel).AssignVariants

    async def send(self, data: bytes, method: str = "/recsys.v1.RecommendationService/Recommend") -> bytes:
        """Bytes as they are."""
        return await self.channel.unary_unary(method)(data)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.app.telemetry.registry.get_sample_value(name, labels)


class Details:
    """The google.rpc details of an error."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code = error.code()
        self.message = error.details()
        self.violations: dict[str, str] = {}
        self.retry_seconds: float | None = None
        for detail in rpc_status.from_call(error).details:
            info, request, retry = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if detail.Unpack(info):
                self.reason, self.domain, self.metadata = info.reason, info.domain, dict(info.metadata)
            elif detail.Unpack(request):
                self.violations = {wrong.field: wrong.description for wrong in request.field_violations}
            elif detail.Unpack(retry):
                self.retry_seconds = retry.retry_delay.ToTimedelta().total_seconds()


def settings(sections: dict[str, dict[str, object]] | None = None, **server: object) -> Settings:
    """Settings of a server on free ports that looks at its files often."""
    quick = {"listen": "127.0.0.1:0", "metrics": "127.0.0.1:0", "reload_seconds": 0.02, "drain_seconds": 5.0}
    return Settings(server=ServerSettings(**{**quick, **server}), **(sections or {}))


@contextmanager
def loop_apart() -> Iterator[There]:
    """An event loop in a thread of its own: what computes on it does not hold up the test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def serving(registry: FakeRegistry, options: Settings | None = None) -> AsyncIterator[Client]:
    """A real server and a client of it."""

    async def start() -> App:
        app = App(options or settings(), registry, registry.load)
        await app.start()
        return app

    with loop_apart() as there:
        app = await there(start())
        try:
            async with grpc.aio.insecure_channel(app.address) as channel:
                yield Client(app, channel, there)
        finally:
            for recommender in registry.recommenders.values():
                if recommender:
                    recommender.open.set()
            await there(app.drain())


async def refused(call: object) -> Details:
    """The details of a call that must fail."""
    try:
        answer = await call
    except grpc.RpcError as error:
        return Details(error)
    raise AssertionError(f"answered: {answer}")


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that must happen soon."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0.005)
