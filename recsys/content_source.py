"""The source of cold items, which the others cannot know."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys.content import ContentModel
from recsys.fetching import fetched
from recsys.item_index import ItemIndex, search_rows
from recsys.queries import QueryBatch
from recsys.sources import AlsSource, Proposal
from recsys.types import Array, Float32s, Int32s

COLD_CANDIDATES = 30
"""Most cold items that are proposed for a query."""


@dataclass(frozen=True, slots=True)
class ContentSource:
    """Cold items, on which too few have acted for the other sources, by the factors that their attributes stand for.

    Attributes:
        als: makes the users' vectors; its factors of the cold items are mapped ones.
        item_num: int32[c], rising: the cold items.
        model: from attributes to factors.
        index: over the factors of the cold items.
    """

    als: AlsSource
    item_num: Int32s
    model: ContentModel
    index: ItemIndex
    name: str = "content"

    @classmethod
    def of(cls, als: AlsSource, item_num: Int32s, model: ContentModel) -> ContentSource:
        """With an exact index."""
        return cls(als, item_num, model, ItemIndex.exact(als.item_factors[item_num]))

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """The best cold items by inner product, a few of them: they compete for their own slots alone."""
        k = min(k, COLD_CANDIDATES)
        if len(self.item_num) == 0:
            shape = (len(batch), k)
            return Proposal(np.full(shape, -1, np.int32), np.zeros(shape, np.float32), _silent)
        vectors = self.als.vectors(batch)
        item_num, score = fetched(replace(batch, vectors=vectors), k, self._search)
        item_num[~vectors.any(axis=1)] = -1

        def score_of(query: Array, item: Array) -> Float32s:
            dots = np.zeros(len(item), dtype=np.float32)
            cold = np.flatnonzero(np.isin(item, self.item_num))
            dots[cold] = np.einsum("nd,nd->n", vectors[query[cold]], self.als.item_factors[item[cold]])
            return dots

        return Proposal(item_num, score, score_of)

    def _search(self, batch: QueryBatch, count: int) -> tuple[Int32s, Float32s]:
        """The best of the cold items that are allowed in all slates."""
        vectors = self.als.vectors(batch)
        if batch.allowed_items is None:
            score, place = self.index.search(vectors, count)
            return self.item_num[place], score
        rows = self.item_num[batch.allowed_items[self.item_num]]
        score, item_num = search_rows(self.als.item_factors, rows, vectors, count)
        return item_num, score


def _silent(_: Array, item: Array) -> Float32s:
    """Scores of a source that has nothing to say."""
    return np.zeros(len(item), dtype=np.float32)
