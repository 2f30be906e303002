"""The compiled loops of fold-in, over the histories of a batch."""

from __future__ import annotations

import numpy as np

from recsys.kernel import kernel
from recsys.memory_kernels import ask_for
from recsys.types import Bools, Float32s, Float64s, Int32s, Int64s

AHEAD = 8
"""Rows that are asked for ahead."""
ENOUGH = np.float32(1e-13)
"""Share of the first residual, squared, that may be left."""


@kernel
def preferences(indptr: Int64s, item_num: Int32s, excess: Float64s, limit: int) -> tuple[Int64s, Int64s, Float64s]:
    """The items that each history says something about, rising, and their confidence.

    Args:
        indptr: int64[q + 1], of the histories' rows, each newest first.
        item_num: int32[m].
        excess: float64[m], what each entry adds to the confidence of 1; entries of 0 do not count.
        limit: most items of a history; the newest count.

    Returns:
        indptr int64[q + 1], items int64[n] and confidence float64[n].
    """
    found_indptr = np.zeros_like(indptr)
    items, summed = np.empty(len(item_num), dtype=np.int64), np.empty(len(item_num), dtype=np.float64)
    newest = np.empty(len(item_num), dtype=np.int64)
    used = 0
    for row in range(len(indptr) - 1):
        begin, first = indptr[row], used
        keys = np.empty(indptr[row + 1] - begin, dtype=np.int64)
        size = 0
        for place in range(begin, indptr[row + 1]):
            if excess[place] > 0:
                keys[size] = (np.int64(item_num[place]) << 32) | (place - begin)
                size += 1
        keys = keys[:size]
        keys.sort()
        for key in keys:
            item, place = key >> 32, key & 0xFFFFFFFF
            if used == first or items[used - 1] != item:
                items[used], summed[used], newest[used] = item, 0.0, place
                used += 1
            summed[used - 1] += excess[begin + place]
        if used - first > limit:
            ordered = newest[first:used].copy()
            ordered.sort()
            oldest, end, used = ordered[limit - 1], used, first
            for at in range(first, end):
                if newest[at] <= oldest:
                    items[used], summed[used] = items[at], summed[at]
                    used += 1
        found_indptr[row + 1] = used
    return found_indptr, items[:used].copy(), 1.0 + summed[:used]


@kernel
def fold_in(
    indptr: Int64s, item_num: Int64s, confidence: Float64s, factors: Float32s, inverse: Float32s, steps: int
) -> tuple[Float32s, Bools]:
    """float32[q, d]: the user vectors of :func:`recsys.als.fold_in_many`, and bool[q], whether so many steps sufficed.

    Conjugate gradients (Hestenes and Stiefel, Methods of Conjugate Gradients for Solving Linear Systems, 1952, section
    3) with G^-1 as preconditioner; as z is G^-1 r, the product of G and a direction follows from residuals.

    Args:
        indptr: int64[q + 1], of the histories' items.
        item_num: int64[n].
        confidence: float64[n], of each item.
        factors: float32[n_items, d].
        inverse: float32[d, d], G^-1.
        steps: of each history, at most.
    """
    width = factors.shape[1]
    vectors, solved = np.zeros((len(indptr) - 1, width), dtype=np.float32), np.ones(len(indptr) - 1, dtype=np.bool_)
    for row in range(len(indptr) - 1):
        begin, count = indptr[row], indptr[row + 1] - indptr[row]
        if count == 0:
            continue
        rows = _rows(item_num[begin : begin + count], factors)
        sure = confidence[begin : begin + count].astype(np.float32)
        vector, left = vectors[row], np.dot(sure, rows)
        mapped = np.dot(inverse, left)
        along, own = mapped.copy(), left.copy()  # a direction p, and G p
        size = first = np.dot(left, mapped)
        for step in range(steps + 1):
            if 0 <= size <= ENOUGH * first:
                break
            product = own + np.dot(np.dot(rows, along) * (sure - np.float32(1)), rows)
            curve = np.dot(along, product)
            if step == steps or not curve > 0:  # too slow, or rounding has spoilt the gram matrix
                solved[row] = False
                break
            length = size / curve
            for column in range(width):
                vector[column] += length * along[column]
                left[column] -= length * product[column]
            mapped = np.dot(inverse, left)
            before, size = size, np.dot(left, mapped)
            turn = size / before
            for column in range(width):
                along[column] = mapped[column] + turn * along[column]
                own[column] = left[column] + turn * own[column]
    return vectors, solved


@kernel
def _rows(item_num: Int64s, factors: Float32s) -> Float32s:
    """float32[n, d]: the factors of some items, which lie anywhere in memory."""
    width = factors.shape[1]
    rows = np.empty((len(item_num), width), dtype=np.float32)
    for place in range(-AHEAD, len(item_num)):
        if place + AHEAD < len(item_num):
            ask_for(factors, item_num[place + AHEAD] * width, (item_num[place + AHEAD] + 1) * width)
        if place >= 0:
            one, of = rows[place], factors[item_num[place]]
            for column in range(np.uint64(width)):
                one[column] = of[column]
    return rows
