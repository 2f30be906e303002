"""What a slate's rules mean for the items that it can be made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.catalogue import ITEM_ID, ItemCatalogue
from recsys.placing import Limit
from recsys.rules import Cap, Pin, Rules
from recsys.types import Array, Float32s, Float64s, Int32s, RuleReason
from recsys.vocabulary import UNKNOWN, Vocabulary

FATIGUED = RuleReason("fatigue", "fatigued")


def moved(
    margin: Float32s,
    item_num: Int32s,
    rules: Rules,
    shown: Sequence[tuple[int, int]],
    catalogue: ItemCatalogue,
    items: Vocabulary,
) -> tuple[Float32s, list[tuple[RuleReason, ...]]]:
    """Margins of n items after boosts and fatigue, and what moved each item.

    Args:
        margin: float32[n], logarithms of odds.
        item_num: int32[n].
        rules: of the slate.
        shown: rows of items that were shown and not clicked, each with how often.
        catalogue: of all items.
        items: their ids.

    Returns:
        float32[n], and n tuples.
    """
    change = np.zeros(len(margin))
    reasons: list[tuple[RuleReason, ...]] = [()] * len(margin)
    for boost in rules.boosts:
        holds = np.flatnonzero(catalogue.mask(boost.condition, items, item_num))
        change[holds] += np.log(boost.factor)
        reason = RuleReason(boost.name, "boosted" if boost.factor > 1 else "buried")
        for row in holds.tolist() if boost.factor != 1 else ():
            reasons[row] = (*reasons[row], reason)
    times = _times(item_num, shown) if rules.fatigue else change[:0]
    for row in np.flatnonzero(times).tolist():
        change[row] -= rules.fatigue * times[row]
        reasons[row] = (*reasons[row], FATIGUED)
    return (margin + change).astype(np.float32), reasons


def _times(item_num: Int32s, shown: Sequence[tuple[int, int]]) -> Float64s:
    """float64[n]: how often each item was shown."""
    often = dict(shown)
    return np.array([often.get(item, 0) for item in item_num.tolist()], dtype=np.float64)


def pinned(pins: Sequence[Pin], items: Vocabulary, size: int) -> dict[int, tuple[int, str]]:
    """For a place, from 0, the row of the item that belongs there and the name of the rule.

    The first pin of a place counts, and the first one of an item.
    """
    rows: dict[int, tuple[int, str]] = {}
    for pin in pins:
        item = items.num(pin.item_id)
        at = pin.rank - 1
        if item != UNKNOWN and at < size and at not in rows and item not in {row for row, _ in rows.values()}:
            rows[at] = (item, pin.name)
    return rows


def limits(caps: Sequence[Cap], item_num: Int32s, catalogue: ItemCatalogue) -> list[Limit]:
    """The caps on n items (int32[n])."""
    return [Limit(cap.name, _codes(cap.attribute, item_num, catalogue), cap.limit) for cap in caps]


def _codes(attribute: str, item_num: Int32s, catalogue: ItemCatalogue) -> Int32s:
    """int32[n]: items with one value of an attribute have one code; -1 where it is unknown."""
    if attribute == ITEM_ID:
        return np.arange(len(item_num), dtype=np.int32)
    if attribute in catalogue.texts:
        return catalogue.texts[attribute].codes[item_num]
    codes = np.full(len(item_num), UNKNOWN, dtype=np.int32)
    if attribute in catalogue.flags:
        codes[:] = catalogue.flags[attribute][item_num]
    elif attribute in catalogue.numbers:
        number = catalogue.numbers[attribute][item_num]
        known = np.isfinite(number)
        codes[known] = np.unique(number[known], return_inverse=True)[1]
    return codes


def directions(factors: Array, item_num: Int32s) -> Float32s:
    """float32[n, d]: the factors of n items, of length 1, or 0 where nothing is known of an item."""
    vectors = factors[item_num].astype(np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), dtype=np.float32)
