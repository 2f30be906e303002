"""The compiled loops of fold-in, over the histories of a batch."""

from __future__ import annotations

import numpy as np

from recsys.kernel import kernel
from recsys.types import Float32s, Float64s, Int32s, Int64s


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
def fold_in_short(indptr: Int64s, confidence: Float64s, rows: Float32s, mapped: Float32s) -> Float32s:
    """float32[q, d]: the user vectors of :func:`recsys.als.fold_in_short`.

    With M = R G^-1 R^T, of which the upper half is enough, x = (I + W M)^-1 c is c - W^1/2 u, where u solves
    (I + W^1/2 M W^1/2) u = W^1/2 M c, whose matrix is symmetric and positive definite.

    Args:
        indptr: int64[q + 1], of the histories' rows.
        confidence: float64[n], of each item.
        rows: float32[n, d], R: the factors of each item.
        mapped: float32[n, d], R G^-1.
    """
    vectors = np.zeros((len(indptr) - 1, rows.shape[1]), dtype=np.float32)
    for row in range(len(indptr) - 1):
        begin, end = indptr[row], indptr[row + 1]
        if begin == end:
            continue
        own, length = confidence[begin:end], end - begin
        alike = np.dot(mapped[begin:end], rows[begin:end].T)
        root, system, right = np.sqrt(own - 1.0), np.empty((length, length)), np.zeros(length)
        for one in range(length):
            right[one] += alike[one, one] * own[one]
            system[one, one] = 1.0 + root[one] * root[one] * alike[one, one]
            for other in range(one + 1, length):
                right[one] += alike[one, other] * own[other]
                right[other] += alike[one, other] * own[one]
                system[one, other] = root[one] * root[other] * alike[one, other]
        right *= root
        _solve(system, right)
        for one in range(length):
            weight = np.float32(own[one] - root[one] * right[one])
            for column in range(rows.shape[1]):
                vectors[row, column] += weight * mapped[begin + one, column]
    return vectors


@kernel
def _solve(system: Float64s, right: Float64s) -> None:
    """Solve a positive definite system float64[n, n], of which the upper half is read, in place: right float64[n].

    Gauss's elimination, which keeps what is left symmetric and needs no other pivot; row by row, so that it is done by
    vector instructions.
    """
    n = len(right)
    for done in range(n):
        for row in range(done + 1, n):
            factor = system[done, row] / system[done, done]
            for column in range(row, n):
                system[row, column] -= factor * system[done, column]
            right[row] -= factor * right[done]
    for row in range(n - 1, -1, -1):
        for column in range(row + 1, n):
            right[row] -= system[row, column] * right[column]
        right[row] /= system[row, row]
