"""Fitting ALS with `implicit`, and the matrices that item-item models start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from recsys.als import Confidence, fold_in_many, inverse_of
from recsys.config import AlsSection
from recsys.halves import halved
from recsys.interactions import Events
from recsys.types import Float32s, Float64s, Int32s
from recsys_offline.openmp import ensure_openmp

USERS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows of a dataset: users asked for, rows of users with anonymous sessions, items."""

    users: int
    rows: int
    items: int


@dataclass(frozen=True, slots=True)
class Factors:
    """The result of ALS.

    Attributes:
        user_factors: float32[n_users, d], what these item factors give each user; 0 for users not asked for.
        item_factors: float32[n_items, d], in half precision, as served.
        gram: float32[d, d], Y^T Y + regularization I.
    """

    user_factors: Float32s
    item_factors: Float32s
    gram: Float32s


def als(
    events: Events,
    shape: Shape,
    confidence: Confidence,
    config: AlsSection,
    seed: int,
    threads: int,
    asked: Int32s | None = None,
    start: Float32s | None = None,
) -> Factors:
    """Implicit-feedback ALS (Hu, Koren and Volinsky 2008) over users and anonymous sessions.

    Args:
        events: to learn from.
        shape: of the data.
        confidence: of the events.
        config: factors, regularization, sweeps.
        seed: of the start.
        threads: of the computation.
        asked: users whose factors are wanted; None: all.
        start: float32[n_items, d], item factors of an earlier time to go on from; None: from chance.
    """
    ensure_openmp()
    from implicit.als import AlternatingLeastSquares  # noqa: PLC0415 - needs OpenMP found first

    excess = confidence.excess(events.event_type, events.time)
    matrix = sum_by_pair(events.user_num, events.item_num, excess, (shape.rows, shape.items))
    matrix.data += 1
    with threadpool_limits(1, user_api="blas"):
        model = AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.regularization,
            iterations=config.iterations,
            random_state=seed,
            num_threads=threads,
        )
        model.item_factors = None if start is None else start.copy()
        model.fit(matrix, show_progress=False)
        item_factors = halved(np.asarray(model.item_factors))
        gram = item_factors.T @ item_factors + config.regularization * np.eye(config.factors, dtype=np.float32)
        gram = gram.astype(np.float32)
        user_factors = _user_factors(item_factors, gram, matrix, shape.users, asked)
    return Factors(user_factors, item_factors, gram)


def _user_factors(
    item_factors: Float32s, gram: Float32s, matrix: sp.csr_matrix, n_users: int, asked: Int32s | None
) -> Float32s:
    """float32[n_users, d]: the users asked for folded in, as those will be of whom more is known when they ask."""
    wanted = np.arange(n_users) if asked is None else asked
    factors, inverse = np.zeros((n_users, len(gram)), dtype=np.float32), inverse_of(gram)
    for at in range(0, len(wanted), USERS_AT_ONCE):
        users = wanted[at : at + USERS_AT_ONCE]
        own = matrix[users]
        rows = (own.indptr.astype(np.int64), own.indices.astype(np.int64), own.data.astype(np.float64))
        factors[users] = fold_in_many(item_factors, gram, inverse, *rows)
    return factors


def sum_by_pair(row: Int32s, item_num: Int32s, weight: Float64s, shape: tuple[int, int]) -> sp.csr_matrix:
    """float32 CSR of a shape: the sum of the positive weights of each pair of row and item."""
    kept = weight > 0
    matrix = sp.csr_matrix((weight[kept].astype(np.float32), (row[kept], item_num[kept])), shape=shape)
    matrix.sum_duplicates()
    return matrix
