"""Experiments: who gets which variant, and what that changes in serving."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from growthbook import Experiment as SdkExperiment
from growthbook import GrowthBook
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.experiments import (
    Experiment,
    Experiments,
    Reason,
    Variant,
)
from recsys.types import ExcludePolicy, ServingParameters

NOW = 1_768_000_000.0
BASE = ServingParameters()
UNITS = [f"customer-{number}" for number in range(20_000)]
HALVES = (Variant("control", 0.5), Variant("treatment", 0.5))


def experiment(name: str = "one", salt: str | None = None, **changes: Any) -> Experiment:
    return Experiment(name=name, salt=salt or name, **{"variants": HALVES, **changes})


def buckets(salt: str, units: list[str] = UNITS) -> np.ndarray[Any, np.dtype[np.int64]]:
    chosen = experiment(salt=salt)
    return np.array([chosen.assign(unit, NOW, {}).bucket for unit in units])


def reasons(one: Experiment, units: list[str] = UNITS, **changes: Any) -> list[Reason]:
    return [Experiments([one]).assign(unit, NOW, **changes)[0].reason for unit in units]


# --- assignment


units = st.text(min_size=1, max_size=20)
weights = st.lists(st.integers(1, 50), min_size=2, max_size=5).map(lambda parts: [x / sum(parts) for x in parts])
layer_edges = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(units, st.text(min_size=1, max_size=12), weights, st.floats(0, 1), layer_edges)
@settings(max_examples=150, deadline=None)
def test_a_growthbook_sdk_gives_the_same_variant(
    unit: str, salt: str, shares: list[float], traffic: float, edges: list[float]
) -> None:
    variants = tuple(Variant(str(number), weight) for number, weight in enumerate(shares))
    ours = experiment("e", salt, variants=variants, traffic=traffic, layer="l", layer_range=(edges[0], edges[1]))
    theirs = SdkExperiment(
        key="e",
        seed=salt,
        variations=[variant.name for variant in variants],
        weights=shares,
        coverage=traffic,
        namespace=("l", edges[0], edges[1]),
        hashVersion=2,
    )
    result = GrowthBook(attributes={"id": unit}).run(theirs)
    answer = ours.assign(unit, NOW, {})
    assert (answer.variant, answer.in_experiment) == (result.value, result.inExperiment)


@given(units, weights, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_growing_the_traffic_moves_nobody_already_in(unit: str, shares: list[float], one: float, other: float) -> None:
    variants = tuple(Variant(str(number), weight) for number, weight in enumerate(shares))
    before, after = (
        experiment(variants=variants, traffic=traffic).assign(unit, NOW, {}) for traffic in sorted([one, other])
    )
    assert not before.in_experiment or after == before


def test_traffic_is_the_share_of_the_units_that_take_part_and_all_of_it_is_everybody() -> None:
    taking_part = reasons(experiment(traffic=0.2)).count(Reason.ASSIGNED)
    assert taking_part / len(UNITS) == pytest.approx(0.2, abs=0.01)
    assert set(reasons(experiment())) == {Reason.ASSIGNED}
    assert set(reasons(experiment(traffic=0.0))) == {Reason.NOT_IN_TRAFFIC}


def test_buckets_of_a_salt_are_uniform() -> None:
    counts = np.bincount(buckets("ranker-off") // 100, minlength=100)
    expected = len(UNITS) / 100
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 60 < chi_square < 149  # 99 degrees of freedom: .001 on either side


@pytest.mark.parametrize(("one", "other"), [("ranker-1", "ranker-2"), ("a", "b"), ("home", "cart")])
def test_two_salts_deal_independently(one: str, other: str) -> None:
    """A version 1 hash fails this for salts that differ in one character."""
    table = np.histogram2d(buckets(one), buckets(other), bins=10, range=[[0, 10_000]] * 2)[0]
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    assert ((table - expected) ** 2 / expected).sum() < 126  # 81 degrees of freedom: .001


def test_inside_a_part_of_a_layer_variants_get_their_weights() -> None:
    variants = (Variant("control", 0.7), Variant("treatment", 0.3))
    one = experiment(variants=variants, layer="home", layer_range=(0.0, 0.5))
    answers = [answer for unit in UNITS if (answer := one.assign(unit, NOW, {})).in_experiment]
    assert len(answers) / len(UNITS) == pytest.approx(0.5, abs=0.015)
    assert sum(answer.variant == "treatment" for answer in answers) / len(answers) == pytest.approx(0.3, abs=0.015)


def test_experiments_with_disjoint_ranges_of_a_layer_share_no_unit_and_cover_all() -> None:
    both = Experiments(
        [
            experiment("one", layer="home", layer_range=(0.0, 0.3)),
            experiment("two", layer="home", layer_range=(0.3, 1.0)),
        ]
    )
    assert {sum(answer.in_experiment for answer in both.assign(unit, NOW)) for unit in UNITS[:3000]} == {1}


def test_a_unit_outside_is_shown_the_control_and_keeps_its_bucket() -> None:
    inside, outside = (experiment(traffic=traffic).assign("customer-0", NOW, {}) for traffic in (1.0, 0.0))
    assert (outside.variant, outside.in_experiment) == ("control", False)
    assert outside.bucket == inside.bucket


def test_an_experiment_runs_from_its_start_until_just_before_its_end() -> None:
    one = experiment(start=NOW, end=NOW + 10)
    times = [NOW - 1, NOW, NOW + 9.9, NOW + 10]
    assert [one.assign("u", time, {}).reason for time in times] == ["not_started", "assigned", "assigned", "ended"]


def test_a_target_wants_every_attribute_with_one_of_its_values() -> None:
    one = experiment(target={"country": ("GB", "DE"), "platform": ("app",)})
    wanted = {"country": "DE", "platform": "app", "age": "40"}
    assert one.assign("u", NOW, wanted).reason == "assigned"
    for attributes in ({}, {"country": "GB"}, wanted | {"country": "FR"}):
        assert one.assign("u", NOW, attributes).reason == "not_targeted"


def test_answers_come_in_the_order_asked_and_an_unknown_experiment_is_no_error() -> None:
    three = Experiments([experiment("one"), experiment("two"), experiment("three")])
    assert [answer.experiment for answer in three.assign("u", NOW)] == ["one", "two", "three"]
    asked = three.assign("u", NOW, ["three", "four", "one"])
    assert [answer.experiment for answer in asked] == ["three", "four", "one"]
    assert (asked[1].variant, asked[1].reason, asked[1].in_experiment) == ("", "unknown_experiment", False)


def test_an_empty_unit_is_in_no_experiment() -> None:
    one = Experiments([experiment(variants=(Variant("control", 0.5, {"use_ranker": False}), HALVES[1]))])
    assert not one.assign("", NOW)[0].in_experiment
    assert one.serving("", NOW, BASE) == (BASE, ())


# --- serving


def test_the_variant_of_a_unit_shapes_how_it_is_served() -> None:
    treated = {"use_ranker": False, "exclude_policy": ExcludePolicy.NONE}
    experiments = Experiments([experiment(variants=(HALVES[0], Variant("treatment", 0.5, treated)))])
    seen = set()
    for unit in UNITS[:20]:
        parameters, pairs = experiments.serving(unit, NOW, BASE)
        assert pairs == (("one", experiments.assign(unit, NOW)[0].variant),)
        changed = ServingParameters(ExcludePolicy.NONE, use_ranker=False)
        assert parameters == (changed if pairs[0][1] == "treatment" else BASE)
        seen.add(pairs[0][1])
    assert seen == {"control", "treatment"}


def test_only_experiments_that_the_unit_is_in_are_named() -> None:
    sets_policy = (Variant("control", 0.5, {"exclude_policy": ExcludePolicy.SEEN}), HALVES[1])
    experiments = Experiments([experiment("off", traffic=0.0, variants=sets_policy), experiment("on")])
    parameters, pairs = experiments.serving("customer-0", NOW, BASE)
    assert parameters == BASE
    assert [name for name, _ in pairs] == ["on"]


def test_where_two_experiments_set_one_parameter_the_later_in_the_file_wins() -> None:
    def setting(name: str, candidates: int) -> Experiment:
        chosen = {"candidates_per_source": candidates}
        return experiment(name, variants=(Variant("a", 0.5, chosen), Variant("b", 0.5, chosen)))

    parameters, _ = Experiments([setting("one", 10), setting("two", 20)]).serving("u", NOW, BASE)
    assert parameters.candidates_per_source == 20


def test_an_override_forces_a_variant_on_anybody_at_any_time() -> None:
    variants = (HALVES[0], Variant("treatment", 0.5, {"use_ranker": False}))
    closed = experiment("closed", traffic=0.0, end=NOW - 1, target={"country": ("GB",)}, variants=variants)
    experiments = Experiments([closed, experiment("open")])
    for unit in ("", *UNITS[:5]):
        parameters, pairs = experiments.serving(unit, NOW, BASE, {"closed": "treatment"})
        assert not parameters.use_ranker
        assert pairs[0] == ("closed", "treatment")
        assert len(pairs) == (2 if unit else 1)
    assert {experiments.serving(unit, NOW, BASE, {"open": "control"})[1] for unit in UNITS[:20]} == {
        (("open", "control"),)
    }


def test_an_unknown_override_is_told_with_the_nearest_name_and_never_served() -> None:
    experiments = Experiments([experiment("ranker-off"), experiment("rebuy")])
    wrong = {"ranker-of": "control", "rebuy": "treatmnt"}
    assert experiments.unknown_overrides({"rebuy": "treatment"}) == {}
    assert experiments.unknown_overrides(wrong) == {
        "ranker-of": "no experiment 'ranker-of', did you mean 'ranker-off'?",
        "rebuy": "no variant 'treatmnt' of 'rebuy', did you mean 'treatment'?",
    }
    with pytest.raises(ValueError, match=r"'ranker-of'.*'treatmnt'"):
        experiments.serving("u", NOW, BASE, wrong)
    assert Experiments().unknown_overrides({"x": "y"}) == {"x": "no experiment 'x': none is configured"}
