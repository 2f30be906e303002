"""The experiments file: what it may say, how it is refused, and that its example and its guide can be used."""

from __future__ import annotations

import doctest
import math
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from recsys import config
from recsys.errors import ConfigError
from recsys.experiments import (
    Experiment,
    ExperimentSection,
    ParametersSection,
    Variant,
    VariantSection,
    load,
    parse,
)
from recsys.types import ExcludePolicy, ServingParameters

ROOT = Path(__file__).parents[2]
NOW = 1_768_000_000.0


def refusal(toml: str) -> str:
    with pytest.raises(ConfigError) as error:
        parse(tomllib.loads(toml), "e.toml")
    return str(error.value)


def test_a_short_file_gets_the_documented_defaults() -> None:
    only = parse({"experiments": [{"name": "one", "variants": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}]}).all[0]
    assert (only.salt, only.traffic, only.layer, only.target) == ("one", 1.0, "", {})
    assert (only.start, only.end) == (-math.inf, math.inf)
    assert [variant.weight for variant in only.variants] == pytest.approx([1 / 3] * 3)


def test_every_key_of_the_file_reaches_the_experiment() -> None:
    only = parse(
        tomllib.loads("""
        [[experiments]]
        name = "one"
        salt = "pepper"
        traffic = 0.2
        layer = "home"
        layer_range = [0, 0.5]
        start = 1970-01-02T00:00:00Z
        end = 1970-01-03T00:00:00.5+01:00
        target = { country = ["GB", "DE"] }
        variants = [
          { name = "a", weight = 0.9 },
          { name = "b", weight = 0.1, parameters = { exclude_policy = "seen", candidates_per_source = 7 } },
        ]
    """)
    ).all[0]
    assert only == Experiment(
        name="one",
        salt="pepper",
        variants=(
            Variant("a", 0.9),
            Variant("b", 0.1, {"exclude_policy": ExcludePolicy.SEEN, "candidates_per_source": 7}),
        ),
        traffic=0.2,
        layer="home",
        layer_range=(0.0, 0.5),
        start=86_400.0,
        end=2 * 86_400.0 - 3600 + 0.5,
        target={"country": ("GB", "DE")},
    )


def test_an_empty_file_has_no_experiments() -> None:
    assert parse({}).all == ()
    assert parse({}).assign("u", NOW) == ()


def test_all_faults_of_a_file_stand_in_one_line() -> None:
    message = refusal("""
        [[experiments]]
        name = "one"
        trafic = 0.5
        traffic = 1.5
        start = 2026-01-01T00:00:00
        variants = [{ name = "a", weight = 0.5 }, { name = "a", weight = 0.4 }]
        [[experiments]]
        name = "two"
        layer = "home"
        start = 2026-01-02T00:00:00Z
        end = 2026-01-02T00:00:00Z
        variants = [{ name = "a" }]
        [[experiments]]
        name = "three"
        layer_range = [0.5, 0.1]
        variants = [
          { name = "a", weight = 0 },
          { name = "b", parameters = { use_rankr = true, exclude_policy = "all" } },
        ]
        [[experiments]]
        name = "four"
        layer = "cart"
        variants = [{ name = "a" }, { name = "b", weight = 0.5 }]
        [[experiments]]
        name = "five"
        layer = "home"
        variants = [{ name = "a" }, { name = "b" }]
        [[experiments]]
        name = "five"
        layer = "home"
        layer_range = [0.9, 1.0]
        variants = [{ name = "a" }, { name = "b" }]
    """)
    assert "\n" not in message
    assert message.startswith("e.toml: experiment 'one': ")
    for fault in (
        "trafic: unknown key, did you mean 'traffic'?",
        "traffic: input should be less than or equal to 1, not 1.5",
        "start: 2026-01-01T00:00:00 has no time zone; write 2026-01-01T00:00:00Z for UTC",
        "'a' stands twice",
        "the weights sum to 0.9; make it 1",
        "experiment 'two': end: 2026-01-02T00:00:00+00:00 is not after start",
        "at least 2 are needed, not 1",
        "layer_range: write [from, to] with 0 <= from < to <= 1, not [0.5, 0.1]",
        "variants.0.weight: input should be greater than 0, not 0",
        "variants.1.parameters.use_rankr: unknown key, did you mean 'variants.1.parameters.use_ranker'?",
        "variants.1.parameters.exclude_policy: input should be 'none', 'purchased' or 'seen', not 'all'",
        "only some have a weight",
        "experiment 'five' stands twice",
        "take overlapping ranges of layer 'home', [0.0, 1.0] and [0.9, 1.0]",
    ):
        assert fault in message


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("[[experiment]]", "unknown key, did you mean 'experiments'?"),
        ("experiments = [1]", "experiments.0: input should be a valid dictionary"),
        ("[[experiments]]\nvariants = [{name='a'}, {name='b'}]", "experiment 1: name: field required"),
        ("[[experiments]]\nname = 'e'", "experiment 'e': variants: field required"),
        ("[[experiments]]\nname = 'e'\ntraffic = nan\nvariants = [{name='a'}, {name='b'}]", "traffic"),
        (
            "[[experiments]]\nname = 'e'\nlayer_range = [0, 0.5]\nvariants = [{name='a'}, {name='b'}]",
            "Give the layer's name",
        ),
        ("[[experiments]]\nname = 'e'\ntarget = {country = []}\nvariants = [{name='a'}, {name='b'}]", "target.country"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_fix(toml: str, fault: str) -> None:
    assert fault in refusal(toml)


def test_weights_may_miss_one_by_rounding_only() -> None:
    def file(last: float) -> dict[str, Any]:
        variants = [{"name": str(weight), "weight": weight} for weight in (0.2, 0.3, last)]
        return {"experiments": [{"name": "e", "variants": variants}]}

    for last in (0.4999995, 0.5, 0.5000005):
        assert len(parse(file(last)).all[0].variants) == 3
    for last in (0.499998, 0.500002):
        with pytest.raises(ConfigError, match=r"sum to (0.999998|1.000002); make it 1"):
            parse(file(last))


def test_a_range_of_a_layer_is_free_again_when_its_experiment_has_ended() -> None:
    def file(start: str) -> str:
        return f"""
            [[experiments]]
            name = "one"
            layer = "home"
            end = 2026-02-01T01:00:00+01:00
            variants = [{{ name = "a" }}, {{ name = "b" }}]
            [[experiments]]
            name = "two"
            layer = "home"
            start = {start}
            variants = [{{ name = "a" }}, {{ name = "b" }}]
        """

    assert len(parse(tomllib.loads(file("2026-02-01T00:00:00Z"))).all) == 2
    assert "overlapping" in refusal(file("2026-01-31T23:59:59Z"))


def test_the_version_follows_what_the_file_says_and_not_how() -> None:
    def version(toml: str) -> str:
        return parse(tomllib.loads(toml)).version

    variants = "variants = [{ name = 'a' }, { name = 'b' }]"
    plain = version(f"[[experiments]]\nname = 'e'\n{variants}")
    assert plain == version(f"# a comment\n[[experiments]]\n{variants}\ntraffic = 1\nsalt = 'e'\nname = 'e'")
    assert plain != version(f"[[experiments]]\nname = 'e'\ntraffic = 0.5\n{variants}")
    assert plain != version(
        "[[experiments]]\nname = 'e'\nvariants = [{name='a'}, {name='b', parameters={use_ranker=true}}]"
    )


def test_a_missing_file_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load(tmp_path / "none.toml")


def test_a_variant_may_set_every_serving_parameter_and_nothing_else() -> None:
    assert list(ParametersSection.model_fields) == [parameter.name for parameter in fields(ServingParameters)]


def test_the_example_file_loads_and_documents_every_key() -> None:
    path = ROOT / "config" / "experiments.toml"
    assert len(load(path).all) == 2
    text = path.read_text(encoding="utf-8")
    for section in (ExperimentSection, VariantSection, ParametersSection):
        for key in section.model_fields:
            assert re.search(rf"(^|[#{{,\s]){key}\b", text, re.MULTILINE), key


# --- the guide


def test_the_files_in_the_guide_can_be_used() -> None:
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    blocks = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    files = [parse(block) for block in blocks if "server" not in block]
    assert [len(file.all) for file in files] == [1, 2]
    for block in blocks:
        if "server" in block:
            config.parse(config.Config, block, "recsys.toml")


def test_the_examples_in_the_guide_print_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = ROOT / "docs" / "experiments.md"
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert tried >= 4
    assert failed == 0
