"""The feature matrix of a batch's candidates: one builder for training and for serving.

Each block of columns is a function of a :class:`Context`; ``FEATURES`` lists them in order. Ages are in days, counts
and prices as log(1 + x); what is not known is NaN, which XGBoost takes as missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsys.item_stats import ITEM_COLUMNS, KINDS, ItemStats
from recsys.popularity import decay
from recsys.queries import QueryBatch
from recsys.sources import Candidates, rank_within
from recsys.types import SECONDS_PER_DAY, Array, Bools, EventType, Float32s, Float64s, Int8s, Int64s

KIND_COLUMNS = ("count", "decayed", "idle_days")
CYCLE_COLUMNS = ("visits", "first_days", "interval_days", "due")
PAIR_COLUMNS = (
    *(f"pair_{kind}_{column}" for kind in KINDS for column in KIND_COLUMNS),
    *(f"pair_{column}" for column in CYCLE_COLUMNS),
)
USER_COLUMNS = (
    *(f"user_{kind}s" for kind in KINDS),
    "user_items",
    "user_visits",
    "user_idle_days",
    "user_visit_interval_days",
    "user_repeat_share",
    "user_mean_popularity",
    "user_mean_price",
)
MATCH_COLUMNS = ("price_ratio", "popularity_gap", "gone_before_days", "there_before_days", "there_first_days")
PAIR_HALF_LIFE_DAYS = 30.0


@dataclass(frozen=True, slots=True)
class Context:
    """All that features may look at: everything in it was known at the time of the query."""

    batch: QueryBatch
    candidates: Candidates
    blend: Float32s
    stats: ItemStats


def source_columns(sources: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the block that depends on the sources."""
    per_source = [f"{source}_{column}" for source in sources for column in ("score", "scaled", "rank")]
    return (*per_source, "sources", "blend", "blend_rank", "discovery")


def feature_names(sources: tuple[str, ...]) -> tuple[str, ...]:
    """All columns of the matrix, in order."""
    return (*source_columns(sources), *PAIR_COLUMNS, *USER_COLUMNS, *MATCH_COLUMNS, *ITEM_COLUMNS)


def feature_hash(sources: tuple[str, ...]) -> str:
    """A hash that changes when the columns do, so that a ranker never meets another matrix than its own."""
    return hashlib.sha256("\n".join(feature_names(sources)).encode()).hexdigest()


def matrix(context: Context) -> Float32s:
    """float32[n, f]: the features of the candidates, columns as in :func:`feature_names`."""
    return np.concatenate([block(context) for block in FEATURES], axis=1, dtype=np.float32)


def _source_block(context: Context) -> Array:
    """What each source says, how many agree, and where stage 1 puts the item."""
    candidates = context.candidates
    per_source = np.stack([candidates.score, candidates.scaled, candidates.rank], axis=2)
    agree = np.isfinite(candidates.rank).sum(axis=1)
    rank = rank_within(candidates.query_num, context.blend, len(context.batch))
    discovery = context.batch.discovery[candidates.query_num]
    columns = per_source.reshape(len(candidates), 3 * per_source.shape[1])  # -1 could not tell where there are no rows
    return np.column_stack([columns, agree, context.blend, rank, discovery])


def _pair_block(context: Context) -> Array:
    """What this user did with this item: how often, how lately, and at which interval."""
    batch, candidates = context.batch, context.candidates
    history = batch.history
    row = history.row
    keys = batch.keys(row, history.item_num)
    wanted = batch.keys(candidates.query_num, candidates.item_num)
    # Only what the user did with the candidates matters; the candidates are sorted by key.
    place = np.minimum(np.searchsorted(wanted, keys), max(len(wanted) - 1, 0))
    hit = np.flatnonzero(wanted[place] == keys) if len(wanted) else np.zeros(0, dtype=np.int64)
    place, age = place[hit], (batch.now[row[hit]] - history.time[hit]) / SECONDS_PER_DAY
    event_type, session = history.event_type[hit], history.session_num[hit]
    columns = []
    for types in KINDS.values():
        of_kind = np.isin(event_type, np.array(types, dtype=np.int8))
        columns += _recency(place[of_kind], age[of_kind], len(wanted))
    chosen = _bought(context, event_type)
    return np.column_stack([*columns, *_cycle(place[chosen], age[chosen], session[chosen], len(wanted))])


def _bought(context: Context, event_type: Int8s) -> Bools:
    """bool[n]: which events are purchases; all of them in a shop that sells nothing."""
    return event_type == EventType.PURCHASE if context.stats.has_purchases else np.ones(len(event_type), dtype=bool)


def _recency(place: Int64s, age: Float64s, n: int) -> list[Array]:
    """Log count, decayed count, days since the last: float[n] each."""
    idle = np.full(n, np.nan)
    idle[place[::-1]] = age[::-1]  # newest first in a history, so that the newest is assigned last
    return [
        np.log1p(np.bincount(place, minlength=n)),
        np.bincount(place, decay(age * SECONDS_PER_DAY, PAIR_HALF_LIFE_DAYS), minlength=n),
        idle,
    ]


def _cycle(place: Int64s, age: Float64s, session: Array, n: int) -> list[Array]:
    """Visits, days since the first, mean days between visits, and days since the last over that mean."""
    visits_of = np.unique(np.stack([place, session]), axis=1)[0] if len(place) else place
    visits = np.bincount(visits_of, minlength=n)
    first, last = np.full(n, np.nan), np.full(n, np.nan)
    first[place] = age
    last[place[::-1]] = age[::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        interval = np.where(visits > 1, (first - last) / (visits - 1), np.nan)
        due = np.where(interval > 0, last / interval, np.nan)
    return [np.log1p(visits), first, interval, due]


def _user_block(context: Context) -> Array:
    """What kind of user asks, and how the item's price, popularity and lifetime compare with the user's."""
    batch, stats = context.batch, context.stats
    history, n = batch.history, len(batch)
    row = history.row
    interactions, price = stats.column("item_interactions"), np.log1p(history.price)
    kinds = [np.isin(history.event_type, np.array(types, dtype=np.int8)) for types in KINDS.values()]
    bought = _bought(context, history.event_type)
    priced = np.isfinite(price)
    visits, span, idle = _visits(batch, row[bought], history.session_num[bought], history.time[bought])
    items = _distinct(row[bought], history.item_num[bought], n)
    lines = _distinct(row[bought], _pair_code(history.item_num[bought], history.session_num[bought]), n)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [
            *(np.log1p(np.bincount(row[kind], minlength=n)) for kind in kinds),
            np.log1p(_distinct(row, history.item_num, n)),
            np.log1p(visits),
            idle,
            np.where(visits > 1, span / (visits - 1), np.nan),
            np.where(lines > 0, 1 - items / lines, np.nan),
            np.bincount(row, interactions[history.item_num], minlength=n) / np.diff(history.indptr),
            np.bincount(row[priced], price[priced], minlength=n) / np.bincount(row[priced], minlength=n),
        ]
    user = np.column_stack(columns)[context.candidates.query_num]
    item = context.candidates.item_num
    return np.column_stack(
        [
            user,
            stats.column("item_price")[item] - user[:, USER_COLUMNS.index("user_mean_price")],
            interactions[item] - user[:, USER_COLUMNS.index("user_mean_popularity")],
            *_lifetimes(context),
        ]
    )


def _lifetimes(context: Context) -> list[Array]:
    """Days from an item's last event to the user's last, from its first to the user's last, and to the user's first.

    Who was last here before an item came, or after it was gone, did not see it: float[n] each.
    """
    history, stats = context.batch.history, context.stats
    first, last = np.full(len(history), np.nan), np.full(len(history), np.nan)
    some = np.flatnonzero(np.diff(history.indptr) > 0)
    last[some], first[some] = history.time[history.indptr[some]], history.time[history.indptr[some + 1] - 1]
    query, item = context.candidates.query_num, context.candidates.item_num
    gone, there = stats.column("item_idle_days")[item], stats.column("item_age_days")[item]
    until_last, until_first = ((stats.until - time[query]) / SECONDS_PER_DAY for time in (last, first))
    return [gone - until_last, there - until_last, there - until_first]


def _visits(batch: QueryBatch, row: Array, session: Array, time: Int64s) -> tuple[Array, Array, Array]:
    """Visits, days from the first to the last, days since the last: float[q] each."""
    n = len(batch)
    first, last = np.full(n, np.nan), np.full(n, np.nan)
    first[row] = time
    last[row[::-1]] = time[::-1]
    return (
        _distinct(row, session, n),
        (last - first) / SECONDS_PER_DAY,
        (batch.now - last) / SECONDS_PER_DAY,
    )


def _pair_code(item: Array, session: Array) -> Int64s:
    """One number for each pair of item and session."""
    return (item.astype(np.int64) << 32) + session  # a sum, as a new visit's number is negative


def _distinct(row: Array, value: Array, n: int) -> Int64s:
    """int64[n]: distinct values in each row."""
    order = np.lexsort((value, row))
    row, value = row[order], value[order]
    new = np.ones(len(row), dtype=bool)
    new[1:] = (row[1:] != row[:-1]) | (value[1:] != value[:-1])
    return np.bincount(row[new], minlength=n)


def _item_block(context: Context) -> Array:
    """What everybody does with the item."""
    return context.stats.values[context.candidates.item_num]


FEATURES: tuple[Callable[[Context], Array], ...] = (
    _source_block,
    _pair_block,
    _user_block,
    _item_block,
)
