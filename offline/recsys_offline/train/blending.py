"""The weights of stage 1: a search on a window that the sources have not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.sources import rank_within
from recsys.types import Array, Bools, Float32s, Float64s
from recsys_offline.train.training_set import Replay

DEPTH = 20
FACTORS = (0.0, 0.25, 0.5, 0.8, 1.25, 2.0, 4.0)
ROUNDS = 3


def search(parts: Sequence[Replay]) -> Float32s:
    """float32[S]: the weights of the sources that order one mode's candidates best, by NDCG@20.

    Coordinate ascent from the best of equal weights and each source alone; a source that does not pay gets 0.
    """
    scaled = np.concatenate([part.candidates.scaled for part in parts])
    label = np.concatenate([part.label for part in parts])
    offsets = np.cumsum([0, *(len(part.batch) for part in parts[:-1])])
    query = np.concatenate([part.candidates.query_num + at for part, at in zip(parts, offsets, strict=True)])
    relevant = np.concatenate([part.relevant for part in parts])

    def quality(weights: Array) -> float:
        return ndcg(query, scaled @ weights, label, relevant)

    n_sources = scaled.shape[1]
    starts = [np.ones(n_sources, dtype=np.float32), *np.eye(n_sources, dtype=np.float32)]
    weights = max(starts, key=quality)
    best = quality(weights)
    for _ in range(ROUNDS):
        before = best
        for column in range(n_sources):
            for value in _values(weights, column):
                tried = weights.copy()
                tried[column] = value
                if tried.any() and (reached := quality(tried)) > best:
                    weights, best = tried, reached
        if best == before:
            break
    scaled_weights: Float32s = (weights / weights.max()).astype(np.float32)
    return scaled_weights


def _values(weights: Float32s, column: int) -> tuple[float, ...]:
    """What to try for one weight: multiples of it, or, where it is 0, shares of the largest."""
    base = float(weights[column]) or 0.5 * float(weights.max())
    return tuple(base * factor for factor in FACTORS)


def ndcg(query_num: Array, score: Float32s, label: Bools, relevant: Array) -> float:
    """Mean of :func:`ndcg_of`."""
    values = ndcg_of(query_num, score, label, relevant)
    return float(values.mean()) if len(values) else 0.0


def ndcg_of(query_num: Array, score: Float32s, label: Bools, relevant: Array) -> Float64s:
    """float64[m]: NDCG@20 of each query that has something relevant, in their order.

    Args:
        query_num: int[n], rising.
        score: float32[n].
        label: bool[n].
        relevant: int[q], how many relevant items there are in all.
    """
    rank = rank_within(query_num, score, len(relevant))
    hit = label & (rank <= DEPTH)
    gain = np.bincount(query_num[hit], 1 / np.log2(rank[hit] + 1), minlength=len(relevant))
    ideal = np.cumsum(1 / np.log2(np.arange(2, DEPTH + 2)))
    counted = relevant > 0
    values: Float64s = gain[counted] / ideal[np.minimum(relevant[counted], DEPTH) - 1]
    return values
