"""When people shop: hours of the day, days of the week, weeks of the year."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import Float64s

_HOURS = np.array([2, 1, 1, 1, 1, 2, 4, 7, 10, 12, 13, 14, 15, 14, 13, 13, 14, 16, 19, 22, 23, 19, 12, 6], dtype=float)
_WEEKDAYS = np.array([0.95, 0.9, 0.9, 0.95, 1.0, 1.1, 1.2])  # from Monday, on which the period starts
_YEAR_SWING = 0.2
_YEAR_PEAK_DAY = 340


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The shop's traffic over the period, as a clock that runs fast when many people shop.

    Attributes:
        day: float64[24 days + 1], the hours as days from the start of the period.
        reached: float64[24 days + 1], traffic so far; 1 is that of an average day.
    """

    day: Float64s
    reached: Float64s

    def traffic(self, day: Float64s) -> Float64s:
        """Traffic from the start of the period to each day."""
        return np.interp(day, self.day, self.reached)

    def day_of(self, traffic: Float64s) -> Float64s:
        """The inverse of ``traffic``."""
        return np.interp(traffic, self.reached, self.day)


def make_rhythm(days: int) -> Rhythm:
    """The rhythm of a period of so many days."""
    hour = np.arange(days * 24)
    year = 1 + _YEAR_SWING * np.cos(2 * np.pi * (hour / 24 - _YEAR_PEAK_DAY) / 365.25)
    rate = _HOURS[hour % 24] / _HOURS.sum() * _WEEKDAYS[hour // 24 % 7] / _WEEKDAYS.mean() * year
    return Rhythm(np.arange(days * 24 + 1) / 24, np.concatenate(([0.0], np.cumsum(rate))))


def waking(day: Float64s) -> Float64s:
    """The same days, their hours moved to when people are awake; the order of times stays."""
    reached = np.concatenate(([0.0], np.cumsum(_HOURS))) / _HOURS.sum()
    whole = np.floor(day)
    return whole + np.interp(day - whole, reached, np.arange(25) / 24)
