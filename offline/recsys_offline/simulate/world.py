"""The truth of the simulated shop, to ask questions of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import SECONDS_PER_DAY, Array, Bools, Float64s, Int64s
from recsys_offline.simulate.choice import Browsing
from recsys_offline.simulate.draws import Keys, fork, root, uniform
from recsys_offline.simulate.items import Items, make_items
from recsys_offline.simulate.shelves import Shelves, make_shelves
from recsys_offline.simulate.staples import Staples, make_staples
from recsys_offline.simulate.taste import affinity, attraction, buy_probability, cart_probability, examination
from recsys_offline.simulate.users import Users, make_users

START_TIME = 1_704_067_200  # 2024-01-01T00:00:00Z, a Monday


@dataclass(frozen=True, slots=True)
class World:
    """A shop whose truth is known: everything in it is a pure function of the seed and the numbers of users and items.

    Users need no table: any number names a user. Items, and what each category shows in each week, are held in memory.
    Questions go beyond the period too; tastes stay and trends go on.

    Attributes:
        key: uint64[1], from the seed.
        days: length of the period of the dataset.
        items: all items; row is item_num.
        shelves: what the shop shows, by week and category.
    """

    key: Keys
    days: int
    items: Items
    shelves: Shelves

    @classmethod
    def of(cls, items: int, days: int, seed: int) -> World:
        """The world with so many items over so many days."""
        key = root(seed)
        stock = make_items(key, items, days)
        return cls(key, days, stock, make_shelves(key, stock, days))

    @property
    def end_time(self) -> int:
        """End of the period, unix seconds."""
        return START_TIME + self.days * SECONDS_PER_DAY

    def users(self, user_num: Array) -> Users:
        """The users of these numbers."""
        return make_users(self.key, user_num, self.days)

    def browsing(self, users: Users, user_row: Int64s, day: Float64s, keys: Keys) -> Browsing:
        """Choices that some of these users make on days of the period."""
        return Browsing(users, self.items, self.shelves, user_row, self.shelves.week(day), keys)

    def staples_of(self, users: Users) -> Staples:
        """What these users buy again and again; user_row of the answer is their row."""
        return make_staples(users, self.items, self.shelves)

    def affinity(self, user_num: Array, item_num: Array) -> Float64s:
        """float64[n]: how much each user likes each item, as log-odds; about 0 on average."""
        users, row = self._users(user_num)
        return affinity(users, row, self.items, np.asarray(item_num))

    def click_probability(self, user_num: Array, item_num: Array, position: Array, time: Array | int) -> Float64s:
        """The probability that a user clicks an item in a list: examination(position) x attraction(user, item, time).

        Args:
            user_num: int[n].
            item_num: int[n].
            position: int[n], 1 is the first.
            time: unix seconds, one or n.

        Returns:
            float64[n]; 0 for an item that is not on sale.
        """
        item = np.asarray(item_num)
        day = _day(time)
        liking = self.affinity(user_num, item)
        clicked = attraction(liking, self.items.popularity[item], self.items.trend(item, day))
        clicked *= examination(position) * self.items.on_sale(item, day)
        return clicked

    def clicks(self, user_num: Array, item_num: Array, position: Array, time: Array | int, draw: int = 0) -> Bools:
        """bool[n]: whether each user clicks; a draw from ``click_probability`` that the arguments determine.

        Draw 0 at an impression of the dataset is the dataset's answer; other draws are what else could have happened.
        """
        second = np.asarray(time).astype(np.int64)
        key = fork(fork(fork(self.key, "clicks"), np.asarray(user_num)), np.asarray(item_num))
        key = fork(fork(fork(key, np.asarray(position)), second), draw)
        return uniform(key, "click") < self.click_probability(user_num, item_num, position, second)

    def purchase_probability(self, user_num: Array, item_num: Array, time: Array | int) -> Float64s:
        """float64[n]: the probability that a view ends in a purchase, staples aside; 0 for what is not on sale."""
        item = np.asarray(item_num)
        liking = self.affinity(user_num, item)
        bought = cart_probability(liking) * buy_probability(liking, self.items.price[item])
        bought *= self.items.on_sale(item, _day(time))
        return bought

    def _users(self, user_num: Array) -> tuple[Users, Array]:
        """The different users among these, and the row of each."""
        different, row = np.unique(user_num, return_inverse=True)
        return self.users(different), row


def _day(time: Array | int) -> Float64s:
    """float64: days from the start of the period."""
    return (np.asarray(time, dtype=np.float64) - START_TIME) / SECONDS_PER_DAY
