"""Retrieval: each source proposes items for a query; the merged proposals are the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from recsys import fetching, merge_kernels, order_kernels
from recsys.queries import QueryBatch
from recsys.sources import AlsSource, CandidateSource, Proposal
from recsys.types import Array, Bools, Float32s, Int32s, Int64s

SCALE_RANK = 20
"""A source's scores are divided by the score at this rank, so that sources compare."""
LEAST_SCALE = 1e-6
"""Share of the best score below which a score is a rounding error, and no scale."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The merged proposals of S sources: n pairs ordered by query, then item.

    Attributes:
        query_num: int32[n].
        item_num: int32[n].
        score: float32[n, S], each source's score, whether it proposed the item or not.
        rank: float32[n, S], 1-based place in the source's proposal; NaN where it did not propose the item.
        scale: float32[q, S], each source's score at rank 20 (or its last one); 1 where it proposed nothing.
    """

    query_num: Int32s
    item_num: Int32s
    score: Float32s
    rank: Float32s
    scale: Float32s

    def __len__(self) -> int:
        return len(self.item_num)

    @property
    def scaled(self) -> Float32s:
        """float32[n, S]: scores that compare across sources."""
        return self.score / self.scale[self.query_num]

    def blend(self, weights: Float32s, mode: Int64s) -> Float32s:
        """float32[n]: stage 1's score, the weighted sum of the scaled scores.

        Args:
            weights: float32[3, S], for each mode.
            mode: int64[q], of the queries, as :attr:`recsys.queries.QueryBatch.mode` numbers them.
        """
        return merge_kernels.blended(self.query_num, self.score, self.scale, np.ascontiguousarray(weights), mode)

    def best(self, blend: Float32s, limit: int, reserved: Bools) -> Int64s:
        """Positions of the ``limit`` best of each query by stage 1's score (float32[n]), and of what has its own slots.

        Args:
            blend: float32[n].
            limit: of a query.
            reserved: bool[S], the sources with their own slots: all that they propose is kept.
        """
        return merge_kernels.best(self.query_num, blend, self.rank, limit, reserved)

    def leading(self, weights: Float32s, mode: Int64s, limit: int, reserved: Bools) -> tuple[Candidates, Float32s]:
        """What :meth:`best` keeps by :meth:`blend`, and the blend of it: in one call, as a query has few candidates."""
        columns = (self.query_num, self.item_num, self.score, self.rank, self.scale)
        pairs, blend = merge_kernels.leading(*columns, np.ascontiguousarray(weights), mode, limit, reserved)
        return Candidates(*pairs, self.scale), blend

    def proposed_by(self, sources: Bools) -> Bools:
        """bool[n]: whether any of some sources (bool[S]) proposed the item."""
        return np.asarray(np.isfinite(self.rank[:, sources]).any(axis=1))

    def where(self, mask: Bools | Int64s) -> Candidates:
        """Some of the pairs, by mask or by position."""
        places: Int64s = np.flatnonzero(mask) if mask.dtype == bool else mask.astype(np.int64)
        columns = (self.query_num, self.item_num, self.score, self.rank)
        return Candidates(*merge_kernels.taken(places, *columns), self.scale)


def rank_within(query_num: Array, score: Float32s) -> Int64s:
    """int64[n]: 1-based place of each score among those of its query (which stand together); ties keep their order."""
    return order_kernels.places(query_num.astype(np.int32, copy=False), score)


def given(sources: tuple[CandidateSource, ...], batch: QueryBatch, k: int, keys: Int64s) -> Candidates:
    """What each source says of pairs that the caller chose (rising keys); an item beyond its best k has no rank."""
    batch = with_vectors(sources, batch)
    return merge([source.propose(batch, k) for source in sources], batch, keys)


def merge(proposals: Sequence[Proposal], batch: QueryBatch, keys: Int64s) -> Candidates:
    """What the proposals for one batch say of some pairs (rising keys)."""
    proposed = np.concatenate([proposal.item_num for proposal in proposals], axis=1)
    own = np.concatenate([proposal.score for proposal in proposals], axis=1)
    starts = np.array([0, *accumulate(proposal.item_num.shape[1] for proposal in proposals)])
    query, item = (part.astype(np.int32) for part in np.divmod(keys, batch.n_items))
    slots = fetching.slots(batch.n_items)
    found = merge_kernels.told(query, item, proposed, own, starts, SCALE_RANK, LEAST_SCALE, slots)
    query_num, item_num, score, _, _ = found
    for column, proposal in enumerate(proposals):
        if proposal.say is not None:
            proposal.say(query_num, item_num, score, column)
    return Candidates(*found)


def with_vectors(sources: tuple[CandidateSource, ...], batch: QueryBatch) -> QueryBatch:
    """The queries with their user vectors, which are dear to fold in and read by more than one source."""
    als = next((source for source in sources if isinstance(source, AlsSource)), None)
    return batch if als is None else replace(batch, vectors=als.vectors(batch))
