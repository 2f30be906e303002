"""Rules on the wire to those of the domain, with every limit of the proto file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from recsys.rules import (
    EVERY_ITEM,
    AllOf,
    AnyOf,
    Boost,
    Cap,
    Condition,
    Flag,
    Negated,
    Pin,
    Range,
    Rules,
    WithinCategory,
)
from recsys.v1 import recommendation_service_pb2, rules_pb2
from recsys.vocabulary import MAX_ID_BYTES
from recsys_server.errors import Violation
from recsys_server.wire import too_long, too_many

MAX_RULES = 20
MAX_CONDITIONS = 100
MAX_DEPTH = 8
MAX_VALUES = 1_000
MAX_NAME_BYTES = 64
MAX_PATH_BYTES = 1_024
LEAST_FACTOR, MOST_FACTOR = 0.001, 1_000
FACTOR_ROUNDING = 1e-6
"""A float of the wire is not quite the number that was written."""
MAX_VIOLATIONS = 20  # more would outgrow the trailers


def has_rules(request: recommendation_service_pb2.RecommendRequest) -> bool:
    """Whether a request brings rules of its own; most do not, and need not be looked at further."""
    named = request.boosts or request.pins or request.caps
    return bool(named) or request.HasField("filter") or request.HasField("diversity")


def rules(request: recommendation_service_pb2.RecommendRequest) -> Rules:
    """The rules of a request without violations."""
    return Rules(
        condition=condition(request.filter) if request.HasField("filter") else EVERY_ITEM,
        boosts=tuple(Boost(wire.name or "boost", condition(wire.condition), wire.factor) for wire in request.boosts),
        pins=tuple(Pin(wire.name or "pin", wire.item_id, wire.rank) for wire in request.pins),
        caps=tuple(Cap(wire.name or "cap", wire.attribute, wire.limit) for wire in request.caps),
        diversity=request.diversity,
    )


def condition(wire: rules_pb2.Condition) -> Condition:
    """A condition without violations; one that is not set holds for every item."""
    match wire.WhichOneof("kind"):
        case "any_of":
            return AnyOf(wire.any_of.attribute, tuple(wire.any_of.values))
        case "range":
            low = wire.range.low if wire.range.HasField("low") else None
            high = wire.range.high if wire.range.HasField("high") else None
            return Range(wire.range.attribute, low, high)
        case "flag":
            return Flag(wire.flag.attribute, wire.flag.value)
        case "within_category":
            return WithinCategory(wire.within_category)
        case "negated":
            return Negated(condition(wire.negated))
    return AllOf(tuple(map(condition, wire.all_of.conditions)))


def rule_violations(request: recommendation_service_pb2.RecommendRequest) -> Iterator[Violation]:
    """What is wrong with a request's rules: the first 20 of it."""
    return islice(_all_violations(request), MAX_VIOLATIONS) if has_rules(request) else iter(())


def filter_violations(wire: rules_pb2.Condition) -> Iterator[Violation]:
    """What is wrong with the filter of a request that is set and has no other rules: the first 20 of it."""
    return islice(_condition_violations("filter", wire, [0], MAX_DEPTH), MAX_VIOLATIONS)


def _all_violations(request: recommendation_service_pb2.RecommendRequest) -> Iterator[Violation]:
    count = [0]
    if request.HasField("filter"):
        yield from _condition_violations("filter", request.filter, count, MAX_DEPTH)
    for field in ("boosts", "pins", "caps"):
        named = getattr(request, field)
        yield from too_many(field, len(named), MAX_RULES)
        for index, wire in enumerate(named[:MAX_RULES]):
            yield from too_long(f"{field}[{index}].name", wire.name, MAX_NAME_BYTES)
    for index, boost in enumerate(request.boosts[:MAX_RULES]):
        yield from _boost_violations(f"boosts[{index}]", boost, count)
    for index, pin in enumerate(request.pins[:MAX_RULES]):
        yield from _pin_violations(f"pins[{index}]", pin)
    for index, cap in enumerate(request.caps[:MAX_RULES]):
        yield from _attribute_violations(f"caps[{index}]", cap.attribute)
        if cap.limit < 1:
            yield Violation(f"caps[{index}].limit", f"must be 1 or more, not {cap.limit}")
    if not 0 <= request.diversity <= 1:
        yield Violation("diversity", f"must be 0 to 1, not {request.diversity:g}")


def _boost_violations(field: str, boost: rules_pb2.Boost, count: list[int]) -> Iterator[Violation]:
    if not LEAST_FACTOR * (1 - FACTOR_ROUNDING) <= boost.factor <= MOST_FACTOR:
        yield Violation(f"{field}.factor", f"must be {LEAST_FACTOR} to {MOST_FACTOR}, not {boost.factor:g}")
    yield from _condition_violations(f"{field}.condition", boost.condition, count, MAX_DEPTH)


def _pin_violations(field: str, pin: rules_pb2.Pin) -> Iterator[Violation]:
    if not pin.item_id:
        yield Violation(f"{field}.item_id", "is required")
    yield from too_long(f"{field}.item_id", pin.item_id, MAX_ID_BYTES)
    if pin.rank < 1:
        yield Violation(f"{field}.rank", f"must be 1 or more, not {pin.rank}")


def _condition_violations(field: str, wire: rules_pb2.Condition, count: list[int], depth: int) -> Iterator[Violation]:
    """What is wrong with a condition and those in it; ``count[0]`` are those of the request so far."""
    count[0] += 1
    if count[0] > MAX_CONDITIONS:
        if count[0] == MAX_CONDITIONS + 1:
            yield Violation(field, f"is one too many: a request has at most {MAX_CONDITIONS} conditions")
        return
    if depth == 0:
        yield Violation(field, f"nests too deep: conditions have at most {MAX_DEPTH} levels")
        return
    kind = wire.WhichOneof("kind")
    match kind:
        case "all_of":
            yield from too_many(f"{field}.all_of.conditions", len(wire.all_of.conditions), MAX_CONDITIONS)
            for index, part in enumerate(wire.all_of.conditions[:MAX_CONDITIONS]):
                yield from _condition_violations(f"{field}.all_of.conditions[{index}]", part, count, depth - 1)
        case "negated":
            yield from _condition_violations(f"{field}.negated", wire.negated, count, depth - 1)
        case "within_category":
            yield from too_long(f"{field}.within_category", wire.within_category, MAX_PATH_BYTES)
        case "any_of" | "range" | "flag":
            yield from _leaf_violations(f"{field}.{kind}", getattr(wire, kind))
        case _:
            yield Violation(field, "must be of one kind: any_of, range, flag, within_category, all_of or negated")


def _leaf_violations(field: str, leaf: rules_pb2.AnyOf | rules_pb2.Range | rules_pb2.Flag) -> Iterator[Violation]:
    yield from _attribute_violations(field, leaf.attribute)
    if isinstance(leaf, rules_pb2.AnyOf):
        if not leaf.values:
            yield Violation(f"{field}.values", "is required")
        yield from too_many(f"{field}.values", len(leaf.values), MAX_VALUES)
    if isinstance(leaf, rules_pb2.Range):
        for bound in ("low", "high"):
            if math.isnan(getattr(leaf, bound)):
                yield Violation(f"{field}.{bound}", "must be a number")


def _attribute_violations(field: str, attribute: str) -> Iterator[Violation]:
    if not attribute:
        yield Violation(f"{field}.attribute", "is required")
    yield from too_long(f"{field}.attribute", attribute, MAX_NAME_BYTES)
