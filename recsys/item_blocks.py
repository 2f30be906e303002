"""Items by falling length, in blocks of 8-bit codes: what :func:`recsys.index_kernels.best` goes through."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from recsys import index_kernels
from recsys.code_kernels import BLOCK, COLUMNS, OFFSET
from recsys.index_kernels import LARGEST
from recsys.kernel import frozen
from recsys.types import Bools, Float32s, Int32s, Int64s, UInt8s


@dataclass(frozen=True, slots=True)
class ItemBlocks:
    """b blocks of items, the longest first.

    Attributes:
        codes: uint8[b, w / 4, BLOCK, 4], each item's factors in units of its own, plus OFFSET; w is a multiple of 4.
        items: int32[b, BLOCK], whose they are; -1 after the last.
        unit: float32[b, BLOCK], what 1 in an item's codes stands for.
        bound: float32[b], falling: times the length of a query it is the most that an item of the block is taken to
            have.
    """

    codes: UInt8s
    items: Int32s
    unit: Float32s
    bound: Float32s

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, frozen(getattr(self, field.name)))

    @classmethod
    def of(cls, factors: Float32s, item_num: Int32s | None = None) -> ItemBlocks:
        """Of float32[m, d], the factors of these items (int32[m]); of all items for None."""
        n_items, width = factors.shape
        n_blocks, columns = -(-n_items // BLOCK), -(-width // COLUMNS) * COLUMNS
        lengths = np.linalg.norm(factors, axis=1).astype(np.float32)
        items = np.full(n_blocks * BLOCK, -1, dtype=np.int32)
        items[:n_items] = np.argsort(-lengths, kind="stable")
        items = items.reshape(n_blocks, BLOCK)
        codes = np.empty((n_blocks, columns // COLUMNS, BLOCK, COLUMNS), dtype=np.uint8)
        unit, bound = np.empty((n_blocks, BLOCK), dtype=np.float32), lengths[items[:, 0]]
        for block, own in enumerate(items):
            rows = np.zeros((BLOCK, columns), dtype=np.float32)
            rows[own >= 0, :width] = factors[own[own >= 0]]
            largest = np.abs(rows).max(axis=1)
            shares = rows / np.where(largest > 0, largest, 1)[:, None]
            numbers = np.rint(LARGEST * shares).reshape(BLOCK, -1, COLUMNS).swapaxes(0, 1)
            codes[block], unit[block] = numbers + OFFSET, largest / LARGEST
        if item_num is not None:
            items[items >= 0] = item_num[items[items >= 0]]
        return cls(codes, items, unit, bound)

    def within(self, reach: float) -> ItemBlocks:
        """The same, taking no query and item to have a larger cosine than so much: fewer items are looked at."""
        return replace(self, bound=np.float32(reach) * self.bound)

    def search(
        self, factors: Float32s, vectors: Float32s, k: int, may: tuple[Int64s, Bools, Int32s]
    ) -> tuple[Int32s, Float32s, int]:
        """The k items of largest inner product: int32[q, k], -1 after the last, float32[q, k]; how many it looked at.

        Exact but for what codes take for less than it is, as an eighth more than k gets an exact product, and but for items of
        larger cosines than :meth:`within` allows.

        Args:
            factors: float32[n_items, d], of all items.
            vectors: float32[q, d]; nothing is found where one is all 0.
            k: items of each.
            may: what may be in which slate, as :func:`recsys.fetching.permitted` tells.
        """
        own = (self.codes, self.items, self.unit, self.bound, frozen(factors))
        return index_kernels.best(*own, np.ascontiguousarray(vectors, dtype=np.float32), k, *may)
