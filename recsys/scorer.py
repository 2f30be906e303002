"""Stage 2 while serving: scores of candidates by bytes, of which most are known before anybody asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsys import scoring_kernels
from recsys.feature_kernels import KNOWN
from recsys.features import COMPARED, NOT_TOUCHED, Context, known_of, parts, shared_of
from recsys.forest import Forest
from recsys.item_stats import ItemStats
from recsys.kernel import frozen
from recsys.memory_kernels import LINE
from recsys.types import Array, Float32s, Int64s


@dataclass(frozen=True, slots=True)
class Scorer:
    """The trees of a ranker beside the statistics of one snapshot.

    The scores are those of :meth:`recsys.forest.Forest.score` of the feature matrix, to the last bit.

    Attributes:
        forest: of the ranker.
        stats: of all items.
        parts: int64[6], where the columns of codes begin that are of the sources, of user and item, of the user, of
            both compared and of the item; and where they end.
        items: uint8[n_items, w], the codes of what is of the item alone, and in the last bytes the float32[KNOWN] that
            are compared with the user: all that is read of an item, which is one line of memory for each candidate.
        strangers: uint8[1, w], those of an item that the user has not touched.
    """

    forest: Forest
    stats: ItemStats
    parts: Int64s
    items: Array
    strangers: Array
    _prepared: tuple[Any, ...] = field(init=False, repr=False)
    _shared: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Put together once what every call of the kernel takes."""
        codes = (self.items, self.strangers, self.parts)
        object.__setattr__(self, "_prepared", (codes, self.forest.coding, self.forest.walking))
        object.__setattr__(self, "_shared", shared_of(self.stats)[1:6])

    @classmethod
    def of(cls, forest: Forest, stats: ItemStats, sources: int) -> Scorer:
        """Of so many sources."""
        features = parts(sources)
        own = np.searchsorted(forest.columns["feature"], features)
        items = _coded(forest, stats.values, features[4], own[4:], 4 * KNOWN)
        items.view(np.float32)[:, -KNOWN:] = stats.values[:, COMPARED]
        strangers = _coded(forest, NOT_TOUCHED[None], features[1], own[1:3], 0)
        return cls(forest, stats, own, frozen(items), frozen(strangers))

    @property
    def held(self) -> tuple[Any, ...]:
        """What :func:`recsys.scoring_kernels.score` takes first and last, whoever asks."""
        return (*self._prepared, *self._shared)

    def score(self, context: Context) -> Float32s:
        """float32[n]: the score of each candidate.

        Args:
            context: of the scorer's statistics.
        """
        return scoring_kernels.score(*self._prepared, *known_of(context), *self._shared)


def _coded(forest: Forest, values: Float32s, feature: int, place: Int64s, more: int) -> Array:
    """uint8[n, w]: the codes of rows of features from one on, with room for more, in whole lines of the cache."""
    own = (int(place[0]), int(place[1]))
    width = -(-max(own[1] - own[0] + more, 1) // LINE) * LINE
    return scoring_kernels.coded(frozen(values), int(feature), own, width, forest.coding)
