"""Ranking metrics with binary relevance, one value for each user, over the whole catalogue (never sampled)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import Bools, Float64s, Int32s, Int64s

METRICS = ("precision", "recall", "ndcg", "map", "mrr", "hit_rate")


@dataclass(frozen=True, slots=True)
class Truth:
    """What u users acted on in the holdout: CSR rows.

    Attributes:
        user_num: int32[u].
        indptr: int64[u + 1].
        item_num: int32[m], each once in a row.
        n_items: size of the catalogue.
    """

    user_num: Int32s
    indptr: Int64s
    item_num: Int32s
    n_items: int

    def __len__(self) -> int:
        return len(self.user_num)

    @classmethod
    def of(cls, user_num: Int32s, item_num: Int32s, n_items: int) -> Truth:
        """From pairs of user and item, in any order, repeats allowed."""
        keys = np.unique(user_num.astype(np.int64) * n_items + item_num)
        users, counts = np.unique(keys // n_items, return_counts=True)
        indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return cls(users.astype(np.int32), indptr, (keys % n_items).astype(np.int32), n_items)

    def slice(self, start: int, stop: int) -> Truth:
        """Users start to stop."""
        first, last = self.indptr[start], self.indptr[stop]
        indptr = self.indptr[start : stop + 1] - first
        return Truth(self.user_num[start:stop], indptr, self.item_num[first:last], self.n_items)

    def without(self, excluded: Int64s) -> Truth:
        """The rest of the truth when some keys cannot be found; ``user_num`` of it is the row in this truth."""
        kept = ~np.isin(self.keys, excluded)
        rows = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.indptr))
        return Truth.of(rows[kept], self.item_num[kept], self.n_items)

    def thinned(self, limit: int) -> Truth:
        """At most ``limit`` users, evenly spread over the rows."""
        kept = np.zeros(len(self), dtype=bool)
        kept[np.linspace(0, len(self) - 1, min(limit, len(self))).astype(np.int64)] = True
        return self.where(kept)

    def where(self, kept: Bools) -> Truth:
        """The users for which kept (bool[u]) holds."""
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        indptr = np.concatenate(([0], np.cumsum(np.diff(self.indptr)[kept]))).astype(np.int64)
        return Truth(self.user_num[kept], indptr, self.item_num[kept[rows]], self.n_items)

    @property
    def keys(self) -> Int64s:
        """int64[m], sorted: row of the truth and item as one number."""
        rows = np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.indptr))
        return rows * self.n_items + self.item_num


def hits(truth: Truth, slates: Int32s) -> Bools:
    """bool[u, k]: which places of the slates (int32[u, k], -1 after the last) hold an item of the truth."""
    keys = np.arange(len(truth), dtype=np.int64)[:, None] * truth.n_items + slates
    ordered = truth.keys
    place = np.minimum(np.searchsorted(ordered, keys), max(len(ordered) - 1, 0))
    found: Bools = (slates >= 0) & (ordered[place] == keys)
    return found


def per_user(truth: Truth, slates: Int32s, k: int) -> dict[str, Float64s]:
    """Each metric at cut-off k for each user: float64[u].

    precision = hits / k; recall = hits / relevant items; NDCG with gain 1, discount log2(rank + 1) and the ideal over
    min(k, relevant) (Järvelin and Kekäläinen 2002); map = sum of precision at each hit / min(k, relevant); mrr = 1 /
    rank of the first hit; hit_rate = whether there is one.
    """
    hit = hits(truth, slates[:, :k]).astype(np.float64)
    k_had = hit.shape[1]
    relevant = np.diff(truth.indptr)
    reachable = np.minimum(relevant, k)
    discount = 1 / np.log2(np.arange(2, k + 2))
    found = hit.sum(axis=1)
    precision_at = np.cumsum(hit, axis=1) / np.arange(1, k_had + 1)
    first = np.where(found > 0, hit.argmax(axis=1) + 1, np.inf)
    return {
        "precision": found / k,
        "recall": found / relevant,
        "ndcg": hit @ discount[:k_had] / np.cumsum(discount)[reachable - 1],
        "map": (precision_at * hit).sum(axis=1) / reachable,
        "mrr": 1 / first,
        "hit_rate": (found > 0).astype(np.float64),
    }


def coverage(slates: Int32s, k: int, n_items: int) -> float:
    """Share of the catalogue that stands in at least one slate's first k."""
    head = slates[:, :k]
    return len(np.unique(head[head >= 0])) / max(n_items, 1)


def bootstrap_interval(values: Float64s, seed: int, level: float = 0.95, rounds: int = 1000) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over users (Efron 1979).

    For a paired comparison pass the differences, user by user.
    """
    if len(values) == 0:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    # Multinomial weights in blocks: the same as resampling users, in bounded memory.
    means = np.concatenate(
        [
            random.multinomial(len(values), np.full(len(values), 1 / len(values)), size=50) @ values / len(values)
            for _ in range(rounds // 50)
        ]
    )
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
