"""The items of the simulated shop: what they are, and what makes people want them when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.types import Array, Bools, Float32s, Float64s, Int64s
from recsys_offline.simulate.draws import Keys, directions, fork, normal, pareto, pick, uniform
from recsys_offline.simulate.words import BRANDS, BRANDS_PER_DEPARTMENT, CATEGORIES, DEPARTMENTS

DIMENSIONS = 12  # of tastes and items
SHARE = np.array([category.share for category in CATEGORIES], dtype=np.float64)
CYCLE_DAYS = np.array([category.cycle_days for category in CATEGORIES])
GOES_WITH = np.array(
    [[other.path for other in CATEGORIES].index(category.goes_with) for category in CATEGORIES], dtype=np.int64
)
_DEPARTMENT = np.array([DEPARTMENTS.index(category.department) for category in CATEGORIES])
_PRICE = np.array([category.price for category in CATEGORIES])
_PEAK_DAY = np.array([category.peak_day for category in CATEGORIES])
_SWING = np.array([category.swing for category in CATEGORIES])

_LAUNCHED_BEFORE = 0.7  # share of the items
_RETIRED = 0.08  # share of the items
_LAUNCH_LIFT = 1.2  # log of the extra demand for an item on its first day
_LAUNCH_DAYS = 20.0
_WAVE = 0.6  # half the log of highest over lowest demand of one item, as fashion comes and goes


@dataclass(frozen=True, slots=True)
class Items:
    """All items as columns of n rows; row is item_num. Days count from the start of the period, before it negative.

    Attributes:
        key: uint64[n].
        category: int64[n], rows of CATEGORIES.
        brand: int64[n], rows of BRANDS.
        material: int64[n], rows of the category's materials.
        vector: float32[n, DIMENSIONS], unit length: what tastes are compared with.
        price: float64[n].
        price_level: float32[n]: standardised log price inside the category; 0 is the median, 2 is dear.
        popularity: float64[n], log of the demand that has no other reason; e to the power of it is a power law.
        launch_day: float64[n], when the catalogue gets the item.
        retire_day: float64[n], when the shop stops selling it; infinite for most.
        wave_days, wave_phase: float64[n], the fashion of the item.
    """

    key: Keys
    category: Int64s
    brand: Int64s
    material: Int64s
    vector: Float32s
    price: Float64s
    price_level: Float32s
    popularity: Float64s
    launch_day: Float64s
    retire_day: Float64s
    wave_days: Float64s
    wave_phase: Float64s

    def __len__(self) -> int:
        return len(self.key)

    def trend(self, item_num: Array, day: Array | float) -> Float64s:
        """float64: log of demand now over usual: the lift of a launch, the item's fashion, the category's season."""
        age = np.maximum(day - self.launch_day[item_num], 0.0)
        wave = np.sin(2 * np.pi * (day / self.wave_days[item_num] + self.wave_phase[item_num]))
        trend: Float64s = (
            _LAUNCH_LIFT * np.exp(-age / _LAUNCH_DAYS) + _WAVE * wave + season(self.category[item_num], day)
        )
        return trend

    def on_sale(self, item_num: Array, day: Array | float) -> Bools:
        """bool: the shop sells the item on this day."""
        sold: Bools = (self.launch_day[item_num] <= day) & (day < self.retire_day[item_num])
        return sold


def season(category: Array, day: Array | float) -> Float64s:
    """float64: log of a category's demand on a day of the period (which starts on 1 January) over its usual."""
    swing: Float64s = _SWING[category] * np.cos(2 * np.pi * (day - _PEAK_DAY[category]) / 365.25)
    return swing


def centres(root: Keys) -> Float64s:
    """float64[categories, DIMENSIONS]: where categories lie in the space of tastes."""
    return directions(_rows(root, "category", len(CATEGORIES)), "centre", DIMENSIONS)


def make_items(root: Keys, count: int, days: int) -> Items:
    """Items 0 to count - 1; each depends on the key, its number and the length of the period alone."""
    key = _rows(root, "item", count)
    category = pick(key, "category", SHARE)
    brand = _DEPARTMENT[category] * BRANDS_PER_DEPARTMENT + pick(key, "brand", np.array([4.0, 3.0, 2.0, 1.0]))
    materials = np.array([len(row.materials) for row in CATEGORIES])[category]
    material = (uniform(key, "material") * materials).astype(np.int64)
    level = 0.6 * normal(_rows(root, "brand", len(BRANDS)), "level")[brand] + 0.8 * normal(key, "level")
    launch = _launch_days(key, days)
    return Items(
        key=key,
        category=category,
        brand=brand,
        material=material,
        vector=_vectors(root, key, category, brand, material),
        price=_shop_price(_PRICE[category] * np.exp(0.45 * level)),
        price_level=level.astype(np.float32),
        popularity=np.log(pareto(key, "popularity", 1.1, 300.0)),
        launch_day=launch,
        retire_day=_retire_days(key, launch, days),
        wave_days=40.0 + 80.0 * uniform(key, "wave"),
        wave_phase=uniform(key, "phase"),
    )


def titles(items: Items) -> list[str]:
    """One title for each item, such as "Oak Serving Board, Sage"."""
    choice = {name: uniform(items.key, name).tolist() for name in ("form", "noun", "variant")}
    return [
        f"{row.materials[material]} {_one(row.forms, form)} {_one(row.nouns, noun)}, {_one(row.variants, variant)}"
        for row, material, form, noun, variant in zip(
            (CATEGORIES[num] for num in items.category.tolist()), items.material.tolist(), *choice.values(), strict=True
        )
    ]


def _one(words: tuple[str, ...], u: float) -> str:
    """The word at u in (0, 1) of the list."""
    return words[int(u * len(words))]


def _rows(root: Keys, name: str, count: int) -> Keys:
    """uint64[count]: keys of the rows of a table."""
    return fork(fork(root, name), np.arange(count))


def _vectors(root: Keys, key: Keys, category: Int64s, brand: Int64s, material: Int64s) -> Float32s:
    """float32[n, DIMENSIONS]: category + brand + material + what is the item's own, at unit length."""
    brands = directions(_rows(root, "brand", len(BRANDS)), "centre", DIMENSIONS)
    of_material = directions(fork(_rows(root, "material", len(CATEGORIES))[category], material), "centre", DIMENSIONS)
    own = directions(key, "own", DIMENSIONS)
    mixed = 0.7 * centres(root)[category] + 0.4 * brands[brand] + 0.3 * of_material + 0.6 * own
    vectors: Float32s = (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)
    return vectors


def _shop_price(price: Float64s) -> Float64s:
    """Prices as shops print them: 4.49, 12.99, 64.00."""
    return np.where(price < 50.0, np.ceil(price * 2) / 2 - 0.01, np.round(price)).clip(0.49)


def _launch_days(key: Keys, days: int) -> Float64s:
    """Most items are older than the period; the others come at any time in it. The first one is always there."""
    u = uniform(key, "launch") / _LAUNCHED_BEFORE
    old = -700.0 * (1.0 - u) - 1.0
    new = (u - 1.0) / (1.0 / _LAUNCHED_BEFORE - 1.0) * days
    launch = np.where(u < 1.0, old, new)
    launch[:1] = np.minimum(launch[:1], -1.0)
    return launch


def _retire_days(key: Keys, launch: Float64s, days: int) -> Float64s:
    """A few items leave, at the end of a week; the first one never, so that the shop is never empty."""
    retire = np.ceil((np.maximum(launch, 0.0) + 14.0 + uniform(key, "retire day") * days) / 7.0) * 7.0
    retire[uniform(key, "retire") > _RETIRED] = np.inf
    retire[:1] = np.inf
    return retire
