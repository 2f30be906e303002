"""The source of cold items, which the others cannot know."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field

import numpy as np

from recsys.content import ContentModel
from recsys.fetching import permitted
from recsys.halves import bits_of
from recsys.item_blocks import ItemBlocks
from recsys.queries import QueryBatch
from recsys.sources import AlsSource, Products, Proposal
from recsys.types import Bools, Float32s, Int32s, UInt16s

COLD_CANDIDATES = 30
"""Most cold items that are proposed for a query."""


@dataclass(frozen=True, slots=True)
class DescribedSource:
    """What ALS would say of every item if it knew nothing but the attributes: proposes none, for the ranker to read.

    Attributes:
        als: makes the users' vectors.
        factors: float32[n_items, d], what the attributes stand for; zeros where nothing is known of an item.
            Numbers of half precision.
        bits: uint16[n_items, d], of these in half precision.
        known_bits: these bits, where they are known.
    """

    als: AlsSource
    factors: Float32s
    name: str = "described"
    bits: UInt16s = field(init=False, repr=False)
    known_bits: InitVar[UInt16s | None] = None

    def __post_init__(self, known_bits: UInt16s | None) -> None:
        object.__setattr__(self, "bits", bits_of(self.factors, known_bits))

    def propose(self, batch: QueryBatch, k: int) -> Proposal:  # noqa: ARG002 - as every source is asked
        """Nothing, and a score of any pair."""
        none = (len(batch), 1)
        say = Products(self.als.vectors(batch), self.factors)
        return Proposal(np.full(none, -1, np.int32), np.zeros(none, np.float32), say)


@dataclass(frozen=True, slots=True)
class ContentSource:
    """Cold items, on which too few have acted for the other sources, by the factors that their attributes stand for.

    Attributes:
        als: makes the users' vectors; its factors of the cold items are mapped ones.
        item_num: int32[c], rising: the cold items.
        model: from attributes to factors.
        blocks: of the cold items.
        is_cold: bool[n_items].
    """

    als: AlsSource
    item_num: Int32s
    model: ContentModel
    name: str = "content"
    blocks: ItemBlocks = field(init=False, repr=False)
    is_cold: Bools = field(init=False, repr=False)

    def __post_init__(self) -> None:
        is_cold = np.zeros(len(self.als.item_factors), dtype=bool)
        is_cold[self.item_num] = True
        blocks = ItemBlocks.of(self.als.item_factors[self.item_num], self.item_num)
        object.__setattr__(self, "blocks", blocks)
        object.__setattr__(self, "is_cold", is_cold)

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """The best cold items by inner product, a few of them: they compete for their own slots alone."""
        k = min(k, COLD_CANDIDATES)
        if len(self.item_num) == 0:
            shape = (len(batch), k)
            return Proposal(np.full(shape, -1, np.int32), np.zeros(shape, np.float32), None)
        vectors, factors = self.als.vectors(batch), self.als.item_factors
        item_num, score, _ = self.blocks.search(factors, vectors, k, permitted(batch))
        return Proposal(item_num, score, Products(vectors, factors, self.is_cold))
