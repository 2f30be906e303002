"""Confidence of interactions, and fold-in of a user from a history.

Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, 2008. Confidence is their
c = 1 + alpha r, where r sums the weights of a user's events on an item, halved every half-life.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.interactions import Histories
from recsys.popularity import decay, type_weights
from recsys.types import Array, EventType, Float32s, Float64s, Int8s, Int64s

MOST_ITEMS = 500
"""Items of a history that are folded in; older ones would cost time and say little."""
SHORT = 0.5
"""Items per factor up to which a history is short: the small system is the cheaper one."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """How events become confidence; the same for fitting and for fold-in.

    Attributes:
        weights: weight of each event type, by its number.
        alpha: confidence per unit of weight.
        half_life_days: of an event's weight, counted back from ``until``.
        until: unix seconds.
    """

    weights: Float64s
    alpha: float
    half_life_days: float
    until: int

    @classmethod
    def of(cls, weights: dict[EventType, float], alpha: float, half_life_days: float, until: int) -> Confidence:
        """From weights by event type."""
        return cls(type_weights(weights), alpha, half_life_days, until)

    def excess(self, event_type: Int8s, time: Int64s) -> Float64s:
        """float64[n]: what each event adds to the confidence of 1."""
        return self.alpha * self.weights[event_type] * decay(self.until - time, self.half_life_days)


def fold_in(item_factors: Float32s, gram: Float32s, item_num: Array, confidence: Array) -> Float32s:
    """A user vector from a history, with item factors fixed: Hu et al. 2008, equation 4.

    Args:
        item_factors: float32[n_items, d].
        gram: float32[d, d], Y^T Y + regularization I.
        item_num: int[h], the items of the history, each once.
        confidence: float[h], their confidence (1 or more).

    Returns:
        float32[d]; zeros for an empty history.
    """
    rows = item_factors[item_num]
    left = gram + rows.T @ (rows * (confidence - 1.0).astype(np.float32)[:, None])
    return np.linalg.solve(left, rows.T @ confidence.astype(np.float32)).astype(np.float32)


def fold_in_short(item_factors: Float32s, inverse: Float32s, item_num: Array, confidence: Array) -> Float32s:
    """The same as :func:`fold_in`, by a system of the history's size instead of the factors'.

    With the rows R of the history and W = diag(confidence - 1), push-through (Woodbury) turns
    (G + R^T W R)^-1 R^T c into G^-1 R^T (I + W R G^-1 R^T)^-1 c.

    Args:
        item_factors: float32[n_items, d].
        inverse: float32[d, d], the inverse of the gram matrix.
        item_num: int[h], as for :func:`fold_in`.
        confidence: float[h].
    """
    rows = item_factors[item_num]
    mapped = rows @ inverse
    left = (confidence - 1.0)[:, None] * (mapped @ rows.T)  # float64, as confidence is: the system is small
    left.flat[:: len(left) + 1] += 1.0
    vector: Float32s = np.linalg.solve(left, confidence).astype(np.float32) @ mapped
    return vector


def preferences(history: Histories, confidence: Confidence, query: int, limit: int) -> tuple[Int64s, Float64s]:
    """The items that one history says something about, rising, and their confidence: int64[h] and float64[h].

    Args:
        history: of the queries.
        confidence: as in fitting.
        query: the row.
        limit: most items; the newest count.
    """
    part = slice(history.indptr[query], history.indptr[query + 1])
    excess = confidence.excess(history.event_type[part], history.time[part])
    some = np.flatnonzero(excess > 0)  # as in fitting, a refund or a search is no preference
    items, newest, place = np.unique(history.item_num[part][some], return_index=True, return_inverse=True)
    summed: Float64s = 1.0 + np.bincount(place, excess[some], minlength=len(items)).astype(np.float64)
    if len(items) > limit:
        kept = np.sort(np.argsort(newest)[:limit])
        items, summed = items[kept], summed[kept]
    return items.astype(np.int64), summed


def fold_in_histories(
    item_factors: Float32s,
    gram: Float32s,
    history: Histories,
    confidence: Confidence,
    inverse: Float32s | None = None,
) -> Float32s:
    """float32[q, d]: the user vectors of q histories, each of at most 500 items, the newest.

    Args:
        item_factors: float32[n_items, d].
        gram: float32[d, d], as for :func:`fold_in`.
        history: of q queries.
        confidence: as in fitting.
        inverse: float32[d, d], of the gram matrix; where it is kept, short histories take microseconds.
    """
    vectors = np.zeros((len(history), item_factors.shape[1]), dtype=np.float32)
    short = 0 if inverse is None else int(SHORT * len(gram))
    for query in range(len(history)):
        items, summed = preferences(history, confidence, query, MOST_ITEMS)
        if inverse is not None and 0 < len(items) <= short:
            vectors[query] = fold_in_short(item_factors, inverse, items, summed)
        elif len(items):
            vectors[query] = fold_in(item_factors, gram, items, summed)
    return vectors
