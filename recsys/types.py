"""Values that travel between stages, and the words of the wire as enums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.bytes_]
Int8s = npt.NDArray[np.int8]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

SECONDS_PER_DAY = 86_400


class EventType(IntEnum):
    """What happened, in GA4's words. The numbers are those of the wire and of the bundle's files."""

    VIEW_ITEM = 1
    SELECT_ITEM = 2
    ADD_TO_CART = 3
    REMOVE_FROM_CART = 4
    ADD_TO_WISHLIST = 5
    PURCHASE = 6
    REFUND = 7
    SEARCH = 8
    IMPRESSION = 9

    @property
    def word(self) -> str:
        """The word in datasets and configuration, such as ``view_item``."""
        return self.name.lower()


# Types by which a user acts on an item with interest; the others say something else, or nothing, about taste.
INTERACTION_TYPES = (
    EventType.VIEW_ITEM,
    EventType.SELECT_ITEM,
    EventType.ADD_TO_CART,
    EventType.ADD_TO_WISHLIST,
    EventType.PURCHASE,
)


class ExcludePolicy(StrEnum):
    """What a user's own history keeps out of a slate."""

    NONE = "none"
    PURCHASED = "purchased"
    SEEN = "seen"


class ServedFrom(StrEnum):
    """How a slate was made."""

    MODEL = "model"
    USER_CACHE = "user_cache"
    POPULAR_CACHE = "popular_cache"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True)
class ServingParameters:
    """What an experiment's variant may set, and what a placement sets by default."""

    exclude_policy: ExcludePolicy = ExcludePolicy.NONE
    use_ranker: bool = True
    candidates_per_source: int = 100
    candidates: int = 220


@dataclass(frozen=True, slots=True)
class Query:
    """All that one request asks.

    Attributes:
        user_id: who asks; empty for anonymous.
        slate_size: items wanted, 1 to 500.
        now: time of the request, unix seconds.
        seed_item_ids: items in view, newest first.
        exclude_item_ids: items that must not be in the slate.
        parameters: how to serve it.
    """

    user_id: str
    slate_size: int
    now: int
    seed_item_ids: tuple[str, ...] = ()
    exclude_item_ids: tuple[str, ...] = ()
    parameters: ServingParameters = field(default_factory=ServingParameters)


@dataclass(frozen=True, slots=True)
class SlateItem:
    """One item of a slate: its id, score (comparable inside the slate only) and the sources that proposed it."""

    item_id: str
    score: float
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Slate:
    """The ordered answer to one query; the rank of an item is its place, from 1."""

    items: tuple[SlateItem, ...]
    served_from: ServedFrom
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The slates of a batch of queries, in their order.

    Attributes:
        slates: one for each query.
        stage_seconds: what each stage took for the whole batch.
        errors: what failed on the way to degraded slates, for the log.
    """

    slates: tuple[Slate, ...]
    stage_seconds: Mapping[str, float]
    errors: tuple[Exception, ...] = ()
