"""Random numbers as hashes of what they are about.

A draw depends on its key alone, never on how many others were made before it. So user 7 is the same user in a shop of
ten or of ten million, chunks can be made in any order, and a question asked later finds the very draw of the dataset.
The hash is splitmix64: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from recsys.types import Array, Float64s, Int64s

Keys = npt.NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def root(seed: int) -> Keys:
    """uint64[1]: the key from which all others come."""
    return fork(np.zeros(1, dtype=np.uint64), f"seed {seed}")


def fork(keys: Keys, label: str | Array | int) -> Keys:
    """New keys, one for each pair of a key and a label: a name, a number, or an array of numbers that broadcasts."""
    number = _number(label) if isinstance(label, str) else label
    mixed = keys + (np.atleast_1d(number).astype(np.uint64) + np.uint64(1)) * _GAMMA
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


@lru_cache(maxsize=256)
def _number(name: str) -> np.uint64:
    """A number for a name, the same on every machine."""
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def uniform(keys: Keys, name: str) -> Float64s:
    """float64, open interval (0, 1), one for each key; the name keeps draws about different things apart."""
    drawn = (fork(keys, name) >> np.uint64(12)).astype(np.float64)
    drawn += 0.5
    drawn *= 2.0**-52
    return drawn


def normal(keys: Keys, name: str) -> Float64s:
    """float64, standard normal."""
    drawn: Float64s = special.ndtri(uniform(keys, name))
    return drawn


def exponential(keys: Keys, name: str) -> Float64s:
    """float64, mean 1."""
    return -np.log(uniform(keys, name))


def pareto(keys: Keys, name: str, exponent: float, limit: float) -> Float64s:
    """float64, a power law from 1 up to a limit: P(X > x) = x ** -exponent."""
    return np.minimum(uniform(keys, name) ** (-1.0 / exponent), limit)


def poisson(keys: Keys, name: str, mean: Float64s) -> Int64s:
    """int64, by inversion of the distribution function."""
    u = uniform(keys, name)
    mean = np.maximum(mean, 1e-12)
    return np.where(u <= np.exp(-mean), 0, np.ceil(special.pdtrik(u, mean))).astype(np.int64)


def geometric(keys: Keys, name: str, mean: float, limit: int) -> Int64s:
    """int64 from 1 to a limit, with this mean before the limit is applied."""
    counts: Int64s = 1 + np.floor(np.log(uniform(keys, name)) / np.log(1.0 - 1.0 / mean)).astype(np.int64)
    return np.minimum(counts, limit)


def pick(keys: Keys, name: str, weights: Array) -> Int64s:
    """int64[n]: for each key a column of weights (float[n, c] or float[c]), drawn in proportion; 0 if all are 0."""
    reached = np.cumsum(weights, axis=-1)
    wanted = uniform(keys, name).astype(reached.dtype) * reached[..., -1]
    columns = (reached <= wanted[:, None]).sum(axis=-1)
    return np.where(wanted > 0, np.minimum(columns, reached.shape[-1] - 1), 0).astype(np.int64)


def directions(keys: Keys, name: str, dimensions: int) -> Float64s:
    """float64[n, dimensions]: unit vectors, uniform on the sphere."""
    vectors = normal(fork(keys[:, None], np.arange(dimensions)), name)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
