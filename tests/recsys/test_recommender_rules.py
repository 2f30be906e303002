"""Random rules on a random catalogue, through retrieval, ranking and the slate: what may not be there never is."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from recsys.catalogue import ItemCatalogue, TextColumn
from recsys.catalogue_log import ItemChange
from recsys.extend import changed
from recsys.recommender import Identity, Recommender
from recsys.rules import AllOf, AnyOf, Boost, Cap, Flag, Negated, Pin, Range, Rules, WithinCategory
from recsys.types import EventType, ExcludePolicy, Query, ServingParameters

SHOP = worlds.world()
N_ITEMS = len(SHOP.items)
IDS = SHOP.items.ids(np.arange(N_ITEMS))
BRANDS = ("acme", "bolt", "")
PATHS = ("home", "home > kitchen", "home > kitchen > pans", "garden", "")
UNTIL = SHOP.until


@pytest.fixture(scope="module")
def model():
    return worlds.model(SHOP)


leaves = st.one_of(
    st.builds(AnyOf, st.just("brand"), st.lists(st.sampled_from(BRANDS), min_size=1, max_size=2).map(tuple)),
    st.builds(AnyOf, st.just("item_id"), st.lists(st.sampled_from(IDS), min_size=1, max_size=12).map(tuple)),
    st.builds(Range, st.just("price"), st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)),
    st.builds(Flag, st.just("vegan"), st.booleans()),
    st.builds(WithinCategory, st.sampled_from(PATHS)),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.builds(Negated, inner) | st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=4,
)
rules = st.builds(
    Rules,
    condition=st.one_of(st.just(AllOf()), conditions),
    boosts=st.lists(st.builds(Boost, st.just("b"), leaves, st.sampled_from([0.01, 5])), max_size=2).map(tuple),
    pins=st.lists(st.builds(Pin, st.just("p"), st.sampled_from(IDS), st.integers(1, 10)), max_size=2).map(tuple),
    caps=st.lists(
        st.builds(Cap, st.just("c"), st.sampled_from(["brand", "category"]), st.integers(1, 3)), max_size=1
    ).map(tuple),
    diversity=st.sampled_from([0.0, 0.5]),
    fatigue=st.sampled_from([0.0, 1.0]),
)


def holds(condition, item, facts):  # noqa: PLR0911 - one for each kind
    """The meaning of a condition, item by item."""
    match condition:
        case AllOf(parts):
            return all(holds(part, item, facts) for part in parts)
        case Negated(part):
            return not holds(part, item, facts)
        case AnyOf("item_id", values):
            return item in values
        case AnyOf(attribute, values):
            return facts[attribute] != "" and facts[attribute] in values
        case WithinCategory(path):
            return path != "" and f"{facts['category']} > ".startswith(f"{path} > ")
        case Range(attribute, low, high):
            value = facts[attribute]
            return value is not None and (low is None or value >= low) and (high is None or value <= high)
        case Flag(attribute, value):
            return facts[attribute] == value


@st.composite
def catalogues(draw):
    """What is known of every item."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    return {
        item: {
            "brand": str(random.choice(BRANDS)),
            "category": str(random.choice(PATHS)),
            "price": None if random.random() < 0.2 else int(random.integers(0, 10)),
            "vegan": [True, False, None][random.integers(3)],
            "available": [True, False, None][random.choice(3, p=[0.4, 0.2, 0.4])],
            "valid_from_time": [None, UNTIL, UNTIL + 1][random.choice(3, p=[0.8, 0.1, 0.1])],
            "valid_until_time": [None, UNTIL, UNTIL + 1][random.choice(3, p=[0.8, 0.1, 0.1])],
            "deleted": bool(random.random() < 0.1),
        }
        for item in (*IDS, "fresh1", "fresh2")
    }


def servable(facts):
    started = facts["valid_from_time"] is None or facts["valid_from_time"] <= UNTIL
    over = facts["valid_until_time"] is not None and facts["valid_until_time"] <= UNTIL
    return facts["available"] is not False and started and not over and not facts["deleted"]


def told(item, facts):
    return ItemChange(item, {name: fact for name, fact in facts.items() if name != "deleted"}, facts["deleted"])


def history(user):
    num = SHOP.users.num(user)
    return SHOP.events.where(SHOP.events.user_num == num) if num >= 0 else SHOP.events.where(np.zeros(0, np.int64))


def kept_out(query):
    """What the query's own words and the user's history keep out."""
    events, policy = history(query.user_id), query.parameters.exclude_policy
    out = {*query.seed_item_ids, *query.exclude_item_ids}
    if policy != ExcludePolicy.NONE:
        purchased = events.event_type == EventType.PURCHASE
        wanted = purchased if policy == ExcludePolicy.PURCHASED else events.event_type != EventType.IMPRESSION
        out |= set(SHOP.items.ids(events.item_num[wanted]))
    return out


queries = st.builds(
    Query,
    user_id=st.sampled_from(["u00", "u07", "u40", "nobody", ""]),
    slate_size=st.integers(1, 80),
    now=st.just(UNTIL),
    seed_item_ids=st.lists(st.sampled_from(IDS), max_size=2).map(tuple),
    exclude_item_ids=st.lists(st.sampled_from(IDS), max_size=9).map(tuple),
    parameters=st.builds(ServingParameters, exclude_policy=st.sampled_from(ExcludePolicy), use_ranker=st.booleans()),
    rules=rules,
    shown=st.just((("i01", 3), ("i20", 1), ("unknown", 2))),
    seed=st.integers(0, 2),
)


@settings(max_examples=150, deadline=None)
@given(facts=catalogues(), asked=st.lists(queries, min_size=1, max_size=4))
def test_no_item_is_hidden_sold_out_excluded_twice_or_filtered_out_and_every_slate_is_full(model, facts, asked):
    known = changed(model, [told(item, each) for item, each in facts.items()], 1)
    answer = Recommender(Identity("b", UNTIL, 0), known).answer(asked, lambda: 0.0)
    assert not answer.errors
    for query, slate in zip(asked, answer.slates, strict=True):
        items = [item.item_id for item in slate.items]
        free = {
            item
            for item, each in facts.items()
            if servable(each) and holds(query.rules.condition, item, each) and item not in kept_out(query)
        }
        free -= {item for item in facts if known.items.num(item) < 0}  # one that was deleted before it was known
        assert len(items) == min(query.slate_size, len(free)) == len(set(items))
        assert set(items) <= free
        scores = [item.score for item in slate.items]
        assert all(before >= after - 1e-4 for before, after in pairwise(scores))
        pins = {}
        for pin in query.rules.pins:
            if pin.rank <= query.slate_size and pin.rank not in pins and pin.item_id not in pins.values():
                pins[pin.rank] = pin.item_id
        for rank, item in pins.items():
            if item in free and rank <= len(items):
                assert items[rank - 1] == item


def test_a_condition_that_holds_for_one_item_of_the_catalogue_finds_it(model):
    facts = {"brand": TextColumn.of(["rare" if item == "i33" else "" for item in IDS])}
    known = replace(model, catalogue=replace(ItemCatalogue.empty(N_ITEMS), texts=facts))
    for user in ("u00", "nobody"):
        query = Query(user, 20, UNTIL, rules=Rules(AnyOf("brand", ("rare",))))
        slate = Recommender(Identity("b", UNTIL, 0), known).answer([query], lambda: 0.0).slates[0]
        assert [item.item_id for item in slate.items] == ["i33"]
