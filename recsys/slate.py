"""From scored candidates to slates: the best of each query, filled up with what is popular."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.queries import QueryBatch
from recsys.sources import Candidates, PopularitySource, top
from recsys.types import Float32s, Int32s, Int64s

FILL = -1
"""Stands for the position of an item that no source proposed."""
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Slots:
    """Places that are kept for what one source proposes, evenly spread, so that a shorter slate begins a longer one.

    Attributes:
        source: its column among the candidates; its own rank says which of its items come first.
        shares: of the places, 0 to 1, for queries that allow purchased items and for those that do not: the n-th kept
            place is n / share, rounded up.
    """

    source: int
    shares: tuple[float, float]

    def places(self, size: int, discovery: bool) -> list[int]:
        """The kept places of a slate, from 0."""
        share = self.shares[discovery]
        count = int(size * share + ROUNDING)
        return [int(np.ceil(number / share - ROUNDING)) - 1 for number in range(1, count + 1)]


def fill_places(ordered: list[int], proposed: Sequence[int], places: Sequence[int], size: int) -> list[int]:
    """A slate's candidates, best first, of which as many are of one source as places are kept down to there.

    Args:
        ordered: candidates, best first.
        proposed: those of the source, its best first.
        places: that are kept for it, from 0, rising.
        size: of the slate.
    """
    own = set(proposed)
    for number, place in enumerate(places, start=1):
        if sum(candidate in own for candidate in ordered[: place + 1]) >= number:
            continue
        head = ordered[:place]
        chosen = next((candidate for candidate in proposed if candidate not in head), None)
        if chosen is None:
            break
        ordered = [*head, chosen, *(candidate for candidate in ordered[place:] if candidate != chosen)]
    return ordered[:size]


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
    batch: QueryBatch,
    candidates: Candidates,
    score: Float32s,
    sizes: list[int],
    popular: PopularitySource,
    slots: Sequence[Slots] = (),
) -> list[RankedItems]:
    """One slate a query, as long as its size asks, shorter only where the catalogue minus exclusions is.

    Args:
        batch: the queries.
        candidates: what was proposed for them.
        score: float32[n], what orders the candidates.
        sizes: items wanted by each query.
        popular: fills up what the candidates leave open.
        slots: places kept for some sources' candidates, the first ones first.
    """
    bounds = np.searchsorted(candidates.query_num, np.arange(len(batch) + 1))
    slates = []
    for query, size in enumerate(sizes):
        start, stop = bounds[query], bounds[query + 1]
        best = top(score[start:stop], size) + start
        for kept in slots:
            places = kept.places(size, bool(batch.discovery[query]))
            if places:
                proposed = _proposed(candidates.rank[start:stop, kept.source]) + start
                best = np.array(fill_places(best.tolist(), proposed.tolist(), places, size), dtype=np.int64)
        # What a slot lifts above its score counts as much as what comes behind it.
        falling = np.maximum.accumulate(score[best][::-1])[::-1]
        ranked = RankedItems(candidates.item_num[best], falling, best)
        slates.append(ranked if len(best) == size else _fill(batch, query, ranked, size, popular))
    return slates


def _proposed(rank: Float32s) -> Int64s:
    """Positions of what a source proposes (float32[n] ranks, NaN for the rest), its best first."""
    return np.argsort(rank, kind="stable")[: int(np.isfinite(rank).sum())]


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
