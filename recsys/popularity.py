"""How much everybody acts on each item."""

from __future__ import annotations

import numpy as np

from recsys.interactions import Events
from recsys.types import SECONDS_PER_DAY, Array, EventType, Float32s, Float64s, Int64s


def decay(age_seconds: Array, half_life_days: float) -> Float64s:
    """float64[n]: weight 1 now, one half after a half-life; ages below 0 count as 0."""
    return np.asarray(np.exp2(np.maximum(age_seconds, 0) / (-SECONDS_PER_DAY * half_life_days)))


def type_weights(weights: dict[EventType, float]) -> Float64s:
    """float64[10]: the weight of each event type by its number, 0 for types without one."""
    table = np.zeros(max(EventType) + 1)
    for event_type, weight in weights.items():
        table[event_type] = weight
    return table


def decayed_counts(
    events: Events, n_items: int, weights: dict[EventType, float], now: int, half_life_days: float
) -> Float32s:
    """float32[n_items]: weighted events of each item, halved every half-life before now (unix seconds)."""
    weight = type_weights(weights)[events.event_type] * decay(now - events.time, half_life_days)
    return np.bincount(events.item_num, weight, minlength=n_items).astype(np.float32)


def popular_order(score: Float32s) -> Int64s:
    """int64[n]: all items, most popular first; ties by item row, so that the order is the same everywhere."""
    return np.argsort(-score, kind="stable")
