"""From scored candidates to slates."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from recsys import slate_kernels
from recsys.candidates import Candidates
from recsys.interactions import Histories
from recsys.ranked_items import FILL
from recsys.slate import Asked, Slots, assemble, popular_items
from recsys.sources import PopularitySource

N_ITEMS = 12


def plain(sizes):
    """Queries that ask for no more than a size."""
    return [Asked(size) for size in sizes]


@st.composite
def asked(draw):
    """A batch, its scored candidates (never an excluded one), sizes and the popular source."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    sizes = draw(st.lists(st.integers(1, 2 * N_ITEMS), min_size=1, max_size=4))
    further = [np.flatnonzero(random.random(N_ITEMS) < random.choice([0, 0.5])).astype(np.int32) for _ in sizes]
    nobody = Histories.of(builders.events(), len(sizes), limit=1)
    batch = builders.batch(nobody, 0, N_ITEMS, further=further)
    query, item = (np.array(column).ravel() for column in np.mgrid[: len(sizes), :N_ITEMS])
    kept = batch.allowed(query, item) & (random.random(len(query)) < draw(st.sampled_from([0, 0.3, 1])))
    n = int(kept.sum())
    blank = np.zeros((n, 1), dtype=np.float32)
    candidates = Candidates(query[kept].astype(np.int32), item[kept].astype(np.int32), blank, blank, blank)
    score = random.integers(-3, 4, n).astype(np.float32)
    return batch, candidates, score, sizes, PopularitySource.of(random.integers(0, 5, N_ITEMS).astype(np.float32))


@settings(max_examples=150, deadline=None)
@given(asked())
def test_a_slate_is_full_whenever_the_catalogue_allows_in_falling_scores_without_what_is_excluded(world):
    batch, candidates, score, sizes, popular = world
    for query, (slate, size) in enumerate(
        zip(assemble(batch, candidates, score, plain(sizes), popular), sizes, strict=True)
    ):
        excluded = set((batch.excluded[batch.excluded // N_ITEMS == query] % N_ITEMS).tolist())
        items = slate.item_num.tolist()
        assert len(items) == min(size, N_ITEMS - len(excluded)) == len(set(items))
        assert not excluded & set(items)
        assert (np.diff(slate.score) <= 0).all()
        assert len(slate.score) == len(slate.position) == len(items)


@settings(max_examples=100, deadline=None)
@given(asked())
def test_the_best_candidates_come_first_and_then_the_most_popular_others(world):
    batch, candidates, score, sizes, popular = world
    for query, (slate, size) in enumerate(
        zip(assemble(batch, candidates, score, plain(sizes), popular), sizes, strict=True)
    ):
        own = np.flatnonzero(candidates.query_num == query)
        best = own[np.argsort(-score[own], kind="stable")][:size]
        assert slate.position.tolist() == [*best, *[FILL] * (len(slate.item_num) - len(best))]
        assert slate.item_num[: len(best)].tolist() == candidates.item_num[best].tolist()
        np.testing.assert_array_equal(slate.score[: len(best)], score[best])
        allowed = batch.allowed(np.full(N_ITEMS, query), np.arange(N_ITEMS))
        others = [item for item in popular.order if allowed[item] and item not in candidates.item_num[best]]
        assert slate.item_num[len(best) :].tolist() == others[: len(slate.item_num) - len(best)]


@settings(max_examples=50, deadline=None)
@given(asked())
def test_the_popular_slate_is_the_most_popular_of_what_is_allowed(world):
    batch, _, _, sizes, popular = world
    for query, size in enumerate(sizes):
        slate = popular_items(batch, query, Asked(size), popular)
        allowed = batch.allowed(np.full(N_ITEMS, query), np.arange(N_ITEMS))
        assert slate.item_num.tolist() == [item for item in popular.order if allowed[item]][:size]
        np.testing.assert_array_equal(slate.score, popular.popularity[slate.item_num])


@st.composite
def proposed(draw):
    """An asked world in which the first source proposes some candidates, ranked in an order of its own."""
    batch, candidates, score, sizes, popular = draw(asked())
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    rank = np.full((len(score), 1), np.nan, dtype=np.float32)
    for query in range(len(sizes)):
        own = random.permutation(np.flatnonzero(candidates.query_num == query))[: draw(st.integers(0, 4))]
        rank[own, 0] = 1 + np.arange(len(own))
    return (
        batch,
        replace(candidates, rank=rank),
        score,
        sizes,
        popular,
        Slots(0, (draw(st.sampled_from([0, 0.1, 0.3, 0.5])), 1.0)),
    )


@settings(max_examples=150, deadline=None)
@given(proposed())
def test_slots_hold_the_best_of_their_source_and_the_others_keep_their_order(world):
    batch, candidates, score, sizes, popular, slots = world
    without = assemble(batch, candidates, score, plain(sizes), popular)
    for query, slate in enumerate(assemble(batch, candidates, score, plain(sizes), popular, [slots])):
        rank = candidates.rank[:, 0]
        own = np.flatnonzero((candidates.query_num == query) & np.isfinite(rank))
        inside = np.isin(slate.position, own)
        for number, place in enumerate(slots.places(sizes[query], discovery=False), start=1):
            assert inside[: place + 1].sum() >= min(number, len(own))
        assert len(slate.item_num) == len(without[query].item_num) == len(set(slate.item_num.tolist()))
        assert (np.diff(slate.score) <= 0).all()
        others = [position for position in slate.position if position not in own and position != FILL]
        assert others == [position for position in without[query].position if position in others]
        lifted = [
            rank[position] for position in slate.position if position in own and position not in without[query].position
        ]
        assert lifted == sorted(lifted)


def test_kept_places_are_spread_evenly_so_that_a_shorter_slate_begins_a_longer_one():
    assert [Slots(0, (0.1, 0)).places(size, discovery=False) for size in (5, 10, 20, 35)] == [
        [],
        [9],
        [9, 19],
        [9, 19, 29],
    ]
    assert Slots(0, (0, 0.3)).places(10, discovery=True) == [3, 6, 9]
    assert Slots(0, (0, 0.3)).places(10, discovery=False) == []


def test_an_item_that_stands_high_by_its_own_score_fills_the_slot():
    assert with_a_kept_place([7, 1, 2, 3, 4]) == [7, 1, 2, 3]
    assert with_a_kept_place([1, 2, 7, 3, 4]) == [1, 2, 7, 3]
    assert with_a_kept_place([1, 2, 3, 5, 7, 4]) == [1, 2, 3, 4]


def with_a_kept_place(ordered):
    """The slate of four of these candidates, in the order of their scores; a source ranked 4 first, then 7."""
    item_num = np.sort(np.array(ordered, dtype=np.int32))
    margin = -np.array([ordered.index(item) for item in item_num], dtype=np.float32)
    rank = np.array([[{4: 1, 7: 2}.get(item, np.nan)] for item in item_num], dtype=np.float32)
    batch = builders.nobodies(1, N_ITEMS)
    query_num, blank = np.zeros(len(ordered), dtype=np.int32), np.ones((1, 1), dtype=np.float32)
    candidates = Candidates(query_num, item_num, rank, rank, blank)
    popular = PopularitySource.of(np.zeros(N_ITEMS, dtype=np.float32))
    (slate,) = assemble(batch, candidates, margin, [Asked(4)], popular, [Slots(0, (0.25, 0))])
    assert slate.score.tolist() == sorted(slate.score.tolist(), reverse=True)
    return slate.item_num.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 5, 40, 700]))
def test_the_best_of_many_candidates_come_first_and_of_equals_the_first(seed, most):
    random = np.random.default_rng(seed)
    query_num = np.sort(random.integers(0, 3, random.integers(1, 1500))).astype(np.int32)
    score = random.integers(-9, 9, len(query_num)).astype(np.float32) * random.choice([0.0, 0.5, -3.0])
    sizes = random.integers(0, most, 4)
    sizes[1] = (query_num == 1).sum()
    nothing_kept = (np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(4, bool), np.zeros((4, 0)))
    rank = np.full((len(score), 1), np.nan, dtype=np.float32)
    starts, position, margin, draw = slate_kernels.best(query_num, score, rank, sizes, *nothing_kept)
    for query, size in enumerate(sizes):
        own = np.flatnonzero(query_num == query)
        expected = own[np.argsort(-score[own], kind="stable")][:size]
        assert position[starts[query] : starts[query + 1]].tolist() == list(expected)
    assert margin.tolist() == score[position].tolist()
    assert not draw.any()


def test_each_candidate_knows_its_sources_and_a_place_without_one_none():
    rank = np.array([[np.nan, np.nan, np.nan], [1, np.nan, np.nan], [3, np.nan, 1]], dtype=np.float32)
    assert slate_kernels.proposers(rank, np.array([2, FILL, 0, 1])).tolist() == [5, -1, 0, 1]
    assert slate_kernels.proposers(rank[:0], np.array([FILL])).tolist() == [-1]
