"""Rules on the wire: what they mean, and everything that is wrong with them."""

import pytest

from recsys.rules import AllOf, AnyOf, Boost, Cap, Flag, Negated, Pin, Range, Rules, WithinCategory
from recsys.v1 import recommendation_service_pb2, rules_pb2
from recsys_server.codec_rules import condition, rule_violations, rules


def flag():
    return rules_pb2.Condition(flag=rules_pb2.Flag(attribute="vegan", value=True))


def request(**fields):
    return recommendation_service_pb2.RecommendRequest(**fields)


def all_of(*conditions):
    return rules_pb2.Condition(all_of=rules_pb2.Conditions(conditions=conditions))


def nested(depth):
    wire = flag()
    for _ in range(depth - 1):
        wire = rules_pb2.Condition(negated=wire)
    return wire


def wrong(**fields):
    return {violation.field: violation.description for violation in rule_violations(request(**fields))}


def test_every_kind_of_condition_comes_through():
    wire = all_of(
        rules_pb2.Condition(any_of=rules_pb2.AnyOf(attribute="brand", values=["a", "b"])),
        rules_pb2.Condition(range=rules_pb2.Range(attribute="price", low=0)),
        rules_pb2.Condition(range=rules_pb2.Range(attribute="price", high=2.5)),
        flag(),
        rules_pb2.Condition(within_category="home > kitchen"),
        rules_pb2.Condition(negated=all_of()),
    )
    assert condition(wire) == AllOf(
        (
            AnyOf("brand", ("a", "b")),
            Range("price", 0.0, None),
            Range("price", None, 2.5),
            Flag("vegan", value=True),
            WithinCategory("home > kitchen"),
            Negated(AllOf()),
        )
    )


def test_a_request_without_rules_has_none():
    assert rules(request()) == Rules()
    assert not wrong()


def test_rules_come_through_and_have_names_where_none_is_given():
    fields = {
        "filter": flag(),
        "boosts": [
            rules_pb2.Boost(name="push", condition=flag(), factor=2),
            rules_pb2.Boost(condition=flag(), factor=1),
        ],
        "pins": [rules_pb2.Pin(item_id="x", rank=3)],
        "caps": [rules_pb2.Cap(attribute="brand", limit=2)],
        "diversity": 0.5,
    }
    assert not wrong(**fields)
    vegan = Flag("vegan", value=True)
    assert rules(request(**fields)) == Rules(
        vegan,
        (Boost("push", vegan, 2.0), Boost("boost", vegan, 1.0)),
        (Pin("pin", "x", 3),),
        (Cap("cap", "brand", 2),),
        0.5,
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"filter": rules_pb2.Condition()}, "filter"),
        ({"filter": rules_pb2.Condition(any_of=rules_pb2.AnyOf(values=["x"]))}, "filter.any_of.attribute"),
        ({"filter": rules_pb2.Condition(any_of=rules_pb2.AnyOf(attribute="brand"))}, "filter.any_of.values"),
        (
            {"filter": rules_pb2.Condition(any_of=rules_pb2.AnyOf(attribute="b", values=["x"] * 1001))},
            "filter.any_of.values",
        ),
        ({"filter": rules_pb2.Condition(range=rules_pb2.Range(attribute="p", low=float("nan")))}, "filter.range.low"),
        ({"filter": rules_pb2.Condition(flag=rules_pb2.Flag(attribute="x" * 65))}, "filter.flag.attribute"),
        ({"filter": rules_pb2.Condition(within_category="x" * 1025)}, "filter.within_category"),
        ({"filter": all_of(flag(), rules_pb2.Condition())}, "filter.all_of.conditions[1]"),
        ({"boosts": [rules_pb2.Boost(condition=flag(), factor=0)]}, "boosts[0].factor"),
        ({"boosts": [rules_pb2.Boost(condition=flag(), factor=1001)]}, "boosts[0].factor"),
        ({"boosts": [rules_pb2.Boost(condition=flag(), factor=float("nan"))]}, "boosts[0].factor"),
        ({"boosts": [rules_pb2.Boost(factor=1)]}, "boosts[0].condition"),
        ({"boosts": [rules_pb2.Boost(condition=flag(), factor=1, name="ü" * 33)]}, "boosts[0].name"),
        ({"boosts": [rules_pb2.Boost(condition=flag(), factor=1)] * 21}, "boosts"),
        ({"pins": [rules_pb2.Pin(rank=1)]}, "pins[0].item_id"),
        ({"pins": [rules_pb2.Pin(item_id="x")]}, "pins[0].rank"),
        ({"pins": [rules_pb2.Pin(item_id="x" * 257, rank=1)]}, "pins[0].item_id"),
        ({"pins": [rules_pb2.Pin(item_id="x", rank=1)] * 21}, "pins"),
        ({"caps": [rules_pb2.Cap(limit=1)]}, "caps[0].attribute"),
        ({"caps": [rules_pb2.Cap(attribute="x")]}, "caps[0].limit"),
        ({"caps": [rules_pb2.Cap(attribute="x", limit=1)] * 21}, "caps"),
        ({"diversity": 1.01}, "diversity"),
        ({"diversity": float("nan")}, "diversity"),
    ],
)
def test_what_is_outside_its_limits_is_named(fields, field):
    assert list(wrong(**fields)) == [field]


def test_the_least_factor_is_allowed_though_no_float_is_exactly_that():
    for factor in (0.001, 1000):
        assert not wrong(boosts=[rules_pb2.Boost(condition=flag(), factor=factor)])


def test_conditions_nest_to_a_depth_of_eight():
    assert not wrong(filter=nested(8))
    assert "8" in wrong(filter=nested(9))["filter" + ".negated" * 8]
    assert wrong(boosts=[rules_pb2.Boost(condition=nested(9), factor=1)])


def test_a_request_has_a_hundred_conditions_in_all():
    assert not wrong(filter=all_of(*[flag()] * 98), boosts=[rules_pb2.Boost(condition=flag(), factor=1)])
    found = wrong(filter=all_of(*[flag()] * 98), boosts=[rules_pb2.Boost(condition=nested(3), factor=1)])
    assert list(found) == ["boosts[0].condition.negated"]


def test_of_very_many_violations_the_first_twenty_are_told():
    assert len(wrong(filter=all_of(*[rules_pb2.Condition()] * 90))) == 20
