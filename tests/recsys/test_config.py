"""Configuration files that are wrong, and what is said of them."""

from pathlib import Path

import pytest

from recsys import config
from recsys.errors import ConfigError
from recsys.rules import AllOf, AnyOf, Boost, Cap, Flag, Negated, Pin, Range, Rules, WithinCategory
from recsys.types import EventType, ExcludePolicy, ServingParameters


def load(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / "recsys.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "recsys.toml") in str(error.value)
    return str(error.value)


def test_no_file_and_an_empty_one_mean_the_defaults(tmp_path):
    assert config.load(None) == load(tmp_path, "") == config.Config()


def test_what_a_file_does_not_say_keeps_its_default(tmp_path):
    loaded = load(tmp_path, "[als]\nfactors = 128\n")
    assert loaded.als == config.AlsSection(factors=128)
    assert loaded.ranker == config.RankerSection()


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("[als]\nfaktors = 8", "als.faktors", "als.factors"),
        ("[alls]\nfactors = 8", "alls", "als"),
        ("[placements.home]\nslate_sice = 3", "placements.home.slate_sice", "placements.home.slate_size"),
        ("[event_weights]\npurchases = 3", "event_weights.purchases", "event_weights.purchase"),
        ("[popularity]\nhalf_life = 3", "popularity.half_life", "popularity.half_life_days"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path, text, key, nearest):
    assert f"{key}: unknown key, did you mean {nearest!r}?" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "als.factors = -1",
        "als.factors = 1025",
        "als.factors = 'many'",
        "als.regularization = -0.5",
        "als.half_life_days = inf",
        "popularity.half_life_days = nan",
        "split.cuts = 13",
        "ranker.learning_rate = 1.01",
        "event_weights.view_item = -0.1",
        "retrieval.candidates_per_source = 0",
        "placements.home.slate_size = 501",
        "placements.home.exclude_policy = 'all'",
        "server.max_batch = 0",
        "train.seed = 1.5",
        "als = 3",
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key(tmp_path, text):
    message = refusal(tmp_path, text)
    assert f": {text.split(' ')[0]}: " in message
    assert text.rsplit(" ", maxsplit=1)[1] in message


def test_all_violations_are_told_at_once(tmp_path):
    message = refusal(tmp_path, "als.factors = -1\nranker.trees = 0\ntypo = 3\n[placements.home]\nslate_size = 0")
    for part in ("als.factors: ", "ranker.trees: ", "typo: unknown key", "placements.home.slate_size: "):
        assert part in message


def test_what_is_not_toml_or_not_there_is_refused(tmp_path):
    assert "not TOML" in refusal(tmp_path, "als = [")
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "missing.toml")
    (tmp_path / "latin").write_bytes(b'listen = "\xe9"')
    with pytest.raises(ConfigError, match="not TOML"):
        config.load(tmp_path / "latin")
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path)


def test_a_placement_serves_as_it_says_and_an_unknown_one_as_the_default(tmp_path):
    loaded = load(
        tmp_path,
        """
        retrieval.candidates_per_source = 30
        [placements.default]
        slate_size = 7
        [placements.cart]
        exclude_policy = "purchased"
        use_ranker = false
        """,
    )
    assert loaded.placement("nowhere").slate_size == 7
    assert loaded.serving("nowhere") == ServingParameters(candidates_per_source=30)
    assert loaded.serving("cart") == ServingParameters(ExcludePolicy.PURCHASED, False, 30)
    assert load(tmp_path, "[placements.cart]\nslate_size = 3").placement("nowhere") == config.PlacementSection()


def test_weights_are_told_by_event_type():
    weights = config.EventWeights(purchase=9).by_type()
    assert weights[EventType.PURCHASE] == 9
    assert EventType.REFUND not in weights


RULES = """
[placements.home]
filter = [{ within_category = "home" }, { negated = { attribute = "vegan", flag = false } }]
pins = [{ item_id = "A1", rank = 2 }]
caps = [{ name = "brands", attribute = "brand", limit = 3 }]
diversity = 0.3
fatigue = 0.5
[[placements.home.boosts]]
name = "cheap"
condition = { all_of = [{ attribute = "price", low = 1, high = 2.5 }, { attribute = "brand", any_of = ["a", "b"] }] }
factor = 2
"""


def test_the_rules_of_a_placement_are_those_of_its_table(tmp_path):
    loaded = load(tmp_path, RULES)
    cheap = AllOf((Range("price", 1, 2.5), AnyOf("brand", ("a", "b"))))
    assert loaded.placement("home").rules == Rules(
        condition=AllOf((WithinCategory("home"), Negated(Flag("vegan", value=False)))),
        boosts=(Boost("cheap", cheap, 2.0),),
        pins=(Pin("pin", "A1", 2),),
        caps=(Cap("brands", "brand", 3),),
        diversity=0.3,
        fatigue=0.5,
    )
    assert loaded.placement("nowhere").rules == Rules()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "filter = [{ attribute = 'brand' }]",
            ["placements.home.filter.0", "one of any_of, low or high, flag"],
        ),
        ("filter = [{ attribute = 'x', flag = true, low = 1 }]", ["placements.home.filter.0", "exactly one of"]),
        ("filter = [{ flag = true }]", ["placements.home.filter.0", "give attribute with"]),
        ("filter = [{ negated = { within_categori = 'x' } }]", ["unknown key", "filter.0.negated.within_category"]),
        ("boosts = [{ factor = 2 }]", ["placements.home.boosts.0.condition", "required"]),
        ("boosts = [{ condition = { within_category = 'x' }, factor = 0 }]", ["placements.home.boosts.0.factor"]),
        ("pins = [{ item = 'x', rank = 1 }]", ["placements.home.pins.0.item_id"]),
        ("caps = [{ attribute = 'brand', limit = 0 }]", ["placements.home.caps.0.limit"]),
        ("diversity = 1.5", ["placements.home.diversity"]),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_place(tmp_path, text, parts):
    message = refusal(tmp_path, f"[placements.home]\n{text}")
    for part in parts:
        assert part in message
