"""Maximum inner product search over item factors, by FAISS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from recsys.types import Array, Bools, Float32s, Int64s

EXACT_BELOW = 20_000
RECALL_DEPTH = 200
FEW_ITEMS = 5_000
FEW_SHARE = 0.05
"""Where no more items than the larger of the two are allowed, looking at each costs less than an index."""


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """Why an index was chosen: its FAISS factory string, probes, and recall@200 against exact search."""

    factory: str
    probes: int
    recall: float


EXACT = IndexChoice("Flat", 0, 1.0)


class ItemIndex:
    """A FAISS index over item factors float32[n_items, d]; positions are item rows."""

    __slots__ = ("_index", "choice")

    def __init__(self, index: faiss.Index, choice: IndexChoice) -> None:
        self._index = index
        self.choice = choice

    @classmethod
    def exact(cls, factors: Float32s) -> ItemIndex:
        """Brute force over all items."""
        index = faiss.IndexFlatIP(factors.shape[1])
        index.add(np.ascontiguousarray(factors))
        return cls(index, EXACT)

    @classmethod
    def read(cls, path: Path, choice: IndexChoice) -> ItemIndex:
        """The index in a file; the file must have been verified before, as FAISS trusts what it reads."""
        return cls(faiss.read_index(str(path)), choice)

    def write(self, path: Path) -> None:
        """Write the index to a file."""
        faiss.write_index(self._index, str(path))

    def search(self, vectors: Float32s, k: int) -> tuple[Float32s, Int64s]:
        """The k items of largest inner product with each of q vectors.

        Returns:
            scores float32[q, k] and item rows int64[q, k]; -1 where an approximate index found fewer.
        """
        scores, items = self._index.search(vectors, min(k, self._index.ntotal))
        return scores, items

    def search_among(self, vectors: Float32s, k: int, allowed: Bools) -> tuple[Float32s, Int64s]:
        """As :meth:`search`, of the items that are allowed (bool[n_items])."""
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        parameters = faiss.SearchParameters() if self.choice.probes == 0 else faiss.SearchParametersIVF()
        parameters.sel = selector
        if isinstance(parameters, faiss.SearchParametersIVF):
            # So many more lists that as many allowed items are looked at as without a filter.
            parameters.nprobe = int(np.ceil(self.choice.probes * len(allowed) / np.count_nonzero(allowed)))
        scores, items = self._index.search(vectors, min(k, self._index.ntotal), params=parameters)
        return scores, items


def choose(factors: Float32s, queries: Float32s, least_recall: float) -> ItemIndex:
    """The cheapest index that reaches a recall@200 on these queries.

    Small catalogues are searched exactly. For the others an inverted file with 8-bit codes is tried with more and more
    probes; where none reaches the recall (factors without clusters), the search stays exact.

    Args:
        factors: float32[n_items, d].
        queries: float32[q, d], user vectors to measure on.
        least_recall: share of the exact top 200 that must be found.
    """
    exact = ItemIndex.exact(factors)
    if len(factors) < EXACT_BELOW or len(queries) == 0:
        return exact
    truth = exact.search(queries, RECALL_DEPTH)[1]
    factory = f"IVF{2 ** int(np.log2(2 * np.sqrt(len(factors))))},SQ8"
    index = faiss.index_factory(factors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(factors)
    index.add(factors)
    for probes in (8, 16, 32, 64):
        faiss.ParameterSpace().set_index_parameter(index, "nprobe", probes)
        found = index.search(queries, RECALL_DEPTH)[1]
        recall = float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(truth, found, strict=True)]) / RECALL_DEPTH)
        if recall >= least_recall:
            return ItemIndex(index, IndexChoice(factory, probes, recall))
    return exact


def search_among(
    index: ItemIndex, factors: Float32s, vectors: Float32s, k: int, allowed: Bools | None
) -> tuple[Float32s, Int64s]:
    """As :meth:`ItemIndex.search`, of the items that are allowed; exact where they are few, or the index finds too few.

    Args:
        index: over the factors.
        factors: float32[n_items, d].
        vectors: float32[q, d].
        k: items wanted.
        allowed: bool[n_items]; None: all.
    """
    if allowed is None:
        return index.search(vectors, k)
    count = np.count_nonzero(allowed)
    if count > max(FEW_ITEMS, FEW_SHARE * len(allowed)):
        scores, items = index.search_among(vectors, k, allowed)
        if (items[:, :count] >= 0).all():
            return scores[:, :count], items[:, :count]
    return search_rows(factors, np.flatnonzero(allowed), vectors, k)


def search_rows(factors: Float32s, rows: Array, vectors: Float32s, k: int) -> tuple[Float32s, Array]:
    """The k best of some rows (rising) by inner product with each of q vectors; of none nothing.

    Returns:
        scores float32[q, min(k, len(rows))] and rows of the same shape.
    """
    scores, best = largest(vectors @ factors[rows].T, k)
    return scores, rows[best]


def largest(scores: Float32s, k: int) -> tuple[Float32s, Int64s]:
    """The k largest of each row of scores float32[q, m], best first, and their columns: [q, min(k, m)] each."""
    count = scores.shape[1]
    if k < count:
        best = np.sort(np.argpartition(-scores, k, axis=1)[:, :k], axis=1)
    else:
        best = np.tile(np.arange(count), (len(scores), 1))
    found = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(best, order, axis=1)
