"""Wire messages to the domain's values and back. Every limit of the proto files is checked here, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from recsys.config import Config
from recsys.experiments import Assignment, Experiments
from recsys.types import ExcludePolicy, Query, ServedFrom, Slate
from recsys.v1 import experiment_service_pb2, recommendation_service_pb2
from recsys.vocabulary import MAX_ID_BYTES
from recsys_server.errors import InvalidRequestError, MalformedMessageError, Violation

Assignments = tuple[tuple[str, str], ...]  # (experiment, variant)

MAX_SLATE_SIZE = 500
MAX_SEEDS = 100
MAX_EXCLUDES = 5_000
MAX_OVERRIDES = 16
MAX_PLACEMENT_BYTES = 64
MAX_NAME_LENGTH = 64
MAX_DESCRIPTION_LENGTH = 100  # with 16 overrides, more would outgrow the trailers
MAX_EXPERIMENTS = 100
MAX_ATTRIBUTES = 100

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
M = TypeVar("M", bound=Message)


def query(data: bytes, config: Config, experiments: Experiments, now: int) -> tuple[Query, Assignments]:
    """The query of a RecommendRequest, and the variants that shape it.

    The request wins over the variants, and these over the placement.

    Args:
        now: unix seconds.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: names every field outside its limits.
    """
    request = _parsed(recommendation_service_pb2.RecommendRequest, data)
    overrides = {override.experiment: override.variant for override in request.variant_overrides}
    _refuse((*_query_violations(request), *_override_violations(request, experiments)))
    parameters, assignments = experiments.serving(request.user_id, now, config.serving(request.placement), overrides)
    if request.exclude_policy:
        parameters = replace(parameters, exclude_policy=_POLICIES[request.exclude_policy])
    return (
        Query(
            user_id=request.user_id,
            slate_size=min(request.slate_size or config.placement(request.placement).slate_size, MAX_SLATE_SIZE),
            now=now,
            seed_item_ids=_possible(request.seed_item_ids),
            exclude_item_ids=_possible(request.exclude_item_ids),
            parameters=parameters,
        ),
        assignments,
    )


def unit(data: bytes) -> tuple[str, Sequence[str], Mapping[str, str]]:
    """The unit_id, experiments and attributes of an AssignVariantsRequest.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: names every field outside its limits.
    """
    request = _parsed(experiment_service_pb2.AssignVariantsRequest, data)
    required = () if request.unit_id else (Violation("unit_id", "is required"),)
    _refuse(
        (
            *required,
            *_too_long("unit_id", request.unit_id, MAX_ID_BYTES),
            *_too_many("experiments", len(request.experiments), MAX_EXPERIMENTS),
            *_too_many("attributes", len(request.attributes), MAX_ATTRIBUTES),
        )
    )
    return request.unit_id, request.experiments, request.attributes


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
    return response.SerializeToString()


def response(
    recommendation_id: str, served_from: ServedFrom, stage_seconds: Mapping[str, float], slate: bytes
) -> bytes:
    """A whole RecommendResponse: what is of this request alone, then the slate; messages join by concatenation."""
    head = recommendation_service_pb2.RecommendResponse(
        recommendation_id=recommendation_id, served_from=_SERVED_FROM[served_from]
    )
    for stage, seconds in stage_seconds.items():
        duration = head.stage_timings.add(stage=stage).duration
        duration.seconds, duration.nanos = divmod(int(seconds * 1e9), 10**9)
    return head.SerializeToString() + slate


def assigned(assignments: Iterable[Assignment]) -> bytes:
    """An AssignVariantsResponse."""
    response = experiment_service_pb2.AssignVariantsResponse()
    for assignment in assignments:
        response.assignments.add(
            experiment=assignment.experiment,
            variant=assignment.variant,
            bucket=assignment.bucket,
            in_experiment=assignment.in_experiment,
            reason=assignment.reason,
        )
    return response.SerializeToString()


def _parsed(message: type[M], data: bytes) -> M:
    try:
        return message.FromString(data)
    except DecodeError as error:
        name = message.DESCRIPTOR.full_name
        raise MalformedMessageError(f"the bytes are not a {name}", {"message": name}) from error


def _refuse(violations: tuple[Violation, ...]) -> None:
    if violations:
        raise InvalidRequestError(violations)


def _possible(item_ids: Iterable[str]) -> tuple[str, ...]:
    """Those that could be an item's; a huge one would make every id of its array as wide."""
    return tuple(item_id for item_id in item_ids if 0 < len(item_id) <= MAX_ID_BYTES and "\0" not in item_id)


def _query_violations(request: recommendation_service_pb2.RecommendRequest) -> Iterator[Violation]:
    yield from _too_long("user_id", request.user_id, MAX_ID_BYTES)
    if request.slate_size < 0:
        yield Violation("slate_size", f"must be 0 (the default) or more, not {request.slate_size}")
    yield from _too_long("placement", request.placement, MAX_PLACEMENT_BYTES)
    yield from _too_many("seed_item_ids", len(request.seed_item_ids), MAX_SEEDS)
    yield from _too_many("exclude_item_ids", len(request.exclude_item_ids), MAX_EXCLUDES)
    if request.exclude_policy and request.exclude_policy not in _POLICIES:
        yield Violation("exclude_policy", f"has no value {request.exclude_policy}")


def _override_violations(
    request: recommendation_service_pb2.RecommendRequest, experiments: Experiments
) -> Iterator[Violation]:
    yield from _too_many("variant_overrides", len(request.variant_overrides), MAX_OVERRIDES)
    for index, override in enumerate(request.variant_overrides[:MAX_OVERRIDES]):
        field = f"variant_overrides[{index}]"
        if max(len(override.experiment), len(override.variant)) > MAX_NAME_LENGTH:
            yield Violation(field, f"names have at most {MAX_NAME_LENGTH} characters")
            continue
        for phrase in experiments.unknown_overrides({override.experiment: override.variant}).values():
            yield Violation(field, phrase[:MAX_DESCRIPTION_LENGTH])


def _too_long(field: str, text: str, limit: int) -> Iterator[Violation]:
    size = len(text.encode())
    if size > limit:
        yield Violation(field, f"must have at most {limit} bytes, not {size}")


def _too_many(field: str, count: int, limit: int) -> Iterator[Violation]:
    if count > limit:
        yield Violation(field, f"must have at most {limit} entries, not {count}")
