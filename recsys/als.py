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


def fold_in_histories(item_factors: Float32s, gram: Float32s, history: Histories, confidence: Confidence) -> Float32s:
    """float32[q, d]: the user vectors of q histories, each by :func:`fold_in`."""
    vectors = np.zeros((len(history), item_factors.shape[1]), dtype=np.float32)
    excess = confidence.excess(history.event_type, history.time)
    for query in range(len(history)):
        part = np.arange(history.indptr[query], history.indptr[query + 1])
        part = part[excess[part] > 0]  # as in fitting, a refund or a search is no preference
        item_num, inverse = np.unique(history.item_num[part], return_inverse=True)
        if len(item_num):
            summed = np.bincount(inverse, excess[part])
            vectors[query] = fold_in(item_factors, gram, item_num, 1.0 + summed)
    return vectors
