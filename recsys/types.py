"""Values that travel between stages, and the words of the wire as enums."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recsys.rules import NO_RULES, Rules

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.bytes_]
Int8s = npt.NDArray[np.int8]
Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt8s = npt.NDArray[np.uint8]
UInt16s = npt.NDArray[np.uint16]
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
    """What an experiment's variant may set, and what a placement sets by default.

    Attributes:
        exclude_policy: what the user's own history keeps out.
        use_ranker: whether stage 2 orders the candidates.
        candidates_per_source: most that each source proposes.
        candidates: most that go on to stage 2.
        sources: names of the sources whose candidates count; empty: all.
        fill: whether popular items fill up what the candidates leave open.
        by_cycle: whether the user's own cycle of purchases orders the candidates, instead of stage 2.
    """

    exclude_policy: ExcludePolicy = ExcludePolicy.NONE
    use_ranker: bool = True
    candidates_per_source: int = 100
    candidates: int = 220
    sources: tuple[str, ...] = ()
    fill: bool = True
    by_cycle: bool = False


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """What a user did since the bundle's data ends.

    Attributes:
        item_id: the item.
        event_type: what was done.
        time: unix seconds.
        price: per unit; NaN where unknown.
        session_id: the visit; empty: the day.
    """

    item_id: str
    event_type: EventType
    time: int
    price: float = math.nan
    session_id: str = ""


class Query(NamedTuple):
    """All that one request asks; a tuple, as one is made for each.

    Attributes:
        user_id: who asks; empty for anonymous.
        slate_size: items wanted, 1 to 500.
        now: time of the request, unix seconds.
        seed_item_ids: items in view, newest first.
        exclude_item_ids: items that must not be in the slate.
        parameters: how to serve it.
        live_events: what the user did since the bundle's data ends, newest first.
        rules: of the placement and of the request.
        shown: items shown to the user lately and not clicked since, each with how often.
        explain: whether the slate's items come with all their reasons.
        seed: draws what is explored; 0: nothing is drawn, the best comes first.
        trace: whether the slate comes with the features that it was ranked by.
    """

    user_id: str
    slate_size: int
    now: int
    seed_item_ids: tuple[str, ...] = ()
    exclude_item_ids: tuple[str, ...] = ()
    parameters: ServingParameters = ServingParameters()
    live_events: tuple[LiveEvent, ...] = ()
    rules: Rules = NO_RULES
    shown: tuple[tuple[str, int], ...] = ()
    explain: bool = False
    seed: int = 0
    trace: bool = False


@dataclass(frozen=True, slots=True)
class RuleReason:
    """A rule that moved an item, and what it did.

    The effect is boosted, buried, pinned, capped, diversified, fatigued or explored.
    """

    name: str
    effect: str


@dataclass(frozen=True, slots=True)
class HistoryReason:
    """An item of the history, with its part in the score of ALS."""

    item_id: str
    contribution: float


@dataclass(frozen=True, slots=True)
class FeatureReason:
    """A feature (or ``rest``, ``base``), its value (NaN: unknown or no feature) and its part in the ranker's score."""

    name: str
    value: float
    contribution: float


Reason = RuleReason | HistoryReason | FeatureReason


class SlateItem(NamedTuple):
    """One item of a slate; a tuple, as so many are made.

    Attributes:
        item_id: the item.
        score: comparable inside the slate only.
        sources: that proposed it.
        reasons: for its place.
        propensity: probability with which exploration drew it for this place; 1 where nothing was drawn.
    """

    item_id: str
    score: float
    sources: tuple[str, ...]
    reasons: tuple[Reason, ...] = ()
    propensity: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The candidates among a slate's items, best first, and the features that the ranker saw of them: float32[n, f]."""

    item_ids: tuple[str, ...]
    features: Float32s


class Slate(NamedTuple):
    """The ordered answer to one query; the rank of an item is its place, from 1. A tuple, as one is made for each.

    Attributes:
        items: best first; a tuple, or already encoded for the wire and read again by whom looks at them.
        served_from: how it was made.
        degraded: stages that failed.
        trace: where the query asked for it and a ranker ranked.
    """

    items: Sequence[SlateItem]
    served_from: ServedFrom
    degraded: tuple[str, ...] = ()
    trace: Trace | None = None


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
