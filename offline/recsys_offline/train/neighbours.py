"""Item-item models as lists of neighbours: one kernel over a user's history serves them all."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve

from recsys.types import Array, Float32s
from recsys_offline.openmp import ensure_openmp

ROWS_AT_ONCE = 1_000


def cosine(matrix: sp.csr_matrix, neighbours: int, shrinkage: float, threads: int) -> sp.csr_array:
    """Shrunk cosine of the items' columns (Sarwar et al., Item-based Collaborative Filtering, 2001).

    Args:
        matrix: float32 CSR[rows, n_items], what users and sessions did.
        neighbours: kept for each item.
        shrinkage: added to the squared norms, so that items with little weight have weak neighbours.
        threads: of the computation.

    Returns:
        float32 CSR[n_items, n_items], no item its own neighbour.
    """
    ensure_openmp()
    from implicit.nearest_neighbours import ItemItemRecommender  # noqa: PLC0415 - needs OpenMP found first

    norm = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel() + shrinkage)
    scaled = sp.csr_matrix(matrix @ sp.diags_array(1 / norm), dtype=np.float64)
    model = ItemItemRecommender(K=neighbours + 1, num_threads=threads)
    model.fit(scaled, show_progress=False)
    near = sp.csr_array(model.similarity).astype(np.float32)
    near.setdiag(0)
    near.eliminate_zeros()
    near.sort_indices()
    return near


def ease(matrix: sp.csr_matrix, neighbours: int, regularization: float) -> sp.csr_array:
    """EASE (Steck, Embarrassingly Shallow Autoencoders, 2019, equation 8), the strongest weights of each row kept.

    Dense in n_items squared: for catalogues of some thousand items.

    Args:
        matrix: float32 CSR[rows, n_items].
        neighbours: weights kept for each item, by absolute value.
        regularization: lambda.
    """
    gram = (matrix.T @ matrix).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    inverse = cho_solve(cho_factor(gram, lower=True), np.eye(len(gram)))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return _strongest(weights.astype(np.float32), neighbours)


def gf_cf(matrix: sp.csr_matrix, neighbours: int, dimensions: int, share: float, seed: int) -> sp.csr_array:
    """GF-CF (Shen et al., How Powerful is Graph Convolution for Recommendation?, 2021, equation 14) as neighbour lists.

    One hop of the normalised item-item graph plus ``share`` of the ideal low-pass filter, a projection on the leading
    singular vectors.

    Args:
        matrix: float32 CSR[rows, n_items].
        neighbours: weights kept for each item.
        dimensions: of the projection.
        share: of the projection in the sum.
        seed: of the singular value iteration's start.
    """
    by_user, by_item = (np.asarray(matrix.sum(axis=axis)).ravel() for axis in (1, 0))
    with np.errstate(divide="ignore"):
        of_user, of_item = (np.where(total > 0, total**-0.5, 0) for total in (by_user, by_item))
    scaled = sp.csr_matrix(sp.diags_array(of_user) @ matrix @ sp.diags_array(of_item), dtype=np.float32)
    basis = _right_singular(scaled, min(dimensions, min(scaled.shape) - 1), seed)
    left, right = basis * of_item[:, None].astype(np.float32), (basis * np.sqrt(by_item)[:, None].astype(np.float32)).T
    graph = sp.csr_array(scaled.T)
    other = sp.csr_array(scaled)
    rows = []
    for start in range(0, len(basis), ROWS_AT_ONCE):
        stop = start + ROWS_AT_ONCE
        block = (graph[start:stop] @ other).toarray() + np.float32(share) * (left[start:stop] @ right)
        place = np.arange(len(block))
        block[place, place + start] = 0
        rows.append(_strongest(block, neighbours))
    return sp.csr_array(sp.vstack(rows, format="csr"))


def _right_singular(matrix: sp.csr_matrix, dimensions: int, seed: int) -> Float32s:
    """float32[n_items, d]: leading right singular vectors by randomised subspace iteration (Halko et al. 2011, 4.4)."""
    random = np.random.default_rng(seed)
    start = random.standard_normal((matrix.shape[1], dimensions + 16)).astype(np.float32)
    basis = np.linalg.qr(matrix.T @ (matrix @ start))[0]
    for _ in range(4):
        basis = np.linalg.qr(matrix.T @ (matrix @ basis))[0]
    _, _, right = np.linalg.svd(matrix @ basis, full_matrices=False)
    vectors: Float32s = (basis @ right.T)[:, :dimensions].astype(np.float32)
    return vectors


def _strongest(weights: Array, count: int) -> sp.csr_array:
    """The ``count`` largest absolute weights of each row of a dense block."""
    count = min(count, weights.shape[1])
    columns = np.sort(np.argpartition(-np.abs(weights), count - 1, axis=1)[:, :count], axis=1).astype(np.int32)
    kept = np.take_along_axis(weights, columns, axis=1).astype(np.float32)
    indptr = np.arange(len(weights) + 1, dtype=np.int64) * count
    sparse = sp.csr_array((kept.ravel(), columns.ravel(), indptr), shape=weights.shape)
    sparse.eliminate_zeros()
    return sparse
