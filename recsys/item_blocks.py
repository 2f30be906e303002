"""Items in blocks of 8-bit codes, by length and by direction: what :func:`recsys.index_kernels.best` goes through."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from recsys import index_kernels
from recsys.code_kernels import BLOCK, COLUMNS, OFFSET, Blocks
from recsys.index_kernels import LARGEST
from recsys.kernel import frozen
from recsys.types import Bools, Float32s, Int32s, Int64s, UInt8s

NO_CLUSTER = -1


@dataclass(frozen=True, slots=True)
class ItemBlocks:
    """b blocks of items; the last c of them hold clusters, each of items of one direction.

    The others hold longer items of any direction, and all of them may be of that kind. Both kinds come by falling
    length of their longest item.

    Attributes:
        codes: uint8[b, w / 4, BLOCK, 4], each item's factors in units of its own, plus OFFSET; w is a multiple of 4.
        items: int32[b, BLOCK], whose they are; -1 after the last.
        unit: float32[b, BLOCK], what 1 in an item's codes stands for.
        slack: float32[b], times the length of a query how much more than the inner product of its centre an item of the
            block is taken to have at most. The centre of those that hold no cluster is 0, so it is their length.
        centres: uint8[ceil(c / BLOCK), w / 4, BLOCK, 4], those of the clusters, as if they were items.
        centre_unit: float32[c].
    """

    codes: UInt8s
    items: Int32s
    unit: Float32s
    slack: Float32s
    centres: UInt8s
    centre_unit: Float32s

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, frozen(getattr(self, field.name)))

    @classmethod
    def of(cls, factors: Float32s, item_num: Int32s | None = None, cluster: Int32s | None = None) -> ItemBlocks:
        """Blocks of some items.

        Args:
            factors: float32[m, d].
            item_num: int32[m], the items that have these factors; None: all, in order.
            cluster: int32[m], which cluster each is in; NO_CLUSTER for those in none, which must be the longest; None:
                all are in none.
        """
        n_items, width = factors.shape
        lengths = np.linalg.norm(factors, axis=1).astype(np.float32)
        own = np.full(n_items, NO_CLUSTER, dtype=np.int32) if cluster is None else cluster
        order = np.argsort(-lengths, kind="stable").astype(np.int32)
        order = order[np.argsort(own[order], kind="stable")]
        sizes = np.bincount(own + 1, minlength=1)
        parts = np.split(order, np.cumsum(sizes)[:-1])
        blocks = [part[at : at + BLOCK] for part in parts for at in range(0, len(part), BLOCK)]
        plain = -(-sizes[0] // BLOCK)
        blocks[plain:] = sorted(blocks[plain:], key=lambda block: -lengths[block[0]])
        items = np.full((len(blocks), BLOCK), -1, dtype=np.int32)
        for row, block in zip(items, blocks, strict=True):
            row[: len(block)] = block
        slack, centres = lengths[items[:, 0]], np.zeros((len(blocks) - plain, width), dtype=np.float32)
        for place, block in enumerate(blocks[plain:]):
            centres[place], slack[plain + place] = _centre(factors[block], lengths[block])
        codes, unit = _coded(factors, items)
        numbers = np.full((-(-len(centres) // BLOCK), BLOCK), -1, dtype=np.int32)
        numbers.ravel()[: len(centres)] = np.arange(len(centres))
        if item_num is not None:
            items[items >= 0] = item_num[items[items >= 0]]
        centre_codes, centre_unit = _coded(centres, numbers)
        return cls(codes, items, unit, slack, centre_codes, centre_unit.ravel()[: len(centres)])

    @property
    def arrays(self) -> Blocks:
        """For kernels."""
        return Blocks(*(getattr(self, field.name) for field in fields(self)))

    def within(self, reach: float) -> ItemBlocks:
        """The same, but items of clusters are taken to be so many times their mean distance from the centre away.

        In the direction of a query, that is: with fewer times fewer blocks are looked at.
        """
        slack = self.slack.copy()
        slack[len(slack) - len(self.centre_unit) :] *= np.float32(reach)
        return replace(self, slack=slack)

    def search(
        self, factors: Float32s, vectors: Float32s, k: int, may: tuple[Int64s, Bools, Int32s]
    ) -> tuple[Int32s, Float32s, int]:
        """The k items of largest inner product: int32[q, k], -1 after the last, float32[q, k]; how many it looked at.

        Exact but for what codes take for less than it is, as an eighth more than k gets an exact product, and for items
        further from the centre of their cluster than :meth:`within` says.

        Args:
            factors: float32[n_items, d], of all items.
            vectors: float32[q, d]; nothing is found where one is all 0.
            k: items of each.
            may: what may be in which slate, as :func:`recsys.fetching.permitted` tells.
        """
        asked = np.ascontiguousarray(vectors, dtype=np.float32)
        return index_kernels.best(self.arrays, frozen(factors), asked, k, *may)


def _centre(factors: Float32s, lengths: Float32s) -> tuple[Float32s, np.float32]:
    """The mean direction of some items, and the root of their mean square distance from it, at the largest length."""
    longest = lengths.max()
    mean = (factors / np.where(lengths > 0, lengths, 1)[:, None]).mean(axis=0)
    return longest * mean, longest * np.sqrt(max(1 - np.square(mean).sum(), 0))


def _coded(factors: Float32s, rows: Int32s) -> tuple[UInt8s, Float32s]:
    """The codes of some factors, uint8[b, w / 4, BLOCK, 4], and their units, float32[b, BLOCK].

    Args:
        factors: float32[n, d].
        rows: int32[b, BLOCK], whose codes: nobody's, which are zeros, where -1.
    """
    columns = -(-factors.shape[1] // COLUMNS) * COLUMNS
    codes = np.empty((len(rows), columns // COLUMNS, BLOCK, COLUMNS), dtype=np.uint8)
    unit = np.empty(rows.shape, dtype=np.float32)
    for block, own in enumerate(rows):
        values = np.zeros((BLOCK, columns), dtype=np.float32)
        values[own >= 0, : factors.shape[1]] = factors[own[own >= 0]]
        largest = np.abs(values).max(axis=1)
        shares = values / np.where(largest > 0, largest, 1)[:, None]
        codes[block] = np.rint(LARGEST * shares).reshape(BLOCK, -1, COLUMNS).swapaxes(0, 1) + OFFSET
        unit[block] = largest / LARGEST
    return codes, unit
