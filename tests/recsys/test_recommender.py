"""What the recommender answers to each kind of query, and when a stage fails."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from recsys.recommender import Recommender
from recsys.sources import Proposal
from recsys.types import (
    SECONDS_PER_DAY,
    Answer,
    EventType,
    ExcludePolicy,
    Query,
    ServedFrom,
    ServingParameters,
    Slate,
)

NOW = worlds.START + 61 * SECONDS_PER_DAY
POLICIES = {policy: ServingParameters(exclude_policy=policy) for policy in ExcludePolicy}


def query(user_id: str = "u00", slate_size: int = 10, now: int = NOW, **further: object) -> Query:
    return Query(user_id, slate_size, now, **further)


def answer(recommender: Recommender, *queries: Query) -> Answer:
    return recommender.answer(queries, lambda: 0.0)


def slate(recommender: Recommender, asked: Query) -> Slate:
    (only,) = answer(recommender, asked).slates
    return only


def ids(of: Slate) -> list[str]:
    return [item.item_id for item in of.items]


def done(shop: worlds.World, user_num: int, *types: EventType) -> set[str]:
    """What a user did by these types."""
    events = shop.events.where(shop.events.user_num == user_num).of_types(types)
    return set(shop.items.ids(np.unique(events.item_num)))


def tribe(text: str) -> int:
    return int(text[1:]) % worlds.TRIBES


@dataclass(frozen=True)
class BrokenSource:
    name: str = "als"

    def propose(self, *_: object) -> Proposal:
        raise OSError("disk gone")


class BrokenRanker:
    def scorer(self, *_: object) -> "BrokenRanker":
        return self

    def score(self, _: object) -> np.ndarray:
        raise ValueError("no trees")


def test_users_get_what_their_tribe_likes(recommender, shop):
    users = [shop.users.id(num) for num in range(len(shop.users) - 1)]
    slates = answer(recommender, *(query(user, slate_size=5) for user in users)).slates
    own = [tribe(item) == tribe(user) for user, of in zip(users, slates, strict=True) for item in ids(of)]
    assert np.mean(own) > 0.9


@pytest.mark.parametrize("user_id", ["", "never seen", "u40"])  # u40 is known and never did anything
def test_who_nothing_is_known_of_gets_what_is_popular(recommender, user_id):
    popular = recommender.model.popular
    got = slate(recommender, query(user_id))
    assert ids(got) == recommender.model.items.ids(popular.order[:10])
    assert got.served_from == ServedFrom.POPULAR_CACHE
    assert {item.sources for item in got.items} == {("popularity",)}
    assert got.degraded == ()
    assert not recommender.is_personal(query(user_id))


def test_a_known_user_is_served_from_the_model_with_the_sources_of_each_item(recommender):
    got = slate(recommender, query())
    assert got.served_from == ServedFrom.MODEL
    assert recommender.is_personal(query())
    for item in got.items:
        assert item.sources
        assert set(item.sources) <= {"als", "item_similarity", "popularity", "repeats"}
        assert list(item.sources) == sorted(item.sources)


@pytest.mark.parametrize("user_id", ["", "never seen", "u40"])
def test_a_seed_item_makes_the_slate_personal_and_is_not_in_it(recommender, user_id):
    for seed in ("i03", "i06"):
        asked = query(user_id, slate_size=500, seed_item_ids=("no such item", seed))
        got = slate(recommender, asked)
        assert recommender.is_personal(asked)
        assert got.served_from == ServedFrom.MODEL
        assert len(got.items) == 60
        assert seed not in ids(got)
        assert np.mean([tribe(item) == tribe(seed) for item in ids(got)[:5]]) > 0.7


@pytest.mark.parametrize("source", [0, 1])
def test_seeds_add_to_what_each_source_knows_of_a_user(recommender, source):
    snapshot = recommender.model.snapshot
    sources = (recommender.model.popular, snapshot.sources[source])
    model = replace(
        recommender.model,
        snapshot=replace(snapshot, sources=sources),
        blend=np.array([[0, 1], [0, 1], [0, 1]], dtype=np.float32),
        ranker=None,
    )
    seeded = Recommender(recommender.identity, model)
    seeds = ("i33", "i21")
    plain, once, twice = (
        slate(seeded, query(slate_size=60, seed_item_ids=items)) for items in ((), seeds, (*seeds, "i33"))
    )
    assert [item for item in ids(plain) if item not in seeds][:30] != ids(once)[:30]
    assert once == twice
    assert all(list(item.sources) == sorted(item.sources) for item in once.items)


def test_unknown_seeds_and_exclusions_change_nothing(recommender):
    asked = query(seed_item_ids=("no such item", ""), exclude_item_ids=("nor this", "x" * 300))
    assert slate(recommender, asked) == slate(recommender, query())


@pytest.mark.parametrize("size", [1, 10, 500])
@pytest.mark.parametrize("user_num", [0, 7, 23])
def test_policies_keep_out_what_was_bought_or_seen_and_none_keeps_out_nothing(recommender, shop, user_num, size):
    bought = done(shop, user_num, EventType.PURCHASE)
    seen = done(shop, user_num, *(set(EventType) - {EventType.IMPRESSION}))
    catalogue = len(shop.items)
    user_id = shop.users.id(user_num)
    by_policy = {
        policy: ids(slate(recommender, query(user_id, slate_size=size, parameters=parameters)))
        for policy, parameters in POLICIES.items()
    }
    assert not bought & set(by_policy[ExcludePolicy.PURCHASED])
    assert not seen & set(by_policy[ExcludePolicy.SEEN])
    for policy, out in zip(ExcludePolicy, (set(), bought, seen), strict=True):
        assert len(by_policy[policy]) == min(size, catalogue - len(out))


def test_who_bought_something_may_get_it_again_unless_the_policy_says_no(recommender, shop):
    slates = [set(ids(slate(recommender, query(f"u{num:02}")))) for num in range(9)]
    assert any(done(shop, num, EventType.PURCHASE) & items for num, items in enumerate(slates))


@settings(max_examples=40, deadline=None)
@given(
    user=st.sampled_from(["u00", "u17", "u40", ""]),
    size=st.sampled_from([1, 20, 61, 62, 500]),
    excluded=st.sets(st.integers(0, 600), max_size=500),
    policy=st.sampled_from(ExcludePolicy),
)
def test_a_slate_is_as_long_as_can_be_without_duplicates_in_falling_scores(recommender, user, size, excluded, policy):
    asked = query(
        user,
        slate_size=size,
        exclude_item_ids=tuple(f"i{num:02}" for num in excluded),
        parameters=POLICIES[policy],
    )
    got = slate(recommender, asked)
    items, scores = ids(got), [item.score for item in got.items]
    free = {f"i{num:02}" for num in range(61)} - set(asked.exclude_item_ids)
    if policy == ExcludePolicy.NONE:
        assert len(items) == min(size, len(free))
    assert set(items) <= free
    assert len(set(items)) == len(items)
    assert scores == sorted(scores, reverse=True)


def test_500_exclusions_of_one_query_leave_the_others_as_they_are(recommender):
    greedy = query("u01", slate_size=20, exclude_item_ids=tuple(f"i{num:02}" for num in range(500)))
    first, second = answer(recommender, greedy, query()).slates
    assert ids(first) == []
    assert ids(second) == ids(slate(recommender, query()))


def test_mixed_queries_in_one_batch_get_what_each_gets_alone(recommender):
    random = np.random.default_rng(5)
    queries = [
        query(
            str(random.choice(["u00", "u05", "u11", "u39", "u40", "", "new"])),
            slate_size=int(random.integers(1, 70)),
            seed_item_ids=tuple(f"i{num:02}" for num in random.integers(0, 61, random.integers(0, 3))),
            exclude_item_ids=tuple(f"i{num:02}" for num in random.integers(0, 61, random.integers(0, 9))),
            parameters=ServingParameters(
                exclude_policy=ExcludePolicy(random.choice(list(ExcludePolicy))),
                use_ranker=bool(random.random() < 0.7),
                candidates_per_source=int(random.choice([5, 50])),
                candidates=int(random.choice([10, 100])),
            ),
        )
        for _ in range(60)
    ]
    for asked, together in zip(queries, answer(recommender, *queries).slates, strict=True):
        alone = slate(recommender, asked)
        assert ids(alone) == ids(together)
        assert [item.sources for item in alone.items] == [item.sources for item in together.items]
        assert (alone.served_from, alone.degraded) == (together.served_from, together.degraded)
        np.testing.assert_allclose(
            [item.score for item in alone.items], [item.score for item in together.items], rtol=1e-3, atol=1e-4
        )


def test_no_queries_no_slates(recommender):
    assert answer(recommender) == Answer((), {})


def test_without_the_ranker_slates_stand_in_retrieval_order(recommender):
    retrieval_order = query(parameters=ServingParameters(use_ranker=False))
    without = worlds.recommender(worlds.world(), ranker=None)
    assert ids(slate(recommender, retrieval_order)) == ids(slate(without, query())) != ids(slate(recommender, query()))
    assert slate(without, query()).degraded == ()


def test_a_ranker_that_fails_leaves_retrieval_order_and_says_so(recommender):
    broken = Recommender(recommender.identity, replace(recommender.model, ranker=BrokenRanker()))
    got = answer(broken, query(), query(""))
    personal, popular = got.slates
    retrieval_order = query(parameters=ServingParameters(use_ranker=False))
    assert ids(personal) == ids(slate(recommender, retrieval_order))
    assert (personal.served_from, personal.degraded) == (ServedFrom.MODEL, ("ranker",))
    assert (popular.served_from, popular.degraded) == (ServedFrom.POPULAR_CACHE, ())
    assert [str(error) for error in got.errors] == ["no trees"]


def test_a_source_that_fails_leaves_the_popular_slate_and_says_so(recommender):
    snapshot = recommender.model.snapshot
    sources = (BrokenSource(), *snapshot.sources[1:])
    broken = Recommender(recommender.identity, replace(recommender.model, snapshot=replace(snapshot, sources=sources)))
    got = answer(broken, query(exclude_item_ids=("i00",)))
    (only,) = got.slates
    popular = recommender.model.items.ids(recommender.model.popular.order[:11])
    assert ids(only) == [item for item in popular if item != "i00"][:10]
    assert (only.served_from, only.degraded) == (ServedFrom.FALLBACK, ("retrieval",))
    assert {item.sources for item in only.items} == {("popularity",)}
    assert [str(error) for error in got.errors] == ["disk gone"]


def test_what_fails_for_one_set_of_parameters_leaves_the_others_whole(recommender):
    broken = Recommender(recommender.identity, replace(recommender.model, ranker=BrokenRanker()))
    unranked = query("u01", parameters=ServingParameters(use_ranker=False))
    first, second = answer(broken, query(), unranked).slates
    assert (first.degraded, second.degraded) == (("ranker",), ())


def test_time_moves_the_answer_up_to_the_ranker_s_horizon_and_no_further(recommender):
    latest = recommender.model.latest
    scores = [
        [item.score for item in slate(recommender, query("u05", now=now)).items]
        for now in (recommender.until, latest, latest + 1, latest + 900 * SECONDS_PER_DAY)
    ]
    assert scores[0] != scores[1]
    assert scores[1] == scores[2] == scores[3]


def test_what_fills_a_slate_up_says_so(recommender):
    parameters = ServingParameters(candidates_per_source=2)
    got = slate(recommender, query(slate_size=40, parameters=parameters))
    filled = [item.sources == ("fill",) for item in got.items]
    assert len(filled) == 40
    assert filled == sorted(filled)
    assert any(filled)
    assert not filled[0]


def test_only_the_best_candidates_of_stage_1_are_ranked(recommender):
    first = slate(recommender, query(parameters=ServingParameters(use_ranker=False)))
    ranked = slate(recommender, query(parameters=ServingParameters(candidates=3)))
    assert set(ids(ranked)[:3]) == set(ids(first)[:3])
    assert [item.sources == ("fill",) for item in ranked.items] == [False] * 3 + [True] * 7


def test_a_set_without_times_answers_too():
    shop = worlds.world(static=True)
    static = worlds.recommender(shop)
    got = slate(static, query("u02"))
    assert got == slate(static, query("u02", now=0))
    assert np.mean([tribe(item) == 2 for item in ids(got)[:5]]) > 0.7


def test_each_stage_s_time_is_told(recommender):
    ticks = iter(range(1000))
    got = recommender.answer([query(), query("u01", parameters=POLICIES[ExcludePolicy.SEEN])], lambda: next(ticks))
    assert set(got.stage_seconds) == {"look_up", "retrieve", "rank", "slate", "encode"}
    assert all(seconds > 0 for seconds in got.stage_seconds.values())
    assert sum(got.stage_seconds.values()) == pytest.approx(next(ticks) - 1)
