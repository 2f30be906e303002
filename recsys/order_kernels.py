"""Compiled loops that put scores in order: the best of a row, and the place of each among those of its query.

``slots`` is as for :mod:`recsys.row_kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recsys.kernel import inner_kernel, kernel
from recsys.types import Array, Bools, Float32s, Int32s, Int64s

BLOCK = 64
"""Scores that are compared at once."""
FEW = 16
"""Scores that are inserted one after the other."""
MANY = 512
"""Scores of a query that are sorted, and not all compared with each other."""


@kernel
def key_of(score: float, item: int) -> int:
    """A number that is larger for a larger float32, and of equal ones for the smaller item (below 2**31)."""
    bits = np.int64(np.float32(score).view(np.int32))
    if bits < 0:  # of negative floats the larger has the smaller bits; -0.0 is 0.0
        bits = np.int64(0) if bits == -(2**31) else bits ^ 0x7FFFFFFF
    return (bits << 32) | (0x7FFFFFFF - np.int64(item))  # type: ignore[return-value]


@kernel
def score_of(key: int) -> np.float32:
    """The score of a key."""
    bits = key >> 32
    return np.int32(bits ^ 0x7FFFFFFF if bits < 0 else bits).view(np.float32)


@kernel
def _count(scores: Float32s, bar: np.float32) -> int:
    """How many scores reach the bar; without a branch, so that many are compared at once."""
    count = 0
    for at in range(len(scores)):
        count += scores[at] >= bar
    return count


def _larger(context: Any, scores: Any, first: Any, count: Any, larger: Any) -> Any:  # noqa: ARG001 - as numba calls it
    """Write (to int32[m]) how many of the first scores (float32[m]) are larger than each of BLOCK from one on.

    LLVM by itself would take vectors of half the length, and bring the counts to memory each time. They are floats, as
    adding 1 to some of many integers becomes three instructions.
    """

    def lines(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, floats = ir.IntType(32), ir.VectorType(ir.FloatType(), BLOCK)
        counts = ir.VectorType(number, BLOCK)
        given, made = (context.make_array(signature.args[at])(context, builder, arguments[at]).data for at in (0, 3))
        own = builder.load(builder.bitcast(builder.gep(given, [arguments[1]]), floats.as_pointer()), align=4)
        zeros, ones = (ir.Constant(floats, [value] * BLOCK) for value in (0.0, 1.0))
        total = cgutils.alloca_once_value(builder, zeros)  # type: ignore[no-untyped-call]
        with cgutils.for_range(builder, arguments[2]) as loop:
            one = builder.load(builder.gep(given, [loop.index]))
            one = builder.insert_element(ir.Constant(floats, ir.Undefined), one, number(0))
            other = builder.shuffle_vector(one, one, ir.Constant(counts, [0] * BLOCK))
            before = builder.load(total)
            is_larger = builder.fcmp_ordered(">", other, own)
            builder.store(builder.select(is_larger, builder.fadd(before, ones), before), total)
        place = builder.bitcast(builder.gep(made, [arguments[1]]), counts.as_pointer())
        builder.store(builder.fptosi(builder.load(total), counts), place, align=4)
        return context.get_dummy_value()

    return types.none(scores, types.intp, types.intp, larger), lines


_count_larger: Any = intrinsic(_larger)


@kernel
def to_front(values: Array, k: int) -> int:
    """Bring the k largest of some numbers to the front, the smallest of them last (Hoare's FIND); returns how many.

    numpy's partition does the same, and takes seconds to compile.
    """
    if len(values) <= k:
        return len(values)
    low, high = 0, len(values) - 1
    while low < high:
        pivot, left, right = values[(low + high) // 2], low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            break
    return k


@kernel
def mark(slots: Int32s, keys: Int64s, offset: int, value: int) -> None:
    """Set the slots of some items, which are told by keys."""
    for key in keys:
        slots[key - offset] = value


@kernel
def best_allowed(
    indptr: Int64s,
    items: Int32s,
    scores: Float32s,
    k: int,
    least: float,
    first: int,
    excluded: Int64s,
    allowed: Bools,
    slots: Int32s,
) -> tuple[Int32s, Float32s]:
    """The k best items of each row that may be in the slate, best first; of equal scores the smaller item first.

    Args:
        indptr: int64[r + 1].
        items: int32[m], -1 for none; or those of one row, where all rows have the same.
        scores: float32[m].
        k: items of each row, 1 or more.
        least: smaller scores do not count.
        first: the query of the first row; each row is one query.
        excluded: sorted keys ``query * n_items + item`` of what a query may not have.
        allowed: bool[n_items]; of length 0 where every item is.
        slots: int32[n_items], zeros.

    Returns:
        int32[r, k], -1 after the last, and float32[r, k], 0 there.
    """
    rows, n_items = len(indptr) - 1, len(slots)
    best = np.full((rows, k), -1, dtype=np.int32)
    best_score = np.zeros((rows, k), dtype=np.float32)
    shared = len(items) < len(scores)
    enough = 4 * k
    keys = np.empty(enough + BLOCK, dtype=np.int64)  # the best so far, and what came above the k-th of them
    stop = np.searchsorted(excluded, first * n_items)
    for row in range(rows):
        start, offset = stop, (first + row) * n_items
        while stop < len(excluded) and excluded[stop] < offset + n_items:
            stop += 1
        mark(slots, excluded[start:stop], offset, 1)
        begin, end, size, bar = indptr[row], indptr[row + 1], 0, np.float32(least)
        for block in range(begin, end, BLOCK):
            if _count(scores[block : min(block + BLOCK, end)], bar) == 0:
                continue
            for place in range(block, min(block + BLOCK, end)):
                if not scores[place] >= bar:
                    continue
                item = items[place - begin] if shared else items[place]
                if item >= 0 and slots[item] == 0 and (len(allowed) == 0 or allowed[item]):
                    keys[size] = key_of(scores[place], item)
                    size += 1
            if size >= enough:
                size = to_front(keys[:size], k)
                bar = score_of(keys[size - 1])
        size = to_front(keys[:size], k)
        keys[:size].sort()
        for rank in range(size):
            key = keys[size - 1 - rank]
            best[row, rank], best_score[row, rank] = 0x7FFFFFFF - (key & 0x7FFFFFFF), score_of(key)
        mark(slots, excluded[start:stop], offset, 0)
    return best, best_score


@kernel
def places(query: Int32s, score: Float32s) -> Int64s:
    """int64[n]: the 1-based place of each score among those of its query, which stand together; ties keep their order.

    Args:
        query: int32[n].
        score: float32[n].
    """
    place = np.empty(len(query), dtype=np.int64)
    stop = 0
    while stop < len(query):
        start = stop
        while stop < len(query) and query[stop] == query[start]:
            stop += 1
        own = places_of(score[start:stop])
        for at in range(start, stop):
            place[at] = own[at - start]
    return place


@kernel
def places_of(score: Float32s) -> Int64s:
    """As :func:`places`, of one query (float32[n]).

    To compare some hundred scores with each other takes less than to sort them, as there is no branch to foretell.
    """
    n = len(score)
    place = np.empty(n, dtype=np.int64)
    if n > MANY:
        keys = np.empty(n, dtype=np.int64)
        for at in range(n):
            keys[at] = key_of(score[at], at)
        keys.sort()
        for at in range(n):
            place[0x7FFFFFFF - (keys[at] & 0x7FFFFFFF)] = n - at
        return place
    size = -(-n // BLOCK) * BLOCK
    others, larger = np.empty(size, dtype=np.float32), np.empty(size, dtype=np.int32)
    for at in range(np.uint64(n)):
        others[at] = score[at]
    for at in range(np.uint64(n), np.uint64(size)):
        others[at] = -np.inf
    for first in range(0, size, BLOCK):
        _count_larger(others, first, n, larger)
    before = np.zeros(n, dtype=np.int64)
    for at in range(np.uint64(n)):
        own = np.uint64(larger[at])
        place[at] = 1 + larger[at] + before[own]
        before[own] += 1
    return place


@kernel
def are_leading(query: Int32s, score: Float32s, limit: int) -> Bools:
    """bool[n]: whether each score is among the ``limit`` largest of its query; of equal ones the first are.

    Args:
        query: int32[n]; what is of one query stands together.
        score: float32[n].
        limit: of a query, 1 or more.
    """
    leading = np.empty(len(query), dtype=np.bool_)
    stop = 0
    while stop < len(query):
        start = stop
        while stop < len(query) and query[stop] == query[start]:
            stop += 1
        mark_leading(score[start:stop], limit, leading[start:stop])
    return leading


@kernel
def mark_leading(score: Float32s, limit: int, leading: Bools) -> None:
    """As :func:`are_leading`, of one query: writes to bool[n]."""
    if len(score) <= limit:
        for place in range(len(score)):
            leading[place] = True
        return
    keys = np.empty(len(score), dtype=np.int32)
    for at in range(np.uint64(len(score))):
        bits = np.float32(score[at] + np.float32(0)).view(np.int32)  # -0.0 is 0.0
        keys[at] = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    bar = _bar(keys, limit)
    ties = limit
    for key in keys:
        ties -= int(key > bar)
    for at in range(np.uint64(len(keys))):
        tied = (keys[at] == bar) & (ties > 0)
        ties -= int(tied)
        leading[at] = tied | (keys[at] > bar)


@kernel
def foremost(score: Float32s, size: int) -> Int64s:
    """int64[size]: where the largest scores stand, the largest first, of equal ones the first; at least so many."""
    leading, places, found = np.empty(len(score), dtype=np.bool_), np.empty(len(score), dtype=np.int64), np.uint64(0)
    mark_leading(score, size, leading)
    for at in range(np.uint64(len(score))):
        places[found] = at
        found += np.uint64(leading[at])
    own, ordered = np.empty(size, dtype=np.float32), np.empty(size, dtype=np.int64)
    for at in range(found):
        own[at] = score[np.uint64(places[at])]
    rank = places_of(own)
    for at in range(found):
        ordered[rank[at] - 1] = places[at]
    return ordered


@kernel
def put_in_order(items: Int32s, score: Float32s, best: Int32s, best_score: Float32s) -> None:
    """Write down the best of some items and their scores, best first; of equal ones the smaller item first.

    Args:
        items: int32[n].
        score: float32[n].
        best: int32[k], which is written; -1 after the last.
        best_score: float32[k], which is written; 0 there.
    """
    n, wanted = len(items), len(best)
    for rank in range(min(n, wanted), wanted):
        best[rank], best_score[rank] = -1, 0
    if n > MANY:
        _put_many_in_order(items, score, best, best_score)
        return
    own, own_score, wrong = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.float32), np.int32(n <= FEW)
    if n <= FEW:
        for at in range(np.uint64(n)):
            own[at], own_score[at] = items[at], score[at]
    else:
        place = places_of(score)
        for at in range(np.uint64(n)):
            better = np.uint64(place[at] - 1)
            own[better], own_score[better] = items[at], score[at]
        for at in range(np.uint64(1), np.uint64(n)):
            wrong += np.int32(own_score[at - np.uint64(1)] == own_score[at])
    if wrong:
        _insert(own, own_score)
    for rank in range(np.uint64(min(n, wanted))):
        best[rank], best_score[rank] = own[rank], own_score[rank]


@kernel
def _put_many_in_order(items: Int32s, score: Float32s, best: Int32s, best_score: Float32s) -> None:
    """The same, but for what stands behind the last, by sorting."""
    n = len(items)
    keys = np.empty(n, dtype=np.int64)
    for at in range(n):
        keys[at] = key_of(score[at], items[at])
    keys.sort()
    for rank in range(min(n, len(best))):
        key = keys[n - 1 - rank]
        best[rank], best_score[rank] = 0x7FFFFFFF - (key & 0x7FFFFFFF), score_of(key)


@inner_kernel
def _insert(items: Int32s, score: Float32s) -> None:
    """Put some items in order, the best first; of equal ones the smaller item first."""
    for last in range(1, len(items)):
        item, own, rank = items[last], score[last], last
        while rank > 0 and (score[rank - 1] < own or (score[rank - 1] == own and items[rank - 1] > item)):
            items[rank], score[rank] = items[rank - 1], score[rank - 1]
            rank -= 1
        items[rank], score[rank] = item, own


@kernel
def _bar(keys: Int32s, limit: int) -> int:
    """A number that so many keys reach, the largest one where more do, bit by bit.

    All are counted each time, without a branch.
    """
    bar: np.int64 = np.int64(-(2**31))
    for bit in range(31, -1, -1):
        tried, count = np.int32(bar + (np.int64(1) << bit)), np.int32(0)
        for at in range(np.uint64(len(keys))):
            count = np.int32(count + np.int32(keys[at] >= tried))
        if count >= limit:
            bar = np.int64(tried)
        if count == limit:
            break
    return bar  # type: ignore[return-value]
