"""What users make of items: the probabilities from which the shop's events are drawn."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from recsys.types import Array, Float64s
from recsys_offline.simulate.items import Items
from recsys_offline.simulate.users import Users

_TASTE = 5.0  # weight of taste in affinity
_BUDGET = 0.4  # weight of the distance from the price level that the user likes
_EXAMINATION = 0.7  # exponent of the position bias


def affinity(users: Users, user_row: Array, items: Items, item_num: Array) -> Float64s:
    """How much users like items, as log-odds with a mean of about 0 over all pairs.

    affinity = 5 <taste, vector> - 0.2 ((budget - price level)^2 - 2)

    Args:
        users, items: what the rows are of.
        user_row: int[n] or int[n, 1].
        item_num: int[n] or int[n, k].

    Returns:
        float64 of item_num's shape.
    """
    taste = np.einsum("...d,...d->...", users.taste[user_row], items.vector[item_num])
    gap = users.budget[user_row] - items.price_level[item_num]
    liking: Float64s = (_TASTE * taste - _BUDGET / 2 * (gap * gap - 2.0)).astype(np.float64)
    return liking


def examination(position: Array) -> Float64s:
    """The probability that a user looks at a position (1 is the first) of a list: position ** -0.7."""
    return np.asarray(position, dtype=np.float64) ** -_EXAMINATION


def attraction(liking: Float64s, popularity: Float64s, trend: Float64s) -> Float64s:
    """The probability that a user who looks at an item in a list clicks it."""
    clicked: Float64s = expit(-3.0 + 0.8 * liking + 0.3 * popularity + 0.5 * trend)
    return clicked


def cart_probability(liking: Float64s) -> Float64s:
    """The probability that a view leads to the cart."""
    added: Float64s = expit(-3.6 + 0.6 * liking)
    return added


def buy_probability(liking: Float64s, price: Float64s) -> Float64s:
    """The probability that what is in the cart is bought: dear things are put back more often."""
    bought: Float64s = expit(-0.3 + 0.3 * liking - 0.4 * np.log(price / 20.0))
    return bought
