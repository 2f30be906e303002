"""What merchandisers ask of a slate, as values: conditions on items, and the rules that move them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The attribute is one of these texts, compared as they are."""

    attribute: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The attribute is a number from low to high, both included; None: no bound."""

    attribute: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """The attribute is a flag of this value."""

    attribute: str
    value: bool


@dataclass(frozen=True, slots=True)
class WithinCategory:
    """The item's category is this path, such as ``home > kitchen``, or lies below it."""

    path: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """All conditions hold; with none of them it holds for every item."""

    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Negated:
    """The condition does not hold."""

    condition: Condition


Condition = AnyOf | Range | Flag | WithinCategory | AllOf | Negated
EVERY_ITEM = AllOf()


@dataclass(frozen=True, slots=True)
class Boost:
    """Items whose odds grow by a factor; below 1 they shrink."""

    name: str
    condition: Condition
    factor: float


@dataclass(frozen=True, slots=True)
class Pin:
    """An item at a rank (from 1), unless it may not be in the slate at all."""

    name: str
    item_id: str
    rank: int


@dataclass(frozen=True, slots=True)
class Cap:
    """At most ``limit`` items of a slate share a value of an attribute."""

    name: str
    attribute: str
    limit: int


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of one slate; hashable, as they are part of what caches look up.

    Attributes:
        condition: which items may be in the slate.
        boosts: their factors multiply.
        pins: of two at one rank the first counts.
        caps: all of them hold.
        diversity: 0 to 1, how much the slate avoids items that are alike.
        fatigue: 0 or more, the part of an item's odds that each time it was shown without a click takes away, as an
            exponent: odds times exp(-fatigue * times).
    """

    condition: Condition = EVERY_ITEM
    boosts: tuple[Boost, ...] = ()
    pins: tuple[Pin, ...] = ()
    caps: tuple[Cap, ...] = ()
    diversity: float = 0.0
    fatigue: float = 0.0

    def joined_by(self, further: Rules) -> Rules:
        """These rules and further ones, which come first and win where only one can hold."""
        conditions = tuple(each for each in (self.condition, further.condition) if each != EVERY_ITEM)
        return Rules(
            condition=conditions[0] if len(conditions) == 1 else AllOf(conditions),
            boosts=(*further.boosts, *self.boosts),
            pins=(*further.pins, *self.pins),
            caps=(*further.caps, *self.caps),
            diversity=max(self.diversity, further.diversity),
            fatigue=max(self.fatigue, further.fatigue),
        )


NO_RULES = Rules()
