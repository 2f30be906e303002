"""Queries of the wire as arrays: what is known of who asks, with what the query itself tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from recsys.interactions import Histories
from recsys.live import with_live
from recsys.queries import QueryBatch, exclusions
from recsys.slate import Asked
from recsys.types import Bools, EventType, ExcludePolicy, Int32s, Int64s, Query
from recsys.vocabulary import MAX_ID_BYTES, UNKNOWN, Vocabulary

NOTHING = np.zeros(0, dtype=np.int32)


def batch_of(
    queries: Sequence[Query],
    users: Vocabulary,
    items: Vocabulary,
    history_of: Callable[[Int32s], Histories],
    window: tuple[int, int],
    allowed_items: Bools | None,
) -> QueryBatch:
    """One batch of some queries.

    Args:
        queries: at least one; all of one time and with the same parameters.
        users: of the histories.
        items: of the catalogue.
        history_of: the histories in the bundle, by user.
        window: first and last time that a query can count as asked at, unix seconds.
        allowed_items: bool[n_items], what may be in the slates of all of them; None: every item.
    """
    count, n_items, (first, last) = len(queries), len(items), window
    asked_at, policy = queries[0].now, queries[0].parameters.exclude_policy
    user_num = np.array([users.num(query.user_id) for query in queries], dtype=np.int32)
    now = np.array([min(max(asked_at, first), last)] * count, dtype=np.int64)
    history = stored = history_of(user_num)
    further: list[Int32s] = []
    if any(query.live_events or query.seed_item_ids or query.exclude_item_ids for query in queries):
        seeds = [known_items(items, query.seed_item_ids) for query in queries]
        history = _told(stored, queries, seeds, items, now, first)
        further = [
            np.concatenate([known_items(items, query.exclude_item_ids), seed])
            for query, seed in zip(queries, seeds, strict=True)
        ]
    return QueryBatch(
        user_num if history is stored else _stale(user_num, history, stored),
        now,
        history,
        np.array([policy != ExcludePolicy.NONE] * count),
        n_items,
        exclusions(history, [policy] * count, n_items, further),
        allowed_items=allowed_items,
    )


def _told(
    stored: Histories, queries: Sequence[Query], seeds: list[Int32s], items: Vocabulary, now: Int64s, until: int
) -> Histories:
    """The histories with the live events and then the seed items of their queries put first."""
    history = with_live(stored, [query.live_events for query in queries], items)
    if history is not stored:
        history = _at(history, np.array([query.now for query in queries]), now, until)
    return history.preceded_by(seeds, now, EventType.VIEW_ITEM) if any(map(len, seeds)) else history


def _stale(user_num: Int32s, history: Histories, stored: Histories) -> Int32s:
    """The users, without those of whom more is known than is stored."""
    fresh = np.diff(history.indptr) > np.diff(stored.indptr)
    return np.where(fresh, UNKNOWN, user_num).astype(np.int32)


def _at(history: Histories, asked_at: Int64s, now: Int64s, until: int) -> Histories:
    """The histories with live events as old as they are, counted from the times at which queries count as asked."""
    live = np.flatnonzero(history.time >= until)
    row, time = history.row[live], history.time.copy()
    time[live] = (time[live] - (asked_at - now)[row]).clip(until, now[row])
    return replace(history, time=time)


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
