"""Compiled loops from a batch of histories to what a source proposes for each: one call a source.

``excluded``, ``allowed`` and ``slots`` are as for :func:`recsys.order_kernels.best_allowed`.
"""

from __future__ import annotations

import numpy as np

from recsys.history_kernels import decayed
from recsys.kernel import brief_kernel, kernel
from recsys.order_kernels import best_allowed, mark
from recsys.row_kernels import similar_items, visited_items
from recsys.types import Bools, Float32s, Float64s, Int8s, Int32s, Int64s

Proposed = tuple[tuple[Int64s, Int32s, Float32s], Int32s, Float32s]
"""All that a source says, by query: indptr int64[q + 1], items int32[m] and scores float32[m]; then the k best of it:
int32[q, k], -1 after the last, and float32[q, k]."""


@kernel
def similar(
    indptr: Int64s,
    item: Int32s,
    event_type: Int8s,
    time: Int64s,
    now: Int64s,
    weights: Float64s,
    half_life_days: float,
    starts: Int64s,
    neighbours: Int32s,
    alike: Float32s,
    k: int,
    least: float,
    excluded: Int64s,
    allowed: Bools,
    slots: Int32s,
) -> Proposed:
    """Of the items most similar to those of each history, weighted by type and age, the k best.

    The arguments are those of :func:`recsys.history_kernels.decayed`, :func:`recsys.row_kernels.similar_items` and
    :func:`recsys.order_kernels.best_allowed`.
    """
    weight = decayed(indptr, event_type, time, now, weights, half_life_days).astype(np.float32)
    rows = similar_items(indptr, item, weight, starts, neighbours, alike, slots)
    best, score = best_allowed(rows[0], rows[1], rows[2], k, least, 0, excluded, allowed, slots)
    return rows, best, score


@brief_kernel
def visited(
    indptr: Int64s,
    item: Int32s,
    event_type: Int8s,
    time: Int64s,
    session: Int32s,
    now: Int64s,
    types: Bools,
    half_life_days: float,
    k: int,
    least: float,
    excluded: Int64s,
    allowed: Bools,
    slots: Int32s,
) -> Proposed:
    """Of the items of each history's visits, weighted by age, the k best.

    The arguments are those of :func:`recsys.history_kernels.decayed`, :func:`recsys.row_kernels.visited_items` and
    :func:`recsys.order_kernels.best_allowed`; types bool[10] are the event types that count.
    """
    weight = decayed(indptr, event_type, time, now, types.astype(np.float64), half_life_days).astype(np.float32)
    for at in range(len(weight)):
        if not types[event_type[at]]:
            weight[at] = -1
    rows = visited_items(indptr, item, session, weight, slots)
    best, score = best_allowed(rows[0], rows[1], rows[2], k, least, 0, excluded, allowed, slots)
    return rows, best, score


@brief_kernel
def popular(
    items: Int32s, popularity: Float32s, queries: int, k: int, excluded: Int64s, slots: Int32s
) -> tuple[Int32s, Float32s]:
    """For each query the first k items that it may have: int32[q, k], -1 after the last, and float32[q, k], 0 there.

    Args:
        items: int32[m], in their order.
        popularity: float32[n_items].
        queries: how many.
        k: items of each.
        excluded: sorted keys ``query * n_items + item``.
        slots: int32[n_items], zeros.
    """
    best, score = np.full((queries, k), -1, dtype=np.int32), np.zeros((queries, k), dtype=np.float32)
    stop, n_items = 0, len(slots)
    for row in range(queries):
        start, offset, found, place = stop, row * n_items, 0, 0
        while stop < len(excluded) and excluded[stop] < offset + n_items:
            stop += 1
        mark(slots, excluded[start:stop], offset, 1)
        while found < k and place < len(items):
            if slots[items[place]] == 0:
                best[row, found], score[row, found] = items[place], popularity[items[place]]
                found += 1
            place += 1
        mark(slots, excluded[start:stop], offset, 0)
    return best, score
