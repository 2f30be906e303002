"""The compiled loops of the feature matrix, against plain sums over each user's events."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from recsys import feature_kernels
from recsys.features import Context, feature_names, matrix
from recsys.item_stats import ITEM_COLUMNS, KINDS
from recsys.types import SECONDS_PER_DAY, EventType

VIEWS_ONLY = {EventType.VIEW_ITEM: 0.8, EventType.SELECT_ITEM: 0.1, EventType.SEARCH: 0.1}


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a history, in the order of its columns."""

    item: int
    type: int
    time: int
    price: float
    session: int


def expected(context: Context, names: tuple[str, ...], at: int) -> dict[str, float]:
    """Every column of one candidate."""
    candidates, batch = context.candidates, context.batch
    query, item = int(candidates.query_num[at]), int(candidates.item_num[at])
    history = batch.history.rows(np.array([query]))
    events = [Event(*event) for event in zip(*history.columns, strict=True)]
    own = [event for event in events if event.item == item]
    now, stats = int(batch.now[query]), context.stats
    everybody = dict(zip(ITEM_COLUMNS, stats.values[item].astype(float), strict=True))
    row = {**said_by_sources(context, names, at), **everybody}
    for kind, types in KINDS.items():
        ages = [(now - event.time) / SECONDS_PER_DAY for event in own if event.type in types]
        row[f"pair_{kind}_count"] = np.log1p(len(ages))
        row[f"pair_{kind}_decayed"] = sum(0.5 ** (max(age, 0) / 30) for age in ages)
        row[f"pair_{kind}_idle_days"] = min(ages, default=np.nan)
        row[f"user_{kind}s"] = np.log1p(sum(event.type in types for event in events))
    visits, first, last, interval = cycle([event for event in own if counts(context, event)], now)
    row |= {"pair_visits": np.log1p(visits), "pair_first_days": first, "pair_interval_days": interval}
    row["pair_due"] = last / interval if interval > 0 else np.nan
    bought = [event for event in events if counts(context, event)]
    visits, _, last, interval = cycle(bought, now)
    row |= {"user_visits": np.log1p(visits), "user_idle_days": last, "user_visit_interval_days": interval}
    items, lines = {event.item for event in bought}, {(event.item, event.session) for event in bought}
    row["user_items"] = np.log1p(len({event.item for event in events}))
    row["user_repeat_share"] = 1 - len(items) / len(lines) if lines else np.nan
    popularity = mean([stats.column("item_interactions")[event.item] for event in events])
    price = mean([np.log1p(event.price) for event in events if np.isfinite(event.price)])
    row |= {"user_mean_popularity": popularity, "user_mean_price": price}
    row["price_ratio"] = everybody["item_price"] - price
    row["popularity_gap"] = everybody["item_interactions"] - popularity
    _, began, ended, _ = cycle(events, stats.until)
    row["gone_before_days"] = everybody["item_idle_days"] - ended
    row["there_before_days"] = everybody["item_age_days"] - ended
    row["there_first_days"] = everybody["item_age_days"] - began
    return row


def said_by_sources(context: Context, names: tuple[str, ...], at: int) -> dict[str, float]:
    candidates, blend = context.candidates, context.blend
    query = candidates.query_num[at]
    row = {}
    for column, name in enumerate(names):
        row[f"{name}_score"] = candidates.score[at, column]
        row[f"{name}_scaled"] = candidates.score[at, column] / candidates.scale[query, column]
        row[f"{name}_rank"] = candidates.rank[at, column]
    others = [(-blend[other], other) for other in np.flatnonzero(candidates.query_num == query)]
    row["blend_rank"] = 1 + sorted(others).index((-blend[at], at))
    return row | {
        "sources": np.isfinite(candidates.rank[at]).sum(),
        "blend": blend[at],
        "discovery": context.batch.discovery[query],
    }


def counts(context: Context, event: Event) -> bool:
    return event.type == EventType.PURCHASE or not context.stats.has_purchases


def cycle(events: list[Event], now: int) -> tuple[int, float, float, float]:
    """Visits, days since the first and the last event, mean days between visits."""
    ages = [(now - event.time) / SECONDS_PER_DAY for event in events]
    visits, first, last = len({event.session for event in events}), max(ages, default=np.nan), min(ages, default=np.nan)
    return visits, first, last, (first - last) / (visits - 1) if visits > 1 else np.nan


def mean(values: list[float]) -> float:
    return float(np.mean(values, dtype=np.float64)) if values else np.nan


@pytest.mark.parametrize("shares", [worlds.SHARES, VIEWS_ONLY], ids=["purchases", "views only"])
@pytest.mark.parametrize("static", [False, True])
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_every_feature_of_every_candidate_is_what_its_definition_says(static, shares, seed):
    shop = worlds.world(seed, n_users=8, n_items=20, n_events=150, days=10, shares=shares, static=static)
    context = worlds.context(shop, seed)
    sources = worlds.snapshot(shop, factors=3).source_names
    names, values = feature_names(sources), matrix(context)
    assert values.dtype == np.float32
    for at in range(len(values)):
        row = expected(context, sources, at)
        wanted = np.array([row[name] for name in names], dtype=np.float32)
        np.testing.assert_allclose(values[at], wanted, rtol=2e-6, atol=2e-6, err_msg=str(names))


@pytest.mark.parametrize("n", [0, 1, 3, feature_kernels.FEW_SORTED, feature_kernels.FEW_SORTED + 1, 200])
@pytest.mark.parametrize("seed", range(5))
def test_short_histories_and_long_ones_are_counted_alike(n, seed):
    random = np.random.default_rng(seed)
    items, sessions = random.integers(-1, 6, n).astype(np.int32), random.integers(-2, 3, n).astype(np.int32)
    events = (
        items,
        random.integers(0, 10, n).astype(np.int8),
        np.sort(random.integers(0, 99, n))[::-1].copy(),
        sessions,
    )
    for counts in (np.ones(10, dtype=bool), random.random(10) < 0.4, np.zeros(10, dtype=bool)):
        counted = counts[events[1]]
        bought, visits = items[counted].tolist(), sessions[counted].tolist()
        expected = (len({*items.tolist()}), len({*bought}), len({*zip(bought, visits, strict=True)}), len({*visits}))
        assert feature_kernels._distinct_few(events, counts) == expected
        assert feature_kernels._distinct_many(events, counts) == expected
    order, sorted_ = feature_kernels._by_visit(items, sessions), np.lexsort((sessions, items))
    assert sorted(order.tolist()) == [*range(n)]
    np.testing.assert_array_equal([items[order], sessions[order]], [items[sorted_], sessions[sorted_]])
    assert n > feature_kernels.FEW_SORTED or order.tolist() == sorted_.tolist()


def some(context: Context, n: int) -> Context:
    return replace(context, candidates=context.candidates.where(np.arange(n)), blend=context.blend[:n])


def compiled() -> list[int]:
    return [len(loop.signatures) for loop in vars(feature_kernels).values() if hasattr(loop, "signatures")]


def test_neither_a_lone_candidate_nor_none_nor_a_mapped_bundle_is_a_reason_to_compile():
    # A request that waits for the compiler waits for seconds.
    context = worlds.context(worlds.world(1), 1)
    all_of_them, code = matrix(context), compiled()
    assert sum(code) > 0
    context.stats.values.flags.writeable = False
    for n in (len(context.candidates), 1, 0):
        np.testing.assert_array_equal(matrix(some(context, n))[:, -1], all_of_them[:n, -1])
    assert compiled() == code
