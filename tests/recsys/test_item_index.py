"""Maximum inner product search, and the choice between exact and approximate."""

import re
from dataclasses import replace

import numpy as np
import pytest

import builders
from recsys import item_index
from recsys.item_index import EXACT, EXACT_BELOW, FEW_ITEMS, LEAST_LONGEST, RECALL_DEPTH, IndexChoice, ItemIndex, choose

N_ITEMS, FACTORS = EXACT_BELOW, 24


def clustered(random: np.random.Generator, n: int, centres: np.ndarray) -> np.ndarray:
    own = centres[random.integers(0, len(centres), n)]
    return (own + 0.1 * random.normal(size=own.shape)).astype(np.float32)


def uneven(random: np.random.Generator, n_items: int = N_ITEMS) -> tuple[np.ndarray, np.ndarray]:
    """Factors without clusters, some much longer than most, and vectors."""
    factors = random.normal(size=(n_items, FACTORS)) * random.lognormal(sigma=0.5, size=(n_items, 1))
    return factors.astype(np.float32), random.normal(size=(60, FACTORS)).astype(np.float32)


def search(index: ItemIndex, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    batch = replace(builders.nobodies(len(queries), len(index.order)), allowed_items=allowed)
    return index.best(batch, queries, k)[0]


def recall(index: ItemIndex, factors: np.ndarray, queries: np.ndarray) -> float:
    found = search(index, queries, RECALL_DEPTH)
    truth = np.argsort(-queries @ factors.T, axis=1)[:, :RECALL_DEPTH]
    return np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) / RECALL_DEPTH


@pytest.mark.parametrize("at_once", [1, 120, 10_000])
def test_exact_search_finds_the_largest_inner_products_best_first(at_once, monkeypatch):
    monkeypatch.setattr(item_index, "CELLS", at_once)
    random = np.random.default_rng(1)
    factors, queries = random.normal(size=(2, 50, 6)).astype(np.float32)
    further = [random.choice(50, 5, replace=False).astype(np.int32) for _ in queries]
    batch = builders.batch(builders.nobodies(50, 50).history, 0, 50, further=further)
    items, scores = ItemIndex.exact(factors).best(batch, queries, 7)
    dots = queries @ factors.T
    for query, excluded in enumerate(further):
        dots[query, excluded] = -np.inf
    np.testing.assert_array_equal(items, np.argsort(-dots, axis=1)[:, :7])
    np.testing.assert_allclose(scores, np.take_along_axis(dots, items, axis=1), rtol=1e-5, atol=1e-5)


def test_more_items_than_there_are_cannot_be_found():
    factors = np.eye(3, dtype=np.float32)
    assert (search(ItemIndex.exact(factors), factors, 10) >= 0).sum(axis=1).tolist() == [3, 3, 3]


def test_of_equal_scores_the_smaller_item_comes_first():
    factors = np.tile(np.eye(2, dtype=np.float32), (40, 1))
    order = np.random.default_rng(0).permutation(80).astype(np.int32)
    index = ItemIndex(IndexChoice("Flat", 0, 1.0, 80), factors[order], order)
    assert search(index, np.eye(2, dtype=np.float32), 60).tolist() == [
        [*range(0, 80, 2), *range(1, 40, 2)],
        [*range(1, 80, 2), *range(0, 40, 2)],
    ]


def test_a_small_catalogue_is_searched_exactly():
    factors = np.ones((10, 3), dtype=np.float32)
    assert choose(factors, factors, least_recall=0.5).choice == EXACT


def test_a_large_catalogue_with_clusters_gets_a_cheap_index_that_finds_what_it_promises(tmp_path):
    random = np.random.default_rng(1)
    centres = random.normal(size=(100, FACTORS))
    factors, queries = clustered(random, N_ITEMS, centres), clustered(random, 100, centres)
    index = choose(factors, queries, least_recall=0.95)
    assert index.choice.factory.startswith("IVF")
    assert index.choice.recall == pytest.approx(recall(index, factors, queries))
    assert index.choice.recall >= 0.95

    index.write(tmp_path / "index")
    again = ItemIndex.read(tmp_path / "index", index.choice, factors)
    np.testing.assert_array_equal(search(again, queries, 20), search(index, queries, 20))


@pytest.mark.parametrize("least_recall", [0.9, 0.99])
def test_of_factors_of_uneven_length_the_longest_are_searched_and_no_more_than_it_takes(least_recall):
    factors, queries = uneven(np.random.default_rng(1))
    index = choose(factors, queries, least_recall)
    choice = index.choice
    assert (choice.factory, choice.probes) == ("Flat", 0)
    assert 0 < choice.longest < N_ITEMS / 2
    assert choice.recall == pytest.approx(recall(index, factors, queries))
    assert choice.recall >= least_recall
    fewer = ItemIndex(replace(choice, longest=choice.longest - 1), index.factors, index.order)
    assert recall(fewer, factors, queries) < least_recall


def test_a_few_very_long_items_are_not_all_that_is_searched():
    factors, queries = uneven(np.random.default_rng(1))
    factors[:RECALL_DEPTH] *= 1_000
    choice = choose(factors, queries * np.sign(queries @ factors[0])[:, None], 0.5).choice
    assert choice.longest == LEAST_LONGEST


def test_the_same_factors_give_the_same_choice():
    factors, queries = uneven(np.random.default_rng(2))
    assert choose(factors, queries, 0.98).choice == choose(factors, queries, 0.98).choice


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.7, 0.99])
def test_among_allowed_items_as_many_are_searched_so_that_no_less_is_found(share):
    random = np.random.default_rng(3)
    factors, queries = uneven(random, 4 * FEW_ITEMS)
    index = choose(factors, queries, 0.98)
    allowed = random.random(len(factors)) < share
    rows = np.flatnonzero(allowed)
    k = min(100, len(rows))
    truth = rows[np.argsort(-queries @ factors[rows].T, axis=1)[:, :k]]
    found = search(index, queries, k, allowed)
    assert allowed[found].all()
    assert np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) / k >= 0.98
    looked_at = allowed[index.order[index._looked_at(allowed)]].sum()
    assert looked_at >= min(len(rows), index.choice.longest)
    if len(rows) <= FEW_ITEMS:
        np.testing.assert_array_equal(found, truth)


def test_nothing_is_found_where_nothing_is_allowed():
    factors, queries = uneven(np.random.default_rng(4))
    for index in (ItemIndex.exact(factors), choose(factors, queries, 0.98)):
        assert (search(index, queries, 5, np.zeros(N_ITEMS, dtype=bool)) == -1).all()


def test_factors_without_clusters_stay_exact():
    random = np.random.default_rng(1)
    factors = random.normal(size=(N_ITEMS, FACTORS)).astype(np.float32)
    factors /= np.linalg.norm(factors, axis=1, keepdims=True)
    queries = random.normal(size=(50, FACTORS)).astype(np.float32)
    index = choose(factors, queries, least_recall=1.0)
    assert index.choice.longest > 0.99 * N_ITEMS or index.choice == EXACT
    assert recall(index, factors, queries) == 1


def test_only_an_inverted_file_can_be_written(tmp_path):
    with pytest.raises(ValueError, match=re.escape("without an inverted file")):
        ItemIndex.exact(np.eye(3, dtype=np.float32)).write(tmp_path / "index")
