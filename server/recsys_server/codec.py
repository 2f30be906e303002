"""Recommend on the wire: a request to the domain's values, and a slate to its response."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from recsys.config import Config
from recsys.experiments import Experiments
from recsys.exposure_log import Exposure
from recsys.rules import Rules
from recsys.types import (
    ExcludePolicy,
    FeatureReason,
    HistoryReason,
    Query,
    Reason,
    RuleReason,
    ServedFrom,
    Slate,
    SlateItem,
)
from recsys.v1 import recommendation_service_pb2
from recsys.vocabulary import MAX_ID_BYTES
from recsys_server import codec_rules
from recsys_server.codec_events import recent_events
from recsys_server.errors import Violation
from recsys_server.wire import parsed, refuse, too_long, too_many

Assignments = tuple[tuple[str, str], ...]  # (experiment, variant)

MAX_SLATE_SIZE = 500
MAX_SEEDS = 100
MAX_EXCLUDES = 5_000
MAX_OVERRIDES = 16
MAX_PLACEMENT_BYTES = 64
MAX_NAME_LENGTH = 64
MAX_DESCRIPTION_LENGTH = 100  # with 16 overrides, more would outgrow the trailers
MAX_RECENT_EVENTS = 100
DEFAULT_PLACEMENT = "default"
SEED_SECONDS = 3_600

_POLICIES = {
    recommendation_service_pb2.EXCLUDE_POLICY_NONE: ExcludePolicy.NONE,
    recommendation_service_pb2.EXCLUDE_POLICY_PURCHASED: ExcludePolicy.PURCHASED,
    recommendation_service_pb2.EXCLUDE_POLICY_SEEN: ExcludePolicy.SEEN,
}
_SERVED_FROM = {
    ServedFrom.MODEL: recommendation_service_pb2.SERVED_FROM_MODEL,
    ServedFrom.USER_CACHE: recommendation_service_pb2.SERVED_FROM_USER_CACHE,
    ServedFrom.POPULAR_CACHE: recommendation_service_pb2.SERVED_FROM_POPULAR_CACHE,
    ServedFrom.FALLBACK: recommendation_service_pb2.SERVED_FROM_FALLBACK,
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a RecommendRequest asks.

    Attributes:
        query: with the events and rules of the request.
        assignments: the variants that shape it.
        placement: where the slate will stand.
    """

    query: Query
    assignments: Assignments
    placement: str


def request(data: bytes, config: Config, experiments: Experiments, now: int) -> Request:
    """The request in some bytes. It wins over the variants, and these over the placement.

    Args:
        now: unix seconds.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: names every field outside its limits.
    """
    wire = parsed(recommendation_service_pb2.RecommendRequest, data)
    overrides = {override.experiment: override.variant for override in wire.variant_overrides}
    refuse((*_query_violations(wire), *_override_violations(wire, experiments), *codec_rules.rule_violations(wire)))
    parameters, assignments = experiments.serving(wire.user_id, now, config.serving(wire.placement), overrides)
    if wire.exclude_policy:
        parameters = replace(parameters, exclude_policy=_POLICIES[wire.exclude_policy])
    placement = config.placement(wire.placement)
    query = Query(
        user_id=wire.user_id,
        slate_size=min(wire.slate_size or placement.slate_size, MAX_SLATE_SIZE),
        now=now,
        seed_item_ids=possible(wire.seed_item_ids),
        exclude_item_ids=possible(wire.exclude_item_ids),
        parameters=parameters,
        live_events=recent_events(wire.recent_events, now),
        rules=_rules(wire, placement.rules) if codec_rules.has_rules(wire) else placement.rules,
        explain=wire.explain,
        seed=_seed(wire.user_id, now),
    )
    return Request(query, assignments, wire.placement or DEFAULT_PLACEMENT)


def _seed(user_id: str, now: int) -> int:
    """What draws the explored items: the same for a user within an hour, so that a page that is loaded again stands."""
    return 1 + zlib.crc32(f"{now // SEED_SECONDS} {user_id}".encode())


def _rules(wire: recommendation_service_pb2.RecommendRequest, placement: Rules) -> Rules:
    """The rules of a placement with those of a request."""
    rules = placement.joined_by(codec_rules.rules(wire))
    return replace(rules, diversity=wire.diversity) if wire.HasField("diversity") else rules


def slate(slate: Slate, bundle_id: str, assignments: Assignments) -> bytes:
    """The part of a RecommendResponse that a cache may keep: items, bundle, assignments, degraded."""
    response = recommendation_service_pb2.RecommendResponse(bundle_id=bundle_id, degraded=slate.degraded)
    for experiment, variant in assignments:
        response.assignments.add(experiment=experiment, variant=variant)
    add = response.items.add
    for rank, item in enumerate(slate.items, start=1):
        wire = add()  # setting fields is twice as fast as passing them
        wire.item_id = item.item_id
        wire.rank = rank
        wire.score = item.score
        wire.sources.extend(item.sources)
        if item.propensity < 1:
            wire.propensity = item.propensity
        for reason in item.reasons:
            _add_reason(wire, reason)
    return response.SerializeToString()


def degraded(slate: bytes, stages: Iterable[str]) -> bytes:
    """A slate, encoded by :func:`slate`, that says which stages failed or were skipped."""
    return slate + recommendation_service_pb2.RecommendResponse(degraded=stages).SerializeToString()


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


def response(
    recommendation_id: str,
    served_from: ServedFrom,
    stage_seconds: Mapping[str, float],
    slate: bytes,
    degraded: Iterable[str] = (),
) -> bytes:
    """A whole RecommendResponse: what is of this request alone, then the slate; messages join by concatenation."""
    head = recommendation_service_pb2.RecommendResponse(
        recommendation_id=recommendation_id, served_from=_SERVED_FROM[served_from], degraded=degraded
    )
    for stage, seconds in stage_seconds.items():
        duration = head.stage_timings.add(stage=stage).duration
        duration.seconds, duration.nanos = divmod(int(seconds * 1e9), 10**9)
    return head.SerializeToString() + slate


def exposure(recommendation_id: str, asked: Request, slate: bytes) -> Exposure:
    """What is recorded of a slate, encoded by :func:`slate`, that was served to a request."""
    wire = recommendation_service_pb2.RecommendResponse.FromString(slate)
    items = tuple(
        SlateItem(
            item.item_id,
            item.score,
            tuple(item.sources),
            propensity=item.propensity if item.HasField("propensity") else 1.0,
        )
        for item in wire.items
    )
    query = asked.query
    return Exposure(
        recommendation_id, query.now, query.user_id, asked.placement, wire.bundle_id, asked.assignments, items
    )


def possible(item_ids: Iterable[str]) -> tuple[str, ...]:
    """Those that could be an item's; a huge one would make every id of its array as wide."""
    return tuple(item_id for item_id in item_ids if 0 < len(item_id) <= MAX_ID_BYTES and "\0" not in item_id)


def _query_violations(request: recommendation_service_pb2.RecommendRequest) -> Iterator[Violation]:
    yield from too_long("user_id", request.user_id, MAX_ID_BYTES)
    if request.slate_size < 0:
        yield Violation("slate_size", f"must be 0 (the default) or more, not {request.slate_size}")
    yield from too_long("placement", request.placement, MAX_PLACEMENT_BYTES)
    yield from too_many("seed_item_ids", len(request.seed_item_ids), MAX_SEEDS)
    yield from too_many("recent_events", len(request.recent_events), MAX_RECENT_EVENTS)
    yield from too_many("exclude_item_ids", len(request.exclude_item_ids), MAX_EXCLUDES)
    if request.exclude_policy and request.exclude_policy not in _POLICIES:
        yield Violation("exclude_policy", f"has no value {request.exclude_policy}")


def _override_violations(
    request: recommendation_service_pb2.RecommendRequest, experiments: Experiments
) -> Iterator[Violation]:
    yield from too_many("variant_overrides", len(request.variant_overrides), MAX_OVERRIDES)
    for index, override in enumerate(request.variant_overrides[:MAX_OVERRIDES]):
        field = f"variant_overrides[{index}]"
        if max(len(override.experiment), len(override.variant)) > MAX_NAME_LENGTH:
            yield Violation(field, f"names have at most {MAX_NAME_LENGTH} characters")
            continue
        for phrase in experiments.unknown_overrides({override.experiment: override.variant}).values():
            yield Violation(field, phrase[:MAX_DESCRIPTION_LENGTH])
