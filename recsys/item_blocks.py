"""Items by falling length, in blocks of 8-bit codes: what :func:`recsys.index_kernels.best` goes through."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from recsys.index_kernels import BLOCK, COLUMNS, longest_code
from recsys.kernel import frozen
from recsys.types import Float32s, Int8s, Int32s

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
    def of(cls, factors: Float32s) -> ItemBlocks:
        """Of float32[n_items, d]."""
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
        return cls(codes, items, unit, length)
