"""Why an item: what of the history pulled it, and which features moved the ranker."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from recsys.als import MOST_ITEMS, preferences
from recsys.queries import QueryBatch
from recsys.ranker import Ranker
from recsys.sources import AlsSource
from recsys.types import Array, FeatureReason, Float32s, HistoryReason, Int64s
from recsys.vocabulary import Vocabulary

HISTORY_SHOWN = 10
FEATURES_SHOWN = 10


def history_parts(als: AlsSource, batch: QueryBatch, query: int, item_num: Array) -> tuple[Int64s, Float32s]:
    """What each item of a history adds to the ALS score of some items: Hu et al. 2008, section 5.

    The user vector is A^-1 Y^T c, a sum over the history's items j of c_j A^-1 y_j, and so is its inner product with an
    item.

    Args:
        als: the source.
        batch: the queries.
        query: the row of one.
        item_num: int[k].

    Returns:
        The history's items int64[h] and parts float32[k, h]; each row adds up to the item's score.
    """
    # A vector that is stored was made of all that the bundle knows, one that is folded in of the newest items.
    limit = MOST_ITEMS if batch.user_num[query] < 0 else int(np.diff(batch.history.indptr)[query])
    _, items, confidence = preferences(batch.history.rows(np.array([query])), als.confidence, limit)
    rows = als.item_factors[items]
    left = als.gram + rows.T @ (rows * (confidence - 1.0).astype(np.float32)[:, None])
    pulls = np.linalg.solve(left, rows.T * confidence.astype(np.float32))
    return items, (als.item_factors[item_num] @ pulls).astype(np.float32)


def history_reasons(
    als: AlsSource, batch: QueryBatch, query: int, item_num: Array, items: Vocabulary
) -> list[tuple[HistoryReason, ...]]:
    """For each of some items those of the history that pulled it most, either way."""
    known, parts = history_parts(als, batch, query, item_num)
    ids = items.ids(known)
    return [
        tuple(HistoryReason(ids[at], float(row[at])) for at in np.argsort(-np.abs(row), kind="stable")[:HISTORY_SHOWN])
        for row in parts
    ]


def feature_reasons(ranker: Ranker, features: Float32s, names: Sequence[str]) -> list[tuple[FeatureReason, ...]]:
    """For each row of features the ones that moved its score most; with ``rest`` and ``base`` they add up to the score.

    Args:
        ranker: stage 2.
        features: float32[n, f].
        names: f, of the features.
    """
    reasons = []
    for values, parts in zip(features.tolist(), ranker.contributions(features).astype(np.float64), strict=True):
        order = np.argsort(-np.abs(parts[:-1]), kind="stable")
        shown = tuple(FeatureReason(names[at], values[at], float(parts[at])) for at in order[:FEATURES_SHOWN])
        rest = FeatureReason("rest", math.nan, float(parts[order[FEATURES_SHOWN:]].sum()))
        reasons.append((*shown, rest, FeatureReason("base", math.nan, float(parts[-1]))))
    return reasons
