"""The best allowed items of each query, out of what a search finds whether it may be in the slate or not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from recsys import order_kernels
from recsys.code_kernels import WORD
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.source_kernels import Space
from recsys.types import Bools, Float32s, Int32s, Int64s

MANY_EXCLUDED = 200
"""Queries with more exclusions are searched for apart, so that the others need not fetch as much on top."""
Fetch = Callable[[QueryBatch, int], tuple[Int32s, Float32s]]
"""Some queries and a number m, to the best m items of each, whether excluded or not: int32[q, m] and float32[q, m]."""
MOST_SIMILAR = 4
"""Sources of similar items that have sums of their own."""
EVERY_ITEM = np.zeros(0, dtype=bool)
ANY_SCORE = float(-np.inf)
POSITIVE = float(np.finfo(np.float32).smallest_subnormal)


def _space(n_items: int) -> Space:
    noted = n_items + 2
    sums = np.zeros((MOST_SIMILAR, noted + WORD), np.float32)
    slots, numbers, before = np.zeros(n_items, np.int32), np.zeros(n_items, np.int32), np.zeros(1, np.int64)
    return Space(slots, numbers, before, np.empty(noted, np.int32), sums, np.zeros(noted, np.int32))


class _Kept(threading.local):
    """What kernels note down of items, in each thread some arrays, as making them would cost more than a query does."""

    space = _space(0)


_kept = _Kept()


def space(n_items: int) -> Space:
    """What a kernel may write to and must leave as zeros."""
    if len(_kept.space.slots) != n_items:
        _kept.space = _space(n_items)
    return _kept.space


def slots(n_items: int) -> Int32s:
    """int32[n_items]: zeros, which a kernel may write to and must leave as zeros."""
    return space(n_items).slots


Rows = tuple[Int64s, Int32s, Float32s]
"""Scores of items by query: indptr int64[q + 1], items int32[m], scores float32[m]."""


Permitted = tuple[Int64s, Bools, Int32s]
"""What may be in which slate: the last arguments of :func:`recsys.order_kernels.best_allowed`."""


def permitted(batch: QueryBatch) -> Permitted:
    """What may be in the slates of a batch."""
    allowed = EVERY_ITEM if batch.allowed_items is None else batch.allowed_items
    return batch.excluded, allowed, slots(batch.n_items)


def best_allowed(
    batch: QueryBatch, k: int, items: Int32s, score: Float32s, least: float = ANY_SCORE, first: int = 0
) -> tuple[Int32s, Float32s]:
    """The k best items of each query that may be in its slate: int32[r, k], -1 after the last, and float32[r, k].

    Of equal scores the smaller item comes first.

    Args:
        batch: the queries.
        k: items of each.
        items: int32[m], of the columns; or int32[r, m], of each score, -1 for none.
        score: float32[r, m], of the queries ``first`` to ``first + r - 1``.
        least: smaller scores do not count.
        first: the query of the first row.
    """
    indptr = np.arange(len(score) + 1) * score.shape[1]
    own = (indptr, frozen(items.ravel()), score.ravel())
    return order_kernels.best_allowed(*own, k, least, first, *permitted(batch))


def fetched(batch: QueryBatch, k: int, fetch: Fetch) -> tuple[Int32s, Float32s]:
    """The first k allowed items of each query, of as many as its exclusions may cost: int32[q, k] and float32[q, k]."""
    many = batch.n_excluded > MANY_EXCLUDED
    if many.all() or not many.any():
        return best_allowed(batch, k, *fetch(batch, k + batch.most_excluded()))
    item_num = np.full((len(batch), k), -1, dtype=np.int32)
    score = np.zeros((len(batch), k), dtype=np.float32)
    for part in (np.flatnonzero(~many), np.flatnonzero(many)):
        own = batch.rows(part)
        item_num[part], score[part] = best_allowed(own, k, *fetch(own, k + own.most_excluded()))
    return item_num, score


def top(score: Float32s, k: int) -> Int64s:
    """Positions of the k largest scores, best first; ties by position."""
    if len(score) > k:
        # Ties at the cut go to the smaller position, so that answers do not depend on the partition.
        threshold = np.partition(score, len(score) - k)[len(score) - k]
        above = np.flatnonzero(score > threshold)
        ties = np.flatnonzero(score == threshold)[: k - len(above)]
        kept = np.sort(np.concatenate([above, ties]))
    else:
        kept = np.arange(len(score))
    return kept[np.argsort(-score[kept], kind="stable")]
