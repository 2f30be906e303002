"""All that is known at one time: what retrieval and features are computed from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recsys.content_source import ContentSource
from recsys.interactions import Histories
from recsys.item_stats import ItemStats
from recsys.sources import CandidateSource, source_names
from recsys.types import Bools


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State at ``stats.until``; nothing in it comes from later events.

    Attributes:
        histories: of all users.
        stats: of all items.
        sources: fitted on the same events, in the order of the candidates' columns.
        source_names: the names of the sources, in their order.
        reserved: bool[S]: the sources whose proposals have their own slots.
    """

    histories: Histories
    stats: ItemStats
    sources: tuple[CandidateSource, ...]
    source_names: tuple[str, ...] = field(init=False)
    reserved: Bools = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Derive once what every batch asks for."""
        object.__setattr__(self, "source_names", source_names(self.sources))
        own = [isinstance(source, ContentSource) for source in self.sources]
        object.__setattr__(self, "reserved", np.array(own, dtype=bool))

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.stats.values)
