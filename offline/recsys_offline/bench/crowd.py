"""The shop that the serving benchmark serves: tastes in clusters, few popular items, few busy users."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys.catalogue import CATEGORY, PRICE, ItemCatalogue, TextColumn
from recsys.interactions import Events
from recsys.types import SECONDS_PER_DAY, EventType, Float32s, Float64s, Int32s, Int64s
from recsys_offline.catalogue import Catalogue

START, DAYS = 1_735_689_600, 180
"""From 2025-01-01, UTC."""
END = START + DAYS * SECONDS_PER_DAY
ITEMS_OF_CLUSTER = 250
"""Items that are alike, on average."""
TASTES = (0.6, 0.3, 0.1)
"""Share of a user's visits that each of the favourite clusters gets."""
STRAYS, AGAIN = 0.15, 0.15
"""Share of the events on any item of the shop, and of those on an item that the user knows."""
PACE_SECONDS = 60
TYPES = (EventType.VIEW_ITEM, EventType.ADD_TO_CART, EventType.ADD_TO_WISHLIST)
TYPE_SHARES = (0.85, 0.12, 0.03)
BOUGHT, BOUGHT_FAVOURITE = 0.06, 0.25
"""Share of the events that are purchases: of items at large, and of those of the first favourite cluster."""


@dataclass(frozen=True, slots=True)
class Wares:
    """What there is to buy: items stand by cluster in ``order``.

    Attributes:
        order: int32[n], item rows, one cluster after the other.
        bounds: int64[c + 1], cluster k is ``order[bounds[k]:bounds[k + 1]]``.
        cumulative: float64[n + 1], popularity summed up along ``order``: a power law.
        price: float32[n], by item row.
    """

    order: Int32s
    bounds: Int64s
    cumulative: Float64s
    price: Float32s

    @classmethod
    def draw(cls, random: np.random.Generator, n_items: int) -> Wares:
        """Clusters of unequal size, items of very unequal popularity."""
        size = np.cumsum(random.lognormal(sigma=1.0, size=max(n_items // ITEMS_OF_CLUSTER, 4)))
        bounds = np.concatenate(([0], np.round(size / size[-1] * n_items))).astype(np.int64)
        weight = (random.permutation(n_items) + 10.0) ** -0.9
        cumulative = np.concatenate(([0.0], np.cumsum(weight)))
        level = np.repeat(random.lognormal(3.0, 0.8, len(size)), np.diff(bounds))
        order = random.permutation(n_items).astype(np.int32)
        price = np.empty(n_items, dtype=np.float32)
        price[order] = np.round(level * random.lognormal(sigma=0.4, size=n_items), 2)
        return cls(order, np.unique(bounds), cumulative, price)

    @property
    def cluster(self) -> Int32s:
        """int32[n]: the cluster of each item row."""
        cluster = np.empty(len(self.order), dtype=np.int32)
        cluster[self.order] = np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))
        return cluster

    def some(self, random: np.random.Generator, cluster: Int64s) -> Int32s:
        """int32[m]: an item of each of these clusters, drawn by popularity; of the whole shop for -1."""
        low = np.where(cluster < 0, 0, self.bounds[cluster])
        high = np.where(cluster < 0, len(self.order), self.bounds[cluster + 1])
        mass = self.cumulative[low] + random.random(len(cluster)) * (self.cumulative[high] - self.cumulative[low])
        place = np.searchsorted(self.cumulative, mass, side="right") - 1
        return self.order[np.clip(place, low, high - 1)]

    def popular_clusters(self, random: np.random.Generator, shape: tuple[int, ...]) -> Int64s:
        """Clusters drawn by the popularity of their items."""
        mass = np.diff(self.cumulative[self.bounds])
        return random.choice(len(mass), shape, p=mass / mass.sum())

    def catalogue(self, random: np.random.Generator) -> Catalogue:
        """What the shop says of the items: categories, prices, and titles of words that clusters share in part."""
        n_items = len(self.order)
        paths = np.array([f"section {k % 20} > shelf {k}" for k in range(len(self.bounds) - 1)])[self.cluster].tolist()
        words = np.stack([self.cluster, self.cluster // 7, random.integers(0, 500, n_items)], axis=1).tolist()
        titles = tuple(f"kind{kind} style{style} word{word}" for kind, style, word in words)
        known = {PRICE: self.price.astype(np.float64)}
        attributes = ItemCatalogue({CATEGORY: TextColumn.of(paths)}, known, {}, np.zeros(n_items, dtype=bool))
        said = Catalogue.empty(n_items)
        return replace(said, titles=titles, categories=tuple(paths), price=self.price, attributes=attributes)


def shop(random: np.random.Generator, wares: Wares, n_users: int) -> Events:
    """What users do in half a year: some ten events each, most users fewer and a few hundreds."""
    visits = np.minimum(1 + (1.6 * random.pareto(1.6, n_users)).astype(np.int64), 100)
    visitor = np.repeat(np.arange(n_users), visits)
    began = START + (random.random(len(visitor)) * (END - START - SECONDS_PER_DAY)).astype(np.int64)
    # Visits of a user stand in the order of their time, so that what is done again was done before.
    order = np.lexsort((began, visitor))
    began = began[order]
    tastes = wares.popular_clusters(random, (n_users, len(TASTES)))
    wanted = tastes[visitor, random.choice(len(TASTES), len(visitor), p=TASTES)]
    length = np.minimum(random.geometric(1 / 3, len(visitor)), 30)
    visit = np.repeat(np.arange(len(visitor)), length)
    user = visitor[visit]
    item = wares.some(random, np.where(random.random(len(visit)) < STRAYS, -1, wanted[visit]))
    item = _again(random, user, item)
    place = np.arange(len(visit)) - np.repeat(np.cumsum(length) - length, length)
    bought = np.where(wares.cluster[item] == tastes[user, 0], BOUGHT_FAVOURITE, BOUGHT)
    kind = random.choice([int(kind) for kind in TYPES], len(visit), p=TYPE_SHARES)
    events = Events(
        user.astype(np.int32),
        item,
        np.where(random.random(len(visit)) < bought, int(EventType.PURCHASE), kind).astype(np.int8),
        began[visit] + PACE_SECONDS * place,
        visit.astype(np.int32),
        np.ones(len(visit), dtype=np.float32),
        wares.price[item],
    )
    in_time = np.argsort(events.time, kind="stable")
    return Events(*(getattr(events, name)[in_time] for name in Events.__slots__))


def _again(random: np.random.Generator, user: Int64s, item: Int32s) -> Int32s:
    """The items, some of them in place of one that the user acted on before; users stand together, in time."""
    first = np.searchsorted(user, user)
    earlier = first + (random.random(len(user)) * (np.arange(len(user)) - first)).astype(np.int64)
    again = random.random(len(user)) < AGAIN
    return np.where(again, item[earlier], item)
