"""Compiled loops over the candidates of a batch, of which the best become slates."""

from __future__ import annotations

import numpy as np

from recsys import order_kernels
from recsys.kernel import kernel
from recsys.types import Float32s, Int32s, Int64s


@kernel
def best(
    query_num: Int32s, item_num: Int32s, margin: Float32s, sizes: Int64s
) -> tuple[Int64s, Int64s, Int32s, Float32s]:
    """The best candidates of each query, best first; of equal ones the first comes first.

    Args:
        query_num: int32[n], rising.
        item_num: int32[n].
        margin: float32[n].
        sizes: int64[q], candidates of each query; a query gets none at all if it has not as many.

    Returns:
        Starts int64[q + 1] of the queries' parts; positions int64[t] among the candidates, items int32[t] and margins
        float32[t].
    """
    starts = np.zeros(len(sizes) + 1, dtype=np.int64)
    position, end = np.empty(np.sum(sizes), dtype=np.int64), 0
    for query in range(len(sizes)):
        begin = end
        while end < len(query_num) and query_num[end] == query:
            end += 1
        first, size = starts[query], sizes[query] if sizes[query] <= end - begin else 0
        starts[query + 1] = first + size
        if size:
            place = order_kernels.places_of(margin[begin:end])
            for at in range(begin, end):
                if place[at - begin] <= size:
                    position[first + place[at - begin] - 1] = at
    position = position[: starts[-1]]
    return starts, position, item_num[position], margin[position]


@kernel
def proposers(rank: Float32s, position: Int64s) -> Int64s:
    """int64[k]: of the candidates at some positions a bit for each source that proposed it; -1 for position -1.

    Args:
        rank: float32[n, S], NaN where a source did not propose a candidate.
        position: int64[k].
    """
    bits = np.full(len(position), -1, dtype=np.int64)
    for place in range(len(position)):
        if position[place] >= 0:
            bits[place] = 0
            for source in range(rank.shape[1]):
                bits[place] |= np.int64(np.isfinite(rank[position[place], source])) << source
    return bits
