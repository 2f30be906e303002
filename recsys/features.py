"""The feature matrix of a batch's candidates: one builder for training and for serving.

Ages are in days, counts and prices as log(1 + x); what is not known is NaN, which XGBoost takes as missing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from recsys import feature_kernels
from recsys.candidates import Candidates, rank_within
from recsys.item_stats import ITEM_COLUMNS, KINDS, ItemStats
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.types import Bools, EventType, Float32s, Int8s

KIND_COLUMNS = ("count", "decayed", "idle_days")
CYCLE_COLUMNS = ("visits", "first_days", "interval_days", "due")
PAIR_COLUMNS = (
    *(f"pair_{kind}_{column}" for kind in KINDS for column in KIND_COLUMNS),
    *(f"pair_{column}" for column in CYCLE_COLUMNS),
)
NOT_TOUCHED = np.array(
    [0 if column.endswith(("count", "decayed", "visits")) else np.nan for column in PAIR_COLUMNS], dtype=np.float32
)
"""The columns of a pair of user and item of which the history says nothing."""
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
INTERACTIONS = ITEM_COLUMNS.index("item_interactions")
COMPARED = np.array(
    [ITEM_COLUMNS.index(f"item_{column}") for column in ("price", "interactions", "idle_days", "age_days")]
)


def _kind_of() -> Int8s:
    """int8[10]: the kind of each event type by its number, -1 for those of none."""
    table = np.full(max(EventType) + 1, -1, dtype=np.int8)
    for kind, types in enumerate(KINDS.values()):
        table[list(types)] = kind
    return table


KIND_OF = _kind_of()
PURCHASES = np.arange(max(EventType) + 1) == EventType.PURCHASE
EVERYTHING = np.ones(max(EventType) + 1, dtype=bool)


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
    pairs = len(source_columns(())) + 3 * context.candidates.score.shape[1]
    users = pairs + len(PAIR_COLUMNS)
    items = users + len(USER_COLUMNS) + len(MATCH_COLUMNS)
    values = np.empty((len(context.candidates), items + len(ITEM_COLUMNS)), dtype=np.float32)
    # The statistics are read from memory here, and from the cache below.
    feature_kernels.fill_items(values, items, context.candidates.item_num, frozen(context.stats.values))
    _fill_sources(values, context)
    _fill_pairs(values, pairs, context)
    _fill_users(values, users, context)
    return values


def _fill_sources(values: Float32s, context: Context) -> None:
    """What each source says, how many agree, and where stage 1 puts the item."""
    candidates, blend = context.candidates, context.blend
    feature_kernels.fill_sources(
        values,
        candidates.query_num,
        candidates.score,
        candidates.scale,
        candidates.rank,
        blend,
        rank_within(candidates.query_num, blend),
        context.batch.discovery,
    )


def _fill_pairs(values: Float32s, column: int, context: Context) -> None:
    """What this user did with this item: how often, how lately, and at which interval."""
    values[:, column : column + len(PAIR_COLUMNS)] = NOT_TOUCHED
    history = context.batch.history
    feature_kernels.fill_pairs(
        values,
        column,
        context.candidates.query_num,
        context.candidates.item_num,
        history.indptr,
        history.item_num,
        history.event_type,
        history.time,
        history.session_num,
        context.batch.now,
        KIND_OF,
        _counts(context.stats),
        PAIR_HALF_LIFE_DAYS,
    )


def _fill_users(values: Float32s, column: int, context: Context) -> None:
    """What kind of user asks, and how the item's price, popularity and lifetime compare with the user's."""
    history, stats = context.batch.history, context.stats
    known = frozen(stats.values)
    users = feature_kernels.user_rows(
        history.indptr,
        history.item_num,
        history.event_type,
        history.time,
        np.log1p(history.price),
        history.session_num,
        context.batch.now,
        KIND_OF,
        _counts(stats),
        known,
        INTERACTIONS,
        stats.until,
    )
    query_num, item_num = context.candidates.query_num, context.candidates.item_num
    feature_kernels.fill_users(values, column, query_num, item_num, users, known, COMPARED)


def _counts(stats: ItemStats) -> Bools:
    """bool[10]: the event types that are purchases; all of them in a shop that sells nothing."""
    return PURCHASES if stats.has_purchases else EVERYTHING
