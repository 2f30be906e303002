"""Retrieval: each source proposes items for a query; the merged proposals are the candidates."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate

import numpy as np

from recsys import retrieve_kernels
from recsys.candidate_kernels import Merging
from recsys.candidates import LEAST_SCALE, SCALE_RANK, Candidates
from recsys.content_source import COLD_CANDIDATES, ContentSource, DescribedSource
from recsys.fetching import EVERY_ITEM, MOST_SIMILAR, space
from recsys.held_kernels import Held, hold
from recsys.interactions import UNREAD
from recsys.item_blocks import ItemBlocks
from recsys.item_index import are_few
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.retrieve_kernels import OF_ALS, OF_SPECTRAL, Asked, Found
from recsys.source_kernels import (
    NONE,
    History,
    Popular,
    Product,
    Searched,
    Similar,
    Sources,
    Space,
    Spectral,
    Visited,
)
from recsys.sources import (
    AlsSource,
    CandidateSource,
    PopularitySource,
    Proposal,
    RepeatsSource,
    Say,
    SimilaritySource,
    source_names,
)
from recsys.spectral_source import SpectralSource
from recsys.types import Bools, Float32s, Int32s, Int64s
from recsys.vocabulary import UNKNOWN

MOST_VISITED, MOST_SEARCHED, MOST_PRODUCTS = 2, 3, 4
_NO_WEIGHTS, _NO_EVENTS, _NO_VECTORS = np.zeros(1), np.zeros(1, dtype=bool), np.zeros((0, 0), dtype=np.float32)
_NO_ITEMS, _NO_SCORES = frozen(np.zeros(0, dtype=np.int32)), frozen(np.zeros(0, dtype=np.float32))
_NO_STARTS, _NO_BITS = frozen(np.zeros(0, dtype=np.int64)), frozen(np.zeros((0, 0), dtype=np.uint16))
_NO_PROPOSALS = np.zeros((0, 0), dtype=np.int32), np.zeros((0, 0), dtype=np.float32)
_NOT_SIMILAR = Similar(NONE, _NO_WEIGHTS, 0.0, _NO_STARTS, _NO_ITEMS, _NO_SCORES)
_NOT_VISITED = Visited(NONE, _NO_EVENTS, 0.0)
_NOT_POPULAR = Popular(NONE, _NO_SCORES)
_NOT_SPECTRAL = Spectral(NONE, _NO_WEIGHTS, 0.0, _NO_SCORES, _NO_BITS)
_NOT_SEARCHED = Searched(NONE, OF_ALS, _NO_BITS, ItemBlocks.of(np.zeros((1, 1), dtype=np.float32)).arrays)
_NO_PRODUCT = Product(NONE, OF_ALS, _NO_BITS, EVERY_ITEM, searched=False)

Arguments = tuple[Held, Asked, Int32s, Float32s, Int32s, Float32s, Merging, Space]


class Retriever:
    """Finds candidates by some sources, most of them in one compiled call.

    Most sources are only arrays to that call. The others propose by themselves before it: where few items are allowed,
    or no blocks are searched, also those of largest inner products. What they say of candidates that others propose is
    computed in the call where it is an inner product that this knows, else behind.

    Attributes:
        sources: in the order of the candidates' columns.
    """

    __slots__ = ("_als", "_few", "_is_stored", "_order", "_popularity", "_whole", "_widths", "sources")

    def __init__(self, sources: tuple[CandidateSource, ...]) -> None:
        self.sources = sources
        self._popularity = next((one for one in sources if isinstance(one, PopularitySource)), None)
        self._order = _NO_ITEMS if self._popularity is None else frozen(self._popularity.order.astype(np.int32))
        self._als = next((als for source in sources if (als := _als_of(source)) is not None), None)
        self._is_stored = self._als is not None and len(self._als.user_bits) > 0
        self._widths = tuple(map(_most, sources))
        found = _Found(self._als)
        for column, source in enumerate(sources):
            found.add(column, source)
        self._whole, self._few = found.way(few=False), found.way(few=True)

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
        arguments, further = self.arguments(batch, k, weights, limit, reserved)
        history = batch.history
        own = History(history.indptr, history.item_num, history.event_type, history.time, history.session_num)
        return retrieve_kernels.retrieved(arguments[0], own, *arguments[1:]), further

    def arguments(
        self, batch: QueryBatch, k: int, weights: Float32s, limit: int, reserved: Bools
    ) -> tuple[Arguments, list[tuple[int, Say]]]:
        """What :func:`recsys.retrieve_kernels.retrieved` takes besides histories, and who has more to say behind it.

        The histories of a batch may be UNREAD where this reads none (:meth:`reads_histories`); what the call takes for
        the vectors of users who are not stored is 0 then.
        """
        way = self._few if are_few(batch.allowed_items) else self._whole
        vectors, is_read = _NO_VECTORS, batch.history is not UNREAD
        if (
            self._als is not None
            and is_read
            and (way.others or not self._is_stored or UNKNOWN in batch.user_num.tolist())
        ):
            vectors = self._als.vectors(batch)
            batch = replace(batch, vectors=vectors)
        proposals = [(column, source.propose(batch, k)) for column, source in way.others]
        starts = _starts(self._widths, k, tuple((at, each.item_num.shape[1]) for at, each in proposals))
        allowed = EVERY_ITEM if batch.allowed_items is None else batch.allowed_items
        arguments = (
            way.held,
            Asked(batch.user_num, batch.now, batch.discovery, batch.excluded, allowed),
            self._most_popular(batch, k),
            vectors,
            *_side_by_side(proposals, starts, len(batch)),
            Merging(starts, SCALE_RANK, LEAST_SCALE, weights, limit, reserved),
            space(batch.n_items),
        )
        return arguments, [(at, each.say) for at, each in proposals if each.say is not None and at not in way.told]

    def reads_histories(self, allowed: Bools | None) -> bool:
        """Whether :meth:`arguments` looks at histories, where these items (bool[n_items]; None: all) are allowed."""
        way = self._few if are_few(allowed) else self._whole
        return bool(way.others) or not self._is_stored

    def _most_popular(self, batch: QueryBatch, k: int) -> Int32s:
        """The most popular of the allowed items, as many as the queries may need."""
        count = k + batch.most_excluded()
        if self._popularity is None or batch.allowed_items is None:
            return self._order[:count]
        return frozen(self._popularity.most_popular(count, batch.allowed_items))


@dataclass(frozen=True, slots=True)
class _Way:
    """How candidates are found.

    Attributes:
        held: the sources that are only arrays.
        others: those that propose by themselves, with their columns.
        told: the columns whose scores the compiled call computes.
    """

    held: Held
    others: tuple[tuple[int, CandidateSource], ...]
    told: frozenset[int]


@dataclass(slots=True)
class _Found:
    """The sources that are only arrays, as they are found, and the others with their columns.

    Those whose vectors another ALS makes are others.
    """

    als: AlsSource | None
    similar: list[Similar] = field(default_factory=list)
    visited: list[Visited] = field(default_factory=list)
    popular: Popular = _NOT_POPULAR
    spectral: Spectral = _NOT_SPECTRAL
    said: list[Product] = field(default_factory=list)
    searched: list[tuple[Searched, CandidateSource]] = field(default_factory=list)
    others: list[tuple[int, CandidateSource]] = field(default_factory=list)

    def add(self, column: int, source: CandidateSource) -> None:
        """One source more."""
        match source:
            case SimilaritySource() if len(self.similar) < MOST_SIMILAR:
                self.similar.append(Similar(column, np.array(source.weights), source.half_life_days, *source.lists))
            case RepeatsSource() if len(self.visited) < MOST_VISITED:
                self.visited.append(Visited(column, np.array(source.types), source.half_life_days))
            case PopularitySource() if self.popular is _NOT_POPULAR:
                self.popular = Popular(column, frozen(source.popularity))
            case _ if len(self.said) < MOST_PRODUCTS and (product := self._product(column, source)):
                self.said.append(product)
                self._search(source, product)
            case _:
                self.others.append((column, source))

    def _product(self, column: int, source: CandidateSource) -> Product | None:
        """The scores of a source as inner products; None where they are something else."""
        match source:
            case AlsSource() if source is self.als:
                return Product(column, OF_ALS, source.bits, EVERY_ITEM, searched=False)
            case DescribedSource() if source.als is self.als:
                return Product(column, OF_ALS, source.bits, EVERY_ITEM, searched=False)
            case ContentSource() if source.als is self.als:
                return Product(column, OF_ALS, source.als.bits, source.is_cold, searched=False)
            case SpectralSource(_, share, weights, half_life_days) if self.spectral is _NOT_SPECTRAL:
                self.spectral = Spectral(column, np.array(weights), half_life_days, frozen(share), source.bits)
                return Product(column, OF_SPECTRAL, source.bits, EVERY_ITEM, searched=False)
        return None

    def _search(self, source: CandidateSource, product: Product) -> None:
        """Where a source of inner products finds the largest of them."""
        blocks = _blocks(source)
        if blocks is not None and len(self.searched) < MOST_SEARCHED:
            own = (product.column, product.vectors, product.bits, blocks.arrays)
            self.searched.append((Searched(*own), source))
        elif not isinstance(source, DescribedSource):
            self.others.append((product.column, source))

    def way(self, *, few: bool) -> _Way:
        """How candidates are found, where few items are allowed or many.

        Where these are few, their inner products are all computed, but for those of cold items, which are always few.
        """
        found = [one for one, source in self.searched if not few or isinstance(source, ContentSource)]
        columns = {one.column for one in found}
        left = [(one.column, source) for one, source in self.searched if one.column not in columns]
        said = [one._replace(searched=one.column in columns) for one in self.said]
        arrays = Sources(
            _NO_BITS if self.als is None else self.als.user_bits,
            (*self.similar, *[_NOT_SIMILAR] * (MOST_SIMILAR - len(self.similar))),
            (*self.visited, *[_NOT_VISITED] * (MOST_VISITED - len(self.visited))),
            self.popular,
            self.spectral,
            (*found, *[_NOT_SEARCHED] * (MOST_SEARCHED - len(found))),
            (*said, *[_NO_PRODUCT] * (MOST_PRODUCTS - len(said))),
        )
        return _Way(hold(arrays), (*self.others, *left), frozenset(one.column for one in said))


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


def _side_by_side(proposals: list[tuple[int, Proposal]], starts: Int64s, queries: int) -> tuple[Int32s, Float32s]:
    """What some sources propose in their columns of int32[q, K] and float32[q, K]; the others may hold anything.

    Of no row where there is no such source.
    """
    if not proposals:
        return _NO_PROPOSALS
    item_num, score = np.empty((queries, starts[-1]), np.int32), np.empty((queries, starts[-1]), np.float32)
    for column, proposal in proposals:
        part = slice(starts[column], starts[column + 1])
        item_num[:, part], score[:, part] = proposal.item_num, proposal.score
    return item_num, score


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
