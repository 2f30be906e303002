"""One place of a slate after the other: pins, kept places, the best of those unlike what stands there, under caps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from recsys.fetching import top
from recsys.ranked_items import EXPLORED
from recsys.types import Bools, Float32s, Int32s, Int64s, RuleReason

DIVERSIFIED = RuleReason("diversity", "diversified")
PINNED = "pinned"
NOISE = np.float32(1e-3)
"""The part of every item that is like no other: two items that are the same still differ by it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Places that are kept for what one source proposes.

    Attributes:
        places: from 0, rising.
        proposed: positions of what it proposes; who comes first gets a place first.
        weights: of each, where their order was drawn: an item came next with a probability proportional to it.
    """

    places: Sequence[int]
    proposed: Sequence[int]
    weights: dict[int, float] | None = None

    def chance(self, chosen: int, taken: Collection[int]) -> float:
        """The probability with which the draw put this one before all others that are not taken; 1 without a draw."""
        if self.weights is None:
            return 1.0
        return self.weights[chosen] / sum(self.weights[each] for each in self.proposed if each not in taken)


@dataclass(frozen=True, slots=True)
class Limit:
    """A cap: at most ``most`` of the items with one code get a place.

    Attributes:
        name: of the rule.
        codes: int32[m], the items' codes, from 0; -1 where an item is not limited.
        most: items with one code.
    """

    name: str
    codes: Int32s
    most: int


@dataclass(frozen=True, slots=True)
class Pool:
    """The m items that a slate can be made of; their rows here are their positions.

    Attributes:
        margin: float32[c], of the candidates, which are the first items.
        fill: positions that get a place when no candidate is left, in this order.
        pins: for a place, from 0, the position that belongs there and the name of the rule.
        limits: of the caps.
        kept: places for some sources, the first ones first.
        vectors: float32[m, d], of length 1 or 0; items are alike if their inner product is large or small. None:
            diversity has no say.
        diversity: 0 to 1.
    """

    margin: Float32s
    fill: range
    pins: dict[int, tuple[int, str]]
    limits: Sequence[Limit]
    kept: Sequence[Kept]
    vectors: Float32s | None
    diversity: float


@dataclass(frozen=True, slots=True)
class Placed:
    """An item's position in the pool, what brought it here, and the probability of its draw."""

    position: int
    reasons: tuple[RuleReason, ...] = ()
    propensity: float = 1.0


def place(pool: Pool, size: int) -> list[Placed]:
    """The slate, best first, shorter than its size only where the pool is.

    Diversity is that of a determinantal point process, by greedy maximisation (Chen, Zhang and Zhou, NeurIPS 2018): the
    next candidate has the largest (1 - diversity) * relevance + diversity * log(novelty). Relevance is the margin, in
    units of what lies between the best candidate and the last one that fits the slate. Novelty is the share of an
    item's vector that those of the slate do not span: det(V_slate+item) / det(V_slate), 1 where nothing is alike.
    """
    placing = _Placing(pool, size)
    while len(placing.slate) < placing.size and (placed := placing.choose()) is not None:
        placing.take(placed)
    return placing.slate


@dataclass(slots=True)
class _Placing:
    """A slate that grows."""

    pool: Pool
    size: int
    slate: list[Placed] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)
    _pins: dict[int, tuple[int, str]] = field(init=False)
    _order: Int64s = field(init=False)
    _free: Bools = field(init=False)
    _counts: list[Int32s] = field(init=False)
    _relevance: Float32s = field(init=False)
    _novelty: Float32s = field(init=False)
    _spanned: Float32s = field(init=False)

    def __post_init__(self) -> None:
        pool, candidates = self.pool, len(self.pool.margin)
        n_items = max([candidates, pool.fill.stop, *(position + 1 for position, _ in pool.pins.values())])
        self.size = min(self.size, n_items)  # a pin behind that has no effect
        best = top(pool.margin, candidates)
        self._order = np.concatenate([best, np.arange(pool.fill.start, pool.fill.stop)])
        self._pins = {at: pin for at, pin in sorted(pool.pins.items()) if at < self.size}
        self._free = np.zeros(n_items, dtype=bool)
        self._free[self._order] = True
        self._counts = [np.zeros(limit.codes.max(initial=0) + 1, dtype=np.int32) for limit in pool.limits]
        for position, _ in self._pins.values():
            self._free[position] = False
            self._count(position)
        fits = pool.margin[best[: self.size]]
        span = fits[0] - fits[-1] if len(fits) else 0.0
        self._relevance = (pool.margin - pool.margin.max(initial=-np.inf)) / (span if span > 0 else 1.0)
        self._novelty = np.full(n_items, 1 + NOISE, dtype=np.float32)
        self._spanned = np.zeros((self.size, n_items if self._diverse else 0), dtype=np.float32)

    def choose(self) -> Placed | None:
        """What gets the next place; None: nothing is left."""
        at = len(self.slate)
        if at in self._pins:
            return self._pinned(at)
        allowed = self._free & self._under_limits()
        chosen = self._best(allowed if allowed.any() else self._free)
        for kept in self.pool.kept:
            if (lifted := self._due(kept, chosen, allowed)) is not None:
                reasons = () if kept.weights is None else (EXPLORED,)
                return Placed(lifted, reasons, kept.chance(lifted, self._unavailable(kept, allowed)))
        if chosen is None:
            return self._pinned(min(self._pins)) if self._pins else None
        return Placed(chosen, (*self._over_limits(chosen), *self._moved(chosen, allowed)))

    def take(self, placed: Placed) -> None:
        """Give it the next place."""
        position, pool = placed.position, self.pool
        self.slate.append(placed)
        self.taken.add(position)
        if self._free[position]:
            self._free[position] = False
            self._count(position)
        if self._diverse and pool.vectors is not None:
            self._span(pool.vectors, position)

    def _span(self, vectors: Float32s, position: int) -> None:
        """Take from each item's novelty what it shares with this one: one more row of the Cholesky factor."""
        row = vectors @ vectors[position]
        row[position] = 1 + NOISE
        place = len(self.slate) - 1
        row -= self._spanned[:place, position] @ self._spanned[:place]
        row /= np.sqrt(max(self._novelty[position], NOISE))
        self._spanned[place] = row
        self._novelty -= row * row

    def _pinned(self, at: int) -> Placed:
        position, name = self._pins.pop(at)
        return Placed(position, (RuleReason(name, PINNED),))

    def _best(self, allowed: Bools) -> int | None:
        """The best candidate, or the next that fills up."""
        candidates = allowed[: len(self.pool.margin)]
        if self._diverse and candidates.any():
            share = self.pool.diversity
            novelty = np.log(np.maximum(self._novelty[: len(candidates)], NOISE))
            value = (1 - share) * self._relevance + share * novelty
            return int(np.where(candidates, value, -np.inf).argmax())
        return self._first(allowed)

    def _first(self, allowed: Bools) -> int | None:
        """The allowed item of largest margin."""
        here = allowed[self._order]
        at = int(here.argmax()) if len(here) else 0
        return int(self._order[at]) if len(here) and here[at] else None

    @property
    def _diverse(self) -> bool:
        return self.pool.diversity > 0 and self.pool.vectors is not None

    def _moved(self, chosen: int, allowed: Bools) -> tuple[RuleReason, ...]:
        """Why this one comes before one of larger margin."""
        return (DIVERSIFIED,) if self._diverse and allowed.any() and chosen != self._first(allowed) else ()

    def _due(self, kept: Kept, chosen: int | None, allowed: Bools) -> int | None:
        """Who gets this place by a kept one; None: nobody has to."""
        due = sum(each <= len(self.slate) for each in kept.places)
        own = set(kept.proposed)
        if chosen in own or len(own & self.taken) >= due:
            return None
        return next((each for each in kept.proposed if allowed[each]), None)

    @staticmethod
    def _unavailable(kept: Kept, allowed: Bools) -> set[int]:
        return {each for each in kept.proposed if not allowed[each]}

    def _count(self, position: int) -> None:
        for limit, counts in zip(self.pool.limits, self._counts, strict=True):
            if limit.codes[position] >= 0:
                counts[limit.codes[position]] += 1

    def _under_limits(self) -> Bools:
        """bool[m]: the items that no cap holds back."""
        under = np.ones(len(self._free), dtype=bool)
        for limit, counts in zip(self.pool.limits, self._counts, strict=True):
            under &= (limit.codes < 0) | (counts[limit.codes] < limit.most)
        return under

    def _over_limits(self, position: int) -> tuple[RuleReason, ...]:
        """The caps that held an item back until nothing else was left."""
        return tuple(
            RuleReason(limit.name, "capped")
            for limit, counts in zip(self.pool.limits, self._counts, strict=True)
            if limit.codes[position] >= 0 and counts[limit.codes[position]] >= limit.most
        )
