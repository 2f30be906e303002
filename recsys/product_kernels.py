"""Inner products of pairs, summed in an order that lets a processor multiply sixteen numbers at once."""

from __future__ import annotations

import numpy as np

from recsys.kernel import kernel
from recsys.types import Float32s, Int32s

AHEAD = 16
"""Rows that are read ahead."""
L = np.uint64(16)
"""Sums that are added to at once, and floats in a line of the processor's cache."""


@kernel
def products(query: Int32s, item: Int32s, vectors: Float32s, factors: Float32s, score: Float32s) -> np.float32:
    """The inner product of a query's vector and an item's factors, for each pair, in one loop: a call costs as much.

    Args:
        query: int32[n].
        item: int32[n].
        vectors: float32[q, d].
        factors: float32[n_items, d].
        score: float32[n], which is written.

    The value means nothing: it is there so that the reads that it sums up are not left out. They bring several rows,
    which lie anywhere in memory, to the processor at once, where a product alone would wait for each.
    """
    warm, sums = np.float32(0), np.empty((AHEAD, 16), dtype=np.float32)
    width = np.uint64(factors.shape[1])
    whole = width - width % (np.uint64(4) * L)
    for first in range(0, len(query), AHEAD):
        end = min(first + AHEAD, len(query))
        for pair in range(first, end):
            for line in range(np.uint64(0), width, L):
                warm += factors[item[pair], line]
        for pair in range(first, end):
            one, other, own = vectors[query[pair]], factors[item[pair]], sums[pair - first]
            for lane in range(L):
                own[lane] = 0
            for start in range(np.uint64(0), whole, np.uint64(4) * L):
                for lane in range(L):
                    a = start + lane
                    b, c, d = a + L, a + L + L, a + L + L + L
                    own[lane] += (one[a] * other[a] + one[b] * other[b]) + (one[c] * other[c] + one[d] * other[d])
            for lane in range(np.uint64(8)):
                own[lane] += own[lane + np.uint64(8)]
            total = ((own[0] + own[4]) + (own[2] + own[6])) + ((own[1] + own[5]) + (own[3] + own[7]))
            for at in range(whole, width):
                total += one[at] * other[at]
            score[pair] = total
    return warm
