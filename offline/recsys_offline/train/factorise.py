"""Fitting ALS with `implicit`, and the matrices that item-item models start from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from recsys.als import Confidence
from recsys.config import AlsSection
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
        user_factors: float32[n_users, d], exact for these item factors.
        item_factors: float32[n_items, d].
        gram: float32[d, d], Y^T Y + regularization I.
    """

    user_factors: Float32s
    item_factors: Float32s
    gram: Float32s


def als(events: Events, shape: Shape, confidence: Confidence, config: AlsSection, seed: int, threads: int) -> Factors:
    """Implicit-feedback ALS (Hu, Koren and Volinsky 2008) over users and anonymous sessions."""
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
        model.fit(matrix, show_progress=False)
        users = matrix[: shape.users]
        parts = [
            model.recalculate_user(np.arange(start, min(start + USERS_AT_ONCE, shape.users)), rows)
            for start in range(0, shape.users, USERS_AT_ONCE)
            if (rows := users[start : start + USERS_AT_ONCE]).shape[0]
        ]
    item_factors = np.asarray(model.item_factors, dtype=np.float32)
    gram = item_factors.T @ item_factors + config.regularization * np.eye(config.factors, dtype=np.float32)
    user_factors = np.concatenate(parts) if parts else np.zeros((0, config.factors), dtype=np.float32)
    return Factors(user_factors, item_factors, gram.astype(np.float32))


def sum_by_pair(row: Int32s, item_num: Int32s, weight: Float64s, shape: tuple[int, int]) -> sp.csr_matrix:
    """float32 CSR of a shape: the sum of the positive weights of each pair of row and item."""
    kept = weight > 0
    matrix = sp.csr_matrix((weight[kept].astype(np.float32), (row[kept], item_num[kept])), shape=shape)
    matrix.sum_duplicates()
    return matrix
