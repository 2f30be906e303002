"""Visits of a window as they went on: what somebody has just done is known, what came next is the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.interactions import Events, Histories
from recsys.metrics import Truth
from recsys.types import INTERACTION_TYPES, Bools, EventType, Float64s, Int32s, Int64s

MOST_KNOWN_ITEMS = 5
FORGOTTEN = 0.7
"""Share of the users who are taken for new, whatever is known of them from before the window."""


@dataclass(frozen=True, slots=True)
class Visits:
    """Users in the middle of a visit.

    Attributes:
        truth: what they did afterwards.
        history: what is known of each user of the truth: what was done with the first one to five items of the window,
            up to a random event on the last of these; for users not taken for new also all before. Newest first.
        now: int64[u], unix seconds of the last known event.
    """

    truth: Truth
    history: Histories
    now: Int64s


def draw(
    past: Events,
    after: Events,
    n_users: int,
    n_items: int,
    targets: tuple[EventType, ...],
    limit: int,
    random: np.random.Generator,
) -> Visits:
    """At most ``limit`` users of a window of time, each stopped after a random number of items, or amid the last one.

    Who looks at an item has not bought it yet: visits that were stopped only where they turn to another item would
    teach that nobody buys what is in view.

    Args:
        past: events before the cut.
        after: events of the window.
        n_users: rows from there on are anonymous sessions.
        n_items: size of the catalogue.
        targets: event types that count as what came next.
        limit: of users.
        random: draws users and where to stop.
    """
    acted = after.of_types(INTERACTION_TYPES)
    acted = acted.where(acted.user_num < n_users)
    wanted = random.integers(1, MOST_KNOWN_ITEMS + 1, n_users)[acted.user_num]
    so_far = _items_so_far(acted, n_items)
    early = (so_far < wanted) | _first_part(acted.user_num, so_far == wanted, random.random(n_users))
    later = acted.where(~early).of_types(targets)
    truth = Truth.of(later.user_num, later.item_num, n_items)
    if len(truth) > limit:
        kept = np.zeros(len(truth), dtype=bool)
        kept[random.choice(len(truth), limit, replace=False)] = True
        truth = truth.where(kept)
    remembered = np.zeros(max(n_users, int(past.user_num.max()) + 1), dtype=bool)
    remembered[truth.user_num] = random.random(len(truth)) >= FORGOTTEN
    known = past.where(remembered[past.user_num]).followed_by(acted.where(early))
    history = Histories.of(known, n_users, len(known)).rows(truth.user_num)
    return Visits(truth, history, history.time[history.indptr[:-1]])


def _first_part(user_num: Int32s, chosen: Bools, share: Float64s) -> Bools:
    """bool[n]: the first of each user's chosen events, at least one and at most a share (float64[n_users]) of them."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(user_num[rows], kind="stable")]
    count = np.bincount(user_num[rows], minlength=len(share))
    place = np.arange(len(rows)) - (np.cumsum(count) - count)[user_num[rows]]
    first = np.zeros(len(user_num), dtype=bool)
    first[rows[place < np.maximum(1, np.ceil(share * count))[user_num[rows]]]] = True
    return first


def _items_so_far(events: Events, n_items: int) -> Int64s:
    """int64[n]: how many items the user of each event has acted on in these events, up to and with it."""
    key = events.user_num.astype(np.int64) * n_items + events.item_num
    new = np.zeros(len(key), dtype=np.int64)
    new[np.unique(key, return_index=True)[1]] = 1
    order = np.argsort(events.user_num, kind="stable")
    running = np.cumsum(new[order])
    user = events.user_num[order]
    start = np.flatnonzero(np.diff(user, prepend=-1))
    running -= np.repeat(running[start] - 1, np.diff(np.append(start, len(user))))
    counts = np.empty(len(key), dtype=np.int64)
    counts[order] = running
    return counts
