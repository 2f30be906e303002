"""How long batches take, learnt from the last ones."""

from __future__ import annotations

import math
from collections.abc import Mapping

RATE = 0.3
SURPRISE = 4  # times what was expected; more is a hiccup of the machine, and believed if it lasts
TYPICAL = 16  # queries: above it a surprise is laid more to each, below it more to what is fixed
HALF_LIFE_SECONDS = 5.0
RANKING = ("featurise", "rank")


class Pace:
    """Seconds of a batch by the number of its queries: fixed + each * count, by normalised least mean squares.

    (Haykin, Adaptive Filter Theory, chapter 6.) What is known fades while nothing is learnt: a bad moment is forgotten.
    """

    __slots__ = ("_at", "_each", "_fixed", "_spread")

    def __init__(self) -> None:
        self._fixed = self._each = self._spread = 0.0
        self._at = -math.inf

    def seconds(self, count: int, now: float) -> float:
        """Of a batch of so many queries; 0 where nothing is known."""
        return (self._fixed + self._each * count) * self._faded(now)

    def at_most(self, count: int, now: float) -> float:
        """Seconds beyond which such a batch hardly takes: the mean deviation of late, much as TCP sets its timers."""
        return (1 + self._spread) * self.seconds(count, now)

    def learn(self, count: int, seconds: float, now: float) -> None:
        """A batch of so many queries, at least one, took this long."""
        fixed, each, faded = self._fixed, self._each, self._faded(now)
        if known := fixed + each * count:
            seconds = min(seconds, SURPRISE * known)
            self._spread += RATE * (abs(seconds / known - 1) - self._spread)
        fixed, each, size = fixed * faded, each * faded, count / TYPICAL
        rate = RATE if faded > 1.0 - RATE else 1.0 - faded
        step = rate * (seconds - fixed - each * count) / (1 + size * size)
        fixed, each = fixed + step, each + step * size / TYPICAL
        self._fixed = fixed if fixed > 0 else 0.0
        self._each = each if each > 0 else 0.0
        self._at = now

    def _faded(self, now: float) -> float:
        return math.exp2((self._at - now) / HALF_LIFE_SECONDS)


class RankingPace:
    """Pace of slates by the share of their candidates that go on to stage 2."""

    __slots__ = ("_ranking", "_rest")

    def __init__(self) -> None:
        self._rest, self._ranking = Pace(), Pace()

    def at_most(self, count: int, share: float, now: float) -> float:
        """Seconds beyond which a batch of so many queries hardly takes."""
        return self._rest.at_most(count, now) + share * self._ranking.at_most(count, now)

    def learn(self, count: int, share: float, seconds: float, stage_seconds: Mapping[str, float], now: float) -> None:
        """A batch of so many queries took this long as a whole, and in each stage."""
        ranking = sum([stage_seconds.get(stage, 0.0) for stage in RANKING])
        self._rest.learn(count, max(0.0, seconds - ranking), now)
        if share > 0:
            self._ranking.learn(count, ranking / share, now)
