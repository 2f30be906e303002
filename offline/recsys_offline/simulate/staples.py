"""Staples: what a user buys again and again, each in a rhythm of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import Float64s, Int64s
from recsys_offline.simulate.choice import Browsing
from recsys_offline.simulate.draws import Keys, fork, normal, uniform
from recsys_offline.simulate.items import CYCLE_DAYS, Items
from recsys_offline.simulate.shelves import Shelves
from recsys_offline.simulate.users import Users

_CHANCES = np.array([0.22, 0.07, 0.03])  # of a first, a second and a third staple
_PERSONAL = 0.35  # standard deviation of log(interval) between users
_JITTER = 0.12  # standard deviation of one purchase's date, in intervals
_ELSEWHERE = 0.1  # share of the purchases made in another shop


@dataclass(frozen=True, slots=True)
class Staples:
    """n pairs of a user and a consumable item, bought every ``interval_days`` from ``first_day`` on.

    Attributes:
        user_row: int64[n], rows of the users that were asked about.
        item_num: int64[n].
        first_day: float64[n], days from the start of the period.
        interval_days: float64[n].
        key: uint64[n].
    """

    user_row: Int64s
    item_num: Int64s
    first_day: Float64s
    interval_days: Float64s
    key: Keys


def make_staples(users: Users, items: Items, shelves: Shelves) -> Staples:
    """The staples of these users, chosen from the shelf of the week in which they joined, or of the first one."""
    keys = fork(fork(users.key, "staples")[:, None], np.arange(len(_CHANCES)))
    row, slot = np.nonzero(uniform(keys, "has") < _CHANCES)
    joined = np.maximum(users.sign_up_day[row], 0.0)
    everyone = Browsing(users, items, shelves, row, shelves.week(joined), keys[row, slot])
    category = everyone.consumable()
    found = np.flatnonzero(category >= 0)  # a tiny shop may have nothing to consume
    row, key, start, category = row[found], everyone.keys[found], joined[found], category[found]
    interval = CYCLE_DAYS[category] * np.exp(_PERSONAL * normal(key, "interval"))
    return Staples(
        user_row=row,
        item_num=Browsing(users, items, shelves, row, shelves.week(start), key).item(category),
        first_day=start + uniform(key, "first") * interval,
        interval_days=interval,
        key=key,
    )


def replenishments(staples: Staples, items: Items, days: int) -> tuple[Int64s, Float64s, Keys]:
    """The purchases that staples lead to in the period: row of the staple int64[m], day float64[m], key uint64[m]."""
    counts = np.maximum(np.ceil((days - staples.first_day) / staples.interval_days), 0).astype(np.int64)
    row = np.repeat(np.arange(len(counts)), counts)
    turn = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    key = fork(staples.key[row], turn)
    day = staples.first_day[row] + (turn + _JITTER * normal(key, "jitter")) * staples.interval_days[row]
    made = (uniform(key, "elsewhere") > _ELSEWHERE) & (day >= 0) & (day < days)
    made &= items.on_sale(staples.item_num[row], day)
    return row[made], day[made], key[made]
