"""What a user did a moment ago changes the next answer."""

from dataclasses import replace

import numpy as np
import pytest

import worlds
from recsys.recommender import Recommender
from recsys.rules import AnyOf, Boost, Pin, Rules
from recsys.types import (
    SECONDS_PER_DAY,
    EventType,
    ExcludePolicy,
    LiveEvent,
    Query,
    ServedFrom,
    ServingParameters,
    Slate,
)

NOW = worlds.START + 61 * SECONDS_PER_DAY


def viewed(*items: str, event_type: EventType = EventType.VIEW_ITEM, now: int = NOW) -> tuple[LiveEvent, ...]:
    """Newest first, a minute apart."""
    return tuple(LiveEvent(item, event_type, now - 60 * place) for place, item in enumerate(items, start=1))


def slate(recommender: Recommender, user_id: str = "", size: int = 10, now: int = NOW, **further: object) -> Slate:
    answer = recommender.answer([Query(user_id, size, now, **further)], lambda: 0.0)
    assert not answer.errors
    return answer.slates[0]


def ids(of: Slate) -> list[str]:
    return [item.item_id for item in of.items]


def tribes(of: Slate) -> list[int]:
    return [int(item[1:]) % worlds.TRIBES for item in ids(of)]


@pytest.mark.parametrize("user_id", ["", "never seen", "u40"])
def test_a_new_visitor_is_personal_after_the_first_click(recommender, user_id):
    clicked = viewed("i06")
    assert recommender.is_personal(Query(user_id, 5, NOW, live_events=clicked))
    got = slate(recommender, user_id, live_events=clicked)
    assert got.served_from == ServedFrom.MODEL
    assert np.mean([tribe == 2 for tribe in tribes(got)[:5]]) > 0.7


@pytest.mark.parametrize(
    "events",
    [
        viewed("no such item"),
        viewed("i06", event_type=EventType.IMPRESSION),
        viewed("", event_type=EventType.SEARCH),
    ],
)
def test_what_says_nothing_of_a_user_changes_nothing(recommender, events):
    assert not recommender.is_personal(Query("new", 5, NOW, live_events=events))
    assert slate(recommender, live_events=events) == slate(recommender)
    assert slate(recommender, "u03", live_events=events) == slate(recommender, "u03")


def test_a_known_user_is_folded_in_with_history_and_live_events_together(recommender):
    def fans_of_3(**further: object) -> int:
        got = slate(recommender, "u00", 20, parameters=ServingParameters(use_ranker=False), **further)
        return tribes(got).count(3)

    carted = viewed("i03", "i07", "i11", "i15", "i19", event_type=EventType.ADD_TO_CART)
    assert fans_of_3(live_events=carted) > fans_of_3() + 3


def test_what_was_just_bought_or_seen_is_out_where_the_policy_says_so(recommender):
    bought = viewed("i02", event_type=EventType.PURCHASE) + viewed("i10")
    for policy, out in zip(ExcludePolicy, (set(), {"i02"}, {"i02", "i10"}), strict=True):
        got = slate(recommender, "new", 61, live_events=bought, parameters=ServingParameters(exclude_policy=policy))
        assert {"i02", "i10"} - set(ids(got)) == out


def test_the_features_see_live_events_as_if_the_bundle_had_them():
    shop = worlds.world()
    shop = replace(shop, events=shop.events.where(shop.events.event_type != EventType.SEARCH))
    cut = shop.until - 2 * SECONDS_PER_DAY
    whole, past = (worlds.recommender(replace(shop, until=until)) for until in (shop.until, cut))
    user = int(shop.events.user_num[np.searchsorted(shop.events.time, cut)])
    events = shop.events.where((shop.events.user_num == user) & (shop.events.time >= cut))
    live = tuple(
        LiveEvent(shop.items.id(item), EventType(kind), int(time), float(price), str(session))
        for item, kind, time, price, session in zip(
            events.item_num, events.event_type, events.time, events.price, events.session_num, strict=True
        )
    )[::-1]
    query = Query(shop.users.id(user), 5, shop.until, live_events=live)
    batch, expected = past.batch([query]), whole.batch([query._replace(live_events=())])
    assert len(live) > 0
    for name in ("item_num", "event_type", "time", "price"):
        np.testing.assert_array_equal(getattr(batch.history, name), getattr(expected.history, name))
    visits = [np.unique(one.history.session_num, return_inverse=True)[1] for one in (batch, expected)]
    np.testing.assert_array_equal(visits[0][:-1] == visits[0][1:], visits[1][:-1] == visits[1][1:])


@pytest.mark.parametrize("late", [0, 5 * SECONDS_PER_DAY])
def test_live_events_are_as_old_as_they_are_when_the_bundle_is_older_than_its_ranker_knows(recommender, late):
    now = recommender.model.latest + late
    history = recommender.batch([Query("u00", 5, now, live_events=viewed("i01", "i02", now=now))]).history
    assert (recommender.model.latest - history.time[:2]).tolist() == [60, 120]
    ahead = (LiveEvent("i01", EventType.VIEW_ITEM, now + 500),)
    assert recommender.batch([Query("u00", 5, now, live_events=ahead)]).history.time[0] == recommender.model.latest
    assert (np.diff(history.time) <= 0).all()


def test_a_static_set_takes_live_events_too():
    static = worlds.recommender(worlds.world(static=True))
    got = slate(static, "new", live_events=viewed("i06"))
    assert got.served_from == ServedFrom.MODEL
    assert np.mean([tribe == 2 for tribe in tribes(got)[:5]]) > 0.7


def test_mixed_live_queries_get_what_each_gets_alone(recommender):
    random = np.random.default_rng(2)
    queries = [
        Query(
            str(random.choice(["u00", "u05", "u40", "", "new"])),
            10,
            NOW,
            live_events=viewed(*(f"i{num:02}" for num in random.integers(0, 61, random.integers(0, 4)))),
            seed_item_ids=tuple(f"i{num:02}" for num in random.integers(0, 61, random.integers(0, 2))),
        )
        for _ in range(40)
    ]
    together = recommender.answer(queries, lambda: 0.0).slates
    for query, got in zip(queries, together, strict=True):
        (alone,) = recommender.answer([query], lambda: 0.0).slates
        assert ids(alone) == ids(got)


def test_one_query_that_makes_a_stage_fail_leaves_the_others_whole(recommender):
    class Picky:
        name = "als"

        def propose(self, batch, k):
            if (batch.history.item_num == 7).any():
                raise OSError("seven")
            return recommender.model.als.propose(batch, k)

    snapshot = recommender.model.snapshot
    sources = (Picky(), *snapshot.sources[1:])
    picky = Recommender(recommender.identity, replace(recommender.model, snapshot=replace(snapshot, sources=sources)))
    fine, bad = (Query("", 5, NOW, live_events=viewed(item)) for item in ("i06", "i07"))
    answer = picky.answer([fine, bad, fine, bad], lambda: 0.0)
    served = [one.served_from for one in answer.slates]
    assert served == [ServedFrom.MODEL, ServedFrom.FALLBACK] * 2
    assert [one.degraded for one in answer.slates] == [(), ("retrieval",)] * 2
    assert [str(error) for error in answer.errors] == ["seven"]


@pytest.mark.parametrize("ranked", [True, False])
@pytest.mark.parametrize("user_id", ["u00", ""])
def test_rules_reach_every_slate_and_the_answer_names_them(recommender, ranked, user_id):
    shop = worlds.branded(recommender)
    plain = slate(shop, user_id, parameters=ServingParameters(use_ranker=ranked))
    last, other = ids(plain)[-1], next(f"i{num:02}" for num in range(61) if f"i{num:02}" not in ids(plain))
    rules = Rules(boosts=(Boost("up", AnyOf("item_id", (last,)), 1000.0),), pins=(Pin("pin", other, 2),))
    got = slate(shop, user_id, parameters=ServingParameters(use_ranker=ranked), rules=rules)
    assert ids(got)[:2] == [last, other]
    assert [(reason.name, reason.effect) for reason in got.items[0].reasons] == [("up", "boosted")]
    assert [(reason.name, reason.effect) for reason in got.items[1].reasons] == [("pin", "pinned")]
    scores = [item.score for item in got.items]
    assert scores == sorted(scores, reverse=True)
