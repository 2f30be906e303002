"""Conditions on items: what may not be in a slate is proposed by no source, and what may be is found."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
import worlds
from recsys.content import ContentModel
from recsys.content_source import ContentSource
from recsys.fetching import MANY_EXCLUDED
from recsys.item_index import EXACT, FEW_ITEMS, IndexChoice, ItemIndex, choose
from recsys.queries import QueryBatch
from recsys.retriever import retrieve
from recsys.rules import AnyOf, Negated, Rules
from recsys.types import Query, ServedFrom, ServingParameters

SIZES = st.sampled_from([1, 5, 61])


def ids(slate) -> list[str]:
    return [item.item_id for item in slate.items]


def of_brand(*brands: str) -> Rules:
    return Rules(AnyOf("brand", brands))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.02, 0.2, 0.8]), st.sampled_from([1, 5, 30]))
def test_each_source_proposes_its_best_allowed_items(recommender, seed, share, k):
    random = np.random.default_rng(seed)
    snapshot, n = recommender.model.snapshot, len(recommender.model.items)
    allowed = random.random(n) < share
    users = random.integers(0, 40, 3).astype(np.int32)
    further = [random.choice(n, 4).astype(np.int32) for _ in users]
    batch = builders.batch(snapshot.histories.rows(users), recommender.until, n, users, further=further)
    filtered = replace(batch, allowed_items=allowed)
    for source in snapshot.sources:
        best, everything = source.propose(filtered, k).item_num, source.propose(batch, n)
        for row, ranked in zip(best, everything.item_num, strict=True):
            expected = [item for item in ranked.tolist() if item >= 0 and allowed[item]][:k]
            assert row[row >= 0].tolist() == expected


def test_cold_items_obey_the_condition_too(recommender):
    als = recommender.model.als
    cold = np.array([3, 9, 12, 40], dtype=np.int32)
    source = ContentSource(als, cold, ContentModel(None, None, 1.0))
    n = len(recommender.model.items)
    batch = builders.batch(recommender.model.snapshot.histories.rows(np.array([0, 1])), recommender.until, n)
    allowed = np.zeros(n, dtype=bool)
    allowed[[9, 40, 41]] = True
    found = source.propose(replace(batch, allowed_items=allowed), 30).item_num
    assert [set(row[row >= 0].tolist()) for row in found] == [{9, 40}, {9, 40}]
    assert (source.propose(replace(batch, allowed_items=np.zeros(n, dtype=bool)), 30).item_num == -1).all()


@pytest.fixture(scope="module")
def large() -> tuple[np.ndarray, np.ndarray, ItemIndex, ItemIndex]:
    """Factors with clusters, vectors near them, an exact index and an approximate one."""
    random = np.random.default_rng(3)
    centres = random.normal(size=(100, 24))
    factors, vectors = (
        (centres[random.integers(0, 100, n)] + 0.3 * random.normal(size=(n, 24))).astype(np.float32)
        for n in (12 * FEW_ITEMS, 100)
    )
    return factors, vectors, ItemIndex.exact(factors), choose(factors, vectors, least_recall=0.95)


def asking(vectors: np.ndarray, allowed: np.ndarray) -> QueryBatch:
    """Queries of nobody in particular, under a condition."""
    return replace(builders.nobodies(len(vectors), len(allowed)), allowed_items=allowed)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("approximate", [False, True])
def test_a_search_among_allowed_items_finds_what_brute_force_finds(large, share, approximate):
    factors, vectors, *indexes = large
    index = indexes[approximate]
    assert (index.choice == EXACT) == (not approximate)
    allowed = np.random.default_rng(1).random(len(factors)) < share
    rows = np.flatnonzero(allowed)
    k = min(50, len(rows))
    items, scores = index.best(asking(vectors, allowed), vectors, k)
    truth = rows[np.argsort(-(vectors @ factors[rows].T), axis=1)[:, :k]]
    assert items.shape == scores.shape == truth.shape
    assert allowed[items].all()
    found = [len(np.intersect1d(a, b)) / len(b) for a, b in zip(items, truth, strict=True) if len(b)]
    assert np.mean(found) >= (0.98 if approximate else 1)
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", vectors, factors[items]), rtol=0.01, atol=0.1)


def test_an_index_that_finds_too_few_is_not_trusted():
    random = np.random.default_rng(4)
    factors = random.normal(size=(3 * FEW_ITEMS, 4)).astype(np.float32)

    class Forgetful(ItemIndex):
        def probe(self, vectors, count, allowed=None):
            found = np.full((len(vectors), count), -1, dtype=np.int32)
            found[:, :3] = np.flatnonzero(allowed)[:3]
            return found, np.zeros(found.shape, dtype=np.float32)

    index = Forgetful(IndexChoice("IVF", 1, 1.0), factors, lists=object())
    allowed = random.random(len(factors)) < 0.5
    vectors = factors[:2]
    items = index.best(asking(vectors, allowed), vectors, 10)[0]
    rows = np.flatnonzero(allowed)
    assert items.tolist() == rows[np.argsort(-(vectors @ factors[rows].T), axis=1)[:, :10]].tolist()


def test_a_query_with_many_exclusions_is_searched_for_apart_and_changes_no_other():
    shop = worlds.world(n_items=400, n_events=3000)
    known = worlds.snapshot(shop)
    users = np.arange(3, dtype=np.int32)
    further = [np.arange(count, dtype=np.int32) for count in (2, MANY_EXCLUDED + 50, 0)]
    batch = builders.batch(known.histories.rows(users), shop.until, 400, users, further=further)
    asked_for: list[int] = []

    class Counting(ItemIndex):
        def probe(self, vectors, count, allowed=None):  # noqa: ARG002 - as in the class
            asked_for.append(count)
            return ItemIndex.exact(self.factors).best(builders.nobodies(len(vectors), 400), vectors, count)

    als = known.sources[0]
    choice = IndexChoice("IVF", 1, 1.0)
    source = replace(als, index=Counting(choice, als.item_factors, lists=object()))
    together = retrieve((source, *known.sources[1:]), batch, 10)
    assert sorted(asked_for) == [12, MANY_EXCLUDED + 60]
    for row in range(3):
        alone = retrieve(known.sources, batch.rows(np.array([row])), 10)
        own = together.query_num == row
        assert together.item_num[own].tolist() == alone.item_num.tolist()
        np.testing.assert_allclose(together.score[own], alone.score, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("user_id", ["u00", "u05", "", "u40"])
@pytest.mark.parametrize("size", [3, 21, 60])
def test_a_slate_holds_only_what_the_condition_allows_and_is_full(recommender, user_id, size):
    shop = worlds.branded(recommender)
    asked = Query(user_id, size, shop.until, rules=of_brand("b1"), exclude_item_ids=("i01",))
    (slate,) = shop.answer([asked], lambda: 0.0).slates
    assert len(slate.items) == min(size, 19)
    assert {int(item[1:]) % 3 for item in ids(slate)} == {1}
    assert "i01" not in ids(slate)


def test_queries_of_one_batch_keep_their_own_conditions(recommender):
    shop = worlds.branded(recommender)
    rules = [Rules(), of_brand("b0"), of_brand("b2"), Rules(Negated(AnyOf("brand", ("b0",)))), of_brand("none")]
    same = ServingParameters()
    queries = [Query(f"u{num:02}", 10, shop.until, parameters=same, rules=each) for num in range(4) for each in rules]
    together = shop.answer(queries, lambda: 0.0).slates
    for query, slate in zip(queries, together, strict=True):
        assert ids(slate) == ids(shop.answer([query], lambda: 0.0).slates[0])
    assert [len(slate.items) for slate in together[:5]] == [10, 10, 10, 10, 0]


def test_items_that_are_gone_or_not_yet_there_are_in_no_slate(recommender):
    n, now = len(recommender.model.items), recommender.until
    gone = np.arange(n) % 2 == 0
    starts = np.where(np.arange(n) % 5 == 1, now + 10.0, np.nan)
    shop = worlds.branded(recommender, deleted=gone, numbers={"valid_from_time": starts})
    queries = [Query(user, 500, now + later) for user in ("u01", "") for later in (0, 10)]
    early, late, early_popular, late_popular = shop.answer(queries, lambda: 0.0).slates
    odd = {f"i{num:02}" for num in range(1, n, 2)}
    assert set(ids(late)) == set(ids(late_popular)) == odd
    assert set(ids(early)) == set(ids(early_popular)) == {item for item in odd if int(item[1:]) % 5 != 1}


def test_what_is_gone_is_out_whatever_a_condition_says(recommender):
    n = len(recommender.model.items)
    shop = worlds.branded(recommender, deleted=np.arange(n) % 2 == 0)
    (slate,) = shop.answer([Query("u01", 500, shop.until, rules=of_brand("b1"))], lambda: 0.0).slates
    assert set(ids(slate)) == {f"i{num:02}" for num in range(n) if num % 3 == 1 and num % 2 == 1}


def test_only_the_sources_of_a_placement_propose_and_nothing_fills_up_where_it_says_so(recommender):
    parameters = ServingParameters(sources=("repeats",), fill=False)
    own, nobody = recommender.answer(
        [Query(user, 60, recommender.until, parameters=parameters) for user in ("u00", "")], lambda: 0.0
    ).slates
    assert own.items
    assert all("repeats" in item.sources for item in own.items)
    assert len(own.items) < 60
    assert nobody.items == ()
    filled = Query("u00", 60, recommender.until, parameters=replace(parameters, fill=True))
    (slate,) = recommender.answer([filled], lambda: 0.0).slates
    assert ids(slate)[: len(own.items)] == ids(own)
    assert len(slate.items) == 60
    unknown = filled._replace(parameters=replace(parameters, fill=True, sources=("touched",)))
    (slate,) = recommender.answer([unknown], lambda: 0.0).slates
    assert (slate.served_from, {item.sources for item in slate.items}) == (ServedFrom.MODEL, {("fill",)})


def test_a_merge_of_nothing_is_nothing(recommender):
    n = len(recommender.model.items)
    batch = builders.batch(recommender.model.snapshot.histories.rows(np.array([0])), recommender.until, n)
    nothing = replace(batch, allowed_items=np.zeros(n, dtype=bool))
    assert len(retrieve(recommender.model.snapshot.sources, nothing, 10)) == 0
