"""More work than time: what is refused, what is eased, and what is served all the same."""

import asyncio
import time

import pytest

from recsys.types import Query, ServingParameters
from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server.engine import LEAST_WAITING, Engine
from recsys_server.errors import NoTimeError, OverloadedError
from server_fakes import FakeRecommender, FakeRegistry, loop_apart, refused, serving, settings, until

LATER = float("inf")
USERS = [f"u{num}" for num in range(5_000)]
RELAXED = {"deadline_seconds": 30.0, "shed_seconds": 30.0}


@pytest.fixture
def recommender():
    return FakeRecommender(users=USERS)


def engine(max_batch=64, max_waiting=10_000, shed_seconds=LATER):
    return Engine(max_batch, max_waiting, shed_seconds, lambda _: None, time.monotonic, lambda call: call())


def ask(engine, recommender, user_id, seconds=LATER, *, shared=False, **options):
    async def asked():
        return await engine.answer(recommender, query, time.monotonic() + seconds, shared=shared)

    query = Query(user_id, 3, 0, parameters=ServingParameters(**options), trace=True)
    return asyncio.create_task(asked())


async def taught(running, recommender, together=1):
    """An engine that knows how long its recommender takes."""
    for _ in range(6):
        await asyncio.gather(*(ask(running, recommender, f"u{num}") for num in range(together)))
    recommender.batches.clear()


def asked(recommender):
    return {query.user_id: query for batch in recommender.batches for query in batch}


@pytest.mark.parametrize(
    ("seconds", "degraded", "candidates", "use_ranker"),
    [(0.9, (), 220, True), (0.16, ("candidates",), 110, True), (0.08, ("ranker",), 220, False)],
)
async def test_what_is_ranked_follows_the_time_that_is_left(recommender, seconds, degraded, candidates, use_ranker):
    recommender.seconds, recommender.rank_seconds = 0.04, 0.16
    running = engine()
    await taught(running, recommender)
    answer = await ask(running, recommender, "u1", seconds)
    assert answer.slate.degraded == degraded
    parameters = asked(recommender)["u1"].parameters
    assert (parameters.candidates, parameters.use_ranker) == (candidates, use_ranker)
    assert asked(recommender)["u1"].trace == (not degraded), "what is eased is no sample of what is served"


async def test_what_cannot_be_ready_in_time_is_not_computed(recommender):
    recommender.seconds, recommender.rank_seconds = 0.03, 0.03
    running = engine()
    await taught(running, recommender)
    tasks = [ask(running, recommender, "u1"), ask(running, recommender, "u2", 0.01)]
    tasks.append(ask(running, recommender, "u3", 0.025, use_ranker=False))  # without a ranker there is nothing to ease
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(outcome, NoTimeError) for outcome in outcomes] == [False, True, True]
    assert [*asked(recommender)] == ["u1"]


async def test_a_hasty_client_takes_nothing_from_those_who_wait_with_it(recommender):
    recommender.seconds, recommender.rank_seconds = 0.005, 0.04
    running = engine()
    await taught(running, recommender, together=4)
    tasks = [ask(running, recommender, user) for user in ("u1", "u2")]
    tasks += [ask(running, recommender, "u3", 0.12), ask(running, recommender, "u4")]
    answers = await asyncio.gather(*tasks)
    assert [bool(answer.slate.degraded) for answer in answers] == [False, False, True, False]
    assert [len(batch) for batch in recommender.batches] == [1, 3]


async def test_a_popular_slate_is_never_called_degraded_for_what_it_does_without(recommender):
    recommender.seconds, recommender.rank_seconds = 0.02, 0.08
    running = engine()
    await taught(running, recommender)
    answer = await ask(running, recommender, "nobody", 0.045)
    assert answer.slate.degraded == ()


async def test_what_would_wait_too_long_is_refused_at_once_and_what_many_share_is_not(recommender):
    recommender.seconds = 0.02
    running = engine(max_batch=4, shed_seconds=0.1)
    for _ in range(5):
        await asyncio.gather(*(ask(running, recommender, user) for user in USERS[:4]))
    tasks = [ask(running, recommender, user) for user in USERS[:100]]
    shared = ask(running, recommender, "u200", shared=True)
    await asyncio.sleep(0)
    refusals = [task for task in tasks if task.done()]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert (await shared).slate.items
    refused_count = sum(isinstance(outcome, OverloadedError) for outcome in outcomes)
    assert refused_count == len(refusals)
    assert LEAST_WAITING <= 100 - refused_count <= LEAST_WAITING + 4


class Timed(FakeRecommender):
    """Takes 5 ms for each query, of a clock that nothing else moves."""

    def __init__(self):
        super().__init__(users=USERS)
        self.now = 0.0

    def clock(self):
        return self.now

    def answer(self, queries, timer):
        self.now += 0.005 * len(queries)
        return super().answer(queries, timer)


async def test_a_burst_may_wait_and_where_more_come_than_can_be_answered_few_do():
    recommender = Timed()
    running = Engine(1, 10_000, 0.2, lambda _: None, recommender.clock, lambda call: call())

    async def accepted(count):
        tasks = [ask(running, recommender, user) for user in USERS[:count]]
        await asyncio.sleep(0)
        return [task for task in tasks if not task.done() or not task.exception()]

    async def answered(count):
        count += len(recommender.batches)
        while len(recommender.batches) < count:  # noqa: ASYNC110 - the clock stands still meanwhile
            await asyncio.sleep(0)

    await taught(running, recommender, together=4)
    burst = await accepted(100)
    assert len(burst) == pytest.approx(40, abs=1), "as many as are answered in 200 ms"
    await answered(10)
    assert await accepted(1) == [], "which would take 150 ms, but one was refused 50 ms ago"
    await asyncio.gather(*burst)
    assert len(await accepted(100)) == pytest.approx(40, abs=1), "as nothing was refused for a while"
    flood = []
    for _ in range(400):
        flood += await accepted(2)
        await answered(1)
    waits = [answer.wait for answer in await asyncio.gather(*flood)]
    assert len(flood) == pytest.approx(400, abs=40)
    assert max(waits[200:]) < (LEAST_WAITING + 2) * 0.005


async def test_after_a_bad_moment_an_idle_engine_refuses_nobody(recommender):
    running = engine(shed_seconds=0.1)
    recommender.seconds = 0.5
    await ask(running, recommender, "u1")
    recommender.seconds = 0.0
    assert (await ask(running, recommender, "u2")).slate.items


async def test_who_would_wait_beyond_the_deadline_is_told_at_once(recommender):
    recommender.seconds = 0.1
    running = engine(max_batch=1)
    await taught(running, recommender)
    first = ask(running, recommender, "u1")
    await until(lambda: recommender.batches)
    started = time.monotonic()
    with pytest.raises(NoTimeError):
        await ask(running, recommender, "u2", 0.05)
    assert time.monotonic() - started < 0.04
    await first


async def learnt(client, recommender):
    """A server that knows how long its recommender takes."""
    for user in USERS[1_000:1_006]:
        await client.recommend(pb.RecommendRequest(user_id=user))
    recommender.batches.clear()


async def test_out_of_time_the_users_last_slate_is_served_else_the_popular_one_and_says_so(recommender):
    recommender.seconds = 0.2
    options = settings({"cache": {"user_seconds": 0.0}}, **RELAXED)
    async with serving(FakeRegistry(recommender), options) as client:
        own = await client.recommend(pb.RecommendRequest(user_id="u1"))
        popular = await client.recommend(pb.RecommendRequest(user_id="nobody"))
        await learnt(client, recommender)
        again = await client.recommend(pb.RecommendRequest(user_id="u1"), timeout=0.15)
        other = await client.recommend(pb.RecommendRequest(user_id="u2", exclude_item_ids=["i0"]), timeout=0.15)
        assert len(recommender.batches) <= 1
        assert client.metric("recsys_degraded_total", reason="retrieval") == 2
    assert (again.served_from, list(again.degraded)) == (pb.SERVED_FROM_USER_CACHE, ["retrieval"])
    assert again.items == own.items
    assert (other.served_from, list(other.degraded)) == (pb.SERVED_FROM_FALLBACK, ["retrieval"])
    assert [item.item_id for item in other.items][:19] == [item.item_id for item in popular.items][1:]


async def test_out_of_time_with_nothing_kept_a_client_is_told_to_come_back(recommender):
    recommender.seconds = 0.3
    async with serving(FakeRegistry(recommender), settings(**RELAXED)) as client:
        await learnt(client, recommender)
        started = time.monotonic()
        details = await refused(client.recommend(pb.RecommendRequest(user_id="u1"), timeout=0.25))
        assert time.monotonic() - started < 0.2
    assert (details.code.name, details.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert details.retry_seconds > 0


async def test_at_twice_its_capacity_an_engine_answers_as_many_as_it_can_and_those_soon(recommender):
    recommender.seconds, seconds = 0.005, 2.0
    capacity = 1 / recommender.seconds
    outcomes = {"answered": [], "shed": []}

    async def call(user):
        started = time.monotonic()
        try:
            await there(asked(user))
            outcomes["answered"].append(time.monotonic() - started)
        except OverloadedError:
            outcomes["shed"].append(time.monotonic() - started)

    async def asked(user):
        return await running.answer(recommender, Query(user, 3, 0), LATER)

    async def apart():
        return engine(max_batch=8, shed_seconds=0.1)

    with loop_apart() as there:
        running = await there(apart())
        calls, started = [], time.monotonic()
        for num in range(int(2 * capacity * seconds)):
            await asyncio.sleep(max(0.0, started + num / (2 * capacity) - time.monotonic()))
            calls.append(asyncio.create_task(call(USERS[num])))
        await asyncio.gather(*calls)
        elapsed = time.monotonic() - started
    answered, shed = map(sorted, outcomes.values())
    assert len(answered) / elapsed > 0.8 * capacity
    assert answered[len(answered) * 95 // 100] < 0.25
    assert shed[len(shed) * 9 // 10] < 0.1, "after the batch that is computed"


async def test_an_engine_that_was_too_slow_for_its_clients_finds_out_when_it_is_not_any_more(recommender):
    recommender.seconds = 0.3
    running = engine()
    await ask(running, recommender, "u1")
    recommender.seconds = 0.0
    recommender.batches.clear()

    async def answered():
        try:
            return await ask(running, recommender, "u2", 0.1)
        except NoTimeError:
            await asyncio.sleep(0.05)
            return None

    assert await answered() is None
    async with asyncio.timeout(4):
        while await answered() is None:
            pass


async def test_while_everything_is_too_slow_few_are_tried_and_nobody_waits_for_them(recommender):
    recommender.seconds = 0.1
    running = engine()
    await ask(running, recommender, "u0")
    recommender.batches.clear()
    waited, began = [], time.monotonic()
    while time.monotonic() < began + 2.5:
        started = time.monotonic()
        with pytest.raises(NoTimeError):
            await ask(running, recommender, "u1", 0.03)
        waited.append(time.monotonic() - started)
        await asyncio.sleep(0.01)
    assert [len(batch) for batch in recommender.batches] in ([1], [1, 1])
    assert max(waited) < 0.02
