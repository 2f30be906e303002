"""When a user will want an item again, by the user's own cycle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.types import Float32s


def due_rates(features: Float32s, names: Sequence[str]) -> Float32s:
    """float32[n]: how many purchases of each candidate a day the user is due for now; 0 where there never was one.

    The modified Poisson-gamma model of Bhagat, Muralidharan, Lobzhanidze and Vishwanath, Buy It Again, 2018: the rate
    of past purchases, less the farther the user is from the middle of the cycle. The prior is one purchase in the mean
    time between two visits of the user, so that it is of the shop's own scale.

    Args:
        features: float32[n, f], of the candidates.
        names: f, of the features.
    """

    def column(name: str) -> Float32s:
        return features[:, names.index(name)]

    visits = np.expm1(column("pair_visits"))
    span = np.nan_to_num(column("pair_interval_days")) * np.maximum(visits - 1, 0)
    mean = column("pair_interval_days")
    idle = column("pair_first_days") - span
    prior_days = np.nan_to_num(column("user_visit_interval_days"), nan=1.0)
    # Of one purchase there is no cycle (NaN, and no comparison holds): the longer ago, the less likely.
    off = np.where(idle < 2 * mean, 2 * np.abs(mean - idle), idle)
    rate = (visits + 1) / np.maximum(span + off + prior_days, np.finfo(np.float32).tiny)
    return np.where(visits > 0, rate, 0).astype(np.float32)
