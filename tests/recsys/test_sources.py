"""Each candidate source against a dense computation of all its scores, on random small shops."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys.candidates import given as given_pairs
from recsys.candidates import rank_within
from recsys.fetching import top
from recsys.item_index import IndexChoice, ItemIndex
from recsys.queries import QueryBatch
from recsys.retriever import retrieve
from recsys.snapshot import Snapshot
from recsys.sources import AlsSource, CandidateSource, PopularitySource, Proposal, RepeatsSource, SimilaritySource
from recsys.types import SECONDS_PER_DAY, EventType, ExcludePolicy, Float64s

TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


def half_lives(age: int, half_life_days: float) -> float:
    return 0.5 ** (max(age, 0) / SECONDS_PER_DAY / half_life_days)


def entries(batch: QueryBatch, query: int) -> list[tuple]:
    """(item, type, age, session) of a query's history."""
    part = slice(batch.history.indptr[query], batch.history.indptr[query + 1])
    columns = (batch.history.item_num, batch.history.event_type, batch.history.time, batch.history.session_num)
    rows = zip(*(column[part].tolist() for column in columns), strict=True)
    return [(item, event_type, int(batch.now[query]) - time, session) for item, event_type, time, session in rows]


def als_scores(source: AlsSource, batch: QueryBatch, query: int) -> Float64s:
    if batch.user_num[query] >= 0:
        return source.item_factors @ source.user_factors[batch.user_num[query]].astype(np.float64)
    confidence = np.zeros(batch.n_items)
    for item, event_type, age, _ in entries(batch, query):
        since = age - int(batch.now[query]) + source.confidence.until
        weight = source.confidence.weights[event_type] * half_lives(since, source.confidence.half_life_days)
        confidence[item] += source.confidence.alpha * weight
    known = np.flatnonzero(confidence)
    factors = source.item_factors[known].astype(np.float64)
    left = source.gram + factors.T @ (confidence[known, None] * factors)
    return source.item_factors @ np.linalg.solve(left, factors.T @ (1 + confidence[known]))


def similarity_scores(source: SimilaritySource, batch: QueryBatch, query: int) -> Float64s:
    scores = np.zeros(batch.n_items)
    for item, event_type, age, _ in entries(batch, query):
        weight = source.weights[event_type] * half_lives(age, source.half_life_days)
        scores += weight * source.neighbours[[item]].toarray()[0]
    return scores


def repeats_scores(source: RepeatsSource, batch: QueryBatch, query: int) -> Float64s:
    youngest: dict[tuple, int] = {}
    for item, event_type, age, session in entries(batch, query):
        if source.types[event_type]:
            youngest[item, session] = min(age, youngest.get((item, session), age))
    scores = np.zeros(batch.n_items)
    for (item, _), age in youngest.items():
        scores[item] += half_lives(age, source.half_life_days)
    return scores


def popularity_scores(source: PopularitySource, _batch: QueryBatch, _query: int) -> Float64s:
    return source.popularity.astype(np.float64)


ORACLES: dict[str, Callable[..., Float64s]] = {
    "als": als_scores,
    "item_similarity": similarity_scores,
    "popularity": popularity_scores,
    "repeats": repeats_scores,
}
PROPOSES_ONLY_POSITIVE = {"item_similarity", "repeats"}


@st.composite
def asked(draw: st.DrawFn) -> tuple[Snapshot, QueryBatch, int]:
    """What is known of a random shop, a batch of queries, and how many items each source is asked for."""
    shop = worlds.world(
        seed=draw(st.integers(0, 1000)),
        n_users=draw(st.integers(3, 12)),
        n_items=draw(st.integers(8, 30)),
        n_events=draw(st.integers(20, 200)),
        static=draw(st.booleans()),
    )
    known = worlds.snapshot(shop, factors=3)
    users = draw(st.lists(st.integers(-1, len(shop.users) - 1), min_size=1, max_size=5))
    n = len(users)
    seeds = draw(st.lists(st.lists(items_of(shop), max_size=2), min_size=n, max_size=n))
    further = draw(st.lists(st.lists(items_of(shop), max_size=8), min_size=n, max_size=n))
    user_num, now = np.array(users, dtype=np.int32), np.full(n, shop.until + draw(st.integers(0, 900_000)))
    history = known.histories.rows(user_num).preceded_by(list(map(int32s, seeds)), now, EventType.VIEW_ITEM)
    batch = builders.batch(
        history,
        int(now[0]),
        known.n_items,
        np.where([len(items) > 0 for items in seeds], -1, user_num).astype(np.int32),
        draw(st.lists(st.sampled_from(ExcludePolicy), min_size=n, max_size=n)),
        list(map(int32s, further)),
    )
    return known, batch, draw(st.sampled_from([1, 3, 10, 40]))


def items_of(shop: worlds.World) -> st.SearchStrategy[int]:
    return st.integers(0, len(shop.items) - 1)


def int32s(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def proposals(world: tuple[Snapshot, QueryBatch, int]) -> list[tuple[CandidateSource, Proposal, list[Float64s]]]:
    """Each source, what it proposes, and the dense scores of each query."""
    known, batch, k = world
    return [
        (source, source.propose(batch, k), [ORACLES[source.name](source, batch, row) for row in range(len(batch))])
        for source in known.sources
    ]


@settings(max_examples=60, deadline=None)
@given(asked())
def test_a_source_proposes_its_best_items_that_are_not_excluded_best_first(world):
    _, batch, k = world
    for source, proposal, dense in proposals(world):
        assert proposal.item_num.shape == proposal.score.shape
        for query, scores in enumerate(dense):
            row = proposal.item_num[query]
            items = row[: (row >= 0).sum()]
            assert (row[len(items) :] == -1).all(), "padding stands at the end"
            assert len(set(items.tolist())) == len(items)
            allowed = batch.allowed(np.full(batch.n_items, query), np.arange(batch.n_items))
            assert allowed[items].all()
            if source.name in PROPOSES_ONLY_POSITIVE:
                allowed &= scores > 1e-30
            if source.name == "als" and not scores.any():
                allowed[:] = False
            best = np.sort(scores[allowed])[::-1][:k]
            np.testing.assert_allclose(proposal.score[query, : len(items)], best, **TOLERANCE)
            np.testing.assert_allclose(scores[items], best, **TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(asked())
def test_a_source_scores_any_pair_as_it_would_in_a_proposal(world):
    _, batch, _ = world
    query, item = (np.array(column).ravel() for column in np.mgrid[: len(batch), : batch.n_items])
    for _, proposal, dense in proposals(world):
        np.testing.assert_allclose(builders.score_of(proposal, query, item), np.concatenate(dense), **TOLERANCE)


@settings(max_examples=40, deadline=None)
@given(asked())
def test_candidates_are_the_union_of_the_proposals_with_each_source_s_score_and_place(world):
    known, batch, k = world
    candidates = retrieve(known.sources, batch, k)
    pairs = list(zip(candidates.query_num.tolist(), candidates.item_num.tolist(), strict=True))
    places: dict[tuple[int, int], dict[int, int]] = {}
    for column, (_, proposal, dense) in enumerate(proposals(world)):
        for query, row in enumerate(proposal.item_num):
            for place, item in enumerate(row[row >= 0].tolist(), start=1):
                places.setdefault((query, item), {})[column] = place
            proposed = proposal.score[query, : (row >= 0).sum()]
            scale = proposed[: min(len(proposed), 20)][-1:]
            expected = scale[0] if len(scale) and scale[0] > 1e-6 * proposed[0] else 1
            assert candidates.scale[query, column] == pytest.approx(expected, rel=1e-3)
        scores = [dense[query][item] for query, item in pairs]
        np.testing.assert_allclose(candidates.score[:, column], scores, **TOLERANCE)
    assert pairs == sorted(places)
    rows = candidates.rank.tolist()
    found = [{column: rank for column, rank in enumerate(row) if np.isfinite(rank)} for row in rows]
    assert found == [places[pair] for pair in pairs]
    np.testing.assert_allclose(candidates.scaled * candidates.scale[candidates.query_num], candidates.score, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(asked(), st.integers(0, 1000))
def test_the_blend_weighs_sources_by_whether_purchases_may_come_again(world, seed):
    known, batch, k = world
    weights = np.random.default_rng(seed).random((3, len(known.sources))).astype(np.float32)
    candidates = retrieve(known.sources, batch, k)
    expected = [
        sum(scaled * weights[int(batch.mode[query])])
        for query, scaled in zip(candidates.query_num, candidates.scaled, strict=True)
    ]
    np.testing.assert_allclose(candidates.blend(weights, batch.mode), expected, rtol=1e-4, atol=1e-4)


def test_what_an_approximate_index_does_not_find_is_left_out():
    shop = worlds.world()
    known = worlds.snapshot(shop)

    class Forgetful(ItemIndex):
        def probe(self, vectors, count, allowed=None):  # noqa: ARG002 - as in the class
            everyone = builders.nobodies(len(vectors), known.n_items)
            items, scores = ItemIndex.exact(self.factors).best(everyone, vectors, count)
            items[:, 2:], scores[:, 2:] = -1, np.finfo(np.float32).min
            return items, scores

    als = known.sources[0]
    index = Forgetful(IndexChoice("IVF", 1, 0.1), als.item_factors, lists=object())
    source = AlsSource(als.item_factors, als.user_factors, als.gram, als.confidence, index)
    proposal = source.propose(builders.batch(known.histories.rows(np.arange(2)), shop.until, known.n_items), 5)
    assert (proposal.item_num >= 0).sum(axis=1).tolist() == [2, 2]
    assert not proposal.score[:, 2:].any()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-3, 3), max_size=20), st.integers(1, 25))
def test_top_takes_the_largest_and_of_equal_ones_the_first(scores, k):
    expected = sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:k]
    assert top(np.array(scores, dtype=np.float32), k).tolist() == expected


def test_a_rounding_error_is_no_scale():
    source = PopularitySource.of(np.array([2, 1e-30, 0], dtype=np.float32))
    history = worlds.snapshot(worlds.world()).histories.rows(np.array([-1]))
    candidates = retrieve((source,), builders.batch(history, 0, 3), 2)
    assert candidates.scaled.max() == 2


@settings(max_examples=40, deadline=None)
@given(asked(), st.integers(1, 40), st.integers(0, 1000))
def test_the_best_candidates_of_each_query_are_kept_in_their_order(world, limit, seed):
    known, batch, k = world
    candidates = retrieve(known.sources, batch, k)
    blend = np.random.default_rng(seed).integers(0, 9, len(candidates)).astype(np.float32)
    kept = candidates.best(blend, limit, np.zeros(len(known.sources), dtype=bool))
    best, score = candidates.where(kept), blend[kept]
    for query in range(len(batch)):
        own = np.flatnonzero(candidates.query_num == query)
        expected = own[np.sort(top(blend[own], limit))]
        part = best.query_num == query
        assert best.item_num[part].tolist() == candidates.item_num[expected].tolist()
        assert score[part].tolist() == blend[expected].tolist()
    assert (np.diff(batch.keys(best.query_num, best.item_num)) > 0).all()


def test_all_that_a_source_with_its_own_slots_proposes_is_kept_however_low_it_stands():
    known = worlds.snapshot(worlds.world())
    batch = builders.batch(known.histories.rows(np.array([0, 1])), known.stats.until, known.n_items)
    candidates = retrieve(known.sources, batch, 10)
    for column in range(len(known.sources)):
        proposed = np.isfinite(candidates.rank[:, column])
        blend = np.where(proposed, 0, 1).astype(np.float32)
        reserved = np.arange(len(known.sources)) == column
        kept = candidates.best(blend, 3, reserved)
        assert np.isin(np.flatnonzero(proposed), kept).all()
        assert len(kept) == proposed.sum() + 6


@settings(max_examples=30, deadline=None)
@given(asked(), st.integers(1, 40), st.integers(0, 1000))
def test_one_call_keeps_the_same_candidates_and_their_blend(world, limit, seed):
    known, batch, k = world
    random = np.random.default_rng(seed)
    weights = random.random((3, len(known.sources))).astype(np.float32)
    reserved = random.random(len(known.sources)) < 0.2
    candidates = retrieve(known.sources, batch, k)
    blend = candidates.blend(weights, batch.mode)
    kept = candidates.best(blend, limit, reserved)
    leading, own = candidates.leading(weights, batch.mode, limit, reserved)
    for field in fields(leading):
        np.testing.assert_array_equal(getattr(leading, field.name), getattr(candidates.where(kept), field.name))
    assert own.tolist() == blend[kept].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-2, 2), max_size=60), min_size=1, max_size=4))
def test_ranks_count_inside_a_query_and_equal_scores_keep_their_order(scores):
    query = np.repeat(np.arange(len(scores)), [len(part) for part in scores])
    flat = np.array([score for part in scores for score in part], dtype=np.float32)
    expected = [
        1 + sum(other > score or (other == score and before < place) for before, other in enumerate(part))
        for part in scores
        for place, score in enumerate(part)
    ]
    assert rank_within(query, flat).tolist() == expected


@settings(max_examples=30, deadline=None)
@given(asked(), st.integers(0, 1000))
def test_what_the_sources_say_of_given_pairs_is_what_they_say_when_they_propose(world, seed):
    known, batch, k = world
    random = np.random.default_rng(seed)
    keys = np.flatnonzero(random.random(len(batch) * batch.n_items) < 0.3)
    wanted = given_pairs(known.sources, batch, k, keys)
    np.testing.assert_array_equal(batch.keys(wanted.query_num, wanted.item_num), keys)
    proposed = retrieve(known.sources, batch, k)
    of = batch.keys(proposed.query_num, proposed.item_num)
    both, here, there = np.intersect1d(keys, of, return_indices=True)
    np.testing.assert_array_equal(wanted.rank[here], proposed.rank[there])
    np.testing.assert_allclose(wanted.score[here], proposed.score[there], rtol=1e-5, atol=1e-6)
    assert np.isnan(np.delete(wanted.rank, here, axis=0)).all()
    assert len(both) == np.isfinite(wanted.rank).any(axis=1).sum()
