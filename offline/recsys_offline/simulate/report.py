"""What was simulated, and how good a recommender could be in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import EventType, Float64s
from recsys_offline.simulate.shelves import demand
from recsys_offline.simulate.taste import examination
from recsys_offline.simulate.world import START_TIME, World

_LIST_SIZE = 10
_ASKED = 100  # users that the truth's headline averages over


@dataclass(frozen=True, slots=True)
class Headline:
    """Clicks to expect on a list of ten at the end of the period, by who makes the list."""

    random: float
    popular: float
    oracle: float

    def __str__(self) -> str:
        return f"{self.random:.2f} random, {self.popular:.2f} most popular, {self.oracle:.2f} oracle (best possible)"


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """Counts, and the truth's headline.

    Attributes:
        users, items, days, seed: as asked for.
        parts: files of events.
        counts: events by type.
        active_users: users with an event.
        repeat_purchases: purchases of an item that its user had bought before.
        headline: how good lists can be.
    """

    users: int
    items: int
    days: int
    seed: int
    parts: int
    counts: dict[EventType, int]
    active_users: int
    repeat_purchases: int
    headline: Headline

    @property
    def events(self) -> int:
        """All events."""
        return sum(self.counts.values())

    @property
    def repeat_share(self) -> float:
        """Share of the purchases that are of an item bought before."""
        return self.repeat_purchases / max(self.counts[EventType.PURCHASE], 1)

    def lines(self) -> list[str]:
        """The report for a terminal."""
        start, end = (np.datetime64(START_TIME + days * 86_400, "s").astype("datetime64[D]") for days in (0, self.days))
        return [
            f"events   {self.events:>12,}  from {start} to {end}, in {self.parts} part{'s' * (self.parts > 1)}",
            *(f"  {event_type.word:<16} {count:>11,}" for event_type, count in self.counts.items()),
            f"users    {self.users:>12,}  {self.active_users:,} with events",
            f"items    {self.items:>12,}",
            f"repeats  {self.repeat_share:>12.1%}  of the purchases are of an item that the user had bought before",
            f"truth    expected clicks on a list of {_LIST_SIZE}: {self.headline}",
        ]


def headline(world: World, users: int) -> Headline:
    """Expected clicks on a list of ten at the end of the period, averaged over the first users of the shop."""
    nums = np.arange(len(world.items))
    wanted = demand(world.items, float(world.days))
    size = min(_LIST_SIZE, int((wanted > 0).sum()))
    looked = examination(np.arange(1, size + 1))
    popular = np.argsort(-wanted, kind="stable")[:size]
    clicks = np.zeros(3)
    asked = min(users, _ASKED)
    for user in range(asked):
        chance = world.click_probability(np.full(len(nums), user), nums, np.ones(len(nums)), world.end_time)
        on_sale = chance[wanted > 0]
        clicks += (on_sale.mean() * looked.sum(), looked @ chance[popular], looked @ _best(on_sale, size))
    return Headline(*(clicks / asked).tolist())


def _best(chance: Float64s, size: int) -> Float64s:
    """The largest values, falling: by the rearrangement inequality no other list gets more clicks."""
    return np.sort(chance)[::-1][:size]
