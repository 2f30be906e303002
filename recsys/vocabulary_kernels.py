"""The compiled search for ids among sorted ones, of which there are too many to be in the processor's cache."""

from __future__ import annotations

import numpy as np

from recsys.kernel import brief_kernel, inner_kernel
from recsys.memory_kernels import ask_for
from recsys.types import Int32s, Int64s, UInt8s

TOGETHER = 16
"""Ids that are searched for side by side: while one waits for memory, the others go on."""


@brief_kernel
def rows_of(letters: UInt8s, texts: UInt8s, ends: Int64s) -> Int32s:
    """int32[m]: the rows of some ids, -1 where unknown.

    Args:
        letters: uint8[n, w], ids that rise in the order of their bytes, with zeros behind; none is empty.
        texts: uint8[t], the ids that are searched for, one behind the other.
        ends: int64[m], where each ends.
    """
    rows = np.empty(len(ends), dtype=np.int32)
    low, high = np.empty(TOGETHER, dtype=np.int64), np.empty(TOGETHER, dtype=np.int64)
    for first in range(0, len(ends), TOGETHER):
        count = min(TOGETHER, len(ends) - first)
        low[:count], high[:count] = 0, len(letters)
        _narrow(letters, texts, ends, first, low[:count], high[:count])
        for own in range(count):
            begin, end = _part(ends, first + own)
            is_id = begin < end and texts[end - 1] != 0  # else zeros at its end would be taken for those behind an id
            found = is_id and low[own] < len(letters) and _order(letters, low[own], texts, begin, end) == 0
            rows[first + own] = low[own] if found else -1
    return rows


@inner_kernel
def _narrow(letters: UInt8s, texts: UInt8s, ends: Int64s, first: int, low: Int64s, high: Int64s) -> None:
    """Where some ids from the first on are, or would be: ``low`` (int64[c]) in the end, and ``high`` too."""
    width, left = letters.shape[1], len(low)
    while left:
        left = 0
        for own in range(len(low)):
            if low[own] == high[own]:
                continue
            middle = (low[own] + high[own]) // 2
            begin, end = _part(ends, first + own)
            if _order(letters, middle, texts, begin, end) < 0:
                low[own] = middle + 1
            else:
                high[own] = middle
            following = min((low[own] + high[own]) // 2, len(letters) - 1)
            ask_for(letters, following * width, (following + 1) * width)
            left += low[own] < high[own]


@inner_kernel
def _part(ends: Int64s, number: int) -> tuple[int, int]:
    """Where an id begins and ends."""
    return ends[number - 1] if number else 0, ends[number]


@inner_kernel
def _order(letters: UInt8s, row: int, texts: UInt8s, begin: int, end: int) -> int:
    """Below 0 where the id of a row comes before a text, above 0 where it comes behind it, 0 where it is the same."""
    width, size = letters.shape[1], end - begin
    for at in range(min(width, size)):
        own, other = np.int64(letters[row, at]), np.int64(texts[begin + at])
        if own != other:
            return int(own - other)
    if size > width:
        return -1
    return int(np.int64(letters[row, size])) if size < width else 0
