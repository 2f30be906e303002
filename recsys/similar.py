"""Items like some items: by who acts on both, and by the angle between their factors, which new items have too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.fetching import POSITIVE, best_allowed
from recsys.queries import LIVE, QueryBatch
from recsys.retriever import Retriever
from recsys.sources import AlsSource, CandidateSource, Products, Proposal, SimilaritySource
from recsys.types import Float32s, Int32s

LEAST_WEIGHT = 0.01
"""So that items of which only one source knows anything still stand in the order of that source."""


@dataclass(frozen=True, slots=True)
class LikenessSource:
    """The cosine between item factors; those of new items are mapped from their attributes.

    Attributes:
        item_factors: float32[n_items, d].
        length: float32[n_items], of the factors; infinite where they are nothing.
    """

    item_factors: Float32s
    length: Float32s
    name: str = "factor_similarity"

    @classmethod
    def of(cls, als: AlsSource) -> LikenessSource:
        """Over the factors of ALS."""
        return cls(als.item_factors, als.length)

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """The k items nearest to the mean direction of the history's items."""
        vectors = self._directions(batch)
        every_item = np.arange(len(self.length), dtype=np.int32)
        # At a right angle or more, two items have nothing in common.
        item_num, score = best_allowed(batch, k, every_item, (vectors @ self.item_factors.T) / self.length, POSITIVE)
        product = Products(vectors, self.item_factors)

        def say(query: Int32s, item: Int32s, score: Float32s, column: int) -> None:
            product(query, item, score, column)
            score[:, column] /= self.length[item]

        return Proposal(item_num, score, say)

    def _directions(self, batch: QueryBatch) -> Float32s:
        """float32[q, d]: of length 1, or 0 where nothing is known of the history's items."""
        summed = np.zeros((len(batch), self.item_factors.shape[1]), dtype=np.float32)
        item = batch.history.item_num
        np.add.at(summed, batch.history.row, self.item_factors[item] / self.length[item, None])
        length = np.linalg.norm(summed, axis=1, keepdims=True)
        return np.asarray(summed / np.where(length > 0, length, 1), dtype=np.float32)


def similar_sources(sources: tuple[CandidateSource, ...], blend: Float32s) -> tuple[Retriever, Float32s]:
    """What finds similar items, and its sources' weights float32[S']: stage 1's for a visit, but none of nothing.

    Args:
        sources: of the snapshot.
        blend: float32[3, S], stage 1's weights.
    """
    chosen: list[CandidateSource] = []
    weights: list[float] = []
    for source, weight in zip(sources, blend[LIVE], strict=True):
        if isinstance(source, SimilaritySource):
            chosen.append(source)
        elif isinstance(source, AlsSource):
            chosen.append(LikenessSource.of(source))
        else:
            continue
        weights.append(max(float(weight), LEAST_WEIGHT))
    return Retriever(tuple(chosen)), np.array(weights, dtype=np.float32)
