"""Recommend on the wire: a request to the domain's values."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from recsys.experiments import Experiments
from recsys.rules import Rules
from recsys.types import ExcludePolicy, Query, ServingParameters
from recsys.v1 import recommendation_service_pb2
from recsys.vocabulary import MAX_ID_BYTES
from recsys_server import codec_rules
from recsys_server.codec_events import recent_events
from recsys_server.codec_slate import Assignments
from recsys_server.errors import Violation
from recsys_server.placements import DEFAULT_PLACEMENT, Placement, Placements
from recsys_server.wire import parsed, refuse, too_long, too_many

MAX_SLATE_SIZE = 500
MAX_SEEDS = 100
MAX_EXCLUDES = 5_000
MAX_OVERRIDES = 16
MAX_PLACEMENT_BYTES = 64
MAX_NAME_LENGTH = 64
MAX_DESCRIPTION_LENGTH = 100  # with 16 overrides, more would outgrow the trailers
MAX_RECENT_EVENTS = 100
SEED_SECONDS = 3_600

_POLICIES = {
    recommendation_service_pb2.EXCLUDE_POLICY_NONE: ExcludePolicy.NONE,
    recommendation_service_pb2.EXCLUDE_POLICY_PURCHASED: ExcludePolicy.PURCHASED,
    recommendation_service_pb2.EXCLUDE_POLICY_SEEN: ExcludePolicy.SEEN,
}
_PLAIN = frozenset({"slate_size", "placement", "exclude_policy", "explain"})
"""Fields of which a page consists; most requests set no other one but their user."""
FEW_BYTES = 128
"""Of a request without its user, that may be one of many alike."""
USER_ID, ONE_BYTE = 0x0A, 0x7F
"""The tag of a request's user, and the largest size that is written in one byte."""


@dataclass(frozen=True, slots=True)
class _Page:
    """What a request asks, whoever asks, besides its lists: items, events, rules and variants of its own.

    Attributes:
        plain: whether that is all: it sets no other field, and breaks no limit.
        violations: of the limits of all fields but ``user_id`` and ``variant_overrides``.
        name: of the placement.
        placement: how it is served.
        slate_size: items wanted.
        policy: that the request names; None where it leaves it to the placement and to experiments.
        parameters: of the placement, with this policy.
        explain: whether the slate comes with all its reasons.
    """

    plain: bool
    violations: tuple[Violation, ...]
    name: str
    placement: Placement
    slate_size: int
    policy: ExcludePolicy | None
    parameters: ServingParameters
    explain: bool


class Request(NamedTuple):
    """What a RecommendRequest asks; a tuple, as one is made for each request.

    Attributes:
        query: with the events and rules of the request.
        assignments: the variants that shape it.
        placement: where the slate will stand.
    """

    query: Query
    assignments: Assignments
    placement: str


def request(data: bytes, placements: Placements, experiments: Experiments, now: int) -> Request:
    """The request in some bytes. It wins over the variants, and these over the placement.

    Args:
        now: unix seconds.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: names every field outside its limits.
    """
    user_id, rest = _halves(data)
    if len(rest) <= FEW_BYTES and (page := _known_page(rest, placements)).plain:
        return _request(user_id, page, experiments, {}, now)
    wire = parsed(recommendation_service_pb2.RecommendRequest, data)
    page = _page(wire, placements)
    refuse((*too_long("user_id", wire.user_id, MAX_ID_BYTES), *page.violations, *_unknown_variants(wire, experiments)))
    overrides = {override.experiment: override.variant for override in wire.variant_overrides}
    made = _request(wire.user_id, page, experiments, overrides, now)
    return made._replace(query=_with_lists(made.query, wire))


def _halves(data: bytes) -> tuple[str, bytes]:
    """The user and all else of a request, if it begins with its user, as protobuf writes it, and the id is short."""
    end = 2 + data[1] if len(data) > 1 and data[0] == USER_ID else 0
    if 0 < end <= ONE_BYTE and end <= len(data):
        try:
            return data[2:end].decode(), data[end:]
        except UnicodeDecodeError:
            return "", data
    return "", data


def _request(user_id: str, page: _Page, experiments: Experiments, overrides: dict[str, str], now: int) -> Request:
    parameters = page.parameters
    assignments: Assignments = ()
    if experiments.all:
        parameters, assignments = experiments.serving(user_id, now, page.placement.parameters, overrides)
        if page.policy is not None:
            parameters = replace(parameters, exclude_policy=page.policy)
    query = Query(
        user_id=user_id,
        slate_size=page.slate_size,
        now=now,
        parameters=parameters,
        rules=page.placement.rules,
        explain=page.explain,
        seed=_seed(user_id, now),
    )
    return Request(query, assignments, page.name)


def _page(wire: recommendation_service_pb2.RecommendRequest, placements: Placements) -> _Page:
    """What a request without its user asks."""
    placement = placements.named(wire.placement)
    policy = _POLICIES.get(wire.exclude_policy)
    violations = (*_plain_violations(wire), *_further_violations(wire))
    return _Page(
        plain=not violations and all(field.name in _PLAIN for field, _ in wire.ListFields()),
        violations=violations,
        name=wire.placement or DEFAULT_PLACEMENT,
        placement=placement,
        slate_size=min(wire.slate_size or placement.slate_size, MAX_SLATE_SIZE),
        policy=policy,
        parameters=replace(placement.parameters, exclude_policy=policy) if policy is not None else placement.parameters,
        explain=wire.explain,
    )


@lru_cache(maxsize=256)
def _known_page(data: bytes, placements: Placements) -> _Page:
    """The same, of the bytes: most requests differ in nothing but their users."""
    wire = parsed(recommendation_service_pb2.RecommendRequest, data)
    page = _page(wire, placements)
    # What sets a field twice, as the user to nothing, is not what is written again.
    return page if wire.SerializeToString() == data else replace(page, plain=False)


def _with_lists(query: Query, wire: recommendation_service_pb2.RecommendRequest) -> Query:
    """A query with the items, events and rules of its request."""
    return query._replace(
        seed_item_ids=possible(wire.seed_item_ids),
        exclude_item_ids=possible(wire.exclude_item_ids),
        live_events=recent_events(wire.recent_events, query.now),
        rules=_rules(wire, query.rules) if codec_rules.has_rules(wire) else query.rules,
    )


def _seed(user_id: str, now: int) -> int:
    """What draws the explored items: the same for a user within an hour, so that a page that is loaded again stands."""
    return 1 + zlib.crc32(user_id.encode(), _hour(now // SEED_SECONDS))


@lru_cache(maxsize=4)
def _hour(number: int) -> int:
    return zlib.crc32(b"%d " % number)


def _rules(wire: recommendation_service_pb2.RecommendRequest, placement: Rules) -> Rules:
    """The rules of a placement with those of a request."""
    rules = placement.joined_by(codec_rules.rules(wire))
    return replace(rules, diversity=wire.diversity) if wire.HasField("diversity") else rules


def possible(item_ids: Iterable[str]) -> tuple[str, ...]:
    """Those that could be an item's; a huge one would make every id of its array as wide."""
    return tuple(item_id for item_id in item_ids if 0 < len(item_id) <= MAX_ID_BYTES and "\0" not in item_id)


def _plain_violations(request: recommendation_service_pb2.RecommendRequest) -> Iterator[Violation]:
    if request.slate_size < 0:
        yield Violation("slate_size", f"must be 0 (the default) or more, not {request.slate_size}")
    yield from too_long("placement", request.placement, MAX_PLACEMENT_BYTES)
    if request.exclude_policy and request.exclude_policy not in _POLICIES:
        yield Violation("exclude_policy", f"has no value {request.exclude_policy}")


def _further_violations(request: recommendation_service_pb2.RecommendRequest) -> Iterator[Violation]:
    yield from too_many("seed_item_ids", len(request.seed_item_ids), MAX_SEEDS)
    yield from too_many("recent_events", len(request.recent_events), MAX_RECENT_EVENTS)
    yield from too_many("exclude_item_ids", len(request.exclude_item_ids), MAX_EXCLUDES)
    yield from codec_rules.rule_violations(request)


def _unknown_variants(
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
