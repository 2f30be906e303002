"""From scored candidates to slates: the best of each query, filled up with what is popular."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.queries import QueryBatch
from recsys.sources import Candidates, PopularitySource, top
from recsys.types import Float32s, Int32s, Int64s

FILL = -1
"""Stands for the position of an item that no source proposed."""


@dataclass(frozen=True, slots=True)
class RankedItems:
    """A slate as rows.

    Attributes:
        item_num: int32[k], best first, no item twice.
        score: float32[k], not rising.
        position: int64[k], the item's row among the candidates; -1 where popularity filled up.
    """

    item_num: Int32s
    score: Float32s
    position: Int64s


def assemble(
    batch: QueryBatch, candidates: Candidates, score: Float32s, sizes: list[int], popular: PopularitySource
) -> list[RankedItems]:
    """One slate a query, as long as its size asks, shorter only where the catalogue minus exclusions is.

    Args:
        batch: the queries.
        candidates: what was proposed for them.
        score: float32[n], what orders the candidates.
        sizes: items wanted by each query.
        popular: fills up what the candidates leave open.
    """
    bounds = np.searchsorted(candidates.query_num, np.arange(len(batch) + 1))
    slates = []
    for query, size in enumerate(sizes):
        start, stop = bounds[query], bounds[query + 1]
        best = top(score[start:stop], size) + start
        ranked = RankedItems(candidates.item_num[best], score[best], best)
        slates.append(ranked if len(best) == size else _fill(batch, query, ranked, size, popular))
    return slates


def popular_items(batch: QueryBatch, query: int, size: int, popular: PopularitySource) -> RankedItems:
    """The popular slate of a query, without its exclusions."""
    nothing = RankedItems(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    return _fill(batch, query, nothing, size, popular)


def _fill(batch: QueryBatch, query: int, ranked: RankedItems, size: int, popular: PopularitySource) -> RankedItems:
    """The slate with popular items behind it."""
    first, last = np.searchsorted(batch.excluded, (query * batch.n_items, (query + 1) * batch.n_items))
    out = np.concatenate([ranked.item_num, batch.excluded[first:last] % batch.n_items])
    # Nothing beyond the first size + len(out) popular items can be needed.
    head = popular.order[: size + len(out)].astype(np.int32)
    more = head[~np.isin(head, out)][: size - len(ranked.item_num)]
    score = popular.popularity[more]
    if len(ranked.score) and len(more):
        # Scores of two scales: shifted, so that a slate's scores never rise.
        score = score - score[0] + ranked.score[-1]
    return RankedItems(
        np.concatenate([ranked.item_num, more]),
        np.concatenate([ranked.score, score]).astype(np.float32),
        np.concatenate([ranked.position, np.full(len(more), FILL, dtype=np.int64)]),
    )
