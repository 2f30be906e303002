"""How users choose while they browse: a category, then one of a few items that they notice on its shelf."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import Array, Float32s, Float64s, Int64s
from recsys_offline.simulate.draws import Keys, fork, pick, uniform
from recsys_offline.simulate.items import CYCLE_DAYS, GOES_WITH, Items, season
from recsys_offline.simulate.shelves import DAYS_PER_WEEK, PLACES, Shelves
from recsys_offline.simulate.taste import affinity
from recsys_offline.simulate.users import Users
from recsys_offline.simulate.words import CATEGORIES

_NOTICED = 8  # items that a user compares before viewing one
_STAY, _COMPLEMENT = 0.5, 0.25  # the next view: same category, the one that goes with it, else any
_STYLE = 2.5  # weight of the likeness to what was viewed just before


@dataclass(frozen=True, slots=True)
class Browsing:
    """n choices to make, each by a user in a week.

    Attributes:
        users: what user_row is of.
        items: all items of the shop.
        shelves: where they lie.
        user_row: int64[n].
        week: int64[n].
        keys: uint64[n], of the choices.
    """

    users: Users
    items: Items
    shelves: Shelves
    user_row: Int64s
    week: Int64s
    keys: Keys

    def category(self) -> Int64s:
        """int64[n]: what each user is after, by interest and season, among the categories in stock."""
        return pick(self.keys, "category", self.users.interest[self.user_row] * _in_season(self.shelves)[self.week])

    def consumable(self) -> Int64s:
        """int64[n]: a consumable category by interest; -1 where none is in stock."""
        weights = self.users.interest[self.user_row] * (self.shelves.stocked[self.week] & (CYCLE_DAYS > 0))
        return np.where(weights.any(axis=1), pick(self.keys, "consumable", weights), -1)

    def next_category(self, last: Int64s) -> Int64s:
        """int64[n]: after a view in category ``last``, the same again, the one that goes with it, or any."""
        u = uniform(self.keys, "next")
        complement = GOES_WITH[last]
        goes_with = (u < _STAY + _COMPLEMENT) & self.shelves.stocked[self.week, complement]
        return np.where(u < _STAY, last, np.where(goes_with, complement, self.category()))

    def item(self, category: Int64s, last: Int64s | None = None) -> Int64s:
        """int64[n]: the item viewed, one of eight that are noticed on the category's shelf.

        A multinomial logit by the Gumbel-max trick: argmax(utility - log(-log(u))). Utility is affinity and, after
        another item (``last``, int64[n]), likeness to it; the same one is not taken again unless there is no other.
        """
        u = uniform(fork(self.keys[:, None], np.arange(_NOTICED)), "notice") * PLACES
        place = u.astype(np.int64)
        noticed = self.shelves.places[self.week[:, None], category[:, None], place]
        utility = affinity(self.users, self.user_row[:, None], self.items, noticed)
        utility -= np.log(-np.log(np.clip(u - place, 1e-9, 1 - 1e-9)))  # what the place leaves of u is uniform too
        if last is not None:
            utility += _STYLE * _likeness(self.items, last[:, None], noticed)
            utility[noticed == last[:, None]] -= 1e6
        chosen: Int64s = noticed[np.arange(len(noticed)), utility.argmax(axis=1)].astype(np.int64)
        return chosen


def _likeness(items: Items, one: Array, other: Array) -> Float64s:
    """Cosine of item vectors, elementwise."""
    cosine: Float64s = np.einsum("...d,...d->...", items.vector[one], items.vector[other]).astype(np.float64)
    return cosine


def _in_season(shelves: Shelves) -> Float32s:
    """float32[weeks, categories]: demand for each category, 0 where it is not in stock."""
    days = np.arange(len(shelves.places), dtype=np.float64)[:, None] * DAYS_PER_WEEK
    lift = season(np.arange(len(CATEGORIES))[None, :], days)
    return (np.exp(lift) * shelves.stocked).astype(np.float32)
