"""Rules of a placement as tables of the configuration file."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from recsys.rules import AllOf, AnyOf, Boost, Cap, Condition, Flag, Negated, Pin, Range, WithinCategory
from recsys.section import Section

KINDS = ("any_of", "low or high", "flag", "within_category", "all_of", "negated")

Name = Annotated[str, Field(min_length=1, max_length=64)]


class ConditionSection(Section):
    """One condition on items; of the ways to say one, exactly one is taken."""

    attribute: str = ""
    any_of: tuple[str, ...] | None = Field(None, min_length=1)
    low: float | None = None
    high: float | None = None
    flag: bool | None = None
    within_category: str | None = None
    all_of: tuple[ConditionSection, ...] | None = None
    negated: ConditionSection | None = None

    @property
    def _given(self) -> list[bool]:
        bound = self.low if self.low is not None else self.high
        return [
            each is not None
            for each in (self.any_of, bound, self.flag, self.within_category, self.all_of, self.negated)
        ]

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = self._given
        if sum(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}")
        if any(given[:3]) != bool(self.attribute):
            raise ValueError("give attribute with any_of, low, high or flag, and with nothing else")
        return self

    def condition(self) -> Condition:
        """The condition that it says."""
        if self.any_of is not None:
            return AnyOf(self.attribute, self.any_of)
        if self.flag is not None:
            return Flag(self.attribute, self.flag)
        if self.within_category is not None:
            return WithinCategory(self.within_category)
        if self.all_of is not None:
            return AllOf(tuple(each.condition() for each in self.all_of))
        if self.negated is not None:
            return Negated(self.negated.condition())
        return Range(self.attribute, self.low, self.high)


class BoostSection(Section):
    """Items whose odds are multiplied."""

    name: Name = "boost"
    condition: ConditionSection
    factor: float = Field(ge=0.001, le=1_000)

    def boost(self) -> Boost:
        """The rule that it says."""
        return Boost(self.name, self.condition.condition(), self.factor)


class PinSection(Section):
    """An item at a rank."""

    name: Name = "pin"
    item_id: str = Field(min_length=1, max_length=256)
    rank: int = Field(ge=1, le=500)

    def pin(self) -> Pin:
        """The rule that it says."""
        return Pin(self.name, self.item_id, self.rank)


class CapSection(Section):
    """A limit on items that share a value."""

    name: Name = "cap"
    attribute: str = Field(min_length=1, max_length=64)
    limit: int = Field(ge=1)

    def cap(self) -> Cap:
        """The rule that it says."""
        return Cap(self.name, self.attribute, self.limit)
