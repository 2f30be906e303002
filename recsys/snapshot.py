"""All that is known at one time: what retrieval and features are computed from."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    histories: Histories
    stats: ItemStats
    sources: tuple[CandidateSource, ...]

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.stats.values)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The names of the sources, in their order."""
        return source_names(self.sources)

    @property
    def reserved(self) -> Bools:
        """bool[S]: the sources whose proposals have their own slots."""
        return np.array([isinstance(source, ContentSource) for source in self.sources])
