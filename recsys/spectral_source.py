"""The source of what the whole graph of users and items says, beyond items that share a user."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field

from recsys import row_kernels
from recsys.halves import bits_of
from recsys.item_index import ItemIndex
from recsys.kernel import frozen
from recsys.queries import QueryBatch
from recsys.sources import Proposal, by_inner_product
from recsys.types import Float32s, Float64s, UInt16s


@dataclass(frozen=True, slots=True)
class SpectralSource:
    """The ideal low-pass filter of GF-CF (Shen et al. 2021, equation 14), asked with a history.

    Attributes:
        item_factors: float32[n_items, d], V of the filter times the root of each item's degree; of half precision.
        inverse_degree: float32[n_items], 1 over the degree of each item: its weight in a history; 0 where that is none.
        weights: float64[10], weight of each event type by its number.
        half_life_days: of a history's weight.
        index: over ``item_factors``.
        bits: uint16[n_items, d], of the item factors in half precision.
        known_bits: these bits, where they are known.
    """

    item_factors: Float32s
    inverse_degree: Float32s
    weights: Float64s
    half_life_days: float
    index: ItemIndex
    name: str = "spectral"
    bits: UInt16s = field(init=False, repr=False)
    known_bits: InitVar[UInt16s | None] = None

    def __post_init__(self, known_bits: UInt16s | None) -> None:
        object.__setattr__(self, "bits", bits_of(self.item_factors, known_bits))

    def vectors(self, batch: QueryBatch) -> Float32s:
        """float32[q, d]: the weighted sum of the histories' items."""
        history = batch.history
        own = (history.indptr, history.item_num, history.event_type, history.time, batch.now)
        how = (self.weights, self.half_life_days, frozen(self.inverse_degree), self.bits)
        return row_kernels.weighted_rows(*own, *how)

    def propose(self, batch: QueryBatch, k: int) -> Proposal:
        """The k items of largest inner product."""
        return by_inner_product(batch, k, self.vectors(batch), self.item_factors, self.index)
