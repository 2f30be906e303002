"""Maximum inner product search over item factors, by FAISS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from recsys.types import Float32s, Int64s

EXACT_BELOW = 20_000
RECALL_DEPTH = 200


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
