"""What the shop shows in each category in each week: shelves to browse, and the items that its lists are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import Array, Bools, Float64s, Int32s, Int64s
from recsys_offline.simulate.draws import Keys, fork, uniform
from recsys_offline.simulate.items import Items
from recsys_offline.simulate.words import CATEGORIES

DAYS_PER_WEEK = 7
PLACES = 4096  # on one shelf
TOP = 24  # items that a list is drawn from
WHOLE_SHOP = len(CATEGORIES)  # the list of the whole shop stands behind those of the categories
_EMPTY = -1


@dataclass(frozen=True, slots=True)
class Shelves:
    """Items by week and category.

    A shelf has many places, given out in proportion to demand: a place drawn evenly is an item drawn by popularity, at
    the cost of one look-up.

    Attributes:
        places: int32[weeks, categories, PLACES], item_num; of no meaning where not stocked.
        stocked: bool[weeks, categories].
        top: int32[weeks, categories + 1, TOP], item_num of the most wanted, best first, then -1; the last row is that
            of the whole shop.
    """

    places: Int32s
    stocked: Bools
    top: Int32s

    def week(self, day: Array) -> Int64s:
        """int64: the week of each day, kept inside the period."""
        weeks = np.floor_divide(day, DAYS_PER_WEEK).astype(np.int64)
        return np.clip(weeks, 0, len(self.places) - 1)


def make_shelves(root: Keys, items: Items, days: int) -> Shelves:
    """The shelves of all weeks of the period. What the catalogue gets during a week is on them from the next."""
    weeks = -(-days // DAYS_PER_WEEK)
    places = np.zeros((weeks, len(CATEGORIES), PLACES), dtype=np.int32)
    stocked = np.zeros((weeks, len(CATEGORIES)), dtype=np.bool_)
    top = np.full((weeks, len(CATEGORIES) + 1, TOP), _EMPTY, dtype=np.int32)
    members = [np.flatnonzero(items.category == category) for category in range(len(CATEGORIES))]
    for week in range(weeks):
        wanted = demand(items, float(week * DAYS_PER_WEEK))
        jitter = uniform(fork(fork(fork(root, "shelves"), week), np.arange(PLACES)), "place")
        for category, nums in enumerate(members):
            stocked[week, category] = wanted[nums].sum() > 0
            if stocked[week, category]:
                places[week, category] = _give_out(nums, wanted[nums], jitter)
                _fill(top[week, category], nums, wanted[nums])
        _fill(top[week, WHOLE_SHOP], np.arange(len(items)), wanted)
    return Shelves(places, stocked, top)


def demand(items: Items, day: float) -> Float64s:
    """float64[items]: how much all users together want each item; 0 when it is not on sale."""
    nums = np.arange(len(items))
    return np.exp(items.popularity + items.trend(nums, day)) * items.on_sale(nums, day)


def _give_out(nums: Int64s, wanted: Float64s, jitter: Float64s) -> Int64s:
    """int64[PLACES]: items in proportion to demand, by systematic sampling with one jittered point per place."""
    reached = np.cumsum(wanted)
    points = (np.arange(PLACES) + jitter) / PLACES * reached[-1]
    given: Int64s = nums[np.minimum(np.searchsorted(reached, points, side="right"), len(nums) - 1)]
    return given


def _fill(row: Int32s, nums: Int64s, wanted: Float64s) -> None:
    """Write the most wanted items, best first, into a row."""
    best = np.argsort(-wanted, kind="stable")[: len(row)]
    best = best[wanted[best] > 0]
    row[: len(best)] = nums[best]
