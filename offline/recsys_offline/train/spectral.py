"""The ideal low-pass filter of the graph of users and items: leading singular vectors of its normalised matrix."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from recsys.types import Float32s, Float64s

OVERSAMPLING = 16
PASSES = 6
"""From chance; half as many find a tenth less."""
LEAST_STRENGTH = 1e-7
"""Share of the strongest direction below which single precision leaves but rounding."""
ROWS_AT_ONCE = 100_000


def low_pass(
    matrix: sp.csr_matrix, dimensions: int, seed: int, passes: int = PASSES, start: Float32s | None = None
) -> tuple[Float32s, Float32s]:
    """The filter of GF-CF (Shen et al., How Powerful is Graph Convolution for Recommendation?, 2021, equation 14).

    To one who acted on item j it says of item i: d_j^-1/2 (V V^T)_ji d_i^1/2, where d sums an item's column, and V
    holds the leading right singular vectors of the matrix over the roots of the sums of its rows and columns.

    Args:
        matrix: float32 CSR[rows, n_items], none negative.
        dimensions: d, of the filter; fewer where the matrix has not so many.
        seed: of the iteration's start.
        passes: of the iteration: each brings the vectors nearer to the leading ones.
        start: float32[n_items, d], what this gave at an earlier time, to go on from; None: from chance.

    Returns:
        d_i^1/2 V_i of each item, float32[n_items, d], and 1 / d_i, float32[n_items], 0 where d_i is: the filter is the
        product of the first with itself, its rows times the second.
    """
    by_row, by_item = (np.asarray(matrix.sum(axis=axis), dtype=np.float64).ravel() for axis in (1, 0))
    of_row, of_item = _inverse_root(by_row), _inverse_root(by_item)
    scaled = sp.csr_matrix(sp.diags_array(of_row) @ matrix @ sp.diags_array(of_item), dtype=np.float32)
    # Its threads wait for each other by spinning: on a busy machine two are many times slower than one.
    with threadpool_limits(1, user_api="blas"):
        known = None if start is None else start * of_item.astype(np.float32)[:, None]
        vectors = _right_singular(scaled, min(dimensions, *scaled.shape), seed, passes, known)
    inverse = np.square(of_item).astype(np.float32)
    return vectors * np.sqrt(by_item).astype(np.float32)[:, None], inverse


def _inverse_root(total: Float64s) -> Float64s:
    """1 over the root, and 0 of nothing."""
    return np.power(total, -0.5, out=np.zeros(len(total)), where=total > 0)


def _right_singular(matrix: sp.csr_matrix, dimensions: int, seed: int, passes: int, known: Float32s | None) -> Float32s:
    """float32[n_items, d]: leading right singular vectors, by randomised subspace iteration.

    Halko, Martinsson and Tropp, Finding Structure with Randomness, 2011, algorithm 4.4 on M^T M, ended by their 5.5
    (Nystrom): what the last pass made gives the vectors without another.
    """
    width = min(dimensions + OVERSAMPLING, *matrix.shape)
    product = np.random.default_rng(seed).standard_normal((matrix.shape[1], width), dtype=np.float32)
    if known is not None:
        product /= np.sqrt(np.float32(len(product)))  # of length 1, as what is known
        product[:, : known.shape[1]] = known
    basis = product
    for _ in range(passes):
        basis = _apart(product, product)
        product = _there_and_back(matrix, basis)
    half = _apart(product, basis)
    return _apart(half, half)[:, :dimensions]


def _apart(vectors: Float32s, others: Float32s) -> Float32s:
    """float32[n, w]: w vectors times the inverse root of their products with others, the strongest directions first.

    Of vectors with themselves that is an orthonormal basis. A direction that only rounding has left becomes nothing.
    """
    strength, turn = np.linalg.eigh(others.T.astype(np.float64) @ vectors)
    strength, turn = strength[::-1], turn[:, ::-1]
    kept = strength > LEAST_STRENGTH * strength[0]
    inverse = np.where(kept, 1 / np.sqrt(np.where(kept, strength, 1)), 0)
    apart: Float32s = vectors @ (turn * inverse).astype(np.float32)
    return apart


def _there_and_back(matrix: sp.csr_matrix, vectors: Float32s) -> Float32s:
    """M^T M times the vectors, some rows of M at a time: a shop has more users than there is memory for."""
    product = np.zeros_like(vectors)
    for start in range(0, matrix.shape[0], ROWS_AT_ONCE):
        rows = matrix[start : start + ROWS_AT_ONCE]
        product += rows.T @ (rows @ vectors)
    return product
