"""Confidence of interactions, and fold-in of a user from a history.

Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, 2008. Confidence is their
c = 1 + alpha r, where r sums the weights of a user's events on an item, halved every half-life.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
from scipy.linalg import lapack

from recsys import als_kernels
from recsys.interactions import Histories
from recsys.kernel import frozen
from recsys.popularity import decay, type_weights
from recsys.types import Array, EventType, Float32s, Float64s, Int8s, Int64s

MOST_ITEMS = 500
"""Items of a history that are folded in; older ones would cost time and say little."""
MOST_STEPS = 48
"""Of conjugate gradients; some 10 are usual."""
REMEMBERED = 2048
"""Histories whose vectors are remembered."""
MOST_REMEMBERED = 64
"""Histories that are asked for at once: of more, none is worth remembering."""


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
    # Positive definite, which halves the work; if rounding has spoilt that, it is solved as any other.
    _, vector, spoilt = lapack.sposv(left, rows.T @ confidence.astype(np.float32))
    return np.linalg.solve(left, rows.T @ confidence.astype(np.float32)) if spoilt else np.asarray(vector)


def fold_in_many(
    item_factors: Float32s, gram: Float32s, inverse: Float32s, indptr: Int64s, item_num: Int64s, confidence: Float64s
) -> Float32s:
    """The same as :func:`fold_in` for q histories, by conjugate gradients.

    They are the usual way to fit ALS (Takacs, Pilaszy and Tikk, Applications of the Conjugate Gradient Method for
    Implicit Feedback Collaborative Filtering, 2011). A history changes little of what the catalogue says, so with the
    inverse of the gram matrix few steps are left. What takes too many is solved directly.

    Args:
        item_factors: float32[n_items, d].
        gram: float32[d, d], as for :func:`fold_in`.
        inverse: float32[d, d], of the gram matrix.
        indptr: int64[q + 1], of the histories' items.
        item_num: int64[n], each once in a history.
        confidence: float64[n].

    Returns:
        float32[q, d]; zeros for an empty history.
    """
    vectors, solved = als_kernels.fold_in(indptr, item_num, confidence, frozen(item_factors), inverse, MOST_STEPS)
    for query in np.flatnonzero(~solved):
        own = slice(indptr[query], indptr[query + 1])
        vectors[query] = fold_in(item_factors, gram, item_num[own], confidence[own])
    return vectors


def inverse_of(gram: Float32s) -> Float32s:
    """float32[d, d]: the inverse of a gram matrix, as :func:`fold_in_many` takes it."""
    inverse: Float32s = np.linalg.inv(gram.astype(np.float64)).astype(np.float32)
    return inverse


def preferences(history: Histories, confidence: Confidence, limit: int) -> tuple[Int64s, Int64s, Float64s]:
    """The items that q histories say something about, and their confidence.

    As in fitting, a refund or a search is no preference.

    Args:
        history: of the queries.
        confidence: as in fitting.
        limit: most items of each; the newest count.

    Returns:
        indptr int64[q + 1], items int64[n], rising inside a history, and their confidence float64[n].
    """
    excess = confidence.excess(history.event_type, history.time)
    return als_kernels.preferences(history.indptr, history.item_num, excess, limit)


class FoldIn:
    """The user vectors of histories; the last ones are remembered, by what they are made of.

    Who asks again has mostly done nothing since.

    Args:
        item_factors: float32[n_items, d].
        gram: float32[d, d], as for :func:`fold_in`.
        confidence: as in fitting.
    """

    __slots__ = ("_fold_in", "_remembered", "_until")

    def __init__(self, item_factors: Float32s, gram: Float32s, confidence: Confidence) -> None:
        inverse = inverse_of(gram)
        self._fold_in = partial(fold_in_histories, item_factors, gram, confidence=confidence, inverse=inverse)
        self._remembered = lru_cache(REMEMBERED)(partial(_of_bytes, self._fold_in))
        self._until = confidence.until

    def __call__(self, history: Histories, rows: Int64s) -> Float32s:
        """float32[m, d]: the vectors of some of the histories (int64[m]), as :func:`fold_in_histories` tells."""
        if len(rows) > MOST_REMEMBERED:
            return self._fold_in(history.rows(rows))
        columns = history.item_num, history.event_type, np.minimum(history.time, self._until)  # all that counts
        parts = [slice(history.indptr[row], history.indptr[row + 1]) for row in rows]
        return np.array([self._remembered(*[column[own].tobytes() for column in columns]) for own in parts])


def _of_bytes(fold_in: Callable[[Histories], Float32s], items: bytes, types: bytes, times: bytes) -> Float32s:
    """float32[d]: the vector of the history that has these columns."""
    item_num, event_type = np.frombuffer(items, dtype=np.int32).copy(), np.frombuffer(types, dtype=np.int8)
    unsaid = np.zeros(len(item_num), dtype=np.float32), np.zeros(len(item_num), dtype=np.int32)
    indptr, time = np.array([0, len(item_num)]), np.frombuffer(times, dtype=np.int64)
    vector: Float32s = fold_in(Histories(indptr, item_num, event_type, time, *unsaid))[0]
    return vector


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
        inverse: float32[d, d], of the gram matrix; where it is kept, a history takes microseconds.
    """
    indptr, items, summed = preferences(history, confidence, MOST_ITEMS)
    if inverse is not None:
        return fold_in_many(item_factors, gram, inverse, indptr, items, summed)
    parts = [slice(*each) for each in pairwise(indptr)]
    vectors = [fold_in(item_factors, gram, items[own], summed[own]) for own in parts]
    return np.array(vectors, dtype=np.float32).reshape(len(history), item_factors.shape[1])
