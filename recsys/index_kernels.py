"""A compiled search for the largest inner products: through blocks of items in 8-bit codes.

Long items come first, by falling length. An inner product is at most the product of the two lengths (Cauchy and
Schwarz): once that is less than what a query has found, no later item is among its best. Shorter items may lie in
clusters. Of a cluster's items the inner products are about that of its centre, the more so the nearer they are to it: a
query looks only at those clusters that may well have what it wants.

Codes say which items are worth an exact inner product. Scores of codes are in units of the query's: only their order
counts.
"""

from __future__ import annotations

import numpy as np

from recsys.code_kernels import BLOCK, LARGEST_ASKED, OFFSET, WORD, Blocks, lowest, reaching, sums
from recsys.kernel import inner_kernel, kernel
from recsys.order_kernels import MANY, best_allowed, put_in_order
from recsys.product_kernels import products
from recsys.types import Array, Bools, Float32s, Int8s, Int32s, Int64s, UInt16s

LARGEST = 127
"""Codes of items go from its negative to it."""
TOGETHER = 16
"""Queries that go through the blocks together; fewer than a slot has bits."""
SPARE = 8
"""One for so many that are asked for is looked at beyond them, as codes err."""
ROOM = 1024
"""Items of a query that there is room for at first."""
BINS, DROPPED = 512, 18
"""Scores are counted by magnitude: by their bits less the last ones, which makes bins of some 2 %."""
UNKNOWN = np.float32(-np.inf)
WHOLE = np.float32(1.5 * 2**23)


@kernel
def _asked(vectors: Float32s, columns: int) -> tuple[Int8s, Int32s, Float32s]:
    """The codes of queries, int8[q, columns], less what OFFSET adds to a sum, int32[q], and lengths, float32[q]."""
    codes = np.zeros((len(vectors), columns), dtype=np.int8)
    start, length = np.zeros(len(vectors), dtype=np.int32), np.zeros(len(vectors), dtype=np.float32)
    width, shares = np.uint64(vectors.shape[1]), np.empty(vectors.shape[1], dtype=np.float32)
    for row in range(len(vectors)):
        largest, square, total = np.float32(0), np.float32(0), np.int32(0)
        for column in range(width):
            largest = max(largest, abs(vectors[row, column]))
        for column in range(width):
            shares[column] = vectors[row, column] / largest if largest > 0 else largest
        for column in range(width):
            square += shares[column] * shares[column]
        if not square > 0:
            continue
        length[row] = np.float32(LARGEST_ASKED) * np.sqrt(square)
        for column in range(width):  # the nearest whole number, as no float32 between 2**23 and 2**24 has a fraction
            nearest = (shares[column] * np.float32(LARGEST_ASKED) + WHOLE) - WHOLE
            codes[row, column] = np.int32(nearest)
            total += np.int32(nearest)
        start[row] = -OFFSET * total
    return codes, start, length


@inner_kernel
def _raised(bins: Int32s, row: np.uint64, last: int, reached: int, wanted: int) -> tuple[int, int]:
    """The last bin of a row that is needed to have so many, and how many there are up to it: no more than before."""
    while last > 0 and reached - bins[row, np.uint64(last)] >= wanted:
        reached -= bins[row, np.uint64(last)]
        last -= 1
    return last, reached


@inner_kernel
def _lower_edge(top: int, magnitude: int) -> np.float32:
    """The least score of a bin, where the bits ``top`` are those of the largest."""
    if magnitude == BINS - 1:
        return UNKNOWN
    return np.int32(max(top - ((magnitude + 1) << DROPPED), 0)).view(np.float32)


@kernel
def _wider(values: Array, width: int) -> Array:
    """A table of the same rows with more columns."""
    wider = np.empty((len(values), width), dtype=values.dtype)
    for row in range(len(values)):
        for column in range(values.shape[1]):
            wider[row, column] = values[row, column]
    return wider


@kernel
def _worth_it(used: Int64s, item: Int32s, score: Float32s, bar: Float32s) -> tuple[Int64s, Int32s, Int32s]:
    """Of what was found that which reaches its query's bar: indptr int64[q + 1], queries int32[m], items int32[m]."""
    indptr = np.zeros(len(bar) + 1, dtype=np.int64)
    query, kept = np.empty(used.sum() + 1, dtype=np.int32), np.empty(used.sum() + 1, dtype=np.int32)
    count = 0
    for row in range(len(bar)):
        for at in range(used[row]):
            query[count], kept[count] = row, item[row, at]
            count += score[row, at] >= bar[row]
        indptr[row + 1] = count
    return indptr, query[:count], kept[:count]


@kernel
def _promised(
    blocks: Blocks, asked: tuple[Int8s, Int32s, Float32s], live: Int64s, near: Float32s
) -> tuple[Int64s, Int32s, Float32s]:
    """The clusters of which an item may be among the best of some queries: int64[q], how many; int32[q, c], which.

    And float32[q, c], the largest inner product that an item of them is taken to have with the query, in its units.
    """
    (codes, start, length), (unit, n_blocks) = asked, (blocks.centre_unit, len(blocks.slack))
    rows, columns, slack = len(codes), codes.shape[1], blocks.slack[n_blocks - len(unit) :]
    count, product = np.zeros(rows, dtype=np.int64), np.empty(BLOCK, dtype=np.int32)
    cluster, promise = np.empty((rows, len(unit) + 1), np.int32), np.empty((rows, len(unit) + 1), np.float32)
    for first in range(0, len(unit), BLOCK):
        for row in live:
            sums(blocks.centres, first * columns, codes, row * columns, columns, start[row], product)
            own_cluster, own_promise, found = cluster[row], promise[row], np.uint64(count[row])
            for at in range(np.uint64(min(BLOCK, len(unit) - first))):
                number = np.uint64(first) + at
                most = np.float32(product[at]) * unit[number] + length[row] * slack[number]
                own_cluster[found], own_promise[found] = number, most
                found += np.uint64(most >= near[row])
            count[row] = found
    return count, cluster, promise


@inner_kernel
def _still(live: Int64s, count: int, own_length: Float32s, slack: np.float32, near: Float32s) -> int:
    """Of so many queries keep those that may find something in a block of items without a centre, or in a later one."""
    left = 0
    for at in range(count):
        row = live[left] = live[at]
        left += own_length[row] * slack >= near[row]
    return left


@inner_kernel
def _next(
    promised: tuple[Int64s, Int32s, Float32s], near: Float32s, live: Int64s, at: int, n_live: int
) -> tuple[int, int]:
    """Of so many queries from one on the first that a cluster promises enough, and the cluster that promises it most.

    It is taken from those of the query. The number of queries where there is none.
    """
    counts, clusters, promises = promised
    while at < n_live:
        row = live[at]
        own, place, most = promises[row], -1, near[row]
        for other in range(counts[row]):
            if own[other] >= most:
                place, most = other, own[other]
        if place >= 0:
            cluster, last = clusters[row, place], counts[row] - 1
            clusters[row, place], own[place], counts[row] = clusters[row, last], own[last], last
            return at, cluster
        counts[row] = 0
        at += 1
    return at, 0


@kernel
def _chosen(
    blocks: Blocks,
    vectors: Float32s,
    k: int,
    excluded: bool,
    allowed: Bools,
    slots: Int32s,
) -> tuple[tuple[Int64s, Int32s, Int32s], int]:
    """The items whose exact products are worth having, as :func:`_worth_it` gives them, and the items looked at.

    The arguments are those of :func:`best`, but bit ``row`` of an item's slot is 1 where the query may not have it, and
    ``excluded`` tells whether there is such a bit. Each query has two bars: below the near one, of the k-th best so
    far, there is no more to be found, and what is below the one of some more is not kept.
    """
    codes, items, unit = blocks.codes, blocks.items, blocks.unit
    rows, columns, plain = len(vectors), codes.shape[1] * codes.shape[3], len(codes) - len(blocks.centre_unit)
    asked, start, own_length = _asked(vectors, columns)
    counts, last = np.zeros((rows, BINS), dtype=np.int32), np.full(rows, BINS - 1)
    reached, bar, near = np.zeros(rows, dtype=np.int64), np.full(rows, UNKNOWN), np.full(rows, UNKNOWN)
    product, used = np.empty(BLOCK, dtype=np.int32), np.zeros(rows, dtype=np.int64)
    item, score = np.empty((rows, ROOM), dtype=np.int32), np.empty((rows, ROOM), dtype=np.float32)
    live, looked_at = np.flatnonzero(own_length), 0
    n_live, turn, at, longest = len(live), 0, 0, blocks.slack[0]
    promised = np.zeros(0, dtype=np.int64), np.empty((0, 0), dtype=np.int32), np.empty((0, 0), dtype=np.float32)
    while at < n_live:
        if turn < plain:  # for all queries together
            n_live = _still(live, n_live, own_length, blocks.slack[turn], near)
            block, first, end = turn, 0, n_live
        else:  # query by query
            if turn == plain:
                promised = _promised(blocks, (asked, start, own_length), live[:n_live], near)
                looked_at += n_live * len(blocks.centres) * BLOCK
            at, cluster = _next(promised, near, live, at, n_live)
            block, first, end = plain + cluster, at, min(at + 1, n_live)
        turn += 1
        looked_at += (end - first) * BLOCK
        own = np.uint64(block)
        for place in range(first, end):
            row = np.uint64(live[place])
            found = np.uint64(used[row])
            if found + np.uint64(BLOCK) > np.uint64(item.shape[1]):
                item, score = _wider(item, 2 * item.shape[1]), _wider(score, 2 * item.shape[1])
            sums(codes, block * BLOCK * columns, asked, row * columns, columns, start[row], product)
            top = int(np.float32(own_length[row] * longest).view(np.int32))
            for word in range(0, BLOCK, WORD):
                bits = reaching(product, unit, block * BLOCK, word, bar[row])
                while bits:
                    at_item = np.uint64(word) + lowest(bits)
                    bits &= bits - np.uint64(1)
                    other, value = items[own, at_item], np.float32(np.float32(product[at_item]) * unit[own, at_item])
                    if other < 0 or (excluded and slots[other] >> row & 1) or (len(allowed) > 0 and not allowed[other]):
                        continue
                    item[row, found], score[row, found] = other, value
                    found += np.uint64(1)
                    magnitude = min(max((top - int(value.view(np.int32))) >> DROPPED, 0), BINS - 1)
                    counts[row, np.uint64(magnitude)] += 1
            more = np.int64(found) - used[row]
            if more:
                edge, count = _raised(counts, row, last[row], reached[row] + more, k + k // SPARE)
                used[row], last[row], reached[row], bar[row] = found, edge, count, _lower_edge(top, edge)
                near[row] = _lower_edge(top, _raised(counts, row, edge, count, k)[0])
    return _worth_it(used, item, score, bar), looked_at


@kernel
def best(
    blocks: Blocks,
    factors: Float32s | UInt16s,
    vectors: Float32s,
    k: int,
    excluded: Int64s,
    allowed: Bools,
    slots: Int32s,
) -> tuple[Int32s, Float32s, int]:
    """The k items of largest inner product that each query may have, best first; of equal ones the smaller item first.

    Args:
        blocks: of the items.
        factors: float32[n, d], of the items; or uint16[n, d], the bits of float16.
        vectors: float32[q, d]; nothing is found where one is all 0.
        k: items of each, 1 or more.
        excluded: sorted keys ``query * n_items + item`` of what a query may not have.
        allowed: bool[n_items]; of length 0 where every item is.
        slots: int32[n_items], zeros.

    Returns:
        int32[q, k], -1 after the last, float32[q, k], 0 there, and how many items were looked at for all queries
        together.
    """
    found, found_score = np.full((len(vectors), k), -1, dtype=np.int32), np.zeros((len(vectors), k), dtype=np.float32)
    n_items, looked_at, stop = len(slots), 0, 0
    for first in range(0, len(vectors), TOGETHER):
        end, start = min(first + TOGETHER, len(vectors)), stop
        while stop < len(excluded) and excluded[stop] < end * n_items:
            slots[excluded[stop] % n_items] |= 1 << (excluded[stop] // n_items - first)
            stop += 1
        own = vectors[first:end]
        (indptr, query, item), count = _chosen(blocks, own, k, stop > start, allowed, slots)
        for at in range(start, stop):
            slots[excluded[at] % n_items] = 0
        score = np.empty(len(item), dtype=np.float32)
        products(query, item, own, factors, score)
        if np.diff(indptr).max() > MANY:  # many of one score, perhaps
            part, part_score = best_allowed(indptr, item, score, k, float(UNKNOWN), 0, excluded[:0], allowed[:0], slots)
            found[first:end], found_score[first:end] = part, part_score
        else:
            for row in range(end - first):
                of = slice(indptr[row], indptr[row + 1])
                put_in_order(item[of], score[of], found[first + row], found_score[first + row])
        looked_at += count
    return found, found_score, looked_at
