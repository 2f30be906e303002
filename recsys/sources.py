"""Retrieval: each source proposes items for a query; the merged proposals are the candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from recsys.als import Confidence, fold_in_histories
from recsys.fetching import fetched, top
from recsys.item_index import ItemIndex, search_among
from recsys.popularity import decay, popular_order
from recsys.queries import QueryBatch
from recsys.types import Array, Bools, Float32s, Float64s, Int32s, Int64s

SCALE_RANK = 20
"""A source's scores are divided by the score at this rank, so that sources compare."""
LEAST_SCALE = 1e-6
"""Share of the best score below which a score is a rounding error, and no scale."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one source proposes for q queries.

    Attributes:
        item_num: int32[q, k], best first; -1 after the last.
        score: float32[q, k].
        score_of: the source's score of any pairs, (query int[n], item int[n]) to float32[n]; 0 where it has nothing to
            say.
    """

    item_num: Int32s
    score: Float32s
    score_of: Callable[[Array, Array], Float32s]


class CandidateSource(Protocol):
    """One way to propose items for a query."""

    @property
    def name(self) -> str:
        """The word for it in answers, reports and configuration."""
        ...

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """At most k items for each query, all of them allowed."""
        ...


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
        summed: Float32s = np.einsum("ns,ns->n", self.scaled, weights[mode[self.query_num]])
        return summed

    def best(self, blend: Float32s, limit: int, reserved: Bools) -> Int64s:
        """Positions of the ``limit`` best of each query by stage 1's score (float32[n]), and of what has its own slots.

        Args:
            blend: float32[n].
            limit: of a query.
            reserved: bool[S], the sources with their own slots: all that they propose is kept.
        """
        own = self.proposed_by(reserved)
        return np.flatnonzero(own | (rank_within(self.query_num, blend, len(self.scale)) <= limit))

    def proposed_by(self, sources: Bools) -> Bools:
        """bool[n]: whether any of some sources (bool[S]) proposed the item."""
        return np.asarray(np.isfinite(self.rank[:, sources]).any(axis=1))

    def where(self, mask: Bools | Int64s) -> Candidates:
        """Some of the pairs, by mask or by position."""
        return Candidates(self.query_num[mask], self.item_num[mask], self.score[mask], self.rank[mask], self.scale)


def rank_within(query_num: Array, score: Float32s, n_queries: int) -> Int64s:
    """int64[n]: 1-based place of each score among those of its query (which stand together)."""
    order = np.lexsort((-score, query_num))
    start = np.searchsorted(query_num, np.arange(n_queries))
    rank = np.empty(len(score), dtype=np.int64)
    rank[order] = np.arange(len(score)) - start[query_num[order]] + 1
    return rank


def retrieve(sources: tuple[CandidateSource, ...], batch: QueryBatch, k: int) -> Candidates:
    """The candidates of each query: at most k from each source, merged."""
    batch = _with_vectors(sources, batch)
    return merge([source.propose(batch, k) for source in sources], batch)


def given(sources: tuple[CandidateSource, ...], batch: QueryBatch, k: int, keys: Int64s) -> Candidates:
    """What each source says of pairs that the caller chose (rising keys); an item beyond its best k has no rank."""
    batch = _with_vectors(sources, batch)
    return merge([source.propose(batch, k) for source in sources], batch, keys)


def merge(proposals: Sequence[Proposal], batch: QueryBatch, keys: Int64s | None = None) -> Candidates:
    """What the proposals for one batch say of some pairs (rising keys); of all proposed ones for None."""
    keys_of = [_keys(batch, proposal) for proposal in proposals]
    if keys is None:
        keys = np.unique(np.concatenate([kept for kept, _ in keys_of]))
    query_num, item_num = (part.astype(np.int32) for part in np.divmod(keys, batch.n_items))
    rank = np.full((len(keys), len(proposals)), np.nan, dtype=np.float32)
    for column, (kept, place) in enumerate(keys_of):
        at = np.searchsorted(keys, kept)
        asked = at < len(keys)
        asked[asked] = keys[at[asked]] == kept[asked]
        rank[at[asked], column] = place[asked]
    score = np.empty_like(rank)
    for column, proposal in enumerate(proposals):
        score[:, column] = proposal.score_of(query_num, item_num)
    scale = np.stack([_scale(proposal) for proposal in proposals], axis=1)
    return Candidates(query_num, item_num, score, rank, scale)


def _with_vectors(sources: tuple[CandidateSource, ...], batch: QueryBatch) -> QueryBatch:
    """The queries with their user vectors, which are dear to fold in and read by more than one source."""
    als = next((source for source in sources if isinstance(source, AlsSource)), None)
    return batch if als is None else replace(batch, vectors=als.vectors(batch))


def _keys(batch: QueryBatch, proposal: Proposal) -> tuple[Int64s, Int64s]:
    """Keys and 1-based places of a proposal's items."""
    query, place = np.nonzero(proposal.item_num >= 0)
    return batch.keys(query, proposal.item_num[query, place]), place + 1


def _scale(proposal: Proposal) -> Float32s:
    """float32[q]: the score at rank 20, or the last one; 1 where that is nothing next to the best one."""
    last = np.minimum((proposal.item_num >= 0).sum(axis=1), SCALE_RANK) - 1
    score = proposal.score[np.arange(len(last)), np.maximum(last, 0)]
    usable = (last >= 0) & (score > 0) & (score >= LEAST_SCALE * proposal.score[:, 0])
    return np.where(usable, score, 1.0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class AlsSource:
    """Inner product of user and item factors.

    Attributes:
        item_factors: float32[n_items, d].
        user_factors: float16 or float32[n_users, d].
        gram: float32[d, d], Y^T Y + regularization I.
        confidence: as in fitting.
        index: over the item factors.
        inverse: float32[d, d], of the gram matrix, by which short histories fold in fast.
        length: float32[n_items], of the item factors; infinite where they are nothing.
    """

    item_factors: Float32s
    user_factors: Array
    gram: Float32s
    confidence: Confidence
    index: ItemIndex
    name: str = "als"
    inverse: Float32s = field(init=False, repr=False)
    length: Float32s = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inverse", np.linalg.inv(self.gram.astype(np.float64)).astype(np.float32))
        length = np.linalg.norm(self.item_factors, axis=1).astype(np.float32)
        object.__setattr__(self, "length", np.where(length > 0, length, np.float32(np.inf)))

    def vectors(self, batch: QueryBatch) -> Float32s:
        """float32[q, d]: stored user factors, or folded in where the history is fresh."""
        if batch.vectors is not None:
            return batch.vectors
        known = batch.user_num >= 0
        if known.all():
            return self.user_factors[batch.user_num].astype(np.float32)
        vectors = np.zeros((len(batch), self.item_factors.shape[1]), dtype=np.float32)
        vectors[known] = self.user_factors[batch.user_num[known]]
        fresh = batch.history.rows(np.flatnonzero(~known))
        vectors[~known] = fold_in_histories(self.item_factors, self.gram, fresh, self.confidence, self.inverse)
        return vectors

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """The k items of largest inner product."""
        return by_inner_product(batch, k, self.vectors(batch), self.item_factors, self.index)


def by_inner_product(batch: QueryBatch, k: int, vectors: Float32s, factors: Float32s, index: ItemIndex) -> Proposal:
    """The k items of largest inner product with each query's vector.

    Args:
        batch: q queries.
        k: items of each.
        vectors: float32[q, d]; nothing is proposed where one is all 0.
        factors: float32[n_items, d].
        index: over the factors.
    """

    def search(part: QueryBatch, count: int) -> tuple[Int32s, Float32s]:
        own = vectors if part.vectors is None else part.vectors
        score, items = search_among(index, factors, own, count, part.allowed_items)
        return items.astype(np.int32), score

    item_num, score = fetched(replace(batch, vectors=vectors), k, search)
    item_num[~vectors.any(axis=1)] = -1

    def score_of(query: Array, item: Array) -> Float32s:
        dots: Float32s = np.einsum("nd,nd->n", vectors[query], factors[item])
        return dots

    return Proposal(item_num, score, score_of)


@dataclass(frozen=True, slots=True)
class SimilaritySource:
    """Items similar to those in the history, weighted by event type and age.

    Attributes:
        neighbours: float32 CSR[n_items, n_items]; row i holds the items most similar to i, without i.
        weights: float64[10], weight of each event type by its number.
        half_life_days: of a history's weight.
    """

    neighbours: sp.csr_array
    weights: Float64s
    half_life_days: float
    name: str = "item_similarity"

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """The k items with the largest sum of similarities to the history."""
        history = batch.history
        age = batch.now[history.row] - history.time
        weight = (self.weights[history.event_type] * decay(age, self.half_life_days)).astype(np.float32)
        shape = (len(batch), batch.n_items)
        # With int64 beside int32 scipy would copy all neighbours, at every call.
        asked = sp.csr_array((weight, history.item_num, history.indptr.astype(np.int32)), shape=shape)
        return _propose_sparse(batch, sp.csr_array(asked @ self.neighbours), k)


@dataclass(frozen=True, slots=True)
class RepeatsSource:
    """The user's own items again: visits in which an item was bought (or, where nothing was, touched), halved by age.

    Attributes:
        types: event types that count, by number: bool[10].
        half_life_days: of a visit's weight.
    """

    types: Bools
    half_life_days: float
    name: str = "repeats"

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """The k items that the user came back to most, lately."""
        history = batch.history
        entry = np.flatnonzero(self.types[history.event_type])
        query, item, session = history.row[entry], history.item_num[entry], history.session_num[entry]
        # Newest first: the first of equal (query, item, session) is the one to keep, however many lines a visit has.
        order = np.lexsort((session, item, query))
        query, item, session, entry = query[order], item[order], session[order], entry[order]
        first = np.ones(len(entry), dtype=bool)
        first[1:] = (query[1:] != query[:-1]) | (item[1:] != item[:-1]) | (session[1:] != session[:-1])
        query, item, entry = query[first], item[first], entry[first]
        weight = decay(batch.now[query] - history.time[entry], self.half_life_days).astype(np.float32)
        shape = (len(batch), batch.n_items)
        return _propose_sparse(batch, sp.csr_array((weight, (query, item)), shape=shape), k)


@dataclass(frozen=True, slots=True)
class PopularitySource:
    """What everybody acts on lately: the same for all.

    Attributes:
        popularity: float32[n_items].
        order: int64[n_items], all items, most popular first.
    """

    popularity: Float32s
    order: Int64s
    name: str = "popularity"

    @classmethod
    def of(cls, popularity: Float32s) -> PopularitySource:
        """From the popularity of each item."""
        return cls(popularity, popular_order(popularity))

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """The k most popular items."""
        item_num, score = fetched(batch, k, self._head)
        return Proposal(item_num, score, lambda _, item: self.popularity[item])

    def _head(self, batch: QueryBatch, count: int) -> tuple[Int32s, Float32s]:
        """The most popular of the items that are allowed in all slates."""
        items = np.tile(self.most_popular(count, batch.allowed_items), (len(batch), 1))
        return items, self.popularity[items]

    def most_popular(self, count: int, allowed: Bools | None) -> Int32s:
        """int32[count]: the most popular of the items that are allowed (bool[n_items]); fewer where these are."""
        if allowed is None:
            return self.order[:count].astype(np.int32)
        depth, found = 2 * count, self.order[:0]
        while len(found) < count and depth < 8 * len(self.order):
            head = self.order[:depth]
            found = head[allowed[head]]
            depth *= 8
        return found[:count].astype(np.int32)


def _propose_sparse(batch: QueryBatch, scores: sp.csr_array, k: int) -> Proposal:
    """The k best allowed entries of each row of a sparse matrix of scores float32[q, n_items]."""
    scores.sum_duplicates()
    query = np.repeat(np.arange(len(batch)), np.diff(scores.indptr))
    keys = batch.keys(query, scores.indices)
    value = np.where(batch.allowed(query, scores.indices), scores.data, np.float32(-1))
    item_num = np.full((len(batch), k), -1, dtype=np.int32)
    score = np.zeros((len(batch), k), dtype=np.float32)
    for row in range(len(batch)):
        start, stop = scores.indptr[row], scores.indptr[row + 1]
        best = top(value[start:stop], k)
        best = best[value[start:stop][best] > 0]
        item_num[row, : len(best)] = scores.indices[start:stop][best]
        score[row, : len(best)] = value[start:stop][best]

    def score_of(of_query: Array, of_item: Array) -> Float32s:
        wanted = batch.keys(of_query, of_item)
        if len(keys) == 0:
            return np.zeros(len(wanted), dtype=np.float32)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[place] == wanted, scores.data[place], 0).astype(np.float32)

    return Proposal(item_num, score, score_of)


def source_names(sources: tuple[CandidateSource, ...]) -> tuple[str, ...]:
    """The names of the sources, in their order."""
    return tuple(source.name for source in sources)
