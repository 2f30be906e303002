"""Items like some items."""

from dataclasses import replace

import numpy as np
import pytest

import builders
import worlds
from recsys.recommender import Recommender
from recsys.rules import AnyOf, Cap, Rules
from recsys.sources import SimilaritySource
from recsys.types import EventType, LiveEvent, Query, ServedFrom, Slate


def similar(recommender: Recommender, *items: str, size: int = 10, **further: object) -> Slate:
    query = Query(further.pop("user_id", ""), size, recommender.until, items, **further)
    answer = recommender.similar([query], lambda: 0.0)
    assert not answer.errors
    return answer.slates[0]


def ids(of: Slate) -> list[str]:
    return [item.item_id for item in of.items]


@pytest.mark.parametrize("item", ["i00", "i17", "i22"])
def test_similar_items_are_of_the_same_tribe_and_not_the_item_itself(recommender, item):
    got = similar(recommender, item)
    assert item not in ids(got)
    assert len(got.items) == 10
    assert np.mean([int(other[1:]) % 4 == int(item[1:]) % 4 for other in ids(got)]) > 0.8
    assert got.served_from == ServedFrom.MODEL
    assert {name for one in got.items for name in one.sources} <= {"factor_similarity", "item_similarity", "fill"}
    scores = [one.score for one in got.items]
    assert scores == sorted(scores, reverse=True)


def test_who_asks_and_what_was_just_done_change_nothing(recommender):
    live = (LiveEvent("i03", EventType.PURCHASE, recommender.until),)
    plain = similar(recommender, "i00", "i04")
    assert similar(recommender, "i00", "i04", user_id="u03", live_events=live) == plain
    assert similar(recommender, "no such item", "i00", "i04", "i00") == plain


def test_where_no_item_is_known_the_popular_slate_stands_in(recommender):
    got = similar(recommender, "no such item")
    assert got.served_from == ServedFrom.POPULAR_CACHE
    assert ids(got) == recommender.model.items.ids(recommender.model.popular.order[:10])


def test_an_item_that_nobody_acted_on_is_compared_by_its_factors(recommender):
    als = recommender.model.als
    factors = als.item_factors.copy()
    factors[60] = 0.5 * factors[8]  # as content would map it
    sources = tuple(
        replace(als, item_factors=factors) if source is als else source for source in recommender.model.snapshot.sources
    )
    model = replace(recommender.model, snapshot=replace(recommender.model.snapshot, sources=sources))
    got = similar(Recommender(recommender.identity, model), "i60")
    assert ids(got)[0] == "i08"
    assert "factor_similarity" in got.items[0].sources


def test_each_source_s_own_order_is_the_cosine_and_the_neighbours_similarity(recommender):
    _, retriever, _ = recommender._rank_similar.args
    batch = recommender.batch([Query("", 5, recommender.until, ("i05", "i09"))])
    for source in retriever.sources:
        proposal = source.propose(batch, 59)
        if isinstance(source, SimilaritySource):
            expected = source.neighbours.toarray()[[5, 9]].sum(axis=0)
        else:
            unit = source.item_factors / np.linalg.norm(source.item_factors, axis=1, keepdims=True)
            expected = unit @ (unit[[5, 9]].sum(axis=0) / np.linalg.norm(unit[[5, 9]].sum(axis=0)))
        row = proposal.item_num[0][proposal.item_num[0] >= 0]
        free = np.delete(np.arange(61), [5, 9])
        best = free[np.argsort(-expected[free], kind="stable")]
        assert row.tolist() == [item for item in best.tolist() if expected[item] > 0]
        zero = np.zeros(61, dtype=np.int64)
        np.testing.assert_allclose(builders.score_of(proposal, zero, np.arange(61)), expected, rtol=1e-3, atol=1e-5)


def test_a_condition_leaves_the_order_of_what_it_allows(recommender):
    _, retriever, _ = recommender._rank_similar.args
    allowed = np.arange(61) % 3 == 1
    batch = recommender.batch([Query("", 5, recommender.until, ("i05", "i09"))])
    for source in retriever.sources:
        everything, some = (
            source.propose(one, 61).item_num[0] for one in (batch, replace(batch, allowed_items=allowed))
        )
        assert some[some >= 0].tolist() == [item for item in everything.tolist() if item >= 0 and allowed[item]]


def test_conditions_exclusions_and_caps_hold_for_similar_items_too(recommender):
    shop = worlds.branded(recommender)
    got = similar(shop, "i00", size=20, rules=Rules(AnyOf("brand", ("b1", "b2"))), exclude_item_ids=("i04",))
    assert {int(item[1:]) % 3 for item in ids(got)} == {1, 2}
    assert "i04" not in ids(got)
    assert len(got.items) == 20
    capped = similar(shop, "i00", size=6, rules=Rules(caps=(Cap("cap", "brand", 2),)))
    assert sorted(int(item[1:]) % 3 for item in ids(capped)) == [0, 0, 1, 1, 2, 2]


def test_similar_items_of_one_batch_are_what_each_gets_alone(recommender):
    queries = [Query("", 8, recommender.until, (f"i{num:02}", f"i{num + 9:02}")) for num in range(12)]
    for query, got in zip(queries, recommender.similar(queries, lambda: 0.0).slates, strict=True):
        assert ids(recommender.similar([query], lambda: 0.0).slates[0]) == ids(got)
