"""What the shop says of its items, as columns that conditions are asked of."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recsys.rules import AllOf, AnyOf, Condition, Flag, Negated, Range, WithinCategory
from recsys.types import Array, Bools, Float32s, Float64s, Int8s, Int32s, Int64s
from recsys.vocabulary import MAX_ID_BYTES, UNKNOWN, Vocabulary

ITEM_ID = "item_id"
CATEGORY = "category"
BRAND = "brand"
PRICE = "price"
CREATED = "created_time"
AVAILABLE = "available"
VALID_FROM = "valid_from_time"
VALID_UNTIL = "valid_until_time"
EVERY_ROW = slice(None)
_LAST = "\U0010ffff"
"""Sorts behind every text that goes on otherwise."""

Rows = Int32s | slice


def category_path(text: str) -> str:
    """A path such as ``home > kitchen``, however it is spaced."""
    return " > ".join(part.strip() for part in text.split(">") if part.strip())


def shortest(number: Float32s) -> Float64s:
    """float64[n]: what float32[n] numbers are written as, so that 19.99 stays below 19.99's own bound."""
    values, inverse = np.unique(number, return_inverse=True)
    return values.astype(str).astype(np.float64)[inverse]


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A text for each of n items, every distinct one kept once.

    Attributes:
        codes: int32[n], rows of ``values``; -1 where unknown.
        values: the distinct texts, rising.
    """

    codes: Int32s
    values: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> TextColumn:
        """From the text of each item; empty where unknown."""
        values = tuple(sorted({*texts} - {""}))
        code_of = {text: code for code, text in enumerate(values)} | {"": UNKNOWN}
        return cls(np.array([code_of[text] for text in texts], dtype=np.int32), values)

    def codes_of(self, texts: Sequence[str]) -> list[int]:
        """The codes of those texts that are values."""
        places = [(bisect_left(self.values, text), text) for text in texts]
        return [code for code, text in places if code < len(self.values) and self.values[code] == text]

    def codes_within(self, path: str) -> list[int]:
        """The codes of a category and of all below it, which stand together as they start alike."""
        start, stop = (bisect_left(self.values, f"{path} > {end}") for end in ("", _LAST))
        return [*self.codes_of([path]), *range(start, stop)]

    def is_any(self, codes: Sequence[int], rows: Rows = EVERY_ROW) -> Bools:
        """bool[rows]: whether an item's text is one of these."""
        wanted = np.zeros(len(self.values) + 1, dtype=bool)  # the last one is found by code -1, and stays False
        wanted[list(codes)] = True
        return wanted[self.codes[rows]]


@dataclass(frozen=True, slots=True)
class ItemCatalogue:
    """Attributes of n items, aligned to the rows of their vocabulary, by kind and name.

    Attributes:
        texts: such as ``brand``; ``category`` holds paths as :func:`category_path` writes them.
        numbers: float64[n], NaN where unknown; times are unix seconds.
        flags: int8[n], 1, 0, or -1 where unknown.
        deleted: bool[n], items that the shop took out.
        version: of the last change since the bundle was made; 0: none.
    """

    texts: Mapping[str, TextColumn]
    numbers: Mapping[str, Float64s]
    flags: Mapping[str, Int8s]
    deleted: Bools
    version: int = 0
    _on_sale: Bools = field(init=False, repr=False)
    _all_on_sale: bool = field(init=False, repr=False)
    _timed: Int64s = field(init=False, repr=False)

    @property
    def names(self) -> frozenset[str]:
        """Of all attributes."""
        return frozenset((*self.texts, *self.numbers, *self.flags))

    def __post_init__(self) -> None:
        on_sale = ~self.deleted
        if AVAILABLE in self.flags:
            on_sale &= self.flags[AVAILABLE] != 0
        times = [np.isfinite(self.numbers[name]) for name in (VALID_FROM, VALID_UNTIL) if name in self.numbers]
        timed = np.flatnonzero(np.any(times, axis=0) & on_sale) if times else np.zeros(0, np.int64)
        object.__setattr__(self, "_on_sale", on_sale)
        object.__setattr__(self, "_all_on_sale", bool(on_sale.all()))
        object.__setattr__(self, "_timed", timed)

    @classmethod
    def empty(cls, n_items: int) -> ItemCatalogue:
        """A catalogue that knows nothing of its items: all can be served."""
        return cls({}, {}, {}, np.zeros(n_items, dtype=bool))

    def __len__(self) -> int:
        return len(self.deleted)

    def servable(self, now: int) -> Bools | None:
        """bool[n]: the items that may be in a slate at a time (unix seconds); None: all."""
        if not len(self._timed):
            return None if self._all_on_sale else self._on_sale
        first, last = (self._times(name) for name in (VALID_FROM, VALID_UNTIL))
        servable = self._on_sale.copy()
        # A comparison with an unknown time, NaN, is never true.
        servable[self._timed] = ~((now < first) | (now >= last))
        return servable

    def where(self, rows: Array) -> ItemCatalogue:
        """The catalogue of some of its items, by mask or row."""
        return replace(
            self,
            texts={name: replace(column, codes=column.codes[rows]) for name, column in self.texts.items()},
            numbers={name: column[rows] for name, column in self.numbers.items()},
            flags={name: column[rows] for name, column in self.flags.items()},
            deleted=self.deleted[rows],
        )

    def _times(self, name: str) -> Float64s:
        if name not in self.numbers:
            return np.full(len(self._timed), np.nan)
        return self.numbers[name][self._timed]

    def mask(self, condition: Condition, items: Vocabulary, rows: Rows = EVERY_ROW) -> Bools:
        """bool[n]: the items for which a condition holds; of some rows alone where they are given.

        A condition on an attribute that is unknown, or of another kind, does not hold.
        """
        match condition:
            case AllOf(conditions):
                masks = [self.mask(each, items, rows) for each in conditions]
                return np.logical_and.reduce(masks) if masks else np.ones_like(self.deleted[rows])
            case Negated(negated):
                return ~self.mask(negated, items, rows)
            case AnyOf(attribute, values):
                return self._any_of(attribute, values, items, rows)
        return self._of_column(condition, rows)

    def _of_column(self, condition: WithinCategory | Range | Flag, rows: Rows) -> Bools:
        match condition:
            case WithinCategory(path) if CATEGORY in self.texts:
                column = self.texts[CATEGORY]
                return column.is_any(column.codes_within(category_path(path)), rows)
            case Range(attribute, low, high) if attribute in self.numbers:
                number = self.numbers[attribute][rows]
                lowest, highest = -np.inf if low is None else low, np.inf if high is None else high
                return np.asarray((number >= lowest) & (number <= highest))
            case Flag(attribute, value) if attribute in self.flags:
                return np.asarray(self.flags[attribute][rows] == value)
        return np.zeros_like(self.deleted[rows])

    def _any_of(self, attribute: str, values: Sequence[str], items: Vocabulary, rows: Rows) -> Bools:
        if attribute == ITEM_ID:
            named = np.zeros_like(self.deleted)
            nums = items.nums([value for value in values if len(value) <= MAX_ID_BYTES])
            named[nums[nums != UNKNOWN]] = True
            return named[rows]
        if attribute not in self.texts:
            return np.zeros_like(self.deleted[rows])
        column = self.texts[attribute]
        sought = [category_path(value) for value in values] if attribute == CATEGORY else values
        return column.is_any(column.codes_of(sought), rows)
