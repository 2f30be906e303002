"""Maximum inner product search over item factors: through blocks of items by length and direction, or by FAISS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np

from recsys.code_kernels import BLOCK
from recsys.fetching import EVERY_ITEM, Permitted, best_allowed, fetched, permitted, slots
from recsys.item_blocks import NO_CLUSTER, ItemBlocks
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.types import Bools, Float32s, Int32s, Int64s

RECALL_DEPTH = 200
PROBES = (8, 16, 32, 64)
LONGEST = (0.025, 0.05, 0.1)
"""Shares of the items that are in no cluster, being the longest."""
REACHES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
CLUSTER = 128
"""Items of a cluster, on average."""
CENTRE_COST = 8.0
"""A cluster costs a query so many times what an item in a block does, besides its centre, which counts as one."""
WORTH = 0.8
"""Clusters, of which less is found, must cost less than this share of what blocks by length alone do."""
ROUNDS, TAUGHT = 5, 64
"""Of k-means, and items a cluster that it learns from."""
PROBED_COST = 6.0
"""An item met in a list costs so many times what one in a block does."""
FEW_ITEMS = 5_000
FEW_SHARE = 0.05
"""Where no more items than the larger of the two are allowed, looking at each costs less than an index."""
EXACT_BELOW = 20_000
TINY = np.float32(1e-12)
CELLS = 2**22
"""Scores that are held at once."""


@dataclass(frozen=True, slots=True)
class IndexChoice:
    """Why an index was chosen.

    Attributes:
        factory: FAISS factory string; "Flat" where there is no inverted file.
        probes: of an inverted file.
        recall: recall@200 against exact search.
        searched: items that a query looks at in blocks, on average; 0: there are none, each item is looked at.
        clusters: blocks that hold clusters.
        reach: how many times its mean distance from the centre an item of a cluster is taken to be away, at most.
    """

    factory: str
    probes: int
    recall: float
    searched: int = 0
    clusters: int = 0
    reach: float = 0.0

    @property
    def cost(self) -> float:
        """What a query costs, in items that are looked at in blocks."""
        return self.searched + CENTRE_COST * self.clusters


EXACT = IndexChoice("Flat", 0, 1.0)


class ItemIndex:
    """Item factors float32[n_items, d], in which the best of a query are found.

    Attributes:
        choice: what is searched, and why.
        factors: float32[n_items, d].
        blocks: None where each item is looked at, or an inverted file is there.
    """

    __slots__ = ("_lists", "blocks", "choice", "factors")

    def __init__(
        self,
        choice: IndexChoice,
        factors: Float32s,
        blocks: ItemBlocks | None = None,
        lists: faiss.Index | None = None,
    ) -> None:
        self.choice = choice
        self.factors = frozen(factors)
        self.blocks = blocks
        self._lists = lists

    @classmethod
    def exact(cls, factors: Float32s) -> ItemIndex:
        """Brute force over all items."""
        return cls(EXACT, factors)

    @classmethod
    def read(cls, path: Path, choice: IndexChoice, factors: Float32s) -> ItemIndex:
        """The inverted file at a path; it must have been verified before, as FAISS trusts what it reads."""
        return cls(choice, factors, lists=faiss.read_index(str(path)))

    def write(self, path: Path) -> None:
        """Write the inverted file, which there is where the choice has probes."""
        faiss.write_index(self._inverted(), str(path))

    def best(self, batch: QueryBatch, vectors: Float32s, k: int) -> tuple[Int32s, Float32s]:
        """The k items of largest inner product that may be in each query's slate: int32[q, k] and float32[q, k].

        Exact where few items are allowed, or where an inverted file has too few of them.

        Args:
            batch: q queries.
            vectors: float32[q, d]; nothing is found where one is all 0.
            k: items of each.
        """
        few = are_few(batch.allowed_items)
        if self.blocks is not None and not few:
            return self.search(vectors, k, permitted(batch))[:2]
        if self._lists is None or few:
            found = self._each(batch, vectors, k)
        else:
            found = fetched(replace(batch, vectors=vectors), k, self._probed)
        found[0][~vectors.any(axis=1)] = -1
        return found

    def search(self, vectors: Float32s, k: int, may: Permitted) -> tuple[Int32s, Float32s, int]:
        """What is found in the blocks, as :meth:`best` gives it, and how many items all queries together looked at."""
        if self.blocks is None:
            raise ValueError("an index without blocks")
        return self.blocks.search(self.factors, vectors, k, may)

    def _each(self, batch: QueryBatch, vectors: Float32s, k: int) -> tuple[Int32s, Float32s]:
        """The best of all allowed items, each of which is looked at."""
        if batch.allowed_items is None:
            return by_product(batch, k, vectors, self.factors, np.arange(len(self.factors), dtype=np.int32))
        items = np.flatnonzero(batch.allowed_items[: len(self.factors)]).astype(np.int32)
        return by_product(batch, k, vectors, self.factors[items], items)

    def _probed(self, batch: QueryBatch, count: int) -> tuple[Int32s, Float32s]:
        """What the inverted file finds, whether excluded or not."""
        allowed, vectors = batch.allowed_items, np.ascontiguousarray(batch.vectors, dtype=np.float32)
        if allowed is None:
            return self.probe(vectors, count)
        items, scores = self.probe(vectors, count, allowed)
        if (items[:, : np.count_nonzero(allowed)] >= 0).all():
            return items, scores
        return self._each(replace(batch, excluded=batch.excluded[:0]), vectors, count)

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


def are_few(allowed: Bools | None) -> bool:
    """Whether so few items are allowed that looking at each of them costs least."""
    return allowed is not None and bool(np.count_nonzero(allowed) <= max(FEW_ITEMS, FEW_SHARE * len(allowed)))


def choose(factors: Float32s, queries: Float32s, least_recall: float, *, by_length_alone: bool = False) -> ItemIndex:
    """The index that looks at the fewest items and reaches a recall@200 on these queries.

    Small catalogues are searched exactly. For the others blocks are tried, by length alone and with all but the longest
    items in clusters, and an inverted file with 8-bit codes with more and more probes while it would cost less. Costs
    are counted, not measured, so that the same data give the same choice.

    Args:
        factors: float32[n_items, d].
        queries: float32[q, d], user vectors to measure on.
        least_recall: share of the exact top 200 that must be found.
        by_length_alone: nothing else is tried, which takes longer than some thousand queries.
    """
    queries = queries[queries.any(axis=1)]  # to the others all items are the same
    if len(factors) < EXACT_BELOW or len(queries) == 0:
        return ItemIndex.exact(factors)
    truth = np.concatenate([np.argpartition(-(factors @ query), RECALL_DEPTH)[:RECALL_DEPTH] for query in queries])
    truth = truth.reshape(len(queries), RECALL_DEPTH)
    blocks = _by_length(factors, queries, truth, least_recall)
    if by_length_alone:
        return blocks or ItemIndex.exact(factors)
    if blocks is not None:
        blocks = _clustered(factors, queries, truth, least_recall, blocks)
    cost = len(factors) if blocks is None else blocks.choice.cost
    return _inverted(factors, queries, truth, least_recall, cost) or blocks or ItemIndex.exact(factors)


def _by_length(factors: Float32s, queries: Float32s, truth: Int64s, least_recall: float) -> ItemIndex | None:
    """Blocks by length; None if their codes are too coarse for the recall."""
    found = _tried(ItemBlocks.of(factors), factors, queries, truth)
    return found if found.choice.recall >= least_recall else None


def _clustered(
    factors: Float32s, queries: Float32s, truth: Int64s, least_recall: float, chosen: ItemIndex
) -> ItemIndex:
    """Blocks with all but the longest items in clusters, where they have the recall and cost less than those chosen."""
    lengths, most = np.linalg.norm(factors, axis=1), WORTH * chosen.choice.cost
    cluster, order = np.zeros(0, dtype=np.int32), np.argsort(-lengths, kind="stable")
    for share in LONGEST:
        longest = -int(-share * len(factors) // BLOCK) * BLOCK
        if longest + CENTRE_COST * len(factors) / CLUSTER >= most:
            break
        cluster = cluster if len(cluster) else _clusters(factors / np.maximum(lengths, TINY)[:, None])
        own = cluster.copy()
        own[order[:longest]] = NO_CLUSTER
        blocks = ItemBlocks.of(factors, cluster=own)
        for reach in REACHES:
            index = _tried(blocks.within(reach), factors, queries, truth, reach)
            if index.choice.cost >= most:
                break
            if index.choice.recall >= least_recall:
                chosen, most = index, index.choice.cost
                break
    return chosen


def _tried(blocks: ItemBlocks, factors: Float32s, queries: Float32s, truth: Int64s, reach: float = 0.0) -> ItemIndex:
    """The index of some blocks, with what it finds and costs."""
    may = (np.zeros(0, dtype=np.int64), EVERY_ITEM, slots(len(factors)))
    found, _, looked_at = blocks.search(factors, queries, RECALL_DEPTH, may)
    own = (looked_at // len(queries), len(blocks.centre_unit), reach)
    return ItemIndex(IndexChoice("Flat", 0, _recall(truth, found), *own), factors, blocks)


def _clusters(directions: Float32s) -> Int32s:
    """int32[n]: which cluster each of some vectors of length 1, float32[n, d], is in, by spherical k-means."""
    means = faiss.Kmeans(
        directions.shape[1],
        max(len(directions) // CLUSTER, 1),
        niter=ROUNDS,
        spherical=True,
        max_points_per_centroid=TAUGHT,
    )
    means.train(directions)
    return np.asarray(means.index.search(directions, 1)[1][:, 0], dtype=np.int32)


def _recall(truth: Int64s, found: Int32s) -> float:
    """The share of the true items, int64[q, k], that were found for their query, int32[q, k]."""
    return sum(len(np.intersect1d(a, b)) for a, b in zip(truth, found, strict=True)) / truth.size


def _inverted(
    factors: Float32s, queries: Float32s, truth: Int64s, least_recall: float, items: float
) -> ItemIndex | None:
    """The inverted file that reaches the recall at a smaller cost than so many items in blocks; None if none does."""
    n_lists = 2 ** int(np.log2(2 * np.sqrt(len(factors))))
    affordable = [probes for probes in PROBES if PROBED_COST * (n_lists + len(factors) * probes / n_lists) < items]
    if not affordable:
        return None
    factory = f"IVF{n_lists},SQ8"
    lists = faiss.index_factory(factors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    lists.train(factors)
    lists.add(factors)
    for probes in affordable:
        tried = ItemIndex(IndexChoice(factory, probes, 0.0), factors, lists=lists)
        recall = _recall(truth, tried.probe(queries, RECALL_DEPTH)[0])
        if recall >= least_recall:
            tried.choice = replace(tried.choice, recall=recall)
            return tried
    return None
