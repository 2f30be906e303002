"""What was known of each item at one time: the item's part of the features."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recsys.interactions import Events
from recsys.types import INTERACTION_TYPES, SECONDS_PER_DAY, Array, Bools, EventType, Float32s, Float64s

WINDOW_DAYS = (1, 3, 7, 14, 30, 90)
KINDS = {
    "view": (EventType.VIEW_ITEM, EventType.SELECT_ITEM),
    "cart": (EventType.ADD_TO_CART, EventType.ADD_TO_WISHLIST),
    "purchase": (EventType.PURCHASE,),
}

ITEM_COLUMNS = (
    *(f"item_{kind}_{days}d" for kind in KINDS for days in WINDOW_DAYS),
    *(f"item_{kind}_all" for kind in KINDS),
    "item_trend_7_30",
    "item_trend_30_90",
    "item_users",
    "item_repeat_share",
    "item_conversion",
    "item_age_days",
    "item_idle_days",
    "item_price",
    "item_price_change",
    "item_quantity",
    "item_interactions",
)


@dataclass(frozen=True, slots=True)
class ItemStats:
    """Statistics of all items at one time.

    Attributes:
        until: unix seconds; nothing from then on is in the statistics.
        values: float32[n_items, len(ITEM_COLUMNS)]; counts and prices as log(1 + x); NaN where nothing is known.
        has_purchases: whether anything was ever bought; where nothing was, other interactions stand for purchases.
    """

    until: int
    values: Float32s
    has_purchases: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_purchases", bool(self.column("item_purchase_all").any()))

    def column(self, name: str) -> Float32s:
        """float32[n_items]: one column."""
        return self.values[:, ITEM_COLUMNS.index(name)]


def item_stats(events: Events, n_items: int, until: int, has_times: bool) -> ItemStats:
    """The statistics of events that all lie before ``until`` (unix seconds).

    In a static set, one without times, every column that needs a time is NaN.
    """
    taken = events.of_types(INTERACTION_TYPES)
    kinds = {kind: taken.of_types(types) for kind, types in KINDS.items()}
    columns = {
        **_windows(kinds, n_items, until),
        **{f"item_{kind}_all": np.log1p(_count(part, n_items)) for kind, part in kinds.items()},
        **_loyalty(taken, kinds, n_items),
        **_prices(kinds["purchase"] if len(kinds["purchase"]) else taken, n_items),
        "item_interactions": np.log1p(_count(taken, n_items)),
    }
    columns |= _ages(taken, n_items, until)
    values = np.stack([columns[name] for name in ITEM_COLUMNS], axis=1).astype(np.float32)
    if not has_times:
        timed = [name.endswith(("d", "days")) or "trend" in name or "change" in name for name in ITEM_COLUMNS]
        values[:, timed] = np.nan
    return ItemStats(until, values)


def _count(events: Events, n_items: int) -> Float64s:
    return np.bincount(events.item_num, minlength=n_items).astype(np.float64)


def _windows(kinds: dict[str, Events], n_items: int, until: int) -> dict[str, Float64s]:
    """Counts per kind and window, and how the last window compares with the longer one's pace."""
    counts = {
        (kind, days): _count(part.between(until - days * SECONDS_PER_DAY, until), n_items)
        for kind, part in kinds.items()
        for days in WINDOW_DAYS
    }
    total = {days: sum(counts[kind, days] for kind in kinds) for days in WINDOW_DAYS}
    columns = {f"item_{kind}_{days}d": np.log1p(count) for (kind, days), count in counts.items()}
    columns["item_trend_7_30"] = np.log((total[7] + 1) / (total[30] * 7 / 30 + 1))
    columns["item_trend_30_90"] = np.log((total[30] + 1) / (total[90] * 30 / 90 + 1))
    return columns


def _loyalty(taken: Events, kinds: dict[str, Events], n_items: int) -> dict[str, Float64s]:
    """How many users an item has, how many came back for it, and how many views end in a purchase."""
    bought = kinds["purchase"] if len(kinds["purchase"]) else taken
    order = np.lexsort((bought.session_num, bought.user_num, bought.item_num))
    item, user, session = bought.item_num[order], bought.user_num[order], bought.session_num[order]
    new_pair = _differs(item) | _differs(user)
    pair = np.flatnonzero(new_pair)
    visits_of_pair = np.add.reduceat(new_pair | _differs(session), pair, dtype=np.int64) if len(pair) else pair
    users = np.bincount(item[pair], minlength=n_items)
    again = np.bincount(item[pair], visits_of_pair > 1, minlength=n_items)
    views = _count(kinds["view"], n_items)
    purchases = _count(kinds["purchase"], n_items)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "item_users": np.log1p(users),
            "item_repeat_share": np.where(users > 0, (again + 1) / (users + 10), np.nan),
            "item_conversion": np.where(views > 0, (purchases + 1) / (views + 20), np.nan),
        }


def _differs(ordered: Array) -> Bools:
    """bool[n]: whether each value differs from the one before it; of the first it does."""
    return np.append(np.ones(min(len(ordered), 1), dtype=bool), ordered[1:] != ordered[:-1])


def _ages(taken: Events, n_items: int, until: int) -> dict[str, Float64s]:
    """Days since the first and the last interaction."""
    first, last = np.full(n_items, np.nan), np.full(n_items, np.nan)
    # Events are in order of time: the last assignment wins, the first wins in reverse.
    last[taken.item_num] = taken.time
    first[taken.item_num[::-1]] = taken.time[::-1]
    return {
        "item_age_days": (until - first) / SECONDS_PER_DAY,
        "item_idle_days": (until - last) / SECONDS_PER_DAY,
    }


def _prices(events: Events, n_items: int) -> dict[str, Array]:
    """Mean log price, the last price against it, and the mean quantity."""
    priced = events.where(np.isfinite(events.price))
    log_price = np.log1p(priced.price.astype(np.float64))
    count = _count(priced, n_items)
    last = np.full(n_items, np.nan)
    last[priced.item_num] = log_price
    units = np.bincount(events.item_num, np.log1p(events.quantity), minlength=n_items)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(priced.item_num, log_price, minlength=n_items) / count
        quantity = units / _count(events, n_items)
    return {"item_price": mean, "item_price_change": last - mean, "item_quantity": quantity}
