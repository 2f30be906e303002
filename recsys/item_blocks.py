"""Items by falling length, in blocks of 8-bit codes: what :func:`recsys.index_kernels.best` goes through."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from recsys import index_kernels
from recsys.index_kernels import BLOCK, COLUMNS, longest_code
from recsys.kernel import frozen
from recsys.types import Bools, Float32s, Int8s, Int32s, Int64s

LARGEST = 127


@dataclass(frozen=True, slots=True)
class ItemBlocks:
    """b blocks of items, the longest first.

    Attributes:
        codes: int8[b, w, BLOCK], of a block each column of its items' factors, and zeros up to a multiple of COLUMNS.
        items: int32[b, BLOCK], whose they are; -1 after the last.
        unit: float32[b], what 1 in a block's codes stands for.
        length: float32[b], of the longest item.
    """

    codes: Int8s
    items: Int32s
    unit: Float32s
    length: Float32s

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
        codes = np.zeros((n_blocks, columns, BLOCK), dtype=np.int8)
        unit, length = np.ones(n_blocks, dtype=np.float32), lengths[items[:, 0]]
        for block, own in enumerate(items):
            rows = factors[own[own >= 0]]
            if length[block] > 0:
                unit[block] = max(length[block] / longest_code(columns), np.abs(rows).max() / LARGEST)
            codes[block, :width, : len(rows)] = np.rint(rows / unit[block]).T
        if item_num is not None:
            items[items >= 0] = item_num[items[items >= 0]]
        return cls(codes, items, unit, length)

    def search(
        self, factors: Float32s, vectors: Float32s, k: int, may: tuple[Int64s, Bools, Int32s]
    ) -> tuple[Int32s, Float32s, int]:
        """The k items of largest inner product: int32[q, k], -1 after the last, float32[q, k]; how many it looked at.

        Exact but for what codes take for less than it is: a quarter more than k get an exact product.

        Args:
            factors: float32[n_items, d], of all items.
            vectors: float32[q, d]; nothing is found where one is all 0.
            k: items of each.
            may: what may be in which slate, as :func:`recsys.fetching.permitted` tells.
        """
        own = (self.codes, self.items, self.unit, self.length, frozen(factors))
        return index_kernels.best(*own, np.ascontiguousarray(vectors, dtype=np.float32), k, *may)
