"""Reasons that add up to what they explain."""

import math

import numpy as np
import pytest

import builders
from recsys import explain, features
from recsys.types import EventType, FeatureReason, HistoryReason, LiveEvent, Query, RuleReason, ServingParameters


def explained(recommender, user_id="u00", **further):
    query = Query(user_id, 10, recommender.until, explain=True, **further)
    (slate,) = recommender.answer([query], lambda: 0.0).slates
    return slate


def of(item, kind) -> list:
    return [reason for reason in item.reasons if isinstance(reason, kind)]


@pytest.mark.parametrize("user_id", ["u00", "u13", "new"])
def test_the_parts_of_a_history_add_up_to_the_score_of_als(recommender, user_id):
    live = tuple(LiveEvent(item, EventType.VIEW_ITEM, recommender.until) for item in ("i06", "i10"))
    for events in ((), live) if user_id != "new" else (live,):
        batch = recommender.batch(
            [Query("u05", 1, recommender.until), Query(user_id, 1, recommender.until, live_events=events)]
        )
        als, items = recommender.model.als, np.arange(61)
        known, parts = explain.history_parts(als, batch, 1, items)
        score = builders.score_of(als.propose(batch, 5), np.ones(61, dtype=np.int64), items)
        np.testing.assert_allclose(parts.sum(axis=1), score, rtol=1e-3, atol=1e-3)
        own = slice(batch.history.indptr[1], batch.history.indptr[2])
        assert set(known.tolist()) <= set(batch.history.item_num[own].tolist())


def test_each_item_names_what_of_the_history_pulled_it_most(recommender):
    live = (LiveEvent("i06", EventType.VIEW_ITEM, recommender.until),)
    for item in explained(recommender, "new", live_events=live).items:
        (reason,) = of(item, HistoryReason)
        assert reason.item_id == "i06"
    for item in explained(recommender).items:
        parts = [abs(reason.contribution) for reason in of(item, HistoryReason)]
        assert 0 < len(parts) <= explain.HISTORY_SHOWN
        assert parts == sorted(parts, reverse=True)


def test_the_parts_of_features_add_up_to_the_ranker_s_score(recommender):
    names = {*features.feature_names(recommender.model.snapshot.source_names), "rest", "base"}
    for item in explained(recommender).items:
        reasons = of(item, FeatureReason)
        assert sum(reason.contribution for reason in reasons) == pytest.approx(item.score, abs=1e-4)
        assert {reason.name for reason in reasons} <= names
        assert [reason.name for reason in reasons[-2:]] == ["rest", "base"]
        assert all(math.isnan(reason.value) for reason in reasons[-2:])


def test_the_value_of_a_feature_is_what_the_ranker_saw(recommender):
    for item in explained(recommender).items:
        for reason in of(item, FeatureReason):
            if reason.name == "item_interactions":
                stats = recommender.model.snapshot.stats
                assert reason.value == stats.column("item_interactions")[int(item.item_id[1:])]


def test_only_what_is_asked_for_is_explained_and_the_slate_stays_the_same(recommender):
    plain = Query("u00", 10, recommender.until)
    first, second = recommender.answer([plain, Query("u01", 10, recommender.until, explain=True)], lambda: 0.0).slates
    assert all(item.reasons == () for item in first.items)
    assert all(item.reasons for item in second.items)
    assert [item.item_id for item in explained(recommender).items] == [item.item_id for item in first.items]


def test_without_a_ranker_history_is_the_reason_and_for_popular_items_there_is_none(recommender):
    unranked = explained(recommender, parameters=ServingParameters(use_ranker=False))
    assert all(of(item, HistoryReason) and not of(item, FeatureReason) for item in unranked.items)
    assert all(item.reasons == () for item in explained(recommender, "new").items)


def test_what_fills_up_has_no_features(recommender):
    slate = explained(recommender, parameters=ServingParameters(candidates_per_source=1, candidates=2))
    filled = [item for item in slate.items if item.sources == ("fill",)]
    assert filled
    assert all(not of(item, FeatureReason) and not of(item, RuleReason) for item in filled)
