"""Item-item models as lists of neighbours: one kernel over a user's history serves them all."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve

from recsys.types import Array
from recsys_offline.openmp import ensure_openmp


def co_occurrence(
    matrix: sp.csr_matrix, neighbours: int, shrinkage: float, row_power: float, threads: int
) -> sp.csr_array:
    """Damped co-occurrence of the items' columns: w_ij = sum_r x_ri x_rj n_r^-row_power / (|x_i| |x_j|).

    With power 0 it is the cosine (Sarwar et al., Item-based Collaborative Filtering, 2001), with power 1 the linear
    filter of GF-CF (Shen et al., How Powerful is Graph Convolution for Recommendation?, 2021).

    Args:
        matrix: float32 CSR[rows, n_items], what users or sessions did.
        neighbours: kept for each item.
        shrinkage: added to the squared norms, so that pairs seen once or twice do not come out on top.
        row_power: of a row's sum n_r: how much less a long row says of each of its pairs, 0 to 1.
        threads: of the computation.

    Returns:
        float32 CSR[n_items, n_items], no item its own neighbour.
    """
    ensure_openmp()
    from implicit.nearest_neighbours import ItemItemRecommender  # noqa: PLC0415 - needs OpenMP found first

    norm = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel() + shrinkage)
    norm[norm == 0] = 1
    length = np.asarray(matrix.sum(axis=1)).ravel()
    row_weight = np.power(length, -row_power / 2, out=np.zeros(len(length)), where=length > 0)
    scaled = sp.csr_matrix(sp.diags_array(row_weight) @ matrix @ sp.diags_array(1 / norm), dtype=np.float64)
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


def _strongest(weights: Array, count: int) -> sp.csr_array:
    """The ``count`` largest absolute weights of each row of a dense block."""
    count = min(count, weights.shape[1])
    columns = np.sort(np.argpartition(-np.abs(weights), count - 1, axis=1)[:, :count], axis=1).astype(np.int32)
    kept = np.take_along_axis(weights, columns, axis=1).astype(np.float32)
    indptr = np.arange(len(weights) + 1, dtype=np.int64) * count
    sparse = sp.csr_array((kept.ravel(), columns.ravel(), indptr), shape=weights.shape)
    sparse.eliminate_zeros()
    return sparse
