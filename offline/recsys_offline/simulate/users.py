"""The users of the simulated shop and their tastes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import Array, Float32s, Float64s, Int64s
from recsys_offline.simulate.draws import Keys, directions, fork, normal, pareto, pick, uniform
from recsys_offline.simulate.items import DIMENSIONS, SHARE, centres
from recsys_offline.simulate.words import AGE_GROUPS, COUNTRY_SHARES

_SEGMENTS = 16  # groups of users with similar taste
_OWN_TASTE = 0.7  # length of what is the user's own, beside the segment's 1
_CATEGORY_CONTRAST = 5.0  # how much more users visit the categories near their taste
_SIGNED_UP_BEFORE = 0.6  # share of the users
_SESSIONS_PER_DAY = 0.026  # of the least active user


@dataclass(frozen=True, slots=True)
class Users:
    """Some users as columns of n rows. Days count from the start of the period, before it negative.

    Attributes:
        num: int64[n], the user's number in the shop.
        key: uint64[n].
        taste: float32[n, DIMENSIONS], unit length.
        budget: float32[n]: the price level (as of items) that the user likes best.
        sessions_per_day: float64[n], a power law.
        sign_up_day: float64[n].
        country: int64[n], rows of COUNTRIES.
        age_group: int64[n], rows of AGE_GROUPS.
        interest: float32[n, categories]: how likely a session is about each category, as weights.
    """

    num: Int64s
    key: Keys
    taste: Float32s
    budget: Float32s
    sessions_per_day: Float64s
    sign_up_day: Float64s
    country: Int64s
    age_group: Int64s
    interest: Float32s

    def __len__(self) -> int:
        return len(self.num)


def make_users(root: Keys, num: Array, days: int) -> Users:
    """The users of these numbers; each depends on the key, its number and the length of the period alone."""
    key = fork(fork(root, "user"), num)
    segment = (uniform(key, "segment") * _SEGMENTS).astype(np.int64)
    taste = directions(fork(fork(root, "segment"), np.arange(_SEGMENTS)), "centre", DIMENSIONS)[segment]
    taste += _OWN_TASTE * directions(key, "taste", DIMENSIONS)
    taste /= np.linalg.norm(taste, axis=1, keepdims=True)
    interest = SHARE * np.exp(_CATEGORY_CONTRAST * taste @ centres(root).T)
    typical = uniform(key, "typical age") < 0.5
    return Users(
        num=np.asarray(num, dtype=np.int64),
        key=key,
        taste=taste.astype(np.float32),
        budget=normal(key, "budget").astype(np.float32),
        sessions_per_day=_SESSIONS_PER_DAY * pareto(key, "activity", 1.6, 40.0),
        sign_up_day=_sign_up_days(key, days),
        country=pick(key, "country", np.array(COUNTRY_SHARES, dtype=np.float64)),
        age_group=np.where(typical, segment, (uniform(key, "age") * 1e6).astype(np.int64)) % len(AGE_GROUPS),
        interest=interest.astype(np.float32),
    )


def _sign_up_days(key: Keys, days: int) -> Float64s:
    """Some users are older than the period; the others come at any time in it."""
    u = uniform(key, "sign-up")
    old = -700.0 * (1.0 - u / _SIGNED_UP_BEFORE)
    new = (u - _SIGNED_UP_BEFORE) / (1.0 - _SIGNED_UP_BEFORE) * days
    return np.where(u < _SIGNED_UP_BEFORE, old, new)
