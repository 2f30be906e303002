"""Factors in half precision: an answer reads the factors of hundreds of items, and waits for each line of memory."""

from __future__ import annotations

import numpy as np

from recsys.kernel import frozen
from recsys.types import Array, Float32s, UInt16s

LARGEST = float(np.finfo(np.float16).max)


def halved(factors: Array) -> Float32s:
    """The numbers of float16 that are nearest to some factors; what is beyond the largest becomes that."""
    return np.clip(factors, -LARGEST, LARGEST).astype(np.float16).astype(np.float32)


def bits_of(factors: Float32s, known: UInt16s | None = None) -> UInt16s:
    """uint16[n, d]: what float16 writes for some factors, float32[n, d].

    Args:
        factors: that :func:`halved` returned.
        known: these bits, where somebody has kept them.

    Raises:
        ValueError: float16 has not all of these numbers.
    """
    if known is not None:
        return frozen(known)
    halves = factors.astype(np.float16)
    if not np.array_equal(halves, factors):
        raise ValueError("factors must be numbers of half precision; see recsys.halves.halved")
    return frozen(np.ascontiguousarray(halves).view(np.uint16))
