"""Requests for similar items and for an order of given ones; their answers are encoded as those of Recommend."""

from __future__ import annotations

from collections.abc import Iterator

from recsys.experiments import Experiments
from recsys.rules import EVERY_ITEM, Rules
from recsys.types import Query
from recsys.v1 import recommendation_service_pb2
from recsys.vocabulary import MAX_ID_BYTES
from recsys_server import codec_rules
from recsys_server.codec import MAX_EXCLUDES, MAX_SLATE_SIZE, possible
from recsys_server.codec_slate import Assignments
from recsys_server.errors import Violation
from recsys_server.placements import DEFAULT_PLACEMENT, Placements
from recsys_server.wire import parsed, refuse, too_long, too_many

MAX_SIMILAR_TO = 100
MAX_RANKED = 1_000


def similar_query(data: bytes, placements: Placements, now: int) -> Query:
    """The query of a SimilarItemsRequest, for ``Recommender.similar``.

    Args:
        data: the request.
        placements: of which the default one serves.
        now: unix seconds.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: names every field outside its limits.
    """
    request = parsed(recommendation_service_pb2.SimilarItemsRequest, data)
    refuse(_similar_violations(request))
    default = placements.named(DEFAULT_PLACEMENT)
    condition = codec_rules.condition(request.filter) if request.HasField("filter") else EVERY_ITEM
    return Query(
        user_id="",
        slate_size=min(request.slate_size or default.slate_size, MAX_SLATE_SIZE),
        now=now,
        seed_item_ids=possible(request.item_ids),
        exclude_item_ids=possible(request.exclude_item_ids),
        parameters=default.parameters,
        rules=Rules(condition=condition),
    )


def rank_query(data: bytes, placements: Placements, experiments: Experiments, now: int) -> tuple[Query, Assignments]:
    """The query of a RankItemsRequest, for ``Recommender.rank_items``, and the variants that shape it.

    Args:
        data: the request.
        placements: of which the default one serves.
        experiments: those that hold now.
        now: unix seconds.

    Raises:
        MalformedMessageError: data is not such a message.
        InvalidRequestError: names every field outside its limits.
    """
    request = parsed(recommendation_service_pb2.RankItemsRequest, data)
    refuse(_rank_violations(request))
    parameters, assignments = experiments.serving(
        request.user_id, now, placements.named(DEFAULT_PLACEMENT).parameters, {}
    )
    query = Query(request.user_id, len(request.item_ids), now, tuple(request.item_ids), parameters=parameters)
    return query, assignments


def _similar_violations(request: recommendation_service_pb2.SimilarItemsRequest) -> Iterator[Violation]:
    yield from _required("item_ids", len(request.item_ids))
    yield from too_many("item_ids", len(request.item_ids), MAX_SIMILAR_TO)
    if request.slate_size < 0:
        yield Violation("slate_size", f"must be 0 (the default) or more, not {request.slate_size}")
    if request.HasField("filter"):
        yield from codec_rules.filter_violations(request.filter)
    yield from too_many("exclude_item_ids", len(request.exclude_item_ids), MAX_EXCLUDES)


def _rank_violations(request: recommendation_service_pb2.RankItemsRequest) -> Iterator[Violation]:
    yield from too_long("user_id", request.user_id, MAX_ID_BYTES)
    yield from _required("item_ids", len(request.item_ids))
    yield from too_many("item_ids", len(request.item_ids), MAX_RANKED)


def _required(field: str, count: int) -> Iterator[Violation]:
    if count == 0:
        yield Violation(field, "is required")
