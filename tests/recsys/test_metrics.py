"""Ranking metrics against scikit-learn and against their definitions written out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from recsys.metrics import METRICS, Truth, bootstrap_interval, coverage, hits, per_user

N_ITEMS = 15


@st.composite
def judged(draw) -> tuple[Truth, np.ndarray, int]:
    """Truth of some users, a slate for each (some end early, with -1), and a cut-off."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    n_users = draw(st.integers(1, 6))
    relevant = [random.choice(N_ITEMS, random.integers(1, 9), replace=False) for _ in range(n_users)]
    users = np.repeat(np.arange(n_users) * 3, [len(items) for items in relevant])
    truth = Truth.of(users.astype(np.int32), np.concatenate(relevant).astype(np.int32), N_ITEMS)
    width = random.integers(1, N_ITEMS)
    slates = np.stack([random.permutation(N_ITEMS)[:width] for _ in range(n_users)]).astype(np.int32)
    slates[np.arange(slates.shape[1]) >= random.integers(0, 25, n_users)[:, None]] = -1
    return truth, slates, draw(st.integers(1, 12))


def relevant_of(truth: Truth, row: int) -> set[int]:
    return set(truth.item_num[truth.indptr[row] : truth.indptr[row + 1]].tolist())


def by_definition(relevant: set[int], slate: list[int], k: int) -> dict[str, float]:
    hit = [item in relevant for item in slate[:k]]
    reachable = min(k, len(relevant))
    found = sum(hit)
    return {
        "precision": found / k,
        "recall": found / len(relevant),
        "ndcg": sum(1 / math.log2(rank + 2) for rank, one in enumerate(hit) if one)
        / sum(1 / math.log2(rank + 2) for rank in range(reachable)),
        "map": sum(sum(hit[: rank + 1]) / (rank + 1) for rank, one in enumerate(hit) if one) / reachable,
        "mrr": 1 / (hit.index(True) + 1) if found else 0,
        "hit_rate": float(found > 0),
    }


@settings(max_examples=150, deadline=None)
@given(judged())
def test_every_metric_is_its_definition(world):
    truth, slates, k = world
    values = per_user(truth, slates, k)
    assert tuple(values) == METRICS
    for row in range(len(truth)):
        expected = by_definition(relevant_of(truth, row), slates[row].tolist(), k)
        assert {name: values[name][row] for name in METRICS} == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(judged())
def test_ndcg_is_that_of_scikit_learn(world):
    truth, _, k = world
    score = np.random.default_rng(k).random((len(truth), N_ITEMS))
    label = np.zeros((len(truth), N_ITEMS))
    label[np.repeat(np.arange(len(truth)), np.diff(truth.indptr)), truth.item_num] = 1
    ours = per_user(truth, np.argsort(-score, axis=1).astype(np.int32), k)["ndcg"]
    assert ours.mean() == pytest.approx(ndcg_score(label, score, k=k))


def test_the_best_slate_reaches_one_and_padding_is_never_a_hit():
    truth = Truth.of(np.array([4, 4], np.int32), np.array([1, 0], np.int32), 5)
    best = per_user(truth, np.array([[0, 1]], np.int32), 2)
    assert {name: value[0] for name, value in best.items()} == dict.fromkeys(METRICS, 1.0)
    several = Truth.of(np.array([0, 1], np.int32), np.array([4, 0], np.int32), 5)
    assert not hits(several, np.full((2, 3), -1, np.int32)).any()


def test_truth_takes_pairs_in_any_order_each_once():
    truth = Truth.of(np.array([7, 2, 7, 7], np.int32), np.array([3, 1, 0, 3], np.int32), 5)
    assert truth.user_num.tolist() == [2, 7]
    assert [relevant_of(truth, row) for row in range(2)] == [{1}, {0, 3}]
    assert truth.keys.tolist() == [1, 5, 8]


@settings(max_examples=60, deadline=None)
@given(judged(), st.data())
def test_a_part_of_the_truth_is_the_truth_of_its_users(world, data):
    truth, _, _ = world
    start = data.draw(st.integers(0, len(truth)))
    stop = data.draw(st.integers(start, len(truth)))
    limit = data.draw(st.integers(1, 6))
    by_user = {int(user): relevant_of(truth, row) for row, user in enumerate(truth.user_num)}
    part, thin = truth.slice(start, stop), truth.thinned(limit)
    assert len(thin) == min(limit, len(truth))
    assert part.user_num.tolist() == truth.user_num[start:stop].tolist()
    for some in (part, thin):
        assert {int(user): relevant_of(some, row) for row, user in enumerate(some.user_num)}.items() <= by_user.items()


@settings(max_examples=60, deadline=None)
@given(judged(), st.integers(0, 1000))
def test_what_cannot_be_found_is_no_longer_true_and_who_has_nothing_left_is_out(world, seed):
    truth, _, _ = world
    excluded = np.random.default_rng(seed).integers(0, len(truth) * N_ITEMS, 30)
    rest = truth.without(excluded)
    out = set(excluded.tolist())
    left = [{item for item in relevant_of(truth, row) if row * N_ITEMS + item not in out} for row in range(len(truth))]
    assert rest.user_num.tolist() == [row for row, items in enumerate(left) if items]
    assert [relevant_of(rest, row) for row in range(len(rest))] == [items for items in left if items]


def test_coverage_counts_items_that_anybody_sees_in_the_first_k():
    slates = np.array([[0, 1, 2], [1, 0, -1], [3, -1, -1]], np.int32)
    assert coverage(slates, 1, 8) == 3 / 8
    assert coverage(slates, 3, 8) == 4 / 8


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(1)
    samples = random.exponential(2.0, (150, 80))
    covered = [low <= 2 <= high for low, high in (bootstrap_interval(values, 3) for values in samples)]
    assert 0.87 <= np.mean(covered) <= 0.99


def test_the_interval_is_that_of_resampling_and_the_same_every_time():
    values = np.random.default_rng(2).random(200)
    low, high = bootstrap_interval(values, 1)
    error = values.std() / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.2 * error)
    assert bootstrap_interval(values, 1) == (low, high)
    assert bootstrap_interval(np.zeros(0), 1) == pytest.approx((math.nan, math.nan), nan_ok=True)
