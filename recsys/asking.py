"""Queries of the wire as arrays: what is known of who asks, with what the query itself tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recsys.interactions import Histories
from recsys.live import LiveEntries, with_live
from recsys.queries import QueryBatch, exclusions
from recsys.slate import Asked
from recsys.types import Bools, EventType, ExcludePolicy, Int32s, Query
from recsys.vocabulary import MAX_ID_BYTES, UNKNOWN, Vocabulary

NOTHING = np.zeros(0, dtype=np.int32)


def batch_of(
    queries: Sequence[Query],
    users: Vocabulary,
    items: Vocabulary,
    live: LiveEntries,
    history_of: Callable[[Int32s], Histories],
    window: tuple[int, int],
    allowed_items: Bools | None,
) -> QueryBatch:
    """One batch of some queries.

    Args:
        queries: at least one; all of one time and with the same parameters.
        users: of the histories.
        items: of the catalogue.
        live: makes entries of live events.
        history_of: the histories in the bundle, by user.
        window: first and last time that a query can count as asked at, unix seconds.
        allowed_items: bool[n_items], what may be in the slates of all of them; None: every item.
    """
    count, n_items, (first, last) = len(queries), len(items), window
    asked_at, policy = queries[0].now, queries[0].parameters.exclude_policy
    user_num = users.nums([query.user_id for query in queries])
    now = min(max(asked_at, first), last)
    history = stored = history_of(user_num)
    is_live = is_told = False
    for query in queries:
        is_live = is_live or bool(query.live_events)
        is_told = is_told or bool(query.seed_item_ids or query.exclude_item_ids)
    if is_live:
        told = [live.of(query.user_id, query.live_events) for query in queries]
        history = with_live(stored, told, asked_at, now, first)
    further: list[Int32s] = []
    if is_told:
        seeds = [known_items(items, query.seed_item_ids) for query in queries]
        if any(map(len, seeds)):
            history = history.preceded_by(seeds, np.full(count, now), EventType.VIEW_ITEM)
        further = [
            np.concatenate([known_items(items, query.exclude_item_ids), seed])
            for query, seed in zip(queries, seeds, strict=True)
        ]
    times, discovery = np.empty(count, dtype=np.int64), np.empty(count, dtype=bool)
    times.fill(now)
    discovery.fill(policy != ExcludePolicy.NONE)
    return QueryBatch(
        user_num if history is stored else _stale(user_num, history, stored),
        times,
        history,
        discovery,
        n_items,
        exclusions(history, [policy] * count, n_items, further),
        allowed_items=allowed_items,
    )


def needs_histories(queries: Sequence[Query]) -> bool:
    """Whether :func:`batch_of` looks at what their users did before, or adds to it."""
    if queries[0].parameters.exclude_policy != ExcludePolicy.NONE:
        return True
    return any(query.live_events or query.seed_item_ids or query.exclude_item_ids for query in queries)


def _stale(user_num: Int32s, history: Histories, stored: Histories) -> Int32s:
    """The users, without those of whom more is known than is stored."""
    more = history.indptr - stored.indptr
    left = user_num.copy()
    left[more[1:] > more[:-1]] = UNKNOWN
    return left


def asked_of(query: Query, items: Vocabulary) -> Asked:
    """What a query asks of its slate."""
    shown = query.shown  # mostly empty: it is not looked through then
    known = tuple((num, times) for item_id, times in shown if (num := items.num(item_id)) != UNKNOWN) if shown else ()
    return Asked(query.slate_size, query.rules, known, query.seed, query.parameters.fill)


def known_items(items: Vocabulary, ids: Sequence[str]) -> Int32s:
    """The rows of the known ids, in order, each once."""
    if not ids:
        return NOTHING
    # A huge id would make every id of the array as wide.
    nums = dict.fromkeys(items.nums([text for text in ids if len(text) <= MAX_ID_BYTES]).tolist())
    nums.pop(UNKNOWN, None)
    return np.array([*nums], dtype=np.int32)
