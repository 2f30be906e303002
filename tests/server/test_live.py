"""What users do changes their next slate: a real bundle behind real servers that share a state directory."""

import contextlib
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

import server_fakes as fakes
from recsys import bundle
from recsys.event_log import EventLog
from recsys.registry import Registry
from recsys.types import EventType, LiveEvent
from recsys.v1 import event_pb2, event_service_pb2, event_service_pb2_grpc, rules_pb2
from recsys.v1 import recommendation_service_pb2 as pb
from recsys_server.app import App
from recsys_server.lately import Lately

VIEW, PURCHASE = event_pb2.EVENT_TYPE_VIEW_ITEM, event_pb2.EVENT_TYPE_PURCHASE


@pytest.fixture(scope="module")
def recommender(registry):
    return bundle.load(Registry(registry).path(Registry(registry).live()))


@contextlib.asynccontextmanager
async def serving(registry, state: Path | None = None, **sections):
    """A real server of the real bundle."""
    found = Registry(registry)

    async def load(path):
        return bundle.load(path)

    app = App(fakes.settings(sections, state=state), found, load)
    await app.start()
    try:
        async with grpc.aio.insecure_channel(app.address) as channel:
            client = fakes.Client(app, channel)
            client.record = event_service_pb2_grpc.EventServiceStub(channel).RecordEvents
            yield client
    finally:
        await app.drain()


def told(user, *items, kind=VIEW, **fields):
    return event_service_pb2.RecordEventsRequest(
        events=[event_pb2.Event(user_id=user, item_id=item, event_type=kind, **fields) for item in items]
    )


def ids(response):
    return [item.item_id for item in response.items]


def warm(response):
    return [item.item_id for item in response.items if "content" not in item.sources]


async def test_an_event_that_a_server_wrote_itself_is_not_read_from_the_disk(
    registry, recommender, tmp_path, monkeypatch
):
    first, second = recommender.model.items.ids(np.array([3, 50]))
    monkeypatch.setattr(Lately, "forget", lambda _: None)  # after the pruning that a start begins with
    async with serving(registry, tmp_path) as server:
        await server.record(told("nobody", first))
        before = await server.recommend(pb.RecommendRequest(user_id="nobody"))
        monkeypatch.setattr(EventLog, "news", lambda *_: pytest.fail("the log was read"))
        await server.record(told("nobody", second))
        after = await server.recommend(pb.RecommendRequest(user_id="nobody"))
        assert after.served_from == pb.SERVED_FROM_MODEL
        assert ids(after) != ids(before)


async def test_a_new_visitor_is_personal_after_the_first_event_on_every_server(registry, recommender, tmp_path):
    items = recommender.model.items.ids(np.array([3, 50]))
    async with serving(registry, tmp_path) as one, serving(registry, tmp_path) as other:
        before = await other.recommend(pb.RecommendRequest(user_id="nobody"))
        assert before.served_from == pb.SERVED_FROM_POPULAR_CACHE
        for item in items:
            seen = await other.recommend(pb.RecommendRequest(user_id="nobody"))
            await one.record(told("nobody", item))
            after = await other.recommend(pb.RecommendRequest(user_id="nobody"))
            assert after.served_from == pb.SERVED_FROM_MODEL, "neither popular nor from before the event"
            assert ids(after) != ids(seen)
        again = await other.recommend(pb.RecommendRequest(user_id="nobody"))
        assert again.served_from == pb.SERVED_FROM_USER_CACHE


async def test_what_is_bought_leaves_the_next_slate_that_keeps_purchases_out(registry, recommender, tmp_path):
    user = recommender.model.users.ids(np.array([0]))[0]
    asked = pb.RecommendRequest(user_id=user, exclude_policy=pb.EXCLUDE_POLICY_PURCHASED)
    async with serving(registry, tmp_path) as client:
        first = ids(await client.recommend(asked))[0]
        await client.record(told(user, first, kind=PURCHASE))
        assert first not in ids(await client.recommend(asked))


async def test_events_of_a_request_count_like_recorded_ones_but_are_not_kept(registry, recommender, tmp_path):
    item = recommender.model.items.ids(np.array([3]))[0]
    event = event_pb2.Event(item_id=item, event_type=VIEW)
    event.event_time.GetCurrentTime()
    async with serving(registry, tmp_path) as client:
        told_alone = await client.recommend(pb.RecommendRequest(recent_events=[event]))
        assert told_alone.served_from == pb.SERVED_FROM_MODEL
        event.user_id = "u"
        await client.record(event_service_pb2.RecordEventsRequest(events=[event]))
        recorded = await client.recommend(pb.RecommendRequest(user_id="u"))
        both = await client.recommend(pb.RecommendRequest(user_id="u", recent_events=[event]))
        assert ids(recorded) == ids(both)
        assert warm(told_alone) == warm(recorded), "cold items are drawn for each user"
        nobody = await client.recommend(pb.RecommendRequest(user_id="v"))
        assert nobody.served_from == pb.SERVED_FROM_POPULAR_CACHE


async def test_a_kept_slate_is_not_that_of_other_events_told(registry, recommender):
    user = recommender.model.users.ids(np.array([0]))[0]
    async with serving(registry) as client:
        served = []
        for item in recommender.model.items.ids(np.array([3, 50])):
            event = event_pb2.Event(item_id=item, event_type=VIEW)
            event.event_time.FromSeconds(recommender.until + 9)
            served.append(await client.recommend(pb.RecommendRequest(user_id=user, recent_events=[event])))
        assert {one.served_from for one in served} == {pb.SERVED_FROM_MODEL}


async def test_events_from_before_the_end_of_the_bundles_data_change_nothing(registry, recommender, tmp_path):
    item = recommender.model.items.ids(np.array([3]))[0]
    old = told("nobody", item)
    old.events[0].event_time.FromSeconds(recommender.until - 1)
    async with serving(registry, tmp_path) as client:
        await client.record(old)
        response = await client.recommend(pb.RecommendRequest(user_id="nobody", recent_events=old.events))
        assert response.served_from == pb.SERVED_FROM_POPULAR_CACHE


async def test_a_state_that_cannot_be_read_degrades_the_slate_and_says_so(registry, recommender, tmp_path):
    user = recommender.model.users.ids(np.array([0]))[0]
    async with serving(registry, tmp_path) as client:
        whole = await client.recommend(pb.RecommendRequest(user_id=user))
        await client.record(told(user, "unknown"))
        client.app.state._events.close()
        response = await client.recommend(pb.RecommendRequest(user_id=user))
        assert list(response.degraded) == ["state"]
        assert ids(response) == ids(whole)
        assert client.metric("recsys_degraded_total", reason="state") == 1


async def test_each_slate_is_recorded_with_its_id_and_places_also_one_from_a_cache(registry, recommender, tmp_path):
    user = recommender.model.users.ids(np.array([0]))[0]
    async with serving(registry, tmp_path) as client:
        asked = pb.RecommendRequest(user_id=user, slate_size=5, placement="home")
        served = [await client.recommend(asked) for _ in range(2)]
        assert served[1].served_from == pb.SERVED_FROM_USER_CACHE
        log = client.app.state._exposures
        await fakes.until(lambda: len([one for part in log.scan() for one in part]) == 2)
        for exposure, response in zip(next(log.scan()), served, strict=True):
            assert exposure.recommendation_id == response.recommendation_id
            assert (exposure.user_id, exposure.placement, exposure.bundle_id) == (user, "home", recommender.bundle_id)
            assert [item.item_id for item in exposure.items] == ids(response)
            assert exposure.items[0].sources == tuple(response.items[0].sources)


async def test_what_was_shown_again_and_again_sinks_where_the_placement_says_so(registry, recommender, tmp_path):
    user = recommender.model.users.ids(np.array([0]))[0]
    tired = {"placements": {"default": {"slate_size": 5, "fatigue": 10.0}}, "cache": {"user_mib": 0}}
    async with serving(registry, tmp_path, **tired) as client:
        log = client.app.state._exposures
        first = ids(await client.recommend(pb.RecommendRequest(user_id=user)))
        await fakes.until(lambda: any(log.scan()))
        second = await client.recommend(pb.RecommendRequest(user_id=user))
        assert not {*first} & {*ids(second)}
        await client.record(told(user, first[0]))
        await fakes.until(lambda: len(next(log.scan())) == 2)
        third = ids(await client.recommend(pb.RecommendRequest(user_id=user)))
        assert not {*first[1:], *ids(second)} & {*third}


async def test_rules_of_placement_and_request_hold_together_and_the_answer_names_them(registry, recommender):
    user, *items = [recommender.model.users.ids(np.array([0]))[0], *recommender.model.items.ids(np.arange(4))]
    options = {"placements": {"default": {"slate_size": 5, "pins": [{"name": "deal", "item_id": items[0], "rank": 2}]}}}
    out = rules_pb2.Condition(
        negated=rules_pb2.Condition(any_of=rules_pb2.AnyOf(attribute="item_id", values=[items[1]]))
    )
    async with serving(registry, **options) as client:
        for name in (user, "nobody"):
            free = await client.recommend(pb.RecommendRequest(user_id=name))
            assert ids(free)[1] == items[0]
            assert free.items[1].reasons[0].rule.name == "deal"
            assert "fill" not in free.items[1].sources
            asked = pb.RecommendRequest(user_id=name, filter=out, pins=[rules_pb2.Pin(item_id=items[2], rank=1)])
            ruled = await client.recommend(asked)
            assert ids(ruled)[:2] == [items[2], items[0]]
            assert items[1] not in ids(ruled)
            refused = rules_pb2.Condition(any_of=rules_pb2.AnyOf(attribute="item_id", values=items[:1]))
            alone = await client.recommend(pb.RecommendRequest(user_id=name, filter=refused))
            assert ids(alone) == items[:1]


async def test_cold_items_are_drawn_with_a_chance_that_is_told_and_stay_for_a_page_that_is_loaded_again(
    registry, recommender
):
    users = recommender.model.users.ids(np.arange(40))
    async with serving(registry, cache={"user_mib": 0}) as client:
        drawn = {}
        for user in users:
            first, second = [await client.recommend(pb.RecommendRequest(user_id=user)) for _ in range(2)]
            assert ids(first) == ids(second)
            for item in first.items:
                assert item.HasField("propensity") == ("explored" in [one.rule.effect for one in item.reasons])
                if item.HasField("propensity"):
                    assert 0 < item.propensity < 1
                    assert "content" in item.sources
                    drawn[user] = item.item_id
        assert len(drawn) > 30
        assert len({*drawn.values()}) > 1


async def test_diversity_of_a_request_replaces_the_placements(registry, recommender):
    user = recommender.model.users.ids(np.array([0]))[0]
    options = {"placements": {"default": {"diversity": 0.9}}}
    async with serving(registry, **options) as client:
        plain = await client.recommend(pb.RecommendRequest(user_id=user, diversity=0.0))
        diverse = await client.recommend(pb.RecommendRequest(user_id=user))
        assert {*ids(plain)} != {*ids(diverse)}
        moved = [reason.rule.effect for item in plain.items for reason in item.reasons]
        assert "diversified" not in moved


async def test_an_explained_slate_adds_up_and_is_never_cached(registry, recommender):
    user = recommender.model.users.ids(np.array([0]))[0]
    async with serving(registry) as client:
        plain = await client.recommend(pb.RecommendRequest(user_id=user))
        for _ in range(2):
            response = await client.recommend(pb.RecommendRequest(user_id=user, explain=True))
            assert response.served_from == pb.SERVED_FROM_MODEL
            assert ids(response) == ids(plain)
            assert all(any(reason.HasField("history") for reason in item.reasons) for item in response.items)


def test_live_events_of_one_moment_are_told_apart():
    from recsys.live import merged

    now = int(time.time())
    one, other = (LiveEvent("i", kind, now) for kind in (EventType.VIEW_ITEM, EventType.PURCHASE))
    assert merged((one,), (one, other), now) == (one, other)
    assert merged((one,), (other,), now + 1) == ()
