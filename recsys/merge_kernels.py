"""Compiled loops over the proposals of S sources, side by side: int32[q, K], of which source s has its own columns."""

from __future__ import annotations

import numpy as np

from recsys.kernel import brief_kernel, inner_kernel, kernel
from recsys.order_kernels import are_leading
from recsys.types import Bools, Float32s, Int32s, Int64s

DIGIT = 9
"""Bits: two passes for 262,144 items."""


@inner_kernel
def _digit(item: int, shift: np.uint64) -> np.uint64:
    """DIGIT bits of an item."""
    return np.uint64(item) >> shift & np.uint64((1 << DIGIT) - 1)


@kernel
def sort(items: Int32s, spare: Int32s, n_items: int) -> None:
    """Sort some items (int32[m], each of 0 to n_items - 1) in place, DIGIT bits at a time; spare is int32[m]."""
    counts, size = np.empty(1 << DIGIT, dtype=np.int32), np.uint64(len(items))
    shift = np.uint64(0)
    while np.uint64(n_items - 1) >> shift:
        for digit in range(np.uint64(len(counts))):
            counts[digit] = 0
        for at in range(size):
            counts[_digit(items[at], shift)] += np.int32(1)
        before = np.int32(0)
        for digit in range(np.uint64(len(counts))):
            before, counts[digit] = before + counts[digit], before
        for at in range(size):
            item = items[at]
            own = _digit(item, shift)
            spare[np.uint64(counts[own])] = item
            counts[own] += np.int32(1)
        for at in range(size):
            items[at] = spare[at]
        shift += np.uint64(DIGIT)


Merged = tuple[Int32s, Int32s, Float32s, Float32s, Float32s]
"""Pairs of query int32[n] and item int32[n], zeros for their scores float32[n, S], their ranks float32[n, S], and the
scales float32[q, S]."""


@kernel
def told(
    query: Int32s,
    item: Int32s,
    proposed: Int32s,
    score: Float32s,
    starts: Int64s,
    depth: int,
    share: float,
    slots: Int32s,
) -> Merged:
    """What proposals say of some pairs, as :func:`ranks_of` and :func:`scales_of` tell."""
    rank = ranks_of(query, item, proposed, starts, slots)
    return query, item, np.zeros_like(rank), rank, scales_of(proposed, score, starts, depth, share)


@kernel
def ranks_of(query: Int32s, item: Int32s, proposed: Int32s, starts: Int64s, slots: Int32s) -> Float32s:
    """float32[n, S]: the 1-based place of each pair in each source's proposal; NaN where it is not there.

    Args:
        query: int32[n], rising.
        item: int32[n], each once for a query.
        proposed: int32[q, K], -1 for none.
        starts: int64[S + 1], the columns of source s are ``starts[s]:starts[s + 1]``.
        slots: int32[n_items], all 0, and left so.
    """
    rank = np.full((len(query), len(starts) - 1), np.nan, dtype=np.float32)
    stop = 0
    for row in range(len(proposed)):
        start = stop
        while stop < len(query) and query[stop] == row:
            stop += 1
            slots[item[stop - 1]] = stop - start
        for source in range(len(starts) - 1):
            for column in range(starts[source], starts[source + 1]):
                one = proposed[row, column]
                if one >= 0 and slots[one]:
                    rank[start + slots[one] - 1, source] = column - starts[source] + 1
        for place in range(start, stop):
            slots[item[place]] = 0
    return rank


@kernel
def scales_of(proposed: Int32s, score: Float32s, starts: Int64s, depth: int, share: float) -> Float32s:
    """float32[q, S]: each source's score at a depth, or its last one; 1 where that is nothing next to its best.

    Args:
        proposed: int32[q, K], best first, -1 after the last.
        score: float32[q, K].
        starts: as for :func:`ranks_of`.
        depth: 1-based.
        share: of the best score, below which a score is nothing.
    """
    scale = np.empty((len(proposed), len(starts) - 1), dtype=np.float32)
    for row in range(len(proposed)):
        for source in range(len(starts) - 1):
            own = slice(starts[source], starts[source + 1])
            scale[row, source] = scale_of(proposed[row, own], score[row, own], depth, share)
    return scale


@kernel
def scale_of(proposed: Int32s, score: Float32s, depth: int, share: float) -> float:
    """As :func:`scales_of`, of what one source proposes for one query: int32[k] and float32[k]."""
    last = 0
    while last < min(len(proposed), depth) and proposed[last] >= 0:
        last += 1
    if last > 0 and score[last - 1] > 0 and score[last - 1] >= share * score[0]:
        return float(score[last - 1])
    return 1.0


@brief_kernel
def blended(query: Int32s, score: Float32s, scale: Float32s, weights: Float32s, mode: Int64s) -> Float32s:
    """float32[n]: the weighted sum of the scaled scores of each pair.

    Args:
        query: int32[n].
        score: float32[n, S].
        scale: float32[q, S].
        weights: float32[modes, S].
        mode: int64[q].
    """
    summed = np.empty(len(query), dtype=np.float32)
    for pair in range(len(query)):
        row, total = query[pair], np.float32(0)
        for source in range(score.shape[1]):
            total += score[pair, source] / scale[row, source] * weights[mode[row], source]
        summed[pair] = total
    return summed


@kernel
def best(query: Int32s, blend: Float32s, rank: Float32s, limit: int, reserved: Bools) -> Int64s:
    """int64[m], rising: the places of the ``limit`` best of each query, and of all that some sources proposed.

    Args:
        query: int32[n]; what is of one query stands together.
        blend: float32[n], stage 1's scores.
        rank: float32[n, S].
        limit: of a query, 1 or more.
        reserved: bool[S], these sources.
    """
    kept = are_leading(query, blend, limit)
    for source in range(len(reserved)):
        if reserved[source]:
            for pair in range(len(query)):
                kept[pair] |= not np.isnan(rank[pair, source])
    places, found = np.empty(len(query), dtype=np.int64), 0
    for pair in range(len(query)):
        places[found] = pair
        found += kept[pair]
    return places[:found].copy()


Pairs = tuple[Int32s, Int32s, Float32s, Float32s]
"""Pairs of query int32[n] and item int32[n], with their scores float32[n, S] and ranks float32[n, S]."""


@brief_kernel
def taken(places: Int64s, query: Int32s, item: Int32s, score: Float32s, rank: Float32s) -> Pairs:
    """Some rows of the columns int32[n] and int32[n], and of the tables float32[n, S] and float32[n, S]."""
    count, width = len(places), score.shape[1]
    queries, items = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int32)
    scores, ranks = np.empty((count, width), dtype=np.float32), np.empty((count, width), dtype=np.float32)
    for row in range(count):
        place = places[row]
        queries[row], items[row] = query[place], item[place]
        for column in range(width):
            scores[row, column], ranks[row, column] = score[place, column], rank[place, column]
    return queries, items, scores, ranks


@kernel
def leading(
    query: Int32s,
    item: Int32s,
    score: Float32s,
    rank: Float32s,
    scale: Float32s,
    weights: Float32s,
    mode: Int64s,
    limit: int,
    reserved: Bools,
) -> tuple[Pairs, Float32s]:
    """The pairs that :func:`best` keeps by what is :func:`blended`, and that of each: float32[m]."""
    blend = blended(query, score, scale, weights, mode)
    places = best(query, blend, rank, limit, reserved)
    return taken(places, query, item, score, rank), blend[places]
