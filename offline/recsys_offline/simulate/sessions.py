"""Visits of users to the shop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import Array, Float64s, Int64s
from recsys_offline.simulate.draws import Keys, fork, poisson, uniform
from recsys_offline.simulate.rhythm import make_rhythm, waking
from recsys_offline.simulate.staples import replenishments
from recsys_offline.simulate.users import Users
from recsys_offline.simulate.world import World

_SOON = 60.0 / 86_400  # a user who has signed up needs a minute before the first event


@dataclass(frozen=True, slots=True)
class Sessions:
    """n sessions in the order of user and time.

    Attributes:
        user_row: int64[n], rows of the users that were asked about, rising.
        day: float64[n], start, days from the start of the period.
        category: int64[n], what the session starts with.
        needed: int64[n], item_num of the staple that the user came for; -1 for none.
        key: uint64[n].
    """

    user_row: Int64s
    day: Float64s
    category: Int64s
    needed: Int64s
    key: Keys

    def __len__(self) -> int:
        return len(self.key)

    @property
    def number(self) -> Int64s:
        """int64[n]: place of each session among those of its user, from 0."""
        first = np.searchsorted(self.user_row, self.user_row, side="left")
        return np.arange(len(self)) - first


def make_sessions(world: World, users: Users) -> Sessions:
    """All sessions of these users: those that come to look around and those that need a staple again."""
    look_row, look_day, look_key = _looking_around(world, users)
    staples = world.staples_of(users)
    row, need_day, need_key = replenishments(staples, world.items, world.days)
    need_row, needed = staples.user_row[row], staples.item_num[row]
    need_day = np.maximum(waking(need_day), users.sign_up_day[need_row] + _SOON)
    category = world.browsing(users, look_row, look_day, look_key).category()
    sessions = Sessions(
        user_row=np.concatenate((look_row, need_row)),
        day=np.concatenate((look_day, need_day)),
        category=np.concatenate((category, world.items.category[needed])),
        needed=np.concatenate((np.full(len(look_row), -1), needed)),
        key=np.concatenate((look_key, need_key)),
    )
    order = np.lexsort((sessions.day, sessions.user_row))
    return _rows(sessions, order)


def _looking_around(world: World, users: Users) -> tuple[Int64s, Float64s, Keys]:
    """A Poisson process for each user, its rate the user's times the shop's traffic: user row, day, key."""
    rhythm = make_rhythm(world.days)
    start = rhythm.traffic(np.maximum(users.sign_up_day + _SOON, 0.0))
    left = rhythm.reached[-1] - start
    counts = poisson(users.key, "sessions", users.sessions_per_day * left)
    row = np.repeat(np.arange(len(users)), counts)
    number = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    key = fork(fork(users.key, "session")[row], number)
    return row, rhythm.day_of(start[row] + uniform(key, "time") * left[row]), key


def _rows(sessions: Sessions, rows: Array) -> Sessions:
    """Some of the sessions."""
    return Sessions(
        sessions.user_row[rows], sessions.day[rows], sessions.category[rows], sessions.needed[rows], sessions.key[rows]
    )
