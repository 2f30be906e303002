"""Caches, on a clock that the test turns."""

import asyncio
import tracemalloc
from dataclasses import replace

import pytest

from recsys.rules import AnyOf, Pin, Range, Rules
from recsys.types import (
    EventType,
    ExcludePolicy,
    LiveEvent,
    Query,
    RuleReason,
    ServedFrom,
    ServingParameters,
    Slate,
    SlateItem,
)
from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server.cache import ENTRY_BYTES, ITEM_BYTES, POPULAR_DEPTH, PopularCache, UserCache, user_key
from server_fakes import FakeRecommender, FakeRegistry, serving, settings, until

QUERY = Query("u", 10, 0, ("s",), ("x",))
POPULAR = Query("", 10, 0)
BUNDLE = FakeRecommender("b")
TOLD = LiveEvent("i", EventType.VIEW_ITEM, 0)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Computing:
    """Computes popular slates on demand, and counts."""

    def __init__(self) -> None:
        self.count = 0
        self.open = asyncio.Event()
        self.open.set()
        self.failing = False

    async def __call__(self, recommender, query):
        self.count += 1
        await self.open.wait()
        if self.failing:
            raise RuntimeError("overloaded")
        return recommender.answer([query], lambda: 0.0).slates[0]


def popular_cache(compute, clock=None, budget=10**7, looked_up=lambda _: None):
    return PopularCache(compute, budget, 60, looked_up, clock or Clock())


async def test_one_popular_slate_is_computed_for_all_who_wait_for_it():
    computing, recommender = Computing(), FakeRecommender()
    computing.open.clear()
    cache = popular_cache(computing)
    waiting = [asyncio.create_task(cache.slate(recommender, POPULAR)) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    computing.open.set()
    slates = await asyncio.gather(*waiting[1:])
    assert computing.count == 1
    assert all(slate is slates[0] for slate in slates)


async def test_a_popular_slate_is_as_deep_as_the_largest_slate_with_as_many_exclusions():
    slate = await popular_cache(Computing()).slate(FakeRecommender(n_items=3_000), POPULAR)
    assert len(slate.items) == POPULAR_DEPTH >= 1_000


async def test_a_popular_slate_is_computed_again_after_its_time_for_another_bundle_and_other_parameters():
    computing, clock = Computing(), Clock()
    cache = popular_cache(computing, clock)
    old, new = FakeRecommender("old"), FakeRecommender("new")
    counts = []
    for recommender, parameters, seconds in [
        (old, ServingParameters(), 0),
        (old, ServingParameters(), 59),
        (old, ServingParameters(), 61),
        (old, ServingParameters(use_ranker=False), 61),
        (new, ServingParameters(), 61),
    ]:
        clock.seconds = seconds
        await cache.slate(recommender, POPULAR._replace(parameters=parameters))
        counts.append(computing.count)
    assert counts == [1, 1, 2, 3, 4]


async def test_popular_slates_by_other_rules_or_items_are_computed_and_the_oldest_make_room():
    computing, clock = Computing(), Clock()
    size = ENTRY_BYTES + 5 * ITEM_BYTES
    cache = popular_cache(computing, clock, budget=600 * ITEM_BYTES + 2 * ENTRY_BYTES + 3 * size)
    pinned = POPULAR._replace(rules=Rules(pins=(Pin("pin", "i7", 1),)))
    changed = FakeRecommender("b")
    changed.catalogue_version = 1
    for recommender, query in [
        (BUNDLE, POPULAR),
        (BUNDLE, pinned),
        (BUNDLE, pinned._replace(slate_size=5)),
        (changed, POPULAR),
    ]:
        await cache.slate(recommender, query)
    assert computing.count == 4
    assert cache.kept(BUNDLE, POPULAR) is None, "what holds for items as they were is let go"
    queries = [pinned._replace(slate_size=5, parameters=ServingParameters(candidates=100 + n)) for n in range(9)]
    for query in queries:
        await cache.slate(changed, query)
    assert cache.kept(changed, POPULAR) is None, "the oldest and largest"
    assert all(cache.kept(changed, query) for query in queries)


async def test_a_popular_slate_is_computed_anew_while_it_is_still_good_and_nobody_waits():
    computing, clock, hits = Computing(), Clock(), []
    cache = popular_cache(computing, clock, looked_up=hits.append)
    first = await cache.slate(BUNDLE, POPULAR)
    computing.open.clear()
    for clock.seconds in (44, 46, 59):
        async with asyncio.timeout(1):
            assert await cache.slate(BUNDLE, POPULAR) is first
    await asyncio.sleep(0)
    assert computing.count == 2
    computing.open.set()
    await asyncio.sleep(0.01)
    clock.seconds = 100
    second = await cache.slate(BUNDLE, POPULAR)
    assert second is not first
    assert computing.count == 2
    assert hits == [False, True, True, True, True]


async def test_a_popular_slate_whose_renewal_fails_is_served_to_its_end():
    computing, clock = Computing(), Clock()
    cache = popular_cache(computing, clock)
    first = await cache.slate(BUNDLE, POPULAR)
    computing.failing, clock.seconds = True, 50
    assert await cache.slate(BUNDLE, POPULAR) is first
    await asyncio.sleep(0.01)
    computing.failing = False
    await cache.slate(BUNDLE, POPULAR)
    await asyncio.sleep(0.01)
    assert await cache.slate(BUNDLE, POPULAR) is not first


async def test_without_a_budget_no_popular_slate_is_kept_and_all_are_served():
    computing = Computing()
    cache = popular_cache(computing, budget=0)
    for _ in range(2):
        assert (await cache.slate(BUNDLE, POPULAR)).items
    assert computing.count == 2


async def test_the_memory_of_popular_slates_stays_within_their_budget():
    async def compute(*_):
        items = (SlateItem(f"item-{num}", num / 7, ("als",), (RuleReason(f"{num}", "boosted"),)) for num in range(500))
        return Slate(tuple(items), ServedFrom.POPULAR_CACHE)

    cache = popular_cache(compute, budget=1_000_000)
    tracemalloc.start()
    for candidates in range(1, 15):
        await cache.slate(BUNDLE, POPULAR._replace(parameters=ServingParameters(candidates=candidates)))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 800_000 < taken < 1_100_000


async def test_a_popular_slate_past_its_time_stands_in_when_no_new_one_can_be_computed():
    computing, clock = Computing(), Clock()
    cache = popular_cache(computing, clock)
    kept = await cache.slate(FakeRecommender(), POPULAR)
    clock.seconds, computing.failing = 61, True
    assert await cache.slate(FakeRecommender(), POPULAR) is kept


async def test_a_failure_without_anything_kept_is_told_and_not_kept():
    computing = Computing()
    cache = popular_cache(computing)
    computing.failing = True
    with pytest.raises(RuntimeError):
        await cache.slate(FakeRecommender(), POPULAR)
    computing.failing = False
    assert (await cache.slate(FakeRecommender(), POPULAR)).items


async def test_the_popular_slates_of_an_old_bundle_are_let_go():
    cache, bundles = popular_cache(Computing()), [FakeRecommender(name) for name in ("b1", "b2", "b3")]
    for bundle in bundles:
        await cache.slate(bundle, POPULAR)
    assert [cache.kept(bundle, POPULAR) is not None for bundle in bundles] == [False, False, True]


async def test_rules_of_clients_however_long_are_not_kept_beside_their_slates():
    computed = []

    async def nothing(_, query):
        computed.append(query.slate_size)
        return Slate((), ServedFrom.POPULAR_CACHE)

    cache = popular_cache(nothing, budget=1_000_000)
    tracemalloc.start()
    for number in range(400):
        rules = Rules(AnyOf("brand", (f"{number} " * 10_000,)))
        await cache.slate(BUNDLE, POPULAR._replace(rules=rules))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 1_000_000
    assert len(computed) == 400, "each rule has a slate of its own"


def test_a_users_slate_is_good_for_its_time():
    clock = Clock()
    cache = UserCache(10_000, 30, clock)
    key = user_key(BUNDLE, (), QUERY, None)
    cache.put(key, b"slate")
    clock.seconds = 29.9
    assert cache.get(key) == b"slate"
    clock.seconds = 30
    assert cache.get(key) is None


def test_the_least_recently_used_slate_makes_room():
    cache = UserCache(2 * ENTRY_BYTES + 200, 30, Clock())
    first, second, third = (user_key(BUNDLE, (), QUERY._replace(user_id=user), None) for user in "123")
    cache.put(first, bytes(100))
    cache.put(second, bytes(100))
    cache.get(first)
    cache.put(third, bytes(100))
    assert [bool(cache.get(key)) for key in (first, second, third)] == [True, False, True]
    cache.put(first, bytes(101))
    assert [bool(cache.get(key)) for key in (first, third)] == [True, False]


def test_a_slate_that_is_kept_again_counts_once():
    cache = UserCache(2 * ENTRY_BYTES + 200, 30, Clock())
    first, second = (user_key(BUNDLE, (), QUERY._replace(user_id=user), None) for user in "12")
    cache.put(second, bytes(100))
    for _ in range(5):
        cache.put(first, bytes(100))
    assert cache.get(second)


def test_a_cache_without_room_keeps_nothing_and_a_huge_slate_drives_no_other_out():
    key, other = user_key(BUNDLE, (), QUERY, None), user_key(BUNDLE, (), QUERY._replace(user_id="v"), None)
    empty = UserCache(0, 30, Clock())
    empty.put(key, b"")
    assert empty.get(key) is None
    cache = UserCache(1_000, 30, Clock())
    cache.put(other, b"slate")
    cache.put(key, bytes(1_000))
    assert (cache.get(key), cache.get(other)) == (None, b"slate")


def test_the_memory_of_a_users_cache_stays_within_its_budget():
    queries = [QUERY._replace(user_id=str(user)) for user in range(5_000)]
    tracemalloc.start()
    cache = UserCache(1_000_000, 30, Clock())
    for query in queries:
        cache.put(user_key(BUNDLE, (), query, None), bytes(600))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 900_000 < taken < 1_050_000


def test_all_that_a_slate_depends_on_stands_in_its_key():
    changed = FakeRecommender("b")
    changed.catalogue_version = 1
    keys = [
        user_key(changed, (), QUERY, None),
        user_key(BUNDLE, (), QUERY, (1, ())),
        user_key(BUNDLE, (), QUERY, (1, (TOLD,))),
        user_key(BUNDLE, (), QUERY, (1, (replace(TOLD, event_type=EventType.PURCHASE),))),
        user_key(BUNDLE, (), QUERY, None),
        user_key(FakeRecommender("other"), (), QUERY, None),
        user_key(BUNDLE, (("experiment", "variant"),), QUERY, None),
        user_key(BUNDLE, (("experiment", "other"),), QUERY, None),
        *(
            user_key(BUNDLE, (), QUERY._replace(**change), None)
            for change in (
                {"user_id": "v"},
                {"slate_size": 11},
                {"seed_item_ids": ("s", "t")},
                {"exclude_item_ids": ()},
                {"seed_item_ids": ("s", "x"), "exclude_item_ids": ()},
                {"seed_item_ids": (), "exclude_item_ids": ("s", "x")},
                {"parameters": ServingParameters(exclude_policy=ExcludePolicy.SEEN)},
                {"rules": Rules(diversity=0.5)},
                {"rules": Rules(condition=Range("price", low=-1))},
                {"rules": Rules(condition=Range("price", low=-2))},
                {"shown": (("i", 1),)},
            )
        ),
    ]
    assert len(set(keys)) == len(keys)
    assert user_key(BUNDLE, (), QUERY._replace(now=1), None) == user_key(BUNDLE, (), QUERY, None)


async def test_the_same_request_again_is_served_from_the_users_cache_until_its_time_is_over():
    recommender = FakeRecommender()
    request = pb.RecommendRequest(user_id="known", slate_size=5)
    async with serving(FakeRegistry(recommender), settings({"cache": {"user_seconds": 0.2}})) as client:
        first = await client.recommend(request)
        second = await client.recommend(request)
        await asyncio.sleep(0.25)
        third = await client.recommend(request)
        assert client.metric("recsys_cache_requests_total", cache="user", result="hit") == 1
        assert client.metric("recsys_cache_requests_total", cache="user", result="miss") == 2
    assert [answer.served_from for answer in (first, second, third)] == [
        pb.SERVED_FROM_MODEL,
        pb.SERVED_FROM_USER_CACHE,
        pb.SERVED_FROM_MODEL,
    ]
    assert second.items == first.items
    assert second.bundle_id == "b1"
    assert second.recommendation_id != first.recommendation_id


async def test_a_degraded_slate_is_not_kept():
    recommender = FakeRecommender()
    recommender.degraded = ("ranker",)
    async with serving(FakeRegistry(recommender)) as client:
        first = await client.recommend(pb.RecommendRequest(user_id="known"))
        recommender.degraded = ()
        second = await client.recommend(pb.RecommendRequest(user_id="known"))
    assert (list(first.degraded), first.served_from) == (["ranker"], pb.SERVED_FROM_MODEL)
    assert (list(second.degraded), second.served_from) == ([], pb.SERVED_FROM_MODEL)


async def test_the_popular_slate_is_computed_once_for_a_crowd():
    recommender = FakeRecommender()
    async with serving(FakeRegistry(recommender)) as client:
        answers = await asyncio.gather(*(client.recommend(pb.RecommendRequest(user_id=f"u{n}")) for n in range(50)))
    assert {len(answer.items) for answer in answers} == {20}
    assert len(recommender.batches) == 1


async def test_after_a_reload_nothing_of_the_old_bundle_is_served():
    registry = FakeRegistry(FakeRecommender("b1"))
    async with serving(registry) as client:
        for user in ("known", "stranger"):
            await client.recommend(pb.RecommendRequest(user_id=user))
        registry.publish(FakeRecommender("b2", n_items=40))
        await until(lambda: client.app.models.bundle_id == "b2")
        answers = [await client.recommend(pb.RecommendRequest(user_id=user)) for user in ("known", "stranger")]
    assert [answer.bundle_id for answer in answers] == ["b2", "b2"]
    assert answers[0].items[0].item_id == "i39"
