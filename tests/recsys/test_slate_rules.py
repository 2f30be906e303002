"""What merchandisers ask of a slate, and what it must not do whatever they ask."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys.candidates import Candidates
from recsys.catalogue import ItemCatalogue, TextColumn
from recsys.interactions import Histories
from recsys.queries import QueryBatch
from recsys.ranked_items import FILL
from recsys.rules import AnyOf, Boost, Cap, Flag, Pin, Range, Rules
from recsys.slate import Asked, Shelf, Slots, assemble, popular_items
from recsys.sources import PopularitySource
from recsys.types import RuleReason

N_ITEMS = 12
IDS = worlds.numbered("i", N_ITEMS)
BRANDS = ("acme", "bolt", "")


@dataclass(frozen=True)
class Shop:
    """One query, its candidates (never one that may not be shown), and the shelf."""

    batch: QueryBatch
    candidates: Candidates
    margin: np.ndarray
    popular: PopularitySource
    shelf: Shelf

    @property
    def allowed(self):
        return np.flatnonzero(self.batch.allowed(np.zeros(N_ITEMS, np.int32), np.arange(N_ITEMS))).tolist()

    def slate(self, slots=(), **asked):
        return assemble(self.batch, self.candidates, self.margin, [Asked(**asked)], self.popular, slots, self.shelf)[0]


def shop(proposed=range(N_ITEMS), margin=None, excluded=(), allowed=None, rank=None, brands=None, seed=0):
    """A shop whose first proposed item has the largest margin, unless margins are given."""
    random = np.random.default_rng(seed)
    item_num = np.sort(np.array(list(proposed), dtype=np.int32))
    batch = builders.batch(
        Histories.of(builders.events(), 1, limit=1), 0, N_ITEMS, further=[np.array(excluded, np.int32)]
    )
    mask = None if allowed is None else np.isin(np.arange(N_ITEMS), list(allowed))
    blank = np.zeros((len(item_num), 1), dtype=np.float32)
    ranks = np.full((len(item_num), 1), np.nan, np.float32) if rank is None else np.array(rank, np.float32)[:, None]
    margins = -item_num.astype(np.float32) if margin is None else np.array(margin, dtype=np.float32)
    names = brands or [BRANDS[item % 3] for item in range(N_ITEMS)]
    catalogue = replace(
        ItemCatalogue.empty(N_ITEMS),
        texts={"brand": TextColumn.of(names)},
        numbers={"price": np.arange(N_ITEMS, dtype=np.float64)},
        flags={"new": (np.arange(N_ITEMS) % 2).astype(np.int8)},
    )
    return Shop(
        replace(batch, allowed_items=mask),
        Candidates(np.zeros(len(item_num), np.int32), item_num, blank, ranks, blank),
        margins,
        PopularitySource.of(np.arange(N_ITEMS, 0, -1).astype(np.float32)),
        Shelf(catalogue, IDS, random.normal(size=(N_ITEMS, 3)).astype(np.float32)),
    )


conditions = st.one_of(
    st.builds(AnyOf, st.just("brand"), st.lists(st.sampled_from(BRANDS[:2]), min_size=1, max_size=2).map(tuple)),
    st.builds(Range, st.just("price"), st.integers(0, 11), st.none() | st.integers(0, 11)),
    st.builds(Flag, st.just("new"), st.booleans()),
)
rules = st.builds(
    Rules,
    boosts=st.lists(st.builds(Boost, st.just("b"), conditions, st.sampled_from([0.001, 0.5, 3, 1000])), max_size=3).map(
        tuple
    ),
    pins=st.lists(
        st.builds(Pin, st.just("p"), st.sampled_from([*IDS.ids(np.arange(N_ITEMS)), "unknown"]), st.integers(1, 14)),
        max_size=4,
    ).map(tuple),
    caps=st.lists(
        st.builds(Cap, st.just("c"), st.sampled_from(["brand", "new", "price", "colour"]), st.integers(1, 4)),
        max_size=2,
    ).map(tuple),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    fatigue=st.sampled_from([0.0, 0.5]),
)


@st.composite
def shops(draw):
    """Any candidates among what may be shown, some of them proposed by a source with slots of its own."""
    excluded = draw(st.sets(st.integers(0, 11), max_size=6))
    allowed = draw(st.none() | st.sets(st.integers(0, 11)))
    free = set(range(N_ITEMS)) - excluded if allowed is None else allowed - excluded
    proposed = [item for item in sorted(free) if draw(st.booleans())]
    margin = draw(st.lists(st.integers(-3, 3), min_size=len(proposed), max_size=len(proposed)))
    order = draw(st.permutations(range(1, len(proposed) + 1)))
    rank = [float(place) if place <= 3 else np.nan for place in order]
    return shop(proposed, margin, sorted(excluded), allowed, rank)


@settings(max_examples=200, deadline=None)
@given(shops(), rules, st.integers(1, 14), st.sampled_from([0, 0.2, 0.5]), st.integers(0, 3))
def test_whatever_the_rules_no_item_comes_twice_or_unallowed_pins_stand_and_the_slate_is_full(
    place, rules, size, share, seed
):
    shown = ((0, 3), (5, 1))
    asked = Asked(size, rules, shown, seed)
    slots = [Slots(0, (share, share))]
    for slate in (
        place.slate(slots, size=size, rules=rules, shown=shown, seed=seed),
        popular_items(place.batch, 0, asked, place.popular, place.shelf),
    ):
        items = slate.item_num.tolist()
        assert len(items) == min(size, len(place.allowed)) == len(set(items))
        assert set(items) <= set(place.allowed)
        assert (np.diff(slate.score) <= 1e-5).all()
        assert np.isfinite(slate.score).all()
        assert len(slate.reasons) == len(slate.propensity) == len(slate.position) == len(items)
        assert ((slate.propensity > 0) & (slate.propensity <= 1)).all()
        own = slate.position != FILL
        assert place.candidates.item_num[slate.position[own]].tolist() == slate.item_num[own].tolist()
        pinned = {}
        for pin in rules.pins:
            item = IDS.num(pin.item_id)
            if item >= 0 and pin.rank <= size and pin.rank not in pinned and item not in pinned.values():
                pinned[pin.rank] = item
        for rank, item in pinned.items():
            assert item not in place.allowed or rank > len(items) or items[rank - 1] == item


@settings(max_examples=200, deadline=None)
@given(shops(), rules, st.integers(1, 12))
def test_a_cap_gives_way_only_where_nothing_else_is_left(place, rules, size):
    cap = Cap("few", "brand", 2)
    slate = place.slate(size=size, rules=replace(rules, caps=(cap,), pins=()))
    brand = np.array([BRANDS[item % 3] for item in range(N_ITEMS)])
    counts = {name: int((brand[slate.item_num] == name).sum()) for name in BRANDS[:2]}
    over = [name for name in counts if counts[name] > cap.limit]
    left = [item for item in place.allowed if item not in slate.item_num and brand[item] not in over]
    under = [item for item in left if not brand[item] or counts[brand[item]] < cap.limit]
    assert not (over and under)
    capped = [RuleReason("few", "capped") in reasons for reasons in slate.reasons]
    assert sum(capped) == sum(max(count - cap.limit, 0) for count in counts.values())


def test_a_boost_multiplies_the_odds_of_what_it_names_and_says_so():
    margin = [2.0, 1.0, 0.5]
    slate = shop([0, 1, 2], margin).slate(
        size=3,
        rules=Rules(boosts=(Boost("push", Range("price", 2, 2), np.e), Boost("sink", Range("price", 0, 0), 0.01))),
    )
    assert slate.item_num.tolist() == [2, 1, 0]
    np.testing.assert_allclose(slate.score, [1.5, 1.0, 2.0 + np.log(0.01)], rtol=1e-5)
    assert slate.reasons == ((RuleReason("push", "boosted"),), (), (RuleReason("sink", "buried"),))


def test_a_pinned_item_that_nobody_proposed_stands_at_its_rank_and_others_keep_their_order():
    slate = shop([0, 1, 2]).slate(size=4, rules=Rules(pins=(Pin("hero", "i09", 2),)))
    assert slate.item_num.tolist() == [0, 9, 1, 2]
    assert slate.reasons[1] == (RuleReason("hero", "pinned"),)
    assert slate.score[1] == slate.score[2]


def test_a_pinned_item_does_not_come_before_its_rank():
    slate = shop([0, 1, 2]).slate(size=3, rules=Rules(pins=(Pin("later", "i00", 3),)))
    assert slate.item_num.tolist() == [1, 2, 0]


def test_a_pin_behind_the_end_of_the_slate_or_of_an_item_that_may_not_be_shown_has_no_effect():
    pins = (Pin("far", "i00", 9), Pin("out", "i05", 1), Pin("gone", "nobody", 1))
    slate = shop([0, 1, 2], excluded=[5]).slate(size=3, rules=Rules(pins=pins))
    assert slate.item_num.tolist() == [0, 1, 2]
    assert slate.reasons == ((), (), ())


def test_a_pin_behind_the_last_item_that_there_is_does_not_move_the_pins_before_it():
    pins = (Pin("last", "i00", 7), Pin("behind", "i01", 8))
    slate = shop([], allowed=range(7)).slate(size=8, rules=Rules(pins=pins))
    assert slate.item_num.tolist() == [1, 2, 3, 4, 5, 6, 0]


def test_of_two_pins_at_one_rank_the_first_counts():
    slate = shop([0, 1, 2]).slate(size=3, rules=Rules(pins=(Pin("a", "i02", 1), Pin("b", "i01", 1))))
    assert slate.item_num.tolist() == [2, 0, 1]


def test_a_cap_counts_pinned_items_wherever_they_stand_and_not_those_without_the_attribute():
    brands = ["acme"] * 4 + [""] * 4 + ["bolt"] * 4
    rules = Rules(caps=(Cap("one each", "brand", 1),), pins=(Pin("p", "i03", 4),))
    slate = shop(range(N_ITEMS), brands=brands).slate(size=6, rules=rules)
    assert slate.item_num.tolist() == [4, 5, 6, 3, 7, 8]


def test_what_a_cap_pushed_back_comes_last_and_says_why():
    brands = ["acme"] * 3 + ["bolt"] + [""] * 8
    slate = shop([0, 1, 2, 3], allowed=range(4), brands=brands).slate(
        size=4, rules=Rules(caps=(Cap("two", "brand", 2),))
    )
    assert slate.item_num.tolist() == [0, 1, 3, 2]
    assert slate.reasons == ((), (), (), (RuleReason("two", "capped"),))


def test_what_was_shown_and_not_clicked_sinks():
    slate = shop([0, 1, 2]).slate(size=3, rules=Rules(fatigue=0.6), shown=((0, 2),))
    assert slate.item_num.tolist() == [1, 0, 2]
    assert slate.reasons[1] == (RuleReason("fatigue", "fatigued"),)
    assert slate.score[1] == pytest.approx(-1.2)


def test_diversity_puts_something_else_between_items_that_are_the_same():
    twins = shop([0, 1, 2], [1.0, 0.9, 0.0])
    factors = np.eye(N_ITEMS, dtype=np.float32)
    factors[1] = 7 * factors[0]
    twins = replace(twins, shelf=replace(twins.shelf, factors=factors))
    assert twins.slate(size=3, rules=Rules(diversity=0.1)).item_num.tolist() == [0, 1, 2]
    slate = twins.slate(size=3, rules=Rules(diversity=0.3))
    assert slate.item_num.tolist() == [0, 2, 1]
    assert slate.reasons == ((), (RuleReason("diversity", "diversified"),), ())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.booleans())
def test_each_place_goes_to_the_candidate_that_adds_most_to_relevance_and_the_determinant(seed, diversity, pinned):
    random = np.random.default_rng(seed)
    place = shop(range(8), random.normal(size=8), seed=seed)
    pins = (Pin("p", "i10", 2),) if pinned else ()
    slate = place.slate(size=6, rules=Rules(diversity=diversity, pins=pins))
    vectors = place.shelf.factors / np.linalg.norm(place.shelf.factors, axis=1, keepdims=True)
    kernel = (vectors @ vectors.T).astype(np.float64) + 1e-3 * np.eye(N_ITEMS)
    falling = np.sort(place.margin)[::-1]
    relevance = (place.margin - falling[0]) / (falling[0] - falling[5])
    chosen: list[int] = []
    for item in slate.item_num.tolist():
        if item < 8:
            value = {}
            for each in set(range(8)) - set(chosen):
                one = np.linalg.slogdet(kernel[np.ix_([*chosen, each], [*chosen, each])])[1]
                before = np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])[1] if chosen else 0.0
                value[each] = (1 - diversity) * relevance[each] + diversity * max(one - before, np.log(1e-3))
            assert value[item] == pytest.approx(max(value.values()), abs=0.02)
        chosen.append(item)


def test_items_of_which_nothing_is_known_are_like_no_other():
    blank = shop([0, 1, 2], [1.0, 0.9, 0.0])
    blank = replace(blank, shelf=replace(blank.shelf, factors=np.zeros((N_ITEMS, 3), np.float32)))
    assert blank.slate(size=3, rules=Rules(diversity=0.9)).item_num.tolist() == [0, 1, 2]


def test_exploration_draws_in_proportion_to_the_inverse_rank_and_reports_that_probability():
    rank = [np.nan, np.nan, 1, 2, 3]
    place = shop(range(5), rank=rank)
    slots = [Slots(0, (0.5, 0.5))]
    for rules in (Rules(), Rules(pins=(Pin("p", "i09", 1),))):
        first, chance = [], {2: 6 / 11, 3: 3 / 11, 4: 2 / 11}
        for seed in range(1, 1501):
            slate = place.slate(slots, size=2, rules=rules, seed=seed)
            drawn = int(slate.item_num[1])
            assert slate.propensity[1] == pytest.approx(chance[drawn])
            assert slate.reasons[1] == (RuleReason("exploration", "explored"),)
            first.append(drawn)
        for item, expected in chance.items():
            assert first.count(item) / 1500 == pytest.approx(expected, abs=0.04)
        assert place.slate(slots, size=2, rules=rules).item_num[1] == 2


def test_a_second_draw_is_of_what_is_left():
    place = shop(range(6), rank=[np.nan, np.nan, np.nan, 1, 2, 3])
    slate = place.slate([Slots(0, (0.5, 0.5))], size=4, seed=5)
    weights = {3: 1.0, 4: 1 / 2, 5: 1 / 3}
    first, second = int(slate.item_num[1]), int(slate.item_num[3])
    assert slate.propensity[1] == pytest.approx(weights[first] / sum(weights.values()))
    assert slate.propensity[3] == pytest.approx(weights[second] / (sum(weights.values()) - weights[first]))
    assert slate.propensity[[0, 2]].tolist() == [1, 1]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3), st.integers(1, 14), st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_a_rule_that_concerns_no_item_changes_no_slate(chance, seed, size, share):
    random = np.random.default_rng(chance)
    proposed = np.flatnonzero(random.random(N_ITEMS) < 0.8)
    rank = np.full(len(proposed), np.nan)
    own = random.permutation(len(proposed))[: random.integers(0, 6)]
    rank[own] = 1 + np.arange(len(own))
    place = shop(proposed, random.normal(size=len(proposed)), rank=rank)
    slots = [Slots(0, (share, share))]
    plain = place.slate(slots, size=size, seed=seed)
    ruled = place.slate(slots, size=size, seed=seed, rules=Rules(boosts=(Boost("none", Range("price", -2, -1), 2),)))
    assert plain.reasons == ruled.reasons
    for name in ("item_num", "score", "position", "propensity"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(ruled, name), err_msg=name)


def test_where_popular_items_may_not_fill_up_the_slate_ends():
    slate = shop([3, 4]).slate(size=5, fill=False, rules=Rules(pins=(Pin("p", "i09", 1),)))
    assert slate.item_num.tolist() == [9, 3, 4]
    assert shop([3, 4]).slate(size=5, fill=False).item_num.tolist() == [3, 4]


def test_rules_move_the_popular_slate_too():
    place = shop([])
    boost = Boost("push", Range("price", 11, 11), 1000)
    slate = popular_items(place.batch, 0, Asked(3, Rules(boosts=(boost,))), place.popular, place.shelf)
    assert slate.item_num.tolist() == [11, 0, 1]
    assert slate.reasons[0] == (RuleReason("push", "boosted"),)
