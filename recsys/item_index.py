"""Maximum inner product search over item factors: of the longest ones by a matrix product, or by FAISS."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np

from recsys import order_kernels
from recsys.fetching import best_allowed, fetched
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.types import Bools, Float32s, Int32s, Int64s

EXACT_BELOW = 20_000
RECALL_DEPTH = 200
LEAST_LONGEST = 2_000
"""Fewer items are never searched: a query may ask for many, and exclude many."""
PROBES = (8, 16, 32, 64)
PROBED_COST = 2.0
"""An item met in a list costs more than one in a row of a matrix, which is multiplied with many queries at once."""
FEW_ITEMS = 5_000
FEW_SHARE = 0.05
"""Where no more items than the larger of the two are allowed, looking at each costs less than an index."""
SPARSE = 4
"""Allowed items are picked out of more than so many times as many before they are multiplied, not after."""
LARGEST_SHARE = 0.5
"""Of the items; above it a copy of the factors by falling norm is not worth its memory."""
CELLS = 2**22
"""Scores that are held at once."""


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """Why an index was chosen.

    Attributes:
        factory: FAISS factory string; "Flat" where there is no inverted file.
        probes: of an inverted file.
        recall: recall@200 against exact search.
        longest: so many items of the largest norm are searched; 0: all.
    """

    factory: str
    probes: int
    recall: float
    longest: int = 0


EXACT = IndexChoice("Flat", 0, 1.0)


class ItemIndex:
    """Item factors float32[n_items, d], in which the best of a query are found.

    Without an inverted file they are kept by falling norm, and the first are searched by brute force: a long vector has
    the larger inner products. :attr:`order` int32[n_items] has the item of each of the rows :attr:`factors`; where all
    are searched, they stay as they are.
    """

    __slots__ = ("_lists", "choice", "factors", "order")

    def __init__(self, choice: IndexChoice, factors: Float32s, order: Int32s, lists: faiss.Index | None = None) -> None:
        self.choice = choice
        self.factors = factors
        self.order = order
        self._lists = lists

    @classmethod
    def exact(cls, factors: Float32s) -> ItemIndex:
        """Brute force over all items."""
        return cls(EXACT, factors, np.arange(len(factors), dtype=np.int32))

    @classmethod
    def read(cls, path: Path, choice: IndexChoice, factors: Float32s) -> ItemIndex:
        """The inverted file at a path; it must have been verified before, as FAISS trusts what it reads."""
        return cls(choice, factors, np.arange(len(factors), dtype=np.int32), faiss.read_index(str(path)))

    def write(self, path: Path) -> None:
        """Write the inverted file, which there is where the choice has probes."""
        faiss.write_index(self._inverted(), str(path))

    def best(self, batch: QueryBatch, vectors: Float32s, k: int) -> tuple[Int32s, Float32s]:
        """The k items of largest inner product that may be in each query's slate: int32[q, k] and float32[q, k].

        Exact where few items are allowed, or where an inverted file has too few of them; with any condition at least as
        many allowed items are looked at as without one.

        Args:
            batch: q queries.
            vectors: float32[q, d].
            k: items of each.
        """
        if self._lists is None or _are_few(batch.allowed_items):
            rows = self._looked_at(batch.allowed_items)
            return by_product(batch, k, vectors, self.factors[rows], self.order[rows])
        return fetched(replace(batch, vectors=vectors), k, self._probed)

    def _looked_at(self, allowed: Bools | None) -> slice | Int64s:
        """The rows that are multiplied: the first ones, or some of them."""
        longest = self.choice.longest or len(self.order)
        if allowed is None:
            return slice(0, longest)
        known = allowed[: len(self.order)]
        count = int(np.count_nonzero(known))
        wanted = count if _are_few(allowed) else min(count, longest)
        place = order_kernels.first_places(frozen(self.order), known, wanted)
        depth = int(place[-1]) + 1 if wanted else 0
        return slice(0, depth) if depth <= SPARSE * wanted else place

    def _probed(self, batch: QueryBatch, count: int) -> tuple[Int32s, Float32s]:
        """What the inverted file finds, whether excluded or not."""
        allowed, vectors = batch.allowed_items, np.ascontiguousarray(batch.vectors, dtype=np.float32)
        if allowed is None:
            return self.probe(vectors, count)
        items, scores = self.probe(vectors, count, allowed)
        if (items[:, : np.count_nonzero(allowed)] >= 0).all():
            return items, scores
        everyone, rows = replace(batch, excluded=batch.excluded[:0]), self._looked_at(allowed)
        return by_product(everyone, count, vectors, self.factors[rows], self.order[rows])

    def probe(self, vectors: Float32s, count: int, allowed: Bools | None = None) -> tuple[Int32s, Float32s]:
        """What is found in the nearest lists: int32[q, count], -1 after the last, and float32[q, count]."""
        lists, parameters = self._inverted(), faiss.SearchParametersIVF()
        parameters.nprobe = self.choice.probes
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
            parameters.sel = selector
            # So many more lists that as many allowed items are looked at as without a filter.
            parameters.nprobe = int(np.ceil(self.choice.probes * len(allowed) / np.count_nonzero(allowed)))
        scores, items = lists.search(vectors, min(count, lists.ntotal), params=parameters)
        return items.astype(np.int32), scores

    def _inverted(self) -> faiss.Index:
        if self._lists is None:
            raise ValueError("an index without an inverted file")
        return self._lists


def by_product(
    batch: QueryBatch, k: int, vectors: Float32s, factors: Float32s, items: Int32s
) -> tuple[Int32s, Float32s]:
    """The k allowed items of largest inner product of each query, by brute force: int32[q, k] and float32[q, k].

    Args:
        batch: q queries.
        k: items of each.
        vectors: float32[q, d].
        factors: float32[m, d].
        items: int32[m], whose factors they are.
    """
    item_num = np.empty((len(batch), k), dtype=np.int32)
    score = np.empty((len(batch), k), dtype=np.float32)
    at_once = max(CELLS // max(len(items), 1), 1)
    for first in range(0, len(batch), at_once):
        part = slice(first, first + at_once)
        item_num[part], score[part] = best_allowed(batch, k, items, vectors[part] @ factors.T, first=first)
    return item_num, score


def _are_few(allowed: Bools | None) -> bool:
    """Whether so few items are allowed that looking at each of them costs least."""
    return allowed is not None and bool(np.count_nonzero(allowed) <= max(FEW_ITEMS, FEW_SHARE * len(allowed)))


def choose(factors: Float32s, queries: Float32s, least_recall: float) -> ItemIndex:
    """The index that looks at the fewest items and reaches a recall@200 on these queries.

    Small catalogues are searched exactly. For the others the items of largest norm are taken, as many as it needs, and
    an inverted file with 8-bit codes is tried with more and more probes while it would look at less. Costs are counted,
    not measured, so that the same data give the same choice.

    Args:
        factors: float32[n_items, d].
        queries: float32[q, d], user vectors to measure on.
        least_recall: share of the exact top 200 that must be found.
    """
    exact = ItemIndex.exact(factors)
    if len(factors) < EXACT_BELOW or len(queries) == 0:
        return exact
    truth = np.concatenate([np.argpartition(-(factors @ query), RECALL_DEPTH)[:RECALL_DEPTH] for query in queries])
    truth = truth.reshape(len(queries), RECALL_DEPTH)
    longest = _longest(factors, truth, least_recall)
    lists = _inverted(factors, queries, truth, least_recall, longest.choice.longest)
    if lists is not None:
        return lists
    return longest if longest.choice.longest <= LARGEST_SHARE * len(factors) else exact


def _longest(factors: Float32s, truth: Int64s, least_recall: float) -> ItemIndex:
    """The items of largest norm, so many that the recall is reached."""
    order = np.argsort(-np.linalg.norm(factors, axis=1), kind="stable").astype(np.int32)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    reach = np.sort(place[truth], axis=None)
    count = max(int(reach[math.ceil(least_recall * len(reach)) - 1]) + 1, LEAST_LONGEST)
    recall = float(np.searchsorted(reach, count) / len(reach))
    return ItemIndex(IndexChoice("Flat", 0, recall, count), np.ascontiguousarray(factors[order]), order)


def _inverted(factors: Float32s, queries: Float32s, truth: Int64s, least_recall: float, items: int) -> ItemIndex | None:
    """The inverted file that reaches the recall at a smaller cost than so many items in a matrix; None if none does."""
    n_lists = 2 ** int(np.log2(2 * np.sqrt(len(factors))))
    affordable = [probes for probes in PROBES if PROBED_COST * (n_lists + len(factors) * probes / n_lists) < items]
    if not affordable:
        return None
    factory = f"IVF{n_lists},SQ8"
    lists = faiss.index_factory(factors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    lists.train(factors)
    lists.add(factors)
    order = np.arange(len(factors), dtype=np.int32)
    for probes in affordable:
        tried = ItemIndex(IndexChoice(factory, probes, 0.0), factors, order, lists)
        found = tried.probe(queries, RECALL_DEPTH)[0]
        recall = float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(truth, found, strict=True)]) / RECALL_DEPTH)
        if recall >= least_recall:
            tried.choice = replace(tried.choice, recall=recall)
            return tried
    return None
