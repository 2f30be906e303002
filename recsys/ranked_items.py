"""Slates as rows, before anybody gives the rows their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from recsys.types import Float32s, Int32s, Int64s, RuleReason

EXPLORED = RuleReason("exploration", "explored")
FILL = -1
"""Stands for the position of an item that no source proposed."""


@dataclass(frozen=True, slots=True)
class RankedItems:
    """A slate as rows.

    Attributes:
        item_num: int32[k], best first, no item twice.
        score: float32[k], not rising.
        position: int64[k], the item's row among the candidates; -1 where it is none of them.
        reasons: k tuples, the rules that moved each item.
        propensity: float32[k], probability with which exploration drew the item for its place; 1 where it drew none.
    """

    item_num: Int32s
    score: Float32s
    position: Int64s
    reasons: tuple[tuple[RuleReason, ...], ...]
    propensity: Float32s


NOTHING = RankedItems(
    np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64), (), np.zeros(0, np.float32)
)


@dataclass(frozen=True, slots=True, eq=False)
class RankedSlates(Sequence[RankedItems]):
    """The slates of q queries: those that scores alone order lie in common arrays, the others stand by themselves.

    Attributes:
        candidates: int32[c], the items that were candidates.
        starts: int64[q + 1], of the queries' parts of the arrays below; a part may be empty.
        position: int64[n], as in RankedItems, but of candidates only.
        score: float32[n].
        draw: float32[n], the probability with which exploration drew an item for its place; 0 where it drew none.
        apart: the slates that stand by themselves, by query, instead of what the arrays hold.
    """

    candidates: Int32s
    starts: Int64s
    position: Int64s
    score: Float32s
    draw: Float32s
    apart: dict[int, RankedItems] = field(default_factory=dict)

    @classmethod
    def of(cls, slates: Sequence[RankedItems]) -> RankedSlates:
        """Slates that all stand by themselves."""
        starts = np.zeros(len(slates) + 1, dtype=np.int64)
        return cls(NOTHING.item_num, starts, starts[:0], NOTHING.score, NOTHING.score, dict(enumerate(slates)))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, query: int) -> RankedItems: ...
    @overload
    def __getitem__(self, query: slice) -> list[RankedItems]: ...
    def __getitem__(self, query: int | slice) -> RankedItems | list[RankedItems]:
        if isinstance(query, slice):
            return [self[each] for each in range(len(self))[query]]
        if query in self.apart:
            return self.apart[query]
        own = slice(*self.starts[range(len(self))[query] :][:2].tolist())
        position, draw = self.position[own], self.draw[own]
        reasons = tuple((EXPLORED,) if each else () for each in draw.tolist())
        propensity = np.where(draw > 0, draw, np.float32(1))
        return RankedItems(self.candidates[position], self.score[own], position, reasons, propensity)
