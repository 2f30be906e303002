"""Caches, on a clock that the test turns."""

import asyncio
from dataclasses import replace

import pytest

from recsys.rules import Pin, Rules
from recsys.types import EventType, ExcludePolicy, LiveEvent, Query, ServingParameters
from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server.cache import MOST_POPULAR, POPULAR_DEPTH, PopularCache, UserCache, user_key
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


async def test_one_popular_slate_is_computed_for_all_who_wait_for_it():
    computing, recommender = Computing(), FakeRecommender()
    computing.open.clear()
    cache = PopularCache(computing, 60, Clock())
    waiting = [asyncio.create_task(cache.slate(recommender, POPULAR)) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    computing.open.set()
    slates = await asyncio.gather(*waiting[1:])
    assert computing.count == 1
    assert all(slate is slates[0] for slate in slates)


async def test_a_popular_slate_is_as_deep_as_the_largest_slate_with_as_many_exclusions():
    slate = await PopularCache(Computing(), 60, Clock()).slate(FakeRecommender(n_items=3_000), POPULAR)
    assert len(slate.items) == POPULAR_DEPTH >= 1_000


async def test_a_popular_slate_is_computed_again_after_its_time_for_another_bundle_and_other_parameters():
    computing, clock = Computing(), Clock()
    cache = PopularCache(computing, 60, clock)
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
        await cache.slate(recommender, replace(POPULAR, parameters=parameters))
        counts.append(computing.count)
    assert counts == [1, 1, 2, 3, 4]


async def test_popular_slates_by_other_rules_or_items_are_computed_and_the_oldest_make_room():
    computing, clock = Computing(), Clock()
    cache = PopularCache(computing, 60, clock)
    pinned = replace(POPULAR, rules=Rules(pins=(Pin("pin", "i7", 1),)))
    changed = FakeRecommender("b")
    changed.catalogue_version = 1
    for recommender, query in [
        (BUNDLE, POPULAR),
        (BUNDLE, pinned),
        (BUNDLE, replace(pinned, slate_size=5)),
        (changed, POPULAR),
    ]:
        await cache.slate(recommender, query)
    assert computing.count == 4
    assert len(cache._kept) == 1, "what holds for items as they were is let go"
    for size in range(1, MOST_POPULAR + 10):
        clock.seconds += 0.01
        await cache.slate(changed, replace(pinned, slate_size=size))
    assert len(cache._kept) == MOST_POPULAR
    assert cache.fresh(changed, replace(pinned, slate_size=MOST_POPULAR + 9))


async def test_a_popular_slate_past_its_time_stands_in_when_no_new_one_can_be_computed():
    computing, clock = Computing(), Clock()
    cache = PopularCache(computing, 60, clock)
    kept = await cache.slate(FakeRecommender(), POPULAR)
    clock.seconds, computing.failing = 61, True
    assert await cache.slate(FakeRecommender(), POPULAR) is kept


async def test_a_failure_without_anything_kept_is_told_and_not_kept():
    computing = Computing()
    cache = PopularCache(computing, 60, Clock())
    computing.failing = True
    with pytest.raises(RuntimeError):
        await cache.slate(FakeRecommender(), POPULAR)
    computing.failing = False
    assert (await cache.slate(FakeRecommender(), POPULAR)).items


async def test_the_popular_slates_of_an_old_bundle_are_let_go():
    cache = PopularCache(Computing(), 60, Clock())
    for bundle_id in ("b1", "b2", "b3"):
        await cache.slate(FakeRecommender(bundle_id), POPULAR)
    assert [key[0] for key in cache._kept] == ["b3"]


def test_a_users_slate_is_good_for_its_time():
    clock = Clock()
    cache = UserCache(10, 30, clock)
    key = user_key(BUNDLE, (), QUERY)
    cache.put(key, b"slate")
    clock.seconds = 29.9
    assert cache.get(key) == b"slate"
    clock.seconds = 30
    assert cache.get(key) is None


def test_the_least_recently_used_slate_makes_room():
    cache = UserCache(2, 30, Clock())
    first, second, third = (user_key(BUNDLE, (), replace(QUERY, user_id=user)) for user in "123")
    cache.put(first, b"1")
    cache.put(second, b"2")
    cache.get(first)
    cache.put(third, b"3")
    assert [cache.get(key) for key in (first, second, third)] == [b"1", None, b"3"]
    assert len(cache) == 2


def test_a_cache_without_room_keeps_nothing_and_a_huge_slate_is_not_kept():
    key = user_key(BUNDLE, (), QUERY)
    for cache, slate in [(UserCache(0, 30, Clock()), b"slate"), (UserCache(1, 30, Clock()), bytes(5_000))]:
        cache.put(key, slate)
        assert cache.get(key) is None


def test_all_that_a_slate_depends_on_stands_in_its_key():
    changed = FakeRecommender("b")
    changed.catalogue_version = 1
    keys = [
        user_key(changed, (), QUERY),
        user_key(BUNDLE, (), QUERY),
        user_key(FakeRecommender("other"), (), QUERY),
        user_key(BUNDLE, (("experiment", "variant"),), QUERY),
        user_key(BUNDLE, (("experiment", "other"),), QUERY),
        *(
            user_key(BUNDLE, (), replace(QUERY, **change))
            for change in (
                {"user_id": "v"},
                {"slate_size": 11},
                {"seed_item_ids": ("s", "t")},
                {"exclude_item_ids": ()},
                {"seed_item_ids": ("s", "x"), "exclude_item_ids": ()},
                {"seed_item_ids": (), "exclude_item_ids": ("s", "x")},
                {"parameters": ServingParameters(exclude_policy=ExcludePolicy.SEEN)},
                {"rules": Rules(diversity=0.5)},
                {"live_events": (TOLD,)},
                {"live_events": (replace(TOLD, event_type=EventType.PURCHASE),)},
                {"shown": (("i", 1),)},
            )
        ),
    ]
    assert len(set(keys)) == len(keys)
    assert user_key(BUNDLE, (), replace(QUERY, now=1)) == keys[1]


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
