"""Which share of the units gets which variation: the GrowthBook hash specification, as pure functions.

https://docs.growthbook.io/lib/build-your-own (hashing, bucket ranges, namespaces). Every SDK of GrowthBook, in any
language, gives the same answers, so that a shop's other services can assign without asking this one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence

BUCKETS = 10_000
_NAMESPACE_BUCKETS = 1_000
_FNV_OFFSET = 0x811C9DC5
_FNV_PRIME = 0x01000193

Range = tuple[float, float]


def fnv1a32(text: str) -> int:
    """FNV-1a, 32 bits, over the UTF-16 code units of a text, as JavaScript's ``charCodeAt`` sees them."""
    state = _FNV_OFFSET
    for unit in text.encode() if text.isascii() else _code_units(text):
        state = ((state ^ unit) * _FNV_PRIME) & 0xFFFFFFFF
    return state


def bucket(seed: str, value: str) -> int:
    """The bucket of a value under a seed, 0 to 9,999: version 2 of the hash.

    The second pass undoes what one pass of FNV leaves: seeds that differ in a character give correlated hashes.
    """
    return fnv1a32(str(fnv1a32(seed + value))) % BUCKETS


def bucket_hash(seed: str, value: str, version: int) -> float | None:
    """The place of a value under a seed, in [0, 1), by a version of the hash; None for an unknown version."""
    if version == 2:
        return bucket(seed, value) / BUCKETS
    if version == 1:
        return fnv1a32(value + seed) % _NAMESPACE_BUCKETS / _NAMESPACE_BUCKETS
    return None


def equal_weights(n: int) -> list[float]:
    """Equal weights of n variations, that sum to 1; empty for n below 1."""
    return [1 / n] * n if n > 0 else []


def bucket_ranges(n: int, coverage: float = 1.0, weights: Sequence[float] | None = None) -> list[Range]:
    """The half-open range of [0, 1) that each of n variations takes.

    A variation's range starts where the weights before it end and takes ``coverage`` (clipped to 0..1) of its own
    weight: with more coverage each range only grows at its end, so nobody who is in one leaves it. Equal weights stand
    in for those that are not n finite numbers >= 0 with a sum of .99 to 1.01.
    """
    coverage = min(max(coverage, 0.0), 1.0)
    ranges, start = [], 0.0
    for weight in weights if weights is not None and _usable(weights, n) else equal_weights(n):
        ranges.append((start, start + coverage * weight))
        start += weight
    return ranges


def choose_variation(place: float, ranges: Iterable[Range]) -> int:
    """The variation whose range holds a place in [0, 1); -1 when none does."""
    for variation, (start, end) in enumerate(ranges):
        if start <= place < end:
            return variation
    return -1


def in_namespace(user_id: str, namespace: tuple[str, float, float]) -> bool:
    """Whether a user is in a namespace's range (name, start, end); disjoint ranges of one name share no user."""
    name, start, end = namespace
    # Version 1 by specification: a namespace has 1,000 buckets, whatever the version of its experiments.
    place = fnv1a32(f"{user_id}__{name}") % _NAMESPACE_BUCKETS / _NAMESPACE_BUCKETS
    return start <= place < end


def _code_units(text: str) -> tuple[int, ...]:
    data = text.encode("utf-16-le", "surrogatepass")
    return struct.unpack(f"<{len(data) // 2}H", data)


def _usable(weights: Sequence[float], n: int) -> bool:
    finite = all(math.isfinite(weight) and weight >= 0 for weight in weights)
    return len(weights) == n and finite and 0.99 <= sum(weights) <= 1.01
