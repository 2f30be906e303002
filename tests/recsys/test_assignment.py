"""The hash specification, against its published cases and against GrowthBook's own SDK on random inputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from growthbook import core as sdk
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.assignment import (
    bucket,
    bucket_hash,
    bucket_ranges,
    choose_variation,
    equal_weights,
    fnv1a32,
    in_namespace,
)

CASES = os.environ.get("RECSYS_GROWTHBOOK_CASES")

# Lone surrogates too: the SDKs hash UTF-16 code units, whatever they are.
texts = st.text(st.characters(exclude_categories=()), max_size=40)
shares = st.floats(-0.5, 1.5)
odd_weights = st.lists(st.floats(-0.2, 1.2) | st.sampled_from([float("nan"), float("inf")]), max_size=5)
true_weights = st.lists(st.integers(0, 100), min_size=1, max_size=6).filter(any).map(lambda w: [x / sum(w) for x in w])


@pytest.fixture(scope="module")
def cases() -> dict[str, Any]:
    if CASES is None:
        pytest.skip("RECSYS_GROWTHBOOK_CASES does not name GrowthBook's cases.json")
    read: dict[str, Any] = json.loads(Path(CASES).read_text())
    return read


def test_the_published_hash_cases_hold(cases: dict[str, Any]) -> None:
    assert len(cases["hash"]) >= 15
    for seed, value, version, expected in cases["hash"]:
        assert bucket_hash(seed, value, version) == expected


def test_the_published_bucket_range_cases_hold(cases: dict[str, Any]) -> None:
    assert len(cases["getBucketRange"]) >= 13
    for name, arguments, expected in cases["getBucketRange"]:
        flat = [edge for ends in bucket_ranges(*arguments) for edge in ends]
        assert flat == pytest.approx([edge for ends in expected for edge in ends], abs=1e-6), name


def test_the_published_choose_variation_cases_hold(cases: dict[str, Any]) -> None:
    assert len(cases["chooseVariation"]) >= 13
    for name, place, ranges, expected in cases["chooseVariation"]:
        assert choose_variation(place, ranges) == expected, name


def test_the_published_namespace_cases_hold(cases: dict[str, Any]) -> None:
    assert len(cases["inNamespace"]) >= 16
    for name, user_id, namespace, expected in cases["inNamespace"]:
        assert in_namespace(user_id, namespace) is expected, name


def test_the_published_weight_cases_hold(cases: dict[str, Any]) -> None:
    assert len(cases["getEqualWeights"]) >= 6
    for n, expected in cases["getEqualWeights"]:
        assert equal_weights(n) == pytest.approx(expected, abs=1e-6)


def test_the_hash_of_ascii_text_is_standard_fnv1a() -> None:
    """Vectors of the FNV authors, http://www.isthe.com/chongo/src/fnv/test_fnv.c."""
    assert fnv1a32("") == 0x811C9DC5
    assert fnv1a32("a") == 0xE40C292C
    assert fnv1a32("foobar") == 0xBF9CF968


@given(texts, texts, st.sampled_from([1, 2, 3, 99]))
@example("sal", "käse-🧀", 2)
@example("\ud83e", "\uddc0", 2)
@settings(max_examples=300, deadline=None)
def test_hashes_are_those_of_the_sdk_for_any_text(seed: str, value: str, version: int) -> None:
    assert fnv1a32(value) == sdk.fnv1a32(value)
    assert bucket_hash(seed, value, version) == sdk.gbhash(seed, value, version)
    assert bucket(seed, value) / 10_000 == bucket_hash(seed, value, 2)


@given(st.integers(0, 6), shares, st.none() | odd_weights)
@settings(max_examples=200, deadline=None)
def test_ranges_are_those_of_the_sdk_even_for_weights_that_cannot_be(
    n: int, coverage: float, weights: list[float] | None
) -> None:
    assert bucket_ranges(n, coverage, weights) == sdk.getBucketRanges(n, coverage, weights)
    assert equal_weights(n) == sdk.getEqualWeights(n)


@given(true_weights, st.floats(0.98, 1.02), shares, st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_ranges_and_variations_are_those_of_the_sdk(
    shares_of_one: list[float], total: float, coverage: float, place: float
) -> None:
    weights = [share * total for share in shares_of_one]
    ranges = bucket_ranges(len(weights), coverage, weights)
    assert ranges == sdk.getBucketRanges(len(weights), coverage, weights)
    assert choose_variation(place, ranges) == sdk.chooseVariation(place, ranges)


@given(texts, texts, shares, shares)
@settings(max_examples=200, deadline=None)
def test_namespaces_are_those_of_the_sdk(user_id: str, name: str, start: float, end: float) -> None:
    assert in_namespace(user_id, (name, start, end)) == sdk.inNamespace(user_id, (name, start, end))
