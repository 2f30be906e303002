"""A compiled search for the largest inner products: through blocks of items by falling length, in 8-bit codes.

An inner product is at most the product of the two lengths (Cauchy and Schwarz): once that is less than what a query has
found, no later item is among its best. Codes say which items are worth an exact inner product. They stand column by
column, so that many items are multiplied at once, and their inner products fit into 16 bits.
"""

from __future__ import annotations

import numpy as np

from recsys.kernel import kernel
from recsys.order_kernels import best_allowed
from recsys.product_kernels import products
from recsys.row_kernels import grown
from recsys.types import Bools, Float32s, Int8s, Int16s, Int32s, Int64s

BLOCK = 256
"""Items of a block."""
COLUMNS = 8
"""Columns that are multiplied at once."""
TOGETHER = 16
"""Queries that go through the blocks together; fewer than a slot has bits."""
SPARE = 4
"""One for so many that are asked for is looked at beyond them, as codes err."""
BINS, DROPPED = 512, 18
"""Scores are counted by magnitude: by their bits less the last ones, which makes bins of some 2 %."""
UNKNOWN = np.float32(-np.inf)
LEAST = np.float32(1e-38)


@kernel
def longest_code(columns: int) -> float:
    """The length that codes have at most: products of two fit into 16 bits, also when each number is rounded up."""
    return 181 - float(np.sqrt(columns)) / 2


@kernel
def _asked(vectors: Float32s, columns: int) -> tuple[Int16s, Float32s, Float32s]:
    """The codes of queries, int16[q, columns], what 1 in them stands for, float32[q], and the lengths float32[q]."""
    codes = np.zeros((len(vectors), columns), dtype=np.int16)
    unit, length = np.zeros(len(vectors), dtype=np.float32), np.zeros(len(vectors), dtype=np.float32)
    for row in range(len(vectors)):
        square = np.float32(0)
        for column in range(vectors.shape[1]):
            square += vectors[row, column] * vectors[row, column]
        if square > 0:
            length[row] = np.sqrt(square)
            unit[row] = length[row] / np.float32(longest_code(columns))
            for column in range(vectors.shape[1]):
                codes[row, column] = np.int16(np.rint(vectors[row, column] / unit[row]))
    return codes, unit, length


@kernel
def _multiply(codes: Int8s, asked: Int16s, product: Int16s) -> None:
    """The inner products, int16[BLOCK], of the codes of a block, int8[w, BLOCK], and of a query, int16[w]."""
    for place in range(BLOCK):
        product[place] = 0
    for at in range(0, len(asked), COLUMNS):
        a, b, c, d = asked[at], asked[at + 1], asked[at + 2], asked[at + 3]
        e, f, g, h = asked[at + 4], asked[at + 5], asked[at + 6], asked[at + 7]
        of_a, of_b, of_c, of_d = codes[at], codes[at + 1], codes[at + 2], codes[at + 3]
        of_e, of_f, of_g, of_h = codes[at + 4], codes[at + 5], codes[at + 6], codes[at + 7]
        for place in range(np.uint64(BLOCK)):
            first = np.int16(np.int16(of_a[place]) * a) + np.int16(np.int16(of_b[place]) * b)
            second = np.int16(np.int16(of_c[place]) * c) + np.int16(np.int16(of_d[place]) * d)
            third = np.int16(np.int16(of_e[place]) * e) + np.int16(np.int16(of_f[place]) * f)
            fourth = np.int16(np.int16(of_g[place]) * g) + np.int16(np.int16(of_h[place]) * h)
            product[place] = np.int16(product[place] + np.int16(np.int16(first + second) + np.int16(third + fourth)))


@kernel
def _passing(product: Int16s, least: float, passed: Int32s) -> int:
    """Write down the places of the products that reach a number; returns how many. No branch: it would be guessed."""
    bar = np.int16(min(max(np.ceil(least), -32768.0), 32767.0))
    count = np.uint64(0)
    for place in range(np.uint64(len(product))):
        passed[count] = place
        count += np.uint64(product[place] >= bar)
    return int(count)


@kernel
def _raised(bins: Int32s, last: int, reached: int, wanted: int) -> tuple[int, int]:
    """The last bin that is needed to have so many, and how many there are up to it; fewer than before, or the same."""
    while last > 0 and reached - bins[last] >= wanted:
        reached -= bins[last]
        last -= 1
    return last, reached


@kernel
def _lower_edge(top: int, magnitude: int) -> np.float32:
    """The least score of a bin, where the bits ``top`` are those of the largest."""
    if magnitude == BINS - 1:
        return UNKNOWN
    return np.int32(max(top - ((magnitude + 1) << DROPPED), 0)).view(np.float32)


@kernel
def _by_query(who: Int32s, item: Int32s, score: Float32s, bar: Float32s) -> tuple[Int64s, Int32s, Int32s]:
    """Of what was found that which reaches its query's bar: indptr int64[q + 1], queries int32[m], items int32[m]."""
    indptr = np.zeros(len(bar) + 1, dtype=np.int64)
    for at in range(len(who)):
        indptr[who[at] + 1] += score[at] >= bar[who[at]]
    for row in range(len(bar)):
        indptr[row + 1] += indptr[row]
    end, size = indptr[:-1].copy(), indptr[-1]
    query, kept = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
    for at in range(len(who)):
        row = who[at]
        if score[at] >= bar[row]:
            query[end[row]], kept[end[row]] = row, item[at]
            end[row] += 1
    return indptr, query, kept


@kernel
def _chosen(
    codes: Int8s,
    items: Int32s,
    unit: Float32s,
    length: Float32s,
    vectors: Float32s,
    k: int,
    allowed: Bools,
    slots: Int32s,
) -> tuple[tuple[Int64s, Int32s, Int32s], int]:
    """The items whose exact products are worth having, as :func:`_by_query` gives them, and the items looked at.

    The arguments are those of :func:`best`, but bit ``row`` of an item's slot is 1 where the query may not have it.
    Each query has two bars: below the k-th best so far there is no more to be found, and what is below the one of some
    more is not kept.
    """
    rows = len(vectors)
    asked, own_unit, own_length = _asked(vectors, codes.shape[1])
    counts, last = np.zeros((rows, BINS), dtype=np.int32), np.full((rows, 2), BINS - 1)
    reached, bar = np.zeros((rows, 2), dtype=np.int64), np.full((rows, 2), UNKNOWN)
    product, passed = np.empty(BLOCK, dtype=np.int16), np.empty(BLOCK + 1, dtype=np.int32)
    who, item, score = np.empty(4096, dtype=np.int32), np.empty(4096, dtype=np.int32), np.empty(4096, dtype=np.float32)
    live, used, looked_at = np.flatnonzero(own_length), 0, 0
    n_live = len(live)
    for block in range(len(codes)):
        left = 0
        for at in range(n_live):
            live[left] = live[at]
            left += own_length[live[at]] * length[block] >= bar[live[at], 0]
        n_live = left
        if n_live == 0:
            break
        looked_at += n_live * BLOCK
        if used + n_live * BLOCK > len(who):
            size = 2 * (used + n_live * BLOCK)
            who, item, score = grown(who, size), grown(item, size), grown(score, size)
        for row in live[:n_live]:
            _multiply(codes[block], asked[row], product)
            worth = max(unit[block] * own_unit[row], LEAST)
            top = int(np.float32(own_length[row] * length[0]).view(np.int32))
            inner, before, nearest = 0, used, last[row, 0]
            for hit in range(_passing(product, bar[row, 1] / worth, passed)):
                place = passed[hit]
                other, value = items[block, place], np.float32(product[place] * worth)
                if other < 0 or slots[other] >> row & 1 or (len(allowed) > 0 and not allowed[other]):
                    continue
                who[used], item[used], score[used] = row, other, value
                used += 1
                magnitude = min(max((top - int(value.view(np.int32))) >> DROPPED, 0), BINS - 1)
                counts[row, magnitude] += 1
                inner += magnitude <= nearest
            reached[row, 0] += inner
            reached[row, 1] += used - before
            for which in range(2):
                wanted = k + which * (k // SPARE)
                edge, count = _raised(counts[row], last[row, which], reached[row, which], wanted)
                last[row, which], reached[row, which], bar[row, which] = edge, count, _lower_edge(top, edge)
    return _by_query(who[:used], item[:used], score[:used], bar[:, 1].copy()), looked_at


@kernel
def best(
    codes: Int8s,
    items: Int32s,
    unit: Float32s,
    length: Float32s,
    factors: Float32s,
    vectors: Float32s,
    k: int,
    excluded: Int64s,
    allowed: Bools,
    slots: Int32s,
) -> tuple[Int32s, Float32s, int]:
    """The k items of largest inner product that each query may have, best first; of equal ones the smaller item first.

    Args:
        codes: int8[b, w, BLOCK]; this and the next three as in :class:`recsys.item_blocks.ItemBlocks`.
        items: int32[b, BLOCK].
        unit: float32[b].
        length: float32[b], falling: times that of a query it is the most that an item of the block can have.
        factors: float32[n, d], of the items.
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
        (indptr, query, item), count = _chosen(codes, items, unit, length, own, k, allowed, slots)
        for at in range(start, stop):
            slots[excluded[at] % n_items] = 0
        score = np.empty(len(item), dtype=np.float32)
        products(query, item, own, factors, score)
        nobody = excluded[:0]
        part, part_score = best_allowed(indptr, item, score, k, float(UNKNOWN), 0, nobody, allowed[:0], slots)
        found[first:end], found_score[first:end] = part, part_score
        looked_at += count
    return found, found_score, looked_at
