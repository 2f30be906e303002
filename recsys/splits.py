"""Windows of the past in which the ranker learns what happens next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.interactions import Events
from recsys.types import INTERACTION_TYPES, SECONDS_PER_DAY, EventType

LEAST_GROUPS = 300
HIDDEN_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Window:
    """One cut: what was known before it, and what happened after it.

    Attributes:
        now: unix seconds of the cut; 0 in a static set.
        past: events before the cut.
        future: target events from the cut to the horizon.
        after: events of all types from the cut to the horizon; None where the future is hidden items instead.
    """

    now: int
    past: Events
    future: Events
    after: Events | None

    @property
    def hides(self) -> bool:
        """Whether the future is hidden items."""
        return self.after is None


def target_types(events: Events) -> tuple[EventType, ...]:
    """What the ranker should predict: purchases where the shop has them, else every interaction."""
    bought = int((events.event_type == EventType.PURCHASE).sum())
    return (EventType.PURCHASE,) if bought >= 0.002 * len(events) and bought > 0 else INTERACTION_TYPES


def horizon_days(events: Events, targets: tuple[EventType, ...], cuts: int) -> float:
    """How far ahead to look: the usual gap between a user's target visits, in whole days.

    It is grown until a window holds enough users to learn from, and never leaves less than half of the time as past.
    """
    taken = events.of_types(targets)
    if len(taken) == 0 or taken.time[-1] == taken.time[0]:
        return 1.0
    days = np.unique(taken.user_num.astype(np.int64) << 32 | taken.time // SECONDS_PER_DAY)
    user, day = days >> 32, days & 0xFFFFFFFF
    gaps = np.diff(day)[np.diff(user) == 0]
    span = (int(events.time[-1]) - int(events.time[0])) / SECONDS_PER_DAY
    longest = max(span / (2 * cuts), 1 / 24)
    wanted = float(np.median(gaps)) if len(gaps) else longest
    while wanted < longest and _users_in_window(taken, wanted) < LEAST_GROUPS:
        wanted *= 1.5
    return float(np.clip(wanted, min(1.0, longest), longest))


def _users_in_window(events: Events, days: float) -> int:
    end = int(events.time[-1])
    return len(np.unique(events.between(int(end - days * SECONDS_PER_DAY), end + 1).user_num))


def by_time(
    events: Events, until: int, horizon: float, cuts: int, targets: tuple[EventType, ...]
) -> tuple[Window, ...]:
    """Windows of ``horizon`` days that end at ``until`` and follow each other, oldest first."""
    step = int(horizon * SECONDS_PER_DAY)
    windows = []
    for number in range(cuts, 0, -1):
        now = until - number * step
        past, after = events.before(now), events.between(now, now + step)
        future = after.of_types(targets)
        if len(past) and len(future):
            windows.append(Window(now, past, future, after))
    return tuple(windows)


def hidden(
    events: Events, now: int, n_users: int, n_items: int, cuts: int, targets: tuple[EventType, ...], seed: int
) -> tuple[Window, ...]:
    """Windows that each hide a share of every user's items, for sets without times or with too few returns.

    A hidden pair of user and item is hidden in every event type, and at least one of a user's items stays: who has none
    left is another kind of user than those who come back.
    """
    taken = events.of_types(targets)
    taken = taken.where(taken.user_num < n_users)
    keys = np.unique(taken.user_num.astype(np.int64) * n_items + taken.item_num)
    user = keys // n_items
    count = np.bincount(user, minlength=n_users)
    quota = np.where(count > 1, np.maximum(1, (count * HIDDEN_SHARE).astype(np.int64)), 0)
    start = np.cumsum(count) - count
    pair = np.where(events.user_num < n_users, events.user_num.astype(np.int64) * n_items + events.item_num, -1)
    windows = []
    for number in range(cuts):
        order = np.lexsort((np.random.default_rng([seed, number]).random(len(keys)), user))
        drawn = np.arange(len(keys)) - start[user[order]] < quota[user[order]]
        out = np.isin(pair, keys[order[drawn]])
        windows.append(Window(now, events.where(~out), events.where(out).of_types(targets), after=None))
    return tuple(windows)
