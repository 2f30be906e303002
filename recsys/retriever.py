"""Retrieval: each source proposes items for a query; the merged proposals are the candidates."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate

import numpy as np

from recsys import retrieve_kernels
from recsys.candidates import LEAST_SCALE, SCALE_RANK, Candidates
from recsys.content_source import COLD_CANDIDATES, ContentSource, DescribedSource
from recsys.fetching import EVERY_ITEM, MOST_SIMILAR, space
from recsys.history_source_kernels import NONE, History, Popular, Product, Searched, Similar, Sources, Spectral, Visited
from recsys.item_blocks import ItemBlocks
from recsys.item_index import are_few
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.retrieve_kernels import Asked, Found, Merging
from recsys.sources import (
    AlsSource,
    CandidateSource,
    PopularitySource,
    Products,
    Proposal,
    RepeatsSource,
    Say,
    SimilaritySource,
    source_names,
)
from recsys.spectral_source import SpectralSource
from recsys.types import Bools, Float32s, Int64s

MOST_VISITED, MOST_SEARCHED = 2, 3
OF_ALS, OF_SPECTRAL, BROUGHT, MOST_VECTORS = 0, 1, 2, 4
"""The numbers of vectors: of ALS, of the spectral source, and the first of those that other sources bring along."""
MOST_PRODUCTS = 6
_NO_WEIGHTS, _NO_EVENTS, _NO_VECTORS = np.zeros(1), np.zeros(1, dtype=bool), np.zeros((0, 0), dtype=np.float32)
_NO_ITEMS, _NO_SCORES = frozen(np.zeros(0, dtype=np.int32)), frozen(np.zeros(0, dtype=np.float32))
_NO_STARTS, _NO_FACTORS = frozen(np.zeros(0, dtype=np.int64)), frozen(_NO_VECTORS)
_NO_BLOCKS = ItemBlocks.of(np.zeros((1, 1), dtype=np.float32))
_NOT_SIMILAR = Similar(NONE, _NO_WEIGHTS, 0.0, _NO_STARTS, _NO_ITEMS, _NO_SCORES)
_NOT_VISITED = Visited(NONE, _NO_EVENTS, 0.0)
_NOT_POPULAR = Popular(NONE, _NO_ITEMS, _NO_SCORES)
_NOT_SPECTRAL = Spectral(NONE, _NO_WEIGHTS, 0.0, _NO_SCORES, _NO_FACTORS)
_NO_PRODUCT = Product(NONE, OF_ALS, _NO_FACTORS, EVERY_ITEM, searched=False)


class Retriever:
    """Finds candidates by some sources, most of them in one compiled call.

    Most sources are only arrays to that call. The others propose by themselves before it: where few items are allowed,
    or no blocks are searched, also those of largest inner products. What they say of candidates that others propose is
    computed in the call where it is an inner product, else behind.

    Attributes:
        sources: in the order of the candidates' columns.
    """

    __slots__ = ("_als", "_few", "_others", "_popularity", "_searching", "_whole", "_widths", "sources")

    def __init__(self, sources: tuple[CandidateSource, ...]) -> None:
        self.sources = sources
        self._popularity = next((one for one in sources if isinstance(one, PopularitySource)), None)
        self._als = next((als for source in sources if (als := _als_of(source)) is not None), None)
        found = _Found(self._als)
        for column, source in enumerate(sources):
            found.add(column, source)
        self._widths = tuple(map(_most, sources))
        self._whole, self._few = found.arrays(searched=True), found.arrays(searched=False)
        self._others, self._searching = tuple(found.others), tuple(found.searching)

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
        few = are_few(batch.allowed_items)
        arrays, others = (self._few, (*self._others, *self._searching)) if few else (self._whole, self._others)
        vectors = _NO_VECTORS if self._als is None else self._als.vectors(batch)
        if others and self._als is not None:
            batch = replace(batch, vectors=vectors)
        proposals = [(column, source.propose(batch, k)) for column, source in others]
        starts = _starts(self._widths, k, tuple((at, each.item_num.shape[1]) for at, each in proposals))
        proposed = np.empty((len(batch), starts[-1]), dtype=np.int32)
        own = np.empty((len(batch), starts[-1]), dtype=np.float32)
        for column, proposal in proposals:
            part = slice(starts[column], starts[column + 1])
            proposed[:, part], own[:, part] = proposal.item_num, proposal.score
        said, brought, further = _brought(arrays.said, proposals)
        history, allowed = batch.history, EVERY_ITEM if batch.allowed_items is None else batch.allowed_items
        found = retrieve_kernels.retrieved(
            History(history.indptr, history.item_num, history.event_type, history.time, history.session_num),
            Asked(batch.user_num, batch.now, batch.discovery, batch.excluded, allowed),
            arrays._replace(popular=self._most_popular(arrays.popular, batch, k), said=said),
            (vectors, _NO_VECTORS, brought[0], brought[1]),
            proposed,
            own,
            Merging(starts, SCALE_RANK, LEAST_SCALE, weights, limit, reserved),
            space(batch.n_items),
        )
        return found, further

    def _most_popular(self, popular: Popular, batch: QueryBatch, k: int) -> Popular:
        """The source of popular items with as many as the queries may need."""
        if self._popularity is None:
            return popular
        count = k + batch.most_excluded()
        if batch.allowed_items is None:
            return popular._replace(order=popular.order[:count])
        return popular._replace(order=frozen(self._popularity.most_popular(count, batch.allowed_items)))


@dataclass(slots=True)
class _Found:
    """The sources that are only arrays, as they are found, and the others with their columns.

    Those whose vectors another ALS makes are others.
    """

    als: AlsSource | None
    similar: list[Similar] = field(default_factory=list)
    visited: list[Visited] = field(default_factory=list)
    searched: list[Searched] = field(default_factory=list)
    said: list[Product] = field(default_factory=list)
    described: list[Product] = field(default_factory=list)
    popular: Popular = _NOT_POPULAR
    spectral: Spectral = _NOT_SPECTRAL
    searching: list[tuple[int, CandidateSource]] = field(default_factory=list)
    others: list[tuple[int, CandidateSource]] = field(default_factory=list)

    def add(self, column: int, source: CandidateSource) -> None:
        """One source more."""
        match source:
            case SimilaritySource() if len(self.similar) < MOST_SIMILAR:
                self.similar.append(Similar(column, np.array(source.weights), source.half_life_days, *source.lists))
            case RepeatsSource() if len(self.visited) < MOST_VISITED:
                self.visited.append(Visited(column, np.array(source.types), source.half_life_days))
            case PopularitySource() if self.popular is _NOT_POPULAR:
                self.popular = Popular(column, frozen(source.order.astype(np.int32)), frozen(source.popularity))
            case _ if (als := _als_of(source)) is not None and als is not self.als:
                self.others.append((column, source))
            case SpectralSource() if self.spectral is not _NOT_SPECTRAL:
                self.others.append((column, source))
            case DescribedSource() if not self.described:
                self.described.append(Product(column, OF_ALS, frozen(source.factors), EVERY_ITEM, searched=False))
            case _ if (blocks := _blocks(source)) and len(self.searched) < MOST_SEARCHED:
                self._search(column, source, blocks)
            case _:
                self.others.append((column, source))

    def _search(self, column: int, source: CandidateSource, blocks: ItemBlocks) -> None:
        match source:
            case AlsSource(item_factors):
                vectors, factors, known = OF_ALS, item_factors, EVERY_ITEM
            case ContentSource(als):
                vectors, factors, known = OF_ALS, als.item_factors, source.is_cold
            case SpectralSource(factors, inverse_degree, weights, half_life_days):
                vectors, known = OF_SPECTRAL, EVERY_ITEM
                share = frozen(inverse_degree)
                self.spectral = Spectral(column, np.array(weights), half_life_days, share, frozen(factors))
        own = (blocks.codes, blocks.items, blocks.unit, blocks.length)
        self.searched.append(Searched(column, vectors, frozen(factors), *own))
        self.said.append(Product(column, vectors, frozen(factors), known, searched=True))
        if not isinstance(source, ContentSource):  # whose few items are searched under any filter
            self.searching.append((column, source))

    def arrays(self, *, searched: bool) -> Sources:
        """The arrays, with or without the sources that propose by themselves where few items are allowed."""
        blocks = (_NO_BLOCKS.codes, _NO_BLOCKS.items, _NO_BLOCKS.unit, _NO_BLOCKS.length)
        none = Searched(NONE, OF_ALS, _NO_FACTORS, *blocks)
        alone = {column for column, _ in self.searching} if not searched else set()
        found = [one for one in self.searched if one.column not in alone]
        said = [one for one in self.said if one.column not in alone]
        return Sources(
            (*self.similar, *[_NOT_SIMILAR] * (MOST_SIMILAR - len(self.similar))),
            (*self.visited, *[_NOT_VISITED] * (MOST_VISITED - len(self.visited))),
            self.popular,
            self.spectral if searched else _NOT_SPECTRAL,
            (*found, *[none] * (MOST_SEARCHED - len(found))),
            (*self.described, *said),
        )


def _als_of(source: CandidateSource) -> AlsSource | None:
    """What makes the users' vectors for a source."""
    match source:
        case AlsSource():
            return source
        case DescribedSource() | ContentSource():
            return source.als
    return None


def _blocks(source: CandidateSource) -> ItemBlocks | None:
    """What is searched for a source; None where nothing is, or it proposes otherwise."""
    match source:
        case AlsSource() | SpectralSource():
            return source.index.blocks
        case ContentSource() if len(source.item_num):
            return source.blocks
    return None


def _most(source: CandidateSource) -> int:
    """Items that a source proposes for a query at most, however many are asked for."""
    match source:
        case DescribedSource():
            return 0
        case ContentSource():
            return COLD_CANDIDATES
    return sys.maxsize


def _brought(
    said: tuple[Product, ...], proposals: list[tuple[int, Proposal]]
) -> tuple[tuple[Product, ...], list[Float32s], list[tuple[int, Say]]]:
    """The products with those that others say, whose vectors are brought along, and what else is to be asked."""
    vectors: list[Float32s] = []
    further: list[tuple[int, Say]] = []
    for column, proposal in proposals:
        say = proposal.say
        if isinstance(say, Products) and BROUGHT + len(vectors) < MOST_VECTORS:
            said = (*said, Product(column, BROUGHT + len(vectors), frozen(say.factors), say.known, searched=False))
            vectors.append(say.vectors)
        elif say is not None:
            further.append((column, say))
    vectors += [_NO_VECTORS] * (MOST_VECTORS - BROUGHT - len(vectors))
    return (*said, *[_NO_PRODUCT] * (MOST_PRODUCTS - len(said))), vectors, further


@lru_cache(maxsize=64)
def _starts(most: tuple[int, ...], k: int, further: tuple[tuple[int, int], ...]) -> Int64s:
    """int64[S + 1]: where the proposals of each source begin.

    Args:
        most: items of a query that each source proposes at most, by itself.
        k: items of a query that each proposes at most.
        further: columns, and how many of theirs there are.
    """
    widths = dict(enumerate(min(k, each) for each in most)) | dict(further)
    return np.array([0, *accumulate(widths.values())], dtype=np.int64)


def retrieve(sources: tuple[CandidateSource, ...], batch: QueryBatch, k: int) -> Candidates:
    """The candidates of each query: at most k from each source, merged."""
    return Retriever(sources).retrieve(batch, k)
