"""Retrieval: each source proposes items for a query; the merged proposals are the candidates."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

import numpy as np

from recsys import retrieve_kernels
from recsys.candidates import LEAST_SCALE, SCALE_RANK, Candidates, with_vectors
from recsys.fetching import EVERY_ITEM, MOST_SIMILAR, space
from recsys.history_source_kernels import NONE, History, Popular, Product, Similar, Sources, Visited
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.retrieve_kernels import Asked, Found, Merging
from recsys.sources import (
    CandidateSource,
    PopularitySource,
    Products,
    Proposal,
    RepeatsSource,
    Say,
    SimilaritySource,
    source_names,
)
from recsys.types import Bools, Float32s, Int64s

MOST_VISITED, MOST_PRODUCTS = 2, 4
_NO_WEIGHTS, _NO_EVENTS = np.zeros(1), np.zeros(1, dtype=bool)
_NO_ITEMS, _NO_SCORES = frozen(np.zeros(0, dtype=np.int32)), frozen(np.zeros(0, dtype=np.float32))
_NO_STARTS, _NO_FACTORS = frozen(np.zeros(0, dtype=np.int64)), frozen(np.zeros((0, 0), dtype=np.float32))
_NOT_SIMILAR = Similar(NONE, _NO_WEIGHTS, 0.0, _NO_STARTS, _NO_ITEMS, _NO_SCORES)
_NOT_VISITED = Visited(NONE, _NO_EVENTS, 0.0)
_NOT_POPULAR = Popular(NONE, _NO_ITEMS, _NO_SCORES)
_NO_PRODUCT = Product(NONE, np.zeros((0, 0), dtype=np.float32), _NO_FACTORS, EVERY_ITEM)


class Retriever:
    """Finds candidates by some sources, most of them in one compiled call.

    Sources of similar items, of the user's own and of popular ones are only arrays to that call. The others propose by
    themselves before it; what they say of candidates that others propose is computed in it where it is an inner
    product, else behind.

    Attributes:
        sources: in the order of the candidates' columns.
    """

    __slots__ = ("_others", "_popular", "_popularity", "_similar", "_visited", "sources")

    def __init__(self, sources: tuple[CandidateSource, ...]) -> None:
        similar: list[Similar] = []
        visited: list[Visited] = []
        popular = _NOT_POPULAR
        self.sources = sources
        self._popularity: PopularitySource | None = None
        others: list[tuple[int, CandidateSource]] = []
        for column, source in enumerate(sources):
            match source:
                case SimilaritySource() if len(similar) < MOST_SIMILAR:
                    similar.append(Similar(column, np.array(source.weights), source.half_life_days, *source.lists))
                case RepeatsSource() if len(visited) < MOST_VISITED:
                    visited.append(Visited(column, np.array(source.types), source.half_life_days))
                case PopularitySource() if self._popularity is None:
                    self._popularity = source
                    popular = Popular(column, frozen(source.order.astype(np.int32)), frozen(source.popularity))
                case _:
                    others.append((column, source))
        self._similar = (*similar, *[_NOT_SIMILAR] * (MOST_SIMILAR - len(similar)))
        self._visited = (*visited, *[_NOT_VISITED] * (MOST_VISITED - len(visited)))
        self._popular = popular
        self._others = tuple(others)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sources, in their order."""
        return source_names(self.sources)

    def retrieve(self, batch: QueryBatch, k: int) -> Candidates:
        """The candidates of each query: at most k from each source, merged."""
        n_sources = len(self.sources)
        none = np.zeros((retrieve_kernels.LIVE + 1, n_sources), np.float32), 0, np.zeros(n_sources, dtype=bool)
        found, further = self._found(batch, k, *none)
        candidates = Candidates(*found[:5])
        for column, say in further:
            say(candidates.query_num, candidates.item_num, candidates.score, column)
        return candidates

    def leading(
        self, batch: QueryBatch, k: int, weights: Float32s, limit: int, reserved: Bools
    ) -> tuple[Candidates, Float32s]:
        """Of :meth:`retrieve` what is worth stage 2, and the blend of it, as :meth:`Candidates.leading` tells."""
        found, further = self._found(batch, k, np.ascontiguousarray(weights), limit, reserved)
        if further:
            return self.retrieve(batch, k).leading(weights, batch.mode, limit, reserved)
        return Candidates(*found[:5]), found[5]

    def _found(
        self, batch: QueryBatch, k: int, weights: Float32s, limit: int, reserved: Bools
    ) -> tuple[Found, list[tuple[int, Say]]]:
        """What is found, and who has more to say of it."""
        batch = with_vectors(self.sources, batch)
        proposals = [(column, source.propose(batch, k)) for column, source in self._others]
        starts = self._starts(k, proposals)
        proposed = np.empty((len(batch), starts[-1]), dtype=np.int32)
        own = np.empty((len(batch), starts[-1]), dtype=np.float32)
        products: list[Product] = []
        further: list[tuple[int, Say]] = []
        for column, proposal in proposals:
            part = slice(starts[column], starts[column + 1])
            proposed[:, part], own[:, part] = proposal.item_num, proposal.score
            say = proposal.say
            if isinstance(say, Products) and len(products) < MOST_PRODUCTS:
                products.append(Product(column, say.vectors, frozen(say.factors), say.known))
            elif say is not None:
                further.append((column, say))
        history, allowed = batch.history, EVERY_ITEM if batch.allowed_items is None else batch.allowed_items
        found = retrieve_kernels.retrieved(
            History(history.indptr, history.item_num, history.event_type, history.time, history.session_num),
            Asked(batch.user_num, batch.now, batch.discovery, batch.excluded, allowed),
            Sources(
                self._similar,
                self._visited,
                self._most_popular(batch, k),
                (*products, *[_NO_PRODUCT] * (MOST_PRODUCTS - len(products))),
            ),
            proposed,
            own,
            Merging(starts, SCALE_RANK, LEAST_SCALE, weights, limit, reserved),
            space(batch.n_items),
        )
        return found, further

    def _starts(self, k: int, proposals: list[tuple[int, Proposal]]) -> Int64s:
        widths = [k] * len(self.sources)
        for column, proposal in proposals:
            widths[column] = proposal.item_num.shape[1]
        return _summed(tuple(widths))

    def _most_popular(self, batch: QueryBatch, k: int) -> Popular:
        """The source of popular items with as many as the queries may need."""
        if self._popularity is None:
            return self._popular
        count = k + batch.most_excluded()
        if batch.allowed_items is None:
            return self._popular._replace(order=self._popular.order[:count])
        return self._popular._replace(order=frozen(self._popularity.most_popular(count, batch.allowed_items)))


@lru_cache(maxsize=64)
def _summed(widths: tuple[int, ...]) -> Int64s:
    return np.array([0, *accumulate(widths)], dtype=np.int64)


def retrieve(sources: tuple[CandidateSource, ...], batch: QueryBatch, k: int) -> Candidates:
    """The candidates of each query: at most k from each source, merged."""
    return Retriever(sources).retrieve(batch, k)
