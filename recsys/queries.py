"""A batch of queries as arrays: what sources and features work on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys import history_kernels
from recsys.interactions import Histories
from recsys.types import Array, Bools, EventType, ExcludePolicy, Float32s, Int32s, Int64s

LIVE = 2
N_MODES = 3
_TYPES = np.arange(max(EventType) + 1)
_KEPT_OUT = np.stack([_TYPES < 0, _TYPES == EventType.PURCHASE, _TYPES > 0])
"""bool[3, 10]: the types of events whose items each policy keeps out."""
_ROWS = {ExcludePolicy.NONE: 0, ExcludePolicy.PURCHASED: 1, ExcludePolicy.SEEN: 2}
_NO_KEYS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class QueryBatch:
    """q queries; all arrays have one row for each.

    Attributes:
        user_num: int32[q], -1 where the user vector must be folded in: the user is unknown, or has just done more
            than the bundle knows.
        now: int64[q], unix seconds; 0 in a static set.
        history: the users' histories, with what the query itself tells put first.
        discovery: bool[q], whether purchased items are kept out.
        n_items: size of the catalogue.
        excluded: int64[e], sorted keys ``query * n_items + item`` of what must not be in the slate.
        vectors: float32[q, d], the user vectors, once they are made: several sources read them; None before.
        allowed_items: bool[n_items], what may be in any of the slates; None: every item.
    """

    user_num: Int32s
    now: Int64s
    history: Histories
    discovery: Bools
    n_items: int
    excluded: Int64s
    vectors: Float32s | None = None
    allowed_items: Bools | None = None

    def __len__(self) -> int:
        return len(self.user_num)

    @property
    def mode(self) -> Int64s:
        """int64[q]: which weights stage 1 takes.

        0 where everything may come again, 1 where purchased items are kept out, 2 in the middle of a visit or for a
        new user, where the user vector is folded in.
        """
        return np.where(self.user_num < 0, LIVE, self.discovery.astype(np.int64))

    def keys(self, query_num: Array, item_num: Array) -> Int64s:
        """int64[n]: one number for each pair of query and item, ordered by query, then item."""
        return query_num.astype(np.int64) * self.n_items + item_num

    def allowed(self, query_num: Array, item_num: Array) -> Bools:
        """bool[n]: whether the pair may be in the slate."""
        free = ~contains(self.excluded, self.keys(query_num, item_num))
        return free if self.allowed_items is None else free & self.allowed_items[item_num]

    @property
    def n_excluded(self) -> Int64s:
        """int64[q]: the exclusions of each query: how much a source must fetch on top."""
        return np.bincount(self.excluded // self.n_items, minlength=len(self))

    def most_excluded(self) -> int:
        """The largest number of exclusions of one query."""
        return int(self.n_excluded.max(initial=0)) if len(self.excluded) else 0

    def rows(self, query_num: Array) -> QueryBatch:
        """Some of the queries (int[m], rising), as a batch of their own."""
        owner = self.excluded // self.n_items
        kept = self.excluded[np.isin(owner, query_num)]
        moved = np.searchsorted(query_num, kept // self.n_items) * self.n_items + kept % self.n_items
        return replace(
            self,
            user_num=self.user_num[query_num],
            now=self.now[query_num],
            history=self.history.rows(query_num),
            discovery=self.discovery[query_num],
            excluded=moved,
            vectors=None if self.vectors is None else self.vectors[query_num],
        )


def contains(ordered: Int64s, keys: Int64s) -> Bools:
    """bool[n]: whether each key is in a sorted array."""
    if len(ordered) == 0:
        return np.zeros(len(keys), dtype=bool)
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return np.equal(ordered[place], keys)


def exclusions(
    history: Histories, policies: list[ExcludePolicy], n_items: int, further: list[Int32s] | None = None
) -> Int64s:
    """Sorted keys of what the policies and the queries keep out.

    Args:
        history: the queries' histories.
        policies: one for each query.
        n_items: size of the catalogue.
        further: items that each query itself excludes.
    """
    if not further and policies.count(ExcludePolicy.NONE) == len(policies):
        return _NO_KEYS
    named = [query * n_items + items.astype(np.int64) for query, items in enumerate(further or ())]
    policy = np.array([_ROWS[each] for each in policies], dtype=np.int8)
    own = (history.indptr, history.item_num, history.event_type)
    return history_kernels.kept_out(*own, policy, _KEPT_OUT, n_items, np.concatenate(named) if named else _NO_KEYS)


def for_users(histories: Histories, user_num: Int32s, now: int, n_items: int, policy: ExcludePolicy) -> QueryBatch:
    """Queries of known users at one time under one policy, as training, evaluation and batch lists ask them."""
    return for_histories(histories.rows(user_num), user_num, now, n_items, policy)


def for_histories(
    history: Histories, user_num: Int32s, now: int | Int64s, n_items: int, policy: ExcludePolicy
) -> QueryBatch:
    """Queries of these histories, at one time or one each; user_num is -1 where the user vector must be folded in."""
    return QueryBatch(
        user_num=user_num,
        now=np.full(len(user_num), now, dtype=np.int64),
        history=history,
        discovery=np.full(len(user_num), policy != ExcludePolicy.NONE),
        n_items=n_items,
        excluded=exclusions(history, [policy] * len(user_num), n_items),
    )
