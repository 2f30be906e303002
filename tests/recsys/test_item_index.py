"""Maximum inner product search, and the choice between exact and approximate."""

import numpy as np
import pytest

from recsys.item_index import EXACT, EXACT_BELOW, RECALL_DEPTH, IndexChoice, ItemIndex, choose

N_ITEMS, FACTORS = EXACT_BELOW, 24


def clustered(random: np.random.Generator, n: int, centres: np.ndarray) -> np.ndarray:
    own = centres[random.integers(0, len(centres), n)]
    return (own + 0.1 * random.normal(size=own.shape)).astype(np.float32)


def recall(index: ItemIndex, factors: np.ndarray, queries: np.ndarray) -> float:
    found = index.search(queries, RECALL_DEPTH)[1]
    truth = np.argsort(-queries @ factors.T, axis=1)[:, :RECALL_DEPTH]
    return np.mean([len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]) / RECALL_DEPTH


def test_exact_search_finds_the_largest_inner_products_best_first():
    random = np.random.default_rng(1)
    factors, queries = random.normal(size=(2, 50, 6)).astype(np.float32)
    scores, items = ItemIndex.exact(factors).search(queries, 7)
    np.testing.assert_array_equal(items, np.argsort(-queries @ factors.T, axis=1)[:, :7])
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ factors.T, items, axis=1), rtol=1e-5, atol=1e-5)


def test_more_items_than_there_are_cannot_be_found():
    factors = np.eye(3, dtype=np.float32)
    assert ItemIndex.exact(factors).search(factors, 10)[1].shape == (3, 3)


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
    again = ItemIndex.read(tmp_path / "index", index.choice)
    np.testing.assert_array_equal(again.search(queries, 20)[1], index.search(queries, 20)[1])


def test_factors_without_clusters_stay_exact():
    random = np.random.default_rng(1)
    factors = random.normal(size=(N_ITEMS, FACTORS)).astype(np.float32)
    queries = random.normal(size=(50, FACTORS)).astype(np.float32)
    index = choose(factors, queries, least_recall=0.99)
    assert index.choice == EXACT == IndexChoice("Flat", 0, 1.0)
    assert recall(index, factors, queries) == 1
