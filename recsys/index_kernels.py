"""A compiled search for the largest inner products: through blocks of items in 8-bit codes.

Long items come first, by falling length. An inner product is at most the product of the two lengths (Cauchy and
Schwarz): once that is less than what a query has found, no later item is among its best. Shorter items may lie in
clusters. Of a cluster's items the inner products are about that of its centre, the more so the nearer they are to it: a
query looks only at those clusters that may well have what it wants.

Codes say which items are worth an exact inner product. Scores of codes are in units of the query's: only their order
counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recsys.code_kernels import BLOCK, LARGEST_ASKED, OFFSET, Blocks, pack, sums
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
def _wider(values: Array) -> Array:
    """A table of the same rows with twice as many columns."""
    wider = np.empty((len(values), 2 * values.shape[1]), dtype=values.dtype)
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


_May = tuple[bool, Bools, Int32s]
_Found = tuple[Int32s, Float32s]
"""What queries have found: int32[q, ...] and float32[q, ...], with room for more."""


class _Noted(NamedTuple):
    """What is noted down of q queries.

    Attributes:
        asked: int8[q, w], their codes, and
        start: int32[q], less what OFFSET adds to a sum.
        length: float32[q].
        seen: int64[q], how many items were looked at, and
        used: int64[q], how many were found.
        counts: int32[q, BINS], of these by magnitude.
        last: int64[q], the last bin that is needed to have some more than are wanted, and
        reached: int64[q], how many there are up to it.
        bar: float32[q], what is below it is not kept: the lower edge of that bin.
        near: float32[q], below it there is no more to be found: that of the bin of the last that is wanted.
        product: int32[BLOCK], of the block and the query that are looked at.
    """

    asked: Int8s
    start: Int32s
    length: Float32s
    seen: Int64s
    used: Int64s
    counts: Int32s
    last: Int64s
    reached: Int64s
    bar: Float32s
    near: Float32s
    product: Int32s


@kernel
def _noted(vectors: Float32s, columns: int) -> _Noted:
    """Of queries for which nothing was looked at."""
    rows = len(vectors)
    return _Noted(
        *_asked(vectors, columns),
        np.zeros(rows, dtype=np.int64),
        np.zeros(rows, dtype=np.int64),
        np.zeros((rows, BINS), dtype=np.int32),
        np.full(rows, BINS - 1),
        np.zeros(rows, dtype=np.int64),
        np.full(rows, UNKNOWN),
        np.full(rows, UNKNOWN),
        np.empty(BLOCK, dtype=np.int32),
    )


@inner_kernel
def _look_at(blocks: Blocks, block: int, live: Int64s, k: int, may: _May, noted: _Noted, found: _Found) -> None:
    """Look at a block for some queries (int64[l]); what they find stands in tables with room for it.

    Args:
        blocks: of the items.
        block: its number.
        live: int64[l].
        k: items that are wanted.
        may: excluded, allowed and slots, as for :func:`_chosen`.
        noted: of all queries.
        found: the tables.
    """
    (excluded, allowed, slots), (item, score), columns = may, found, noted.asked.shape[1]
    begin, longest = block * BLOCK, blocks.slack[0]
    for place in range(len(live)):
        row = np.uint64(live[place])
        used = end = np.uint64(noted.used[row])
        sums(blocks.codes, begin * columns, noted.asked, row * columns, columns, noted.start[row], noted.product)
        behind = row * item.shape[1] + used
        noted.seen[row] += BLOCK
        count = np.uint64(pack(noted.product, blocks.unit, blocks.items, begin, noted.bar[row], item, score, behind))
        top = int(np.float32(noted.length[row] * longest).view(np.int32))
        for at in range(used, used + count):
            own, value = item[row, at], np.float32(score[row, at])
            item[row, end], score[row, end] = own, value
            magnitude = min(max((top - int(value.view(np.int32))) >> DROPPED, 0), BINS - 1)
            taken = own >= 0 and not (excluded and slots[own] >> row & 1) and (len(allowed) == 0 or allowed[own])
            noted.counts[row, np.uint64(magnitude)] += np.int32(taken)
            end += np.uint64(taken)
        if end > used:
            reached = noted.reached[row] + np.int64(end - used)
            edge, reached = _raised(noted.counts, row, noted.last[row], reached, k + k // SPARE)
            noted.used[row], noted.last[row], noted.reached[row] = end, edge, reached
            noted.bar[row] = _lower_edge(top, edge)
            noted.near[row] = _lower_edge(top, _raised(noted.counts, row, edge, reached, k)[0])


@inner_kernel
def _most(used: Int64s, live: Int64s) -> int:
    """The most that one of some queries has found."""
    most = 0
    for row in live:
        most = max(most, used[row])
    return most


@inner_kernel
def _look_through(
    blocks: Blocks, block: int, live: Int64s, k: int, may: _May, noted: _Noted, found: _Found
) -> tuple[int, int]:
    """Look at the blocks without a centre from one on, for all queries together.

    The arguments are those of :func:`_look_at`.

    Returns:
        Where it stopped: behind the last block, where no query may find more in what follows, or where a table has no
        room; and how many of the queries, the first ones then, may find more.
    """
    n_live, plain = len(live), len(blocks.codes) - len(blocks.centre_unit)
    while block < plain:
        n_live = _still(live, n_live, noted.length, blocks.slack[block], noted.near)
        if n_live == 0 or _most(noted.used, live[:n_live]) + BLOCK > found[0].shape[1]:
            break
        _look_at(blocks, block, live[:n_live], k, may, noted, found)
        block += 1
    return block, n_live


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
    ``excluded`` tells whether there is such a bit.
    """
    rows, columns = len(vectors), blocks.codes.shape[1] * blocks.codes.shape[3]
    plain, noted = len(blocks.codes) - len(blocks.centre_unit), _noted(vectors, columns)
    may, live = (excluded, allowed, slots), np.flatnonzero(noted.length)
    found = np.empty((rows, ROOM), dtype=np.int32), np.empty((rows, ROOM), dtype=np.float32)
    block, n_live = _look_through(blocks, 0, live, k, may, noted, found)
    while block < plain and n_live > 0:
        found = _wider(found[0]), _wider(found[1])
        block, n_live = _look_through(blocks, block, live[:n_live], k, may, noted, found)
    if n_live == 0 or plain == len(blocks.codes):
        return _worth_it(noted.used, *found, noted.bar), noted.seen.sum()
    promised, at = _promised(blocks, (noted.asked, noted.start, noted.length), live[:n_live], noted.near), 0
    while at < n_live:
        at, cluster = _next(promised, noted.near, live, at, n_live)
        one = live[at : min(at + 1, n_live)]
        if _most(noted.used, one) + BLOCK > found[0].shape[1]:
            found = _wider(found[0]), _wider(found[1])
        _look_at(blocks, plain + cluster, one, k, may, noted, found)
    return _worth_it(noted.used, *found, noted.bar), noted.seen.sum() + n_live * len(blocks.centres) * BLOCK


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
