"""Slates to the wire. What most items are made of is put together by hand: it takes a third of the time."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from functools import lru_cache

from recsys.encoded_slate import EncodedItems, number, sized
from recsys.types import FeatureReason, HistoryReason, Reason, RuleReason, ServedFrom, Slate, SlateItem
from recsys.v1 import recommendation_service_pb2
from recsys_server.engine import Timings

Assignments = tuple[tuple[str, str], ...]  # (experiment, variant)

_SERVED_FROM = {
    ServedFrom.MODEL: recommendation_service_pb2.SERVED_FROM_MODEL,
    ServedFrom.USER_CACHE: recommendation_service_pb2.SERVED_FROM_USER_CACHE,
    ServedFrom.POPULAR_CACHE: recommendation_service_pb2.SERVED_FROM_POPULAR_CACHE,
    ServedFrom.FALLBACK: recommendation_service_pb2.SERVED_FROM_FALLBACK,
}
# Of a RecommendResponse: items, and in each of them rank, score and item_id, whose text follows, and then the sources.
_ITEMS, _RANK, _SCORE, _ITEM_ID = b"\x12\x10\x1d\x0a"
# Of a RecommendResponse; of a stage's timing; and of a Duration.
_RECOMMENDATION_ID, _STAGE_TIMINGS = b"\x0a", b"\x3a"
_STAGE, _DURATION = b"\x0a", b"\x12"
_SECONDS, _NANOS = b"\x08", b"\x10"
_HEAD = struct.Struct("<BBBBBfBB")
_REST = _HEAD.size - 2
"""Bytes of an item besides its own tag and size, its id and its sources."""
STEPS_A_SECOND = 100_000
"""Timings are told in steps of ten microseconds."""
_ONE_BYTE = 127
"""The largest number that the wire holds in one byte."""


def slate(slate: Slate, bundle_id: str, assignments: Assignments) -> bytes:
    """The part of a RecommendResponse that a cache may keep: items, bundle, assignments, degraded."""
    frame = _frame(bundle_id, assignments, slate.degraded)
    if isinstance(slate.items, EncodedItems):
        return slate.items.encoded + frame
    parts = []
    for rank, item in enumerate(slate.items, start=1):
        item_id, score, sources, reasons, propensity = item
        text, proposed = item_id.encode(), _sources(sources)
        size = _REST + len(text) + len(proposed)
        if reasons or propensity < 1 or size > _ONE_BYTE or rank > _ONE_BYTE:
            parts.append(_any_item(item, rank))
        else:
            parts += (
                _HEAD.pack(_ITEMS, size, _RANK, rank, _SCORE, score, _ITEM_ID, len(text)),
                text,
                proposed,
            )
    parts.append(frame)
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _sources(names: tuple[str, ...]) -> bytes:
    """The sources of an item: few combinations occur."""
    return recommendation_service_pb2.RecommendedItem(sources=names).SerializeToString()


@lru_cache(maxsize=256)
def _frame(bundle_id: str, assignments: Assignments, degraded: tuple[str, ...]) -> bytes:
    """A slate without its items: few combinations occur."""
    response = recommendation_service_pb2.RecommendResponse(bundle_id=bundle_id, degraded=degraded)
    for experiment, variant in assignments:
        response.assignments.add(experiment=experiment, variant=variant)
    return response.SerializeToString()


def _any_item(item: SlateItem, rank: int) -> bytes:
    """One item of a slate, whatever it consists of."""
    response = recommendation_service_pb2.RecommendResponse()
    wire = response.items.add(item_id=item.item_id, rank=rank, score=item.score, sources=item.sources)
    if item.propensity < 1:
        wire.propensity = item.propensity
    for reason in item.reasons:
        _add_reason(wire, reason)
    return response.SerializeToString()


def _add_reason(item: recommendation_service_pb2.RecommendedItem, reason: Reason) -> None:
    wire = item.reasons.add()
    match reason:
        case RuleReason(name, effect):
            wire.rule.name, wire.rule.effect = name, effect
        case HistoryReason(item_id, contribution):
            wire.history.item_id, wire.history.contribution = item_id, contribution
        case FeatureReason(name, value, contribution):
            wire.feature.name, wire.feature.contribution = name, contribution
            if math.isfinite(value):
                wire.feature.value = value


def degraded(slate: bytes, stages: Iterable[str]) -> bytes:
    """A slate, encoded by :func:`slate`, that says which stages failed or were skipped."""
    return slate + recommendation_service_pb2.RecommendResponse(degraded=stages).SerializeToString()


def response(
    recommendation_id: str,
    served_from: ServedFrom,
    slate: bytes,
    wait: float = 0.0,
    stages: Timings = (),
    degraded: tuple[str, ...] = (),
) -> bytes:
    """A whole RecommendResponse: what is of this request alone, then the slate; messages join by concatenation.

    Args:
        wait: seconds before the batch of the slate began.
        stages: of that batch; empty where nothing was computed.
    """
    waited = _timing("wait", round(wait * STEPS_A_SECOND)) if stages else b""
    head = sized(_RECOMMENDATION_ID, recommendation_id.encode())
    return b"".join((head, _origin(served_from, degraded), waited, _timings(stages), slate))


@lru_cache(maxsize=64)
def _origin(served_from: ServedFrom, degraded: tuple[str, ...]) -> bytes:
    """What a slate was served from: few combinations occur."""
    return recommendation_service_pb2.RecommendResponse(
        served_from=_SERVED_FROM[served_from], degraded=degraded
    ).SerializeToString()


@lru_cache(maxsize=16)
def _timings(stages: Timings) -> bytes:
    """The same for all answers of a batch."""
    return b"".join([_timing(stage, round(seconds * STEPS_A_SECOND)) for stage, seconds in stages])


@lru_cache(maxsize=8192)
def _timing(stage: str, steps: int) -> bytes:
    """What a stage took: mostly one of a few thousand, of which each is written once."""
    whole, rest = divmod(steps, STEPS_A_SECOND)
    duration = _SECONDS + number(whole) + _NANOS + number(rest * (10**9 // STEPS_A_SECOND))
    return sized(_STAGE_TIMINGS, sized(_STAGE, stage.encode()) + sized(_DURATION, duration))
