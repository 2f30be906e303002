"""Scores by bytes are those of the feature matrix, to the last bit."""

from dataclasses import replace

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from recsys.catalogue_log import ItemChange
from recsys.extend import changed
from recsys.features import Context, matrix, parts, rows
from recsys.forest import Forest
from recsys.forest_kernels import BLOCK, UNREACHED
from recsys.scorer import Scorer
from recsys.types import EventType

VIEWS_ONLY = {EventType.VIEW_ITEM: 0.9, EventType.SEARCH: 0.1}
N_SOURCES = 4
SMALL = {"n_users": 12, "n_items": 20, "n_events": 150, "days": 10}
LARGE = {"n_users": 9, "n_items": 3 * BLOCK, "n_events": 4000}
"""A query has more candidates than a block has rows."""


def fitted(context: Context, seed: int, trees: int = 6, depth: int = 6, noise: float = 0.3) -> Forest:
    """Trees that know nothing worth knowing, of as many thresholds as there are; some values went missing by chance."""
    values, random = matrix(context), np.random.default_rng(seed)
    values[random.random(values.shape) < noise] = np.nan
    label = random.normal(size=len(values)) + np.isnan(values[:, ::3]).sum(axis=1)
    data = xgboost.DMatrix(values, label)
    parameters = {"max_depth": depth, "eta": 1, "min_child_weight": 0, "lambda": 0, "max_bin": 5000, "nthread": 1}
    return Forest.of(xgboost.train(parameters, data, num_boost_round=trees))


def assert_same(forest: Forest, context: Context) -> None:
    by_bytes = Scorer.of(forest, context.stats, N_SOURCES).score(context)
    np.testing.assert_array_equal(by_bytes.view(np.int32), forest.score(matrix(context)).view(np.int32))


@pytest.mark.parametrize("shares", [worlds.SHARES, VIEWS_ONLY], ids=["purchases", "views only"])
@pytest.mark.parametrize("static", [False, True])
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0, 1, 3, 6]))
def test_every_score_is_that_of_the_matrix(static, shares, seed, depth):
    context = worlds.context(worlds.world(seed, **SMALL, shares=shares, static=static), seed)
    forest = fitted(context, seed, depth=depth) if depth else fitted(context, seed, trees=0)
    for asked in (context, worlds.context(worlds.world(seed + 1, **SMALL), seed)):
        assert_same(forest, asked)


@pytest.mark.parametrize("depth", [4, 12])
def test_more_candidates_thresholds_and_leaves_than_a_byte_can_tell_are_not_too_many(depth):
    context = worlds.context(worlds.world(3, **LARGE), 3, k=LARGE["n_items"])
    assert (np.bincount(context.candidates.query_num) > 2 * BLOCK).all()
    forest = fitted(context, 3, trees=3, depth=depth)
    assert {*forest.columns["missing"].tolist()} == {0, UNREACHED}
    if depth == 12:
        assert len(forest.leaves) > 3
        assert len(forest.starts) - 1 > len(np.unique(forest.columns["feature"]))
    assert_same(forest, context)


@pytest.mark.parametrize("part", range(5))
def test_a_model_may_look_at_one_kind_of_features_alone(part):
    context = worlds.context(worlds.world(2, **SMALL), 2)
    begin, end = parts(N_SOURCES)[part : part + 2]
    values = np.full_like(matrix(context), np.nan)
    values[:, begin:end] = matrix(context)[:, begin:end]
    label = np.nan_to_num(values) @ np.random.default_rng(0).normal(size=values.shape[1])
    forest = Forest.of(xgboost.train({"max_depth": 4, "nthread": 1}, xgboost.DMatrix(values, label), 5))
    assert begin <= forest.columns["feature"].min()
    assert forest.columns["feature"].max() < end
    assert_same(forest, context)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_few_candidates_have_the_scores_that_they_have_among_many(n):
    context = worlds.context(worlds.world(4, **SMALL), 4)
    forest = fitted(context, 4)
    few = replace(context, candidates=context.candidates.where(np.arange(n)), blend=context.blend[:n])
    assert_same(forest, few)
    assert len(Scorer.of(forest, few.stats, N_SOURCES).score(few)) == n


def test_an_item_without_statistics_and_one_that_came_later_have_scores():
    model = worlds.model(worlds.world())
    new = changed(model, [ItemChange("fresh", {"price": 2.0})], 1)
    assert len(new.scorer.items) == len(model.scorer.items) + 1 == len(new.items)
    width = np.diff(model.scorer.parts)[-1]
    assert width > 0
    np.testing.assert_array_equal(new.scorer.items[:-1, :width], model.scorer.items[:, :width])
    stats = replace(model.snapshot.stats, values=np.full_like(model.snapshot.stats.values, np.nan))
    context = replace(worlds.context(worlds.world(), 1), stats=stats)
    assert_same(model.ranker.forest, context)
    known = worlds.context(worlds.world(), 1)
    nothing = Scorer.of(model.ranker.forest, stats, N_SOURCES).score(context)
    assert (nothing != Scorer.of(model.ranker.forest, known.stats, N_SOURCES).score(known)).any()


def test_a_change_of_the_catalogue_that_brings_no_items_keeps_the_codes():
    model = worlds.model(worlds.world())
    assert changed(model, [ItemChange("i03", {"price": 2.0})], 1).scorer is model.scorer
    assert replace(model, ranker=None).scorer is None


def test_the_features_of_some_candidates_are_rows_of_the_matrix():
    context = worlds.context(worlds.world(5, **SMALL), 5)
    whole = matrix(context)
    for query in range(len(context.batch)):
        position = np.flatnonzero(context.candidates.query_num == query)[::-2]
        np.testing.assert_array_equal(rows(context, query, position), whole[position])
