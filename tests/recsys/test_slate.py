"""From scored candidates to slates."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from recsys.interactions import Histories
from recsys.slate import FILL, assemble, popular_items
from recsys.sources import Candidates, PopularitySource

N_ITEMS = 12


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
    for query, (slate, size) in enumerate(zip(assemble(batch, candidates, score, sizes, popular), sizes, strict=True)):
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
    for query, (slate, size) in enumerate(zip(assemble(batch, candidates, score, sizes, popular), sizes, strict=True)):
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
        slate = popular_items(batch, query, size, popular)
        allowed = batch.allowed(np.full(N_ITEMS, query), np.arange(N_ITEMS))
        assert slate.item_num.tolist() == [item for item in popular.order if allowed[item]][:size]
        np.testing.assert_array_equal(slate.score, popular.popularity[slate.item_num])
