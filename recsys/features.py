"""The feature matrix of a batch's candidates: one builder for training and for serving.

Ages are in days, counts and prices as log(1 + x); what is not known is NaN, which XGBoost takes as missing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys import feature_kernels, history_kernels
from recsys.candidates import Candidates
from recsys.item_stats import ITEM_COLUMNS, KINDS, ItemStats
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.types import EventType, Float32s, Int8s, Int64s

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


def parts(sources: int) -> Int64s:
    """int64[6]: the first feature of the sources, of user and item, of the user, of their comparison, of the item; all.

    Args:
        sources: how many.
    """
    sizes = (0, 3 * sources + 4, len(PAIR_COLUMNS), len(USER_COLUMNS), len(MATCH_COLUMNS), len(ITEM_COLUMNS))
    return np.cumsum(sizes, dtype=np.int64)


def matrix(context: Context) -> Float32s:
    """float32[n, f]: the features of the candidates, columns as in :func:`feature_names`."""
    return feature_kernels.matrix(*known_of(context), *shared_of(context.stats))


def rows(context: Context, query: int, position: Int64s) -> Float32s:
    """float32[k, f]: the features of some candidates of one query, which are at these positions (int64[k])."""
    start, stop = np.searchsorted(context.candidates.query_num, (query, query + 1))
    own = replace(context, candidates=context.candidates.where(np.arange(start, stop)), blend=context.blend[start:stop])
    chosen: Float32s = matrix(own)[position - start]
    return chosen


def known_of(context: Context) -> tuple[Any, ...]:
    """What the kernels of features take of queries, as :func:`recsys.feature_kernels.matrix` tells."""
    batch, candidates = context.batch, context.candidates
    history = batch.history
    return (
        candidates.query_num,
        candidates.item_num,
        candidates.score,
        candidates.rank,
        candidates.scale,
        context.blend,
        batch.discovery,
        batch.now,
        history.indptr,
        history.item_num,
        history.event_type,
        history.time,
        history_kernels.log_prices(history.price),
        history.session_num,
    )


def shared_of(stats: ItemStats) -> tuple[Any, ...]:
    """What they take besides, whoever asks."""
    return (
        frozen(stats.values),
        stats.until,
        KIND_OF,
        PURCHASES if stats.has_purchases else EVERYTHING,
        NOT_TOUCHED,
        PAIR_HALF_LIFE_DAYS,
        INTERACTIONS,
        COMPARED,
    )
