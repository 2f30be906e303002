"""The feature matrix: its columns, their meaning, and that no query sees another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys.candidates import Candidates
from recsys.features import Context, feature_hash, feature_names, matrix
from recsys.interactions import Histories
from recsys.item_stats import item_stats
from recsys.queries import N_MODES, QueryBatch
from recsys.retriever import retrieve
from recsys.snapshot import Snapshot
from recsys.sources import PopularitySource
from recsys.types import SECONDS_PER_DAY, EventType, ExcludePolicy

DAY = SECONDS_PER_DAY
VIEW, CART, BUY = EventType.VIEW_ITEM, EventType.ADD_TO_CART, EventType.PURCHASE
NOW = 100 * DAY
NAN = np.nan


def features_of(known: Snapshot, batch: QueryBatch, k: int = 8) -> tuple[Candidates, np.ndarray]:
    candidates = retrieve(known.sources, batch, k)
    blend = candidates.blend(np.ones((N_MODES, len(known.sources)), dtype=np.float32), batch.mode)
    return candidates, matrix(Context(batch, candidates, blend, known.stats))


def small_shop(*rows: tuple, n_users: int = 1, n_items: int = 3, has_times: bool = True) -> tuple[Snapshot, Histories]:
    """A shop whose one source proposes every item."""
    events = builders.events(*rows)
    popular = PopularitySource.of(np.arange(n_items, 0, -1, dtype=np.float32))
    histories = Histories.of(events, n_users, limit=100)
    return Snapshot(histories, item_stats(events, n_items, NOW, has_times), (popular,)), histories


def column(values: np.ndarray, name: str) -> np.ndarray:
    return values[:, feature_names(("popularity",)).index(name)]


def test_every_column_has_one_name():
    shop = worlds.world()
    known = worlds.snapshot(shop)
    names = feature_names(known.source_names)
    candidates, values = features_of(known, builders.batch(known.histories, shop.until, known.n_items))
    assert values.shape == (len(candidates), len(names))
    assert values.dtype == np.float32
    assert len(set(names)) == len(names)
    assert not np.isinf(values).any()


def test_the_hash_tells_other_columns_and_another_order_apart():
    hashes = {feature_hash(sources) for sources in [("als", "repeats"), ("repeats", "als"), ("als",), ("als", "new")]}
    assert len(hashes) == 4
    assert feature_hash(("als",)) == feature_hash(("als",))


def test_what_a_user_did_with_an_item_is_counted_and_aged():
    known, histories = small_shop(
        (0, 0, BUY, 40 * DAY, 1),
        (0, 0, BUY, 70 * DAY, 2),
        (0, 0, BUY, 70 * DAY, 2),  # the same visit
        (0, 1, VIEW, 90 * DAY, 3),
        (0, 1, CART, 99 * DAY, 4),
    )
    _, values = features_of(known, builders.batch(histories, NOW, 3))
    expected = {  # of items 0, 1 and 2
        "pair_purchase_count": np.log1p([3, 0, 0]),
        "pair_purchase_decayed": [2 * 0.5 + 0.25, 0, 0],
        "pair_purchase_idle_days": [30, NAN, NAN],
        "pair_view_idle_days": [NAN, 10, NAN],
        "pair_cart_idle_days": [NAN, 1, NAN],
        "pair_visits": np.log1p([2, 0, 0]),
        "pair_first_days": [60, NAN, NAN],
        "pair_interval_days": [30, NAN, NAN],
        "pair_due": [1, NAN, NAN],
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(column(values, name), wanted, rtol=1e-5, err_msg=name)


def test_what_kind_of_user_asks_is_told_with_each_candidate():
    known, histories = small_shop(
        (0, 0, BUY, 40 * DAY, 1, 1, 10.0),
        (0, 0, BUY, 60 * DAY, 2, 1, 10.0),
        (0, 1, BUY, 80 * DAY, 3, 1, 30.0),
        (0, 2, VIEW, 90 * DAY, 4),
        (0, 2, VIEW, 90 * DAY, 4),
        n_users=2,
    )
    candidates, values = features_of(known, builders.batch(histories, NOW, 3))
    price, popularity = np.log1p([10, 10, 30]).mean(), np.log1p([2, 2, 1, 2, 2]).mean()
    expected = {
        "user_views": np.log1p(2),
        "user_purchases": np.log1p(3),
        "user_items": np.log1p(3),
        "user_visits": np.log1p(3),
        "user_idle_days": 20,
        "user_visit_interval_days": 20,
        "user_repeat_share": 1 / 3,
        "user_mean_popularity": popularity,
        "user_mean_price": price,
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(column(values, name)[candidates.query_num == 0], wanted, rtol=1e-5, err_msg=name)
    assert np.isnan(column(values, "user_mean_price")[candidates.query_num == 1]).all()
    ratio = np.log1p([10, 30]) - price
    np.testing.assert_allclose(column(values, "price_ratio")[:3], [*ratio, NAN], rtol=1e-4)
    np.testing.assert_allclose(
        column(values, "popularity_gap")[:3], np.log1p([2, 1, 2]) - popularity, rtol=1e-4, atol=1e-6
    )


LIFETIMES = ("gone_before_days", "there_before_days", "there_first_days")
MET = ((0, 0, BUY, 20 * DAY), (1, 1, VIEW, 30 * DAY), (0, 0, VIEW, 50 * DAY), (1, 1, BUY, 70 * DAY))
"""User 0 is here from day 20 to 50 and meets item 0, user 1 from day 30 to 70 and meets item 1."""


def test_an_item_was_there_or_gone_before_the_user_was_last_or_first_here():
    known, histories = small_shop(*MET, n_users=3)
    candidates, values = features_of(known, builders.batch(histories, NOW, 3))
    assert candidates.item_num.tolist() == [0, 1, 2] * 3
    expected = {  # of items 0, 1 and 2, which nobody touched: for users 0, 1 and 2, who was never here
        "gone_before_days": [0, -20, NAN, 20, 0, NAN, NAN, NAN, NAN],
        "there_before_days": [30, 20, NAN, 50, 40, NAN, NAN, NAN, NAN],
        "there_first_days": [0, -10, NAN, 10, 0, NAN, NAN, NAN, NAN],
    }
    for name, wanted in expected.items():
        np.testing.assert_allclose(column(values, name), wanted, err_msg=name)


def test_lifetimes_do_not_depend_on_when_it_is_asked():
    known, histories = small_shop(*MET, n_users=3)
    soon, late = (features_of(known, builders.batch(histories, now, 3))[1] for now in (NOW, NOW + 30 * DAY))
    for name in LIFETIMES:
        np.testing.assert_array_equal(column(soon, name), column(late, name), err_msg=name)


def test_a_static_set_has_no_lifetimes():
    known, histories = small_shop(*((*row[:3], 0) for row in MET), n_users=3, has_times=False)
    _, values = features_of(known, builders.batch(histories, 0, 3))
    for name in LIFETIMES:
        assert np.isnan(column(values, name)).all(), name


def test_what_sources_say_comes_first_and_stage_1_ranks_by_the_blend():
    known, histories = small_shop((0, 0, BUY, 40 * DAY), n_users=2)
    policies = [ExcludePolicy.NONE, ExcludePolicy.PURCHASED]
    candidates, values = features_of(known, builders.batch(histories, NOW, 3, policies=policies))
    assert candidates.item_num.tolist() == [0, 1, 2, 0, 1, 2]
    assert column(values, "popularity_score").tolist() == [3, 2, 1] * 2
    assert column(values, "popularity_rank").tolist() == [1, 2, 3] * 2
    assert column(values, "sources").tolist() == [1] * 6
    assert column(values, "blend_rank").tolist() == [1, 2, 3] * 2
    assert column(values, "discovery").tolist() == [0] * 3 + [1] * 3


def test_two_seed_items_are_not_a_repeat():
    known, histories = small_shop((0, 0, VIEW, 40 * DAY, 1))
    seeds = [np.array([1, 2], dtype=np.int32)]
    seeded = histories.preceded_by(seeds, np.array([NOW]), VIEW)
    _, values = features_of(known, builders.batch(seeded, NOW, 3))
    assert not column(values, "user_repeat_share").any()


def alone(batch: QueryBatch, row: int) -> QueryBatch:
    own = batch.excluded // batch.n_items == row
    return QueryBatch(
        user_num=batch.user_num[[row]],
        now=batch.now[[row]],
        history=batch.history.rows(np.array([row])),
        discovery=batch.discovery[[row]],
        n_items=batch.n_items,
        excluded=batch.excluded[own] - row * batch.n_items,
    )


@pytest.mark.parametrize("static", [False, True])
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_a_query_has_the_same_features_in_any_company(static, seed):
    # So few events that some users have bought and others have only looked.
    shop = worlds.world(seed, n_users=9, n_items=20, n_events=40, static=static)
    known, random, n = worlds.snapshot(shop, factors=3), np.random.default_rng(seed), len(shop.users)
    seeds = [random.integers(0, 20, random.integers(0, 3)).astype(np.int32) for _ in range(n)]
    history = known.histories.preceded_by(seeds, np.full(n, shop.until), VIEW)
    batch = builders.batch(history, shop.until, known.n_items, policies=list(random.choice(list(ExcludePolicy), n)))
    candidates, together = features_of(known, batch)
    for row in range(n):
        own, single = features_of(known, alone(batch, row))
        part = candidates.query_num == row
        assert own.item_num.tolist() == candidates.item_num[part].tolist()
        np.testing.assert_allclose(single, together[part], rtol=1e-4, atol=1e-4)
