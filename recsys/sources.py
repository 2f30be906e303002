"""The sources of candidates: each proposes items for a query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from recsys import history_kernels, proposal_kernels, row_kernels
from recsys.als import Confidence, FoldIn
from recsys.fetching import EVERY_ITEM, POSITIVE, Rows, permitted, slots
from recsys.halves import bits_of
from recsys.item_index import ItemIndex
from recsys.kernel import frozen
from recsys.popularity import popular_order
from recsys.queries import QueryBatch
from recsys.types import Array, Bools, Float32s, Float64s, Int32s, Int64s, UInt16s

NO_HALVES = np.zeros((0, 0), dtype=np.float16)
Say = Callable[[Int32s, Int32s, Float32s, int], object]
"""Writes a source's scores of some pairs, query int32[n] and item int32[n], to a column of float32[n, S]."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one source proposes for q queries.

    Attributes:
        item_num: int32[q, k], best first; -1 after the last.
        score: float32[q, k].
        say: the source's scores of any pairs, whose queries rise; 0 where it has nothing to say. None: nowhere.
    """

    item_num: Int32s
    score: Float32s
    say: Say | None


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
class AlsSource:
    """Inner product of user and item factors.

    Attributes:
        item_factors: float32[n_items, d], numbers of half precision.
        user_factors: float16 or float32[n_users, d].
        gram: float32[d, d], Y^T Y + regularization I.
        confidence: as in fitting.
        index: over the item factors.
        bits: uint16[n_items, d], of the item factors in half precision.
        length: float32[n_items], of the item factors; infinite where they are nothing.
        fold_in: makes vectors of histories.
        known_bits: these bits, where they are known.
    """

    item_factors: Float32s
    user_factors: Array
    gram: Float32s
    confidence: Confidence
    index: ItemIndex
    name: str = "als"
    bits: UInt16s = field(init=False, repr=False)
    length: Float32s = field(init=False, repr=False)
    fold_in: FoldIn = field(init=False, repr=False, compare=False)
    known_bits: InitVar[UInt16s | None] = None

    def __post_init__(self, known_bits: UInt16s | None) -> None:
        object.__setattr__(self, "bits", bits_of(self.item_factors, known_bits))
        object.__setattr__(self, "fold_in", FoldIn(self.item_factors, self.gram, self.confidence))
        length = np.linalg.norm(self.item_factors, axis=1).astype(np.float32)
        object.__setattr__(self, "length", np.where(length > 0, length, np.float32(np.inf)))

    @property
    def user_bits(self) -> UInt16s:
        """uint16[n_users, d], of the user factors where these are float16, else none."""
        stored = self.user_factors if self.user_factors.dtype == np.float16 else NO_HALVES
        return frozen(stored.view(np.uint16))

    def vectors(self, batch: QueryBatch) -> Float32s:
        """float32[q, d]: stored user factors, or folded in where the history is fresh."""
        if batch.vectors is not None:
            return batch.vectors
        fresh = np.flatnonzero(batch.user_num < 0)
        vectors = self._stored(batch.user_num)
        if len(fresh):
            vectors[fresh] = self.fold_in(batch.history, fresh)
        return vectors

    def _stored(self, user_num: Int32s) -> Float32s:
        """float32[q, d]: the factors of some users; anything for -1."""
        if len(self.user_bits):
            return history_kernels.vectors_of(user_num, self.user_bits)
        if len(self.user_factors):
            return self.user_factors[user_num]
        return np.empty((len(user_num), self.user_factors.shape[1]), dtype=np.float32)

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
    return Proposal(*index.best(batch, vectors, k), Products(vectors, factors))


@dataclass(frozen=True, slots=True)
class Products:
    """Scores that are inner products.

    Attributes:
        vectors: float32[q, d], of the queries.
        factors: float32[n_items, d].
        known: bool[n_items], the others' score is 0; of length 0 where every item is known.
    """

    vectors: Float32s
    factors: Float32s
    known: Bools = field(default_factory=lambda: EVERY_ITEM)

    def __call__(self, query: Int32s, item: Int32s, score: Float32s, column: int) -> None:
        """Write those of some pairs, query int32[n] and item int32[n], to a column of float32[n, S]."""
        row_kernels.fill_products(self.vectors, frozen(self.factors), self.known, query, item, score, column)


@dataclass(frozen=True, slots=True)
class SimilaritySource:
    """Items similar to those in the history, weighted by event type and age.

    Attributes:
        neighbours: float32 CSR[n_items, n_items]; row i holds the items most similar to i, without i.
        weights: float64[10], weight of each event type by its number.
        half_life_days: of a history's weight.
        lists: the neighbours' indptr int64, indices int32 and data, whatever scipy made of them.
    """

    neighbours: sp.csr_array
    weights: Float64s
    half_life_days: float
    name: str = "item_similarity"
    lists: tuple[Int64s, Int32s, Float32s] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        near = self.neighbours
        parts = zip((near.indptr, near.indices, near.data), (np.int64, np.int32, np.float32), strict=True)
        object.__setattr__(self, "lists", tuple(frozen(part.astype(dtype, copy=False)) for part, dtype in parts))

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """The k items with the largest sum of similarities to the history."""
        history = batch.history
        own = (history.indptr, history.item_num, history.event_type, history.time, batch.now)
        how = (self.weights, self.half_life_days, *self.lists)
        return _of_rows(batch, *proposal_kernels.similar(*own, *how, k, POSITIVE, *permitted(batch)))


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
        own = (history.indptr, history.item_num, history.event_type, history.time, history.session_num, batch.now)
        how = (self.types, self.half_life_days, k, POSITIVE)
        return _of_rows(batch, *proposal_kernels.visited(*own, *how, *permitted(batch)))


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
        items = self.most_popular(k + batch.most_excluded(), batch.allowed_items)
        own = (items, frozen(self.popularity), len(batch), k, batch.excluded, slots(batch.n_items))
        item_num, score = proposal_kernels.popular(*own)
        return Proposal(item_num, score, partial(row_kernels.fill_shared, frozen(self.popularity)))

    def most_popular(self, count: int, allowed: Bools | None) -> Int32s:
        """int32[count]: the most popular of the items that are allowed (bool[n_items]); fewer where these are."""
        if allowed is None:
            return self.order[:count].astype(np.int32)
        depth = 2 * count
        while True:
            head = self.order[:depth]
            found = head[allowed[head]]
            if len(found) >= count or depth >= len(self.order):
                return found[:count].astype(np.int32)
            depth *= 8


def _of_rows(batch: QueryBatch, rows: Rows, item_num: Int32s, score: Float32s) -> Proposal:
    """What a source says of each query, and the best of it."""
    return Proposal(item_num, score, partial(row_kernels.fill_scores, *rows, slots(batch.n_items)))


def source_names(sources: tuple[CandidateSource, ...]) -> tuple[str, ...]:
    """The names of the sources, in their order."""
    return tuple(source.name for source in sources)
