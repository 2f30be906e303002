"""Fold-in: the user vector that ALS itself would give."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import builders
import worlds
from recsys import als
from recsys.als import MOST_REMEMBERED, Confidence, FoldIn, fold_in, fold_in_histories, fold_in_many, preferences
from recsys.config import AlsSection
from recsys.interactions import Histories
from recsys.types import SECONDS_PER_DAY, EventType
from recsys_offline.openmp import ensure_openmp
from recsys_offline.train import factorise


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.floats(0.1, 100), st.floats(0.01, 50))
def test_fold_in_is_the_closed_form(seed, length, alpha, regularization):
    random = np.random.default_rng(seed)
    factors = random.normal(size=(12, 5))
    items = random.choice(12, length, replace=False)
    confidence = 1 + alpha * random.random(length)
    # Hu, Koren and Volinsky 2008, equation 4, written out over the whole catalogue.
    weight, preference = np.ones(12), np.zeros(12)
    weight[items], preference[items] = confidence, 1
    left = factors.T @ np.diag(weight) @ factors + regularization * np.eye(5)
    expected = np.linalg.solve(left, factors.T @ (weight * preference))

    gram = factors.T @ factors + regularization * np.eye(5)
    vector = fold_in(factors.astype(np.float32), gram.astype(np.float32), items, confidence)
    np.testing.assert_allclose(vector, expected, rtol=1e-2, atol=1e-4)
    assert vector.dtype == np.float32


def test_a_gram_matrix_that_rounding_has_spoilt_is_solved_all_the_same():
    factors, gram = np.eye(3, dtype=np.float32), np.diag([2.0, 2.0, -1e-3]).astype(np.float32)
    vector = fold_in(factors, gram, np.array([0]), np.array([3.0]))
    np.testing.assert_allclose(vector, [0.75, 0.0, 0.0], rtol=1e-6)


def exact(factors, gram, items, confidence) -> np.ndarray:
    """Equation 4 in double precision."""
    rows = factors[items].astype(np.float64)
    return np.linalg.solve(gram.astype(np.float64) + rows.T @ (rows * (confidence - 1)[:, None]), rows.T @ confidence)


def inverse_of(gram) -> np.ndarray:
    return np.linalg.inv(gram.astype(np.float64)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0.1, 300), st.floats(0.5, 50))
def test_a_history_folds_in_by_steps_as_it_does_directly(seed, length, alpha, regularization):
    random = np.random.default_rng(seed)
    factors = random.normal(size=(60, 32)).astype(np.float32)
    items = np.sort(random.choice(60, length, replace=False))
    confidence = 1 + alpha * random.random(length)
    gram = factors.T @ factors + np.float32(regularization) * np.eye(32, dtype=np.float32)
    (got,) = fold_in_many(factors, gram, inverse_of(gram), np.array([0, length]), items, confidence)
    expected = exact(factors, gram, items, confidence)
    assert np.linalg.norm(got - expected) <= 1e-4 * np.linalg.norm(expected)
    assert got.dtype == np.float32


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_what_takes_too_many_steps_is_solved_directly(monkeypatch, steps):
    random = np.random.default_rng(1)
    factors = random.normal(size=(60, 16)).astype(np.float32)
    gram = factors.T @ factors + np.eye(16, dtype=np.float32)
    items, confidence = np.arange(50), 1 + 100 * random.random(50)
    monkeypatch.setattr(als, "MOST_STEPS", steps)
    (got,) = fold_in_many(factors, gram, inverse_of(gram), np.array([0, 50]), items, confidence)
    np.testing.assert_array_equal(got, fold_in(factors, gram, items, confidence))


def test_with_a_gram_matrix_that_rounding_has_spoilt_a_history_is_solved_directly():
    factors, gram = np.eye(3, dtype=np.float32), np.diag([2.0, 2.0, -1e-3]).astype(np.float32)
    asked = (np.array([0, 2, 3]), np.array([0, 2, 0]), np.array([3.0, 1.0005, 3.0]))
    got = fold_in_many(factors, gram, inverse_of(gram), *asked)
    np.testing.assert_allclose(got, [[0.75, 0, 1.0005 / (-1e-3 + 0.0005)], [0.75, 0, 0]], rtol=1e-3)


def plain_preferences(history: Histories, confidence: Confidence, query: int, limit: int) -> tuple:
    """One history's, by sorting and counting."""
    part = slice(history.indptr[query], history.indptr[query + 1])
    excess = confidence.excess(history.event_type[part], history.time[part])
    some = np.flatnonzero(excess > 0)
    items, newest, place = np.unique(history.item_num[part][some], return_index=True, return_inverse=True)
    kept = np.sort(np.argsort(newest)[:limit])
    return items[kept], (1.0 + np.bincount(place, excess[some], minlength=len(items)))[kept]


def some_histories(random: np.random.Generator, lengths: list[int], n_items: int) -> Histories:
    """Of any types and times; items come more than once."""
    rows = [
        (user, item, int(random.choice(list(EventType)[1:])), int(random.integers(30 * SECONDS_PER_DAY)))
        for user, length in enumerate(lengths)
        for item in random.integers(0, n_items, length).tolist()
    ]
    events = builders.events(*sorted(rows, key=lambda row: row[3]))
    return Histories.of(events, len(lengths), limit=1000)


CONFIDENCE = Confidence.of(worlds.WEIGHTS, 3.0, 30.0, until=30 * SECONDS_PER_DAY)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 20, 500]), st.sampled_from([4, 30, 3000]))
def test_preferences_are_the_sums_over_each_item_of_the_newest(seed, limit, n_items):
    histories = some_histories(np.random.default_rng(seed), [0, 1, 5, 40, 0], n_items)
    indptr, items, confidence = preferences(histories, CONFIDENCE, limit)
    assert (indptr[0], indptr[-1], len(indptr)) == (0, len(items), 6)
    for query in range(5):
        own = slice(indptr[query], indptr[query + 1])
        expected_items, expected = plain_preferences(histories, CONFIDENCE, query, limit)
        np.testing.assert_array_equal(items[own], expected_items)
        np.testing.assert_array_equal(confidence[own], expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 100), st.floats(0.5, 50), st.sampled_from([3, 16, 45]))
def test_many_histories_at_once_fold_in_as_each_alone_does(seed, alpha, regularization, width):
    random = np.random.default_rng(seed)
    factors = (random.normal(size=(400, width)) * random.gamma(1, 1, (400, 1))).astype(np.float32)
    gram = factors.T @ factors + np.float32(regularization) * np.eye(width, dtype=np.float32)
    inverse = inverse_of(gram)
    histories = some_histories(random, [*random.integers(0, 60, 20), 0], 400)  # some of them are long
    confidence = Confidence.of(worlds.WEIGHTS, alpha, 30.0, until=30 * SECONDS_PER_DAY)
    got = fold_in_histories(factors, gram, histories, confidence, inverse)
    for query, vector in enumerate(got):
        items, own = plain_preferences(histories, confidence, query, 500)
        expected = exact(factors, gram, items, own)
        assert np.linalg.norm(vector - expected) <= 5e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("width", [16, 64, 128])
def test_a_vector_is_the_same_to_the_last_bit_whoever_else_is_in_the_batch(width):
    random = np.random.default_rng(width)
    factors = random.normal(size=(300, width)).astype(np.float32)
    gram = factors.T @ factors + 5 * np.eye(width, dtype=np.float32)
    inverse = inverse_of(gram)
    histories = some_histories(random, random.integers(0, 40, 40).tolist(), 300)
    together = fold_in_histories(factors, gram, histories, CONFIDENCE, inverse)
    for row, vector in enumerate(together):
        alone = fold_in_histories(factors, gram, histories.rows(np.array([row])), CONFIDENCE, inverse)
        np.testing.assert_array_equal(vector, alone[0])


def test_a_remembered_vector_is_that_of_what_the_history_says_now():
    random = np.random.default_rng(5)
    factors = random.normal(size=(300, 16)).astype(np.float32)
    gram = factors.T @ factors + 5 * np.eye(16, dtype=np.float32)
    inverse = inverse_of(gram)
    fold = FoldIn(factors, gram, CONFIDENCE)
    for _ in range(20):  # few items and lengths: what is remembered and what is not are alike
        histories = some_histories(random, random.integers(0, 3, MOST_REMEMBERED + 6).tolist(), 4)
        whole = fold_in_histories(factors, gram, histories, CONFIDENCE, inverse)
        for count in (1, MOST_REMEMBERED, len(histories)):
            rows = random.permutation(len(histories))[:count]
            got = fold(histories, rows)
            np.testing.assert_array_equal(got, whole[rows])
            got[:] = 0  # what a caller does with it changes nothing


@pytest.mark.parametrize("length", [1, 3, 5, 200])
def test_histories_of_any_length_fold_in_alike_with_the_inverse_and_without(length):
    random = np.random.default_rng(length)
    factors = random.normal(size=(300, 8)).astype(np.float32)
    rows = [(0, int(item), EventType.VIEW_ITEM, time) for time, item in enumerate(random.integers(0, 300, length))]
    histories = Histories.of(builders.events(*rows), 2, limit=1000)
    gram = factors.T @ factors + np.eye(8, dtype=np.float32)
    confidence = Confidence.of(worlds.WEIGHTS, 3.0, 30.0, until=1000)
    inverse = np.linalg.inv(gram)
    got = fold_in_histories(factors, gram, histories, confidence, inverse)
    np.testing.assert_allclose(got, fold_in_histories(factors, gram, histories, confidence), rtol=1e-3, atol=1e-5)
    assert got[0].any()
    assert not got[1].any()


def test_of_a_very_long_history_the_newest_500_items_count():
    random = np.random.default_rng(1)
    factors = random.normal(size=(900, 4)).astype(np.float32)
    order = random.permutation(900)
    rows = [(0, int(item), EventType.PURCHASE, time) for time, item in enumerate(order)]
    confidence = Confidence.of(worlds.WEIGHTS, 3.0, 30.0, until=1000)
    gram = factors.T @ factors + np.eye(4, dtype=np.float32)
    whole, newest = (Histories.of(builders.events(*part), 1, limit=1000) for part in (rows, rows[-500:]))
    assert preferences(whole, confidence, 500)[1].tolist() == sorted(order[-500:].tolist())
    np.testing.assert_array_equal(
        *(fold_in_histories(factors, gram, histories, confidence) for histories in (whole, newest))
    )


def test_fold_in_is_what_implicit_recalculates():
    ensure_openmp()
    from implicit.als import AlternatingLeastSquares

    random = np.random.default_rng(3)
    matrix = sp.random_array((20, 15), density=0.3, rng=random, format="csr", dtype=np.float32)
    matrix.data = 1 + 10 * matrix.data
    with threadpool_limits(1, user_api="blas"):
        model = AlternatingLeastSquares(factors=8, regularization=0.5, iterations=3, random_state=1, num_threads=1)
        model.fit(sp.csr_matrix(matrix), show_progress=False)
    factors = np.asarray(model.item_factors)
    gram = factors.T @ factors + 0.5 * np.eye(8, dtype=np.float32)
    theirs = model.recalculate_user(np.arange(20), sp.csr_matrix(matrix))
    for user in range(20):
        row = matrix[[user]]
        np.testing.assert_allclose(fold_in(factors, gram, row.indices, row.data), theirs[user], rtol=1e-3, atol=1e-4)


def test_a_history_folds_into_the_factor_that_training_stored_for_it():
    shop = worlds.world()  # its histories hold refunds and searches, which say nothing about taste
    shape = factorise.Shape(len(shop.users), len(shop.users) + worlds.ANONYMOUS, len(shop.items))
    confidence = Confidence.of(worlds.WEIGHTS, 5.0, 30.0, shop.until)
    section = AlsSection(factors=8, regularization=1.0, iterations=2)
    factors = factorise.als(shop.events, shape, confidence, section, seed=1, threads=1)
    histories = Histories.of(shop.events, shape.users, limit=1000)
    folded = fold_in_histories(factors.item_factors, factors.gram, histories, confidence)
    np.testing.assert_allclose(folded, factors.user_factors, rtol=1e-2, atol=1e-3)
    assert not folded[-1].any()  # who never did anything has no taste


def test_confidence_sums_weighted_events_halved_by_age():
    confidence = Confidence.of({EventType.PURCHASE: 5.0}, 10.0, 7.0, until=70 * SECONDS_PER_DAY)
    types = np.array([EventType.PURCHASE, EventType.PURCHASE, EventType.SEARCH], dtype=np.int8)
    times = np.array([70, 63, 70]) * SECONDS_PER_DAY
    assert confidence.excess(types, times) == pytest.approx([50, 25, 0])


def test_a_user_who_only_gave_things_back_has_no_taste():
    histories = Histories.of(builders.events((0, 1, EventType.REFUND, 5)), 1, limit=10)
    factors = np.ones((3, 2), dtype=np.float32)
    confidence = Confidence.of({EventType.PURCHASE: 5.0}, 10.0, 7.0, until=10)
    assert not fold_in_histories(factors, np.eye(2, dtype=np.float32), histories, confidence).any()
