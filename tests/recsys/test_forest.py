"""The forest gives the scores of XGBoost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys import forest_kernels
from recsys.forest import THRESHOLDS, Forest
from recsys.forest_kernels import BLOCK, FEW, STEP


def fitted(
    seed: int, rows: int, width: int, depth: int, trees: int, missing: float
) -> tuple[xgboost.Booster, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, width)).astype(np.float32).round(1)
    features[random.random(features.shape) < missing] = np.nan
    label = np.nan_to_num(features).sum(axis=1) + np.isnan(features[:, 0]) > random.normal(size=rows)
    data = xgboost.QuantileDMatrix(features, label.astype(np.float32), qid=np.sort(random.integers(0, 9, rows)))
    parameters = {"objective": "rank:ndcg", "max_depth": depth, "eta": 0.3, "seed": seed, "nthread": 1}
    parameters["base_score"] = (0.0, 0.7)[seed % 2]
    return xgboost.train(parameters, data, num_boost_round=trees), features


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.sampled_from([2, 60, 400]),
    width=st.integers(1, 12),
    depth=st.integers(1, 7),
    trees=st.integers(0, 12),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_every_score_is_that_of_xgboost_to_the_last_bit(
    seed: int, rows: int, width: int, depth: int, trees: int, missing: float
) -> None:
    booster, features = fitted(seed, rows, width, depth, trees, missing)
    unseen = np.random.default_rng(seed).normal(scale=3, size=(BLOCK + 5, width)).astype(np.float32)
    for asked in (features, unseen, np.full((1, width), np.nan, dtype=np.float32)):
        np.testing.assert_array_equal(Forest.of(booster).score(asked), booster.inplace_predict(asked))


@pytest.mark.parametrize("rows", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_a_row_has_its_score_whatever_rows_stand_beside_it(rows: int) -> None:
    booster, features = fitted(1, 3 * BLOCK, 8, 6, 20, 0.2)
    forest = Forest.of(booster)
    alone = [forest.score(features[row : row + 1])[0] for row in range(rows)]
    np.testing.assert_array_equal(forest.score(features[:rows]), np.array(alone, dtype=np.float32))


def test_a_value_at_a_threshold_goes_right() -> None:
    booster, _ = fitted(3, 400, 2, 3, 5, 0.0)
    forest = Forest.of(booster)
    edges = np.stack([forest.thresholds[np.isfinite(forest.thresholds)]] * 2, axis=1)
    np.testing.assert_array_equal(forest.score(edges), booster.inplace_predict(edges))


def wild(seed: int, width: int, depth: int, trees: int) -> tuple[xgboost.Booster, np.ndarray]:
    """Trees as large as their depth lets them be, on values of which no two are equal."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(6000, width)).astype(np.float32)
    features[random.random(features.shape) < 0.1] = np.nan
    data = xgboost.DMatrix(features, random.normal(size=len(features)))
    parameters = {"max_depth": depth, "eta": 1, "min_child_weight": 0, "lambda": 0, "max_bin": 5000, "nthread": 1}
    return xgboost.train(parameters, data, num_boost_round=trees), features


@pytest.mark.parametrize(("width", "depth", "columns", "parts"), [(2, 9, 2, 2), (3, 12, 4, 5), (1, 12, 3, 3)])
def test_neither_many_thresholds_of_a_feature_nor_many_leaves_of_a_tree_are_too_many(
    width: int, depth: int, columns: int, parts: int
) -> None:
    booster, features = wild(depth, width, depth, 2)
    forest = Forest.of(booster)
    assert (len(forest.starts) > columns, len(forest.leaves) >= parts) == (True, True)
    edges = np.repeat(forest.thresholds[:, None], width, axis=1)
    for asked in (features, edges, np.nextafter(edges, np.float32(-np.inf))):
        np.testing.assert_array_equal(forest.score(asked), booster.inplace_predict(asked))


def single(thresholds: int) -> xgboost.Booster:
    """One tree that looks at one feature, and tells all of its values 0, 1, 2 ... from each other."""
    values = np.arange(thresholds + 1, dtype=np.float32)[:, None]
    data = xgboost.DMatrix(values, np.random.default_rng(0).normal(size=len(values)))
    parameters = {"max_depth": 12, "eta": 1, "min_child_weight": 0, "lambda": 0, "nthread": 1}
    return xgboost.train(parameters, data, num_boost_round=1)


@pytest.mark.parametrize("thresholds", [1, STEP - 1, STEP, 2 * STEP - 1, 2 * STEP])
def test_any_number_of_thresholds_is_counted_right(thresholds: int) -> None:
    values = np.arange(thresholds + 1, dtype=np.float32)[:, None]
    booster = single(thresholds)
    forest = Forest.of(booster)
    assert np.isfinite(forest.thresholds).sum() == thresholds
    np.testing.assert_array_equal(forest.score(values), booster.inplace_predict(values))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    thresholds=st.sampled_from([1, 6, 7, 14, 15, 16, 30, 31, 62, 63, 100, 127, 200, THRESHOLDS]),
    rows=st.sampled_from([1, STEP - 1, STEP, STEP + 1, 100, BLOCK - 1, BLOCK]),
    start=st.integers(0, 3),
)
def test_codes_of_values_that_stand_together_and_of_others_are_counts(
    seed: int, thresholds: int, rows: int, start: int
) -> None:
    forest, random = Forest.of(single(thresholds)), np.random.default_rng(seed)
    values = random.choice(np.arange(-1, thresholds + 2) * 0.5, 3 * (start + rows)).astype(np.float32)
    values[random.random(len(values)) < 0.2] = random.choice([np.nan, np.inf, -np.inf])
    for step in (1, 3):
        codes = forest_kernels.block_of(forest.columns)
        codes[:] = 77
        forest_kernels.fill_codes(codes, values, start, (0, 0, step, rows), (0, 1), forest.coding)
        own = values[start : start + step * rows : step]
        reached = (forest.thresholds <= own[:, None]).sum(axis=1)
        np.testing.assert_array_equal(codes[:rows], np.where(reached, reached, forest.columns["missing"][0]))
        assert (codes[BLOCK:] == 77).all()


def test_rows_in_the_order_of_columns_and_parts_of_wider_rows_are_read_right() -> None:
    booster, features = fitted(2, 300, 5, 4, 10, 0.1)
    wide = np.concatenate([features, features], axis=1)
    expected = booster.inplace_predict(features)
    for same in (np.asfortranarray(features), wide[:, :5]):
        np.testing.assert_array_equal(Forest.of(booster).score(same), expected)


@pytest.mark.parametrize(("depth", "width"), [(6, FEW), (7, 256)])
def test_trees_of_few_leaves_and_of_more_are_looked_up_right(depth: int, width: int) -> None:
    booster, features = wild(depth, 4, depth, 3)
    forest = Forest.of(booster)
    assert forest.leaves.shape == (3, width)
    assert (forest.leaves != 0).sum(axis=1).max() > FEW // 2
    np.testing.assert_array_equal(forest.score(features), booster.inplace_predict(features))


@pytest.mark.parametrize("width", [6, 1])
def test_a_processor_without_long_vectors_gives_the_same_scores(tmp_path: Path, width: int) -> None:
    booster, features = fitted(4, 300, width, 6, 10, 0.2)
    assert Forest.of(booster).leaves.shape[1] == FEW
    booster.save_model(tmp_path / "model.ubj")
    np.save(tmp_path / "features.npy", features)
    code = (
        "import numpy as np; from pathlib import Path; from recsys.ranker import Ranker\n"
        "scores = Ranker.read(Path('model.ubj')).score(np.load('features.npy')); np.save('scores.npy', scores)"
    )
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    there = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | plain | there, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), booster.inplace_predict(features))
