"""The low-pass filter against numpy's singular values, and its source in a shop of two kinds of users."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

import builders
from recsys.config import Config
from recsys.interactions import Histories
from recsys.types import EventType, ExcludePolicy
from recsys_offline.train import fitting, spectral
from recsys_offline.train.factorise import Shape
from recsys_offline.train.fitting import Setting
from recsys_offline.train.specs import FOREVER_DAYS, Facts, Spec, propose

N_USERS, N_ITEMS = 40, 20
SPEC = Spec(
    "spectral",
    "spectral",
    {"dimensions": 2.0, "rows": "user", "half_life_days": FOREVER_DAYS, "history_half_life_days": FOREVER_DAYS},
)
FACTS = Facts(10_000, 10_000, has_times=True, has_visits=True, sells=True, browses=True)


def matrix(seed: int = 0, rows: int = 60, n_items: int = 25) -> sp.csr_matrix:
    """Weights from 0 to 1, some items taken more often than others; row 0 and item 0 are empty."""
    random = np.random.default_rng(seed)
    taken = random.random((rows, n_items)) < np.linspace(0.05, 0.5, n_items)
    dense = np.where(taken, random.random((rows, n_items)), 0)
    dense[0], dense[:, 0] = 0, 0
    return sp.csr_matrix(dense.astype(np.float32))


def filtered(dense: np.ndarray, dimensions: int) -> np.ndarray:
    """Equation 14 of GF-CF, its ideal low-pass filter alone, as it is written."""
    by_row, by_item = (np.maximum(dense.sum(axis=axis), 1e-30) for axis in (1, 0))
    scaled = dense / np.sqrt(np.outer(by_row, by_item))
    right = np.linalg.svd(scaled)[2][:dimensions]
    return right.T @ right * np.sqrt(by_item) / np.sqrt(by_item)[:, None]


@pytest.mark.parametrize("dimensions", [1, 4, 12])
def test_the_factors_multiply_to_the_low_pass_filter_of_the_normalised_matrix(dimensions):
    # As many passes as the gaps between so few singular values need.
    factors, inverse_degree = spectral.low_pass(matrix(), dimensions, 7, passes=30)
    assert (factors.shape, inverse_degree.shape) == ((25, dimensions), (25,))
    assert factors.dtype == inverse_degree.dtype == np.float32
    expected = filtered(matrix().toarray().astype(np.float64), dimensions)
    found = (inverse_degree[:, None] * factors) @ factors.T
    assert not found[0].any()
    assert not found[:, 0].any()
    assert found[1:, 1:] == pytest.approx(expected[1:, 1:], abs=2e-4)


def test_going_on_from_an_earlier_filter_one_pass_comes_nearer_than_three_from_chance():
    past = matrix(rows=2_000, n_items=300)
    now = sp.vstack([past, matrix(1, rows=50, n_items=300)], format="csr")
    earlier, _ = spectral.low_pass(past, 4, 7, passes=30)
    expected = filtered(now.toarray().astype(np.float64), 4)

    def missed(**options) -> float:
        factors, inverse_degree = spectral.low_pass(now, 4, 7, **options)
        return float(np.abs(((inverse_degree[:, None] * factors) @ factors.T - expected)[1:, 1:]).max())

    assert missed(passes=1, start=earlier) < 0.5 * missed(passes=3)


def test_what_few_passes_make_is_orthonormal_and_not_far_from_the_best():
    now = matrix(rows=2_000, n_items=300)
    factors, inverse_degree = spectral.low_pass(now, 4, 7)
    vectors = (factors * np.sqrt(inverse_degree)[:, None]).astype(np.float64)
    assert vectors.T @ vectors == pytest.approx(np.eye(4), abs=1e-4)
    dense = now.toarray().astype(np.float64)
    by_row, by_item = (np.maximum(dense.sum(axis=axis), 1e-30) for axis in (1, 0))
    scaled = dense / np.sqrt(np.outer(by_row, by_item))
    assert np.square(scaled @ vectors).sum() > 0.98 * np.square(np.linalg.svd(scaled, compute_uv=False)[:4]).sum()


def test_rows_that_are_read_in_parts_make_the_same_factors(monkeypatch):
    whole = spectral.low_pass(matrix(), 3, 7)
    monkeypatch.setattr(spectral, "ROWS_AT_ONCE", 7)
    parts = spectral.low_pass(matrix(), 3, 7)
    assert parts[0] @ parts[0].T == pytest.approx(whole[0] @ whole[0].T, abs=1e-4)


def test_a_matrix_has_no_more_dimensions_than_rows():
    factors, inverse_degree = spectral.low_pass(matrix(rows=6), 100, 7)
    assert factors.shape == (25, 6)
    assert np.isfinite(factors).all()
    assert np.isfinite(inverse_degree).all()


def clusters(until: int, each: int = 3):
    """Users of two kinds, who buy ``each`` random items of their own half of the catalogue; nobody buys the last."""
    random = np.random.default_rng(1)
    rows = [
        (user, item, EventType.PURCHASE, until and until - 86_400)
        for user in range(N_USERS - 1)
        for item in user % 2 * N_ITEMS // 2 + random.choice(N_ITEMS // 2 - 1, each, replace=False)
    ]
    return builders.events(*rows)


def fitted(events, until: int = 0, **changed: float):
    setting = Setting(Shape(N_USERS, N_USERS, N_ITEMS), Config(), 1, (EventType.PURCHASE,))
    return fitting.fit(SPEC.but(changed), events, until, setting)


@pytest.mark.parametrize("until", [0, 1_700_000_000])
def test_what_users_of_the_same_kind_buy_is_proposed_even_where_no_user_bought_both(until):
    events = clusters(until)
    source = fitted(events, until)
    batch = builders.batch(Histories.of(events, N_USERS, 100), until, N_ITEMS, policies=[ExcludePolicy.SEEN] * N_USERS)
    proposal = source.propose(batch, 5)
    for user in range(N_USERS - 1):
        found = proposal.item_num[user]
        assert len(set(found.tolist())) == 5
        assert (found // (N_ITEMS // 2) == user % 2).all()
        assert batch.allowed(np.full(5, user), found).all()
        assert builders.score_of(proposal, np.full(5, user), found) == pytest.approx(proposal.score[user], rel=1e-4)
    assert (proposal.item_num[-1] == -1).all()


def test_what_was_acted_on_lately_and_in_earnest_counts_more():
    until, day = 1_700_000_000, 86_400
    source = fitted(clusters(until), until, history_half_life_days=2.0)
    first, second = 0, N_ITEMS // 2

    def kind(*rows) -> int:
        history = Histories.of(builders.events(*rows), 1, 10)
        proposal = source.propose(builders.batch(history, until, N_ITEMS), 3)
        return int(proposal.item_num[0, 0]) // (N_ITEMS // 2)

    view, purchase = EventType.VIEW_ITEM, EventType.PURCHASE
    assert kind((0, first, view, until - 8 * day), (0, second, view, until)) == 1
    assert kind((0, second, view, until - 8 * day), (0, first, view, until)) == 0
    assert kind((0, first, purchase, until - day), (0, second, view, until)) == 0


def test_only_what_is_allowed_is_proposed():
    events = clusters(0)
    source = fitted(events)
    batch = builders.batch(Histories.of(events, N_USERS, 100), 0, N_ITEMS)
    some = replace(batch, allowed_items=np.arange(N_ITEMS) % 3 == 0)
    proposal = source.propose(some, 20)
    assert {*proposal.item_num[:-1].ravel().tolist()} - {-1} == {*range(0, N_ITEMS, 3)}


def test_the_same_seed_makes_the_same_source():
    events = clusters(0)
    one, other = fitted(events), fitted(events)
    np.testing.assert_array_equal(one.item_factors, other.item_factors)


@pytest.mark.parametrize(
    ("facts", "given", "sizes"),
    [
        (FACTS, 0, [512, 256, 128]),
        (replace(FACTS, n_events=5_000_000), 0, [128]),
        (FACTS, 64, [64]),
        (replace(FACTS, n_items=6_000), 0, []),
    ],
)
def test_a_catalogue_too_large_for_ease_is_given_the_filter_and_its_size_is_chosen(facts, given, sizes):
    config = Config(spectral={"dimensions": given})
    found = [spec for spec in propose(facts, config) if spec.kind == "spectral"]
    tried = [
        spec.but(changed).parameters["dimensions"]
        for spec in found
        for changed in ({}, *(spec.options[1:2] or ((),))[0])
    ]
    assert tried == sizes
    assert bool(found) != any(spec.name == "ease" for spec in propose(facts, config))


def test_the_index_is_chosen_by_what_users_with_a_history_are_told(monkeypatch):
    events = clusters(0)
    source, asked = fitted(events), []
    monkeypatch.setattr(fitting, "choose", lambda factors, queries, _, **__: asked.append((factors, queries)))
    histories = Histories.of(events, N_USERS, 100)
    fitting.indexed(source, histories, 0, to_serve=True)
    ((factors, queries),) = asked
    assert factors is source.item_factors
    expected = source.vectors(builders.batch(histories.rows(np.arange(N_USERS - 1)), 0, N_ITEMS))
    np.testing.assert_allclose(queries, expected, rtol=1e-5, atol=1e-7)
