"""The best allowed items of each query, out of what a search finds whether excluded or not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recsys.queries import QueryBatch
from recsys.types import Float32s, Int32s, Int64s

MANY_EXCLUDED = 200
"""Queries with more exclusions are searched for apart, so that the others need not fetch as much on top."""
Fetch = Callable[[QueryBatch, int], tuple[Int32s, Float32s]]
"""Some queries and a number m, to the best m items of each, whether excluded or not: int32[q, m] and float32[q, m]."""


def fetched(batch: QueryBatch, k: int, fetch: Fetch) -> tuple[Int32s, Float32s]:
    """The first k allowed items of each query, of as many as its exclusions may cost: int32[q, k] and float32[q, k]."""
    many = batch.n_excluded > MANY_EXCLUDED
    if many.all() or not many.any():
        return first_allowed(batch, *fetch(batch, k + batch.most_excluded()), k)
    item_num = np.full((len(batch), k), -1, dtype=np.int32)
    score = np.zeros((len(batch), k), dtype=np.float32)
    for part in (np.flatnonzero(~many), np.flatnonzero(many)):
        own = batch.rows(part)
        items, found = first_allowed(own, *fetch(own, k + own.most_excluded()), k)
        item_num[part, : items.shape[1]], score[part, : items.shape[1]] = items, found
    return item_num, score


def first_allowed(batch: QueryBatch, item_num: Int32s, score: Float32s, k: int) -> tuple[Int32s, Float32s]:
    """The first k allowed items of each row (int32[q, m], best first), padded with -1 and score 0."""
    if item_num.shape[1] == 0:
        return np.full((len(batch), k), -1, dtype=np.int32), np.zeros((len(batch), k), dtype=np.float32)
    query = np.repeat(np.arange(len(batch)), item_num.shape[1]).reshape(item_num.shape)
    kept = item_num >= 0
    if len(batch.excluded):
        kept &= batch.allowed(query.ravel(), item_num.ravel()).reshape(item_num.shape)
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    masked = np.where(kept, item_num, np.int32(-1)), np.where(kept, score, np.float32(0))
    return np.take_along_axis(masked[0], order, axis=1), np.take_along_axis(masked[1], order, axis=1)


def top(score: Float32s, k: int) -> Int64s:
    """Positions of the k largest scores, best first; ties by position."""
    if len(score) > k:
        # Ties at the cut go to the smaller position, so that answers do not depend on the partition.
        threshold = np.partition(score, len(score) - k)[len(score) - k]
        above = np.flatnonzero(score > threshold)
        ties = np.flatnonzero(score == threshold)[: k - len(above)]
        kept = np.sort(np.concatenate([above, ties]))
    else:
        kept = np.arange(len(score))
    return kept[np.argsort(-score[kept], kind="stable")]
