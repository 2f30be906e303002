"""Maximum inner product search, and the choice between exact and approximate."""

import re
from dataclasses import replace

import numpy as np
import pytest

import builders
from recsys import item_index
from recsys.fetching import permitted
from recsys.index_kernels import BLOCK, TOGETHER
from recsys.item_blocks import NO_CLUSTER, ItemBlocks
from recsys.item_index import EXACT, FEW_ITEMS, RECALL_DEPTH, IndexChoice, ItemIndex, choose

N_ITEMS, FACTORS = 20_000, 24


def clustered(random: np.random.Generator, n: int, centres: np.ndarray) -> np.ndarray:
    own = centres[random.integers(0, len(centres), n)]
    return (own + 0.1 * random.normal(size=own.shape)).astype(np.float32)


def uneven(random: np.random.Generator, n_items: int = N_ITEMS) -> tuple[np.ndarray, np.ndarray]:
    """Factors without clusters, some much longer than most, and vectors."""
    factors = random.normal(size=(n_items, FACTORS)) * random.lognormal(sigma=0.5, size=(n_items, 1))
    return factors.astype(np.float32), random.normal(size=(60, FACTORS)).astype(np.float32)


def search(index: ItemIndex, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> np.ndarray:
    batch = replace(builders.nobodies(len(queries), len(index.factors)), allowed_items=allowed)
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


def in_blocks(factors: np.ndarray) -> ItemIndex:
    return ItemIndex(IndexChoice("Flat", 0, 1.0, len(factors)), factors, ItemBlocks.of(factors))


def test_of_equal_scores_the_smaller_item_comes_first():
    factors = np.tile(np.eye(2, dtype=np.float32), (40, 1))
    for index in (ItemIndex.exact(factors), in_blocks(factors)):
        assert search(index, np.eye(2, dtype=np.float32), 60).tolist() == [
            [*range(0, 80, 2), *range(1, 40, 2)],
            [*range(1, 80, 2), *range(0, 40, 2)],
        ]


def test_of_very_many_items_of_one_score_the_smallest_come_first():
    random = np.random.default_rng(5)
    factors = np.zeros((12 * BLOCK, 8), dtype=np.float32)
    factors[:, 1] = random.lognormal(size=len(factors))
    queries = np.eye(8, dtype=np.float32)[:1]
    assert search(in_blocks(factors), queries, 60).tolist() == [list(range(60))]
    factors[[7, 11 * BLOCK], 0] = 1
    assert search(in_blocks(factors), queries, 5).tolist() == [[7, 11 * BLOCK, 0, 1, 2]]


def test_of_some_equal_scores_the_smaller_item_comes_first_however_long_it_is():
    factors = np.zeros((200, 8), dtype=np.float32)
    factors[:, 0], factors[:, 1] = 1, np.random.default_rng(1).random(200)
    assert search(in_blocks(factors), np.eye(8, dtype=np.float32)[:1], 60).tolist() == [list(range(60))]


@pytest.mark.parametrize("n_items", [3, BLOCK, 10 * BLOCK + 1])
@pytest.mark.parametrize("width", [1, 24, 70])
@pytest.mark.parametrize("count", [1, 2 * TOGETHER + 3])
def test_a_search_through_blocks_finds_what_brute_force_finds(n_items, width, count):
    random = np.random.default_rng(n_items + width)
    factors = (random.normal(size=(n_items, width)) * random.lognormal(sigma=0.5, size=(n_items, 1))).astype(np.float32)
    queries = (random.normal(size=(count, width)) * random.lognormal(sigma=9, size=(count, 1))).astype(np.float32)
    further = [random.choice(n_items, n_items // 3, replace=False).astype(np.int32) for _ in queries]
    batch = builders.batch(builders.nobodies(count, n_items).history, 0, n_items, further=further)
    allowed = random.random(n_items) < 0.8
    batch = replace(batch, allowed_items=allowed)
    index = in_blocks(factors)
    items, scores, looked_at = index.search(queries, 40, permitted(batch))
    assert not permitted(batch)[2].any()
    assert looked_at <= count * BLOCK * len(index.blocks.codes)
    dots = queries @ factors.T
    dots[:, ~allowed] = -np.inf
    for query, excluded in enumerate(further):
        dots[query, excluded] = -np.inf
    shares = []
    for row, own, own_scores in zip(dots, items, scores, strict=True):
        truth = np.argsort(-row, kind="stable")[: min(40, np.isfinite(row).sum())]
        assert (own[len(truth) :] == -1).all()
        found, score = own[: len(truth)], own_scores[: len(truth)]
        shares.append(len(np.intersect1d(found, truth)) / len(truth) if len(truth) else 1)
        np.testing.assert_allclose(score, row[found], rtol=1e-4, atol=1e-5 * np.abs(row[found]).max(initial=0))
        assert (np.diff(score) <= 0).all()
    assert np.mean(shares) >= 0.98


def test_codes_in_the_same_direction_do_not_overflow():
    for width in (1, 8, 256):
        factors = np.ones((2 * BLOCK, width), dtype=np.float32)
        factors[:5] = 2
        assert set(search(in_blocks(factors), factors[-1:], 5)[0].tolist()) == set(range(5))
        assert search(in_blocks(-factors), factors[-1:], 5).min() >= 5


def test_a_search_through_blocks_ends_where_no_item_is_long_enough():
    factors, queries = uneven(np.random.default_rng(1))
    batch = builders.nobodies(len(queries), N_ITEMS)
    few, many = (in_blocks(factors).search(queries, k, permitted(batch))[2] / len(queries) for k in (20, 2000))
    assert few < N_ITEMS / 2
    assert few < many


def test_blocks_of_some_items_find_these_alone():
    factors, queries = uneven(np.random.default_rng(6))
    some = np.arange(5, N_ITEMS, 40).astype(np.int32)
    may = permitted(builders.nobodies(len(queries), N_ITEMS))
    found, scores, _ = ItemBlocks.of(factors[some], some).search(factors, queries, 30, may)
    dots = queries @ factors[some].T
    truth = np.argsort(-dots, axis=1)[:, :30]
    assert np.mean([len(np.intersect1d(a, some[b])) for a, b in zip(found, truth, strict=True)]) / 30 >= 0.98
    rows = np.searchsorted(some, found)
    np.testing.assert_allclose(scores, np.take_along_axis(dots, rows, axis=1), rtol=1e-4, atol=1e-4)


def test_a_search_through_blocks_finds_nothing_for_a_vector_of_zeros_nor_among_items_of_zeros_alone():
    factors, queries = uneven(np.random.default_rng(1))
    queries[1] = 0
    found = search(in_blocks(factors), queries[:3], 5)
    assert (found[1] == -1).all()
    assert (found[[0, 2]] >= 0).all()
    assert search(in_blocks(np.zeros_like(factors[:600])), queries[:1], 5).tolist() == [[0, 1, 2, 3, 4]]


def test_a_query_finds_the_same_alone_and_in_a_batch():
    factors, queries = uneven(np.random.default_rng(2))
    index = in_blocks(factors)
    together = search(index, queries, 50)
    for row in range(0, len(queries), 7):
        assert search(index, queries[row : row + 1], 50).tolist() == together[row : row + 1].tolist()


def shop(random: np.random.Generator, n_items: int = N_ITEMS) -> tuple[np.ndarray, np.ndarray]:
    """Factors of a few items that are long and anyhow, and of many that are short and in clusters; and vectors."""
    centres = random.normal(size=(150, FACTORS))
    factors = clustered(random, n_items, centres) * random.uniform(0.5, 1.5, size=(n_items, 1)).astype(np.float32)
    longest = n_items // 50
    factors[:longest] = 2 * random.normal(size=(longest, FACTORS))
    return random.permutation(factors), clustered(random, 100, centres)


def in_clusters(factors: np.ndarray, longest: int, n_clusters: int, reach: float) -> ItemIndex:
    order = np.argsort(-np.linalg.norm(factors, axis=1))
    cluster = np.argmax(factors[order[-n_clusters:]] @ factors.T, axis=0).astype(np.int32)
    cluster[order[:longest]] = NO_CLUSTER
    return ItemIndex(IndexChoice("Flat", 0, 1.0, 1), factors, ItemBlocks.of(factors, cluster=cluster).within(reach))


@pytest.mark.parametrize("longest", [1, BLOCK, 3_000])
def test_in_clusters_all_is_found_that_is_in_reach(longest):
    factors, queries = shop(np.random.default_rng(3), 6_000)
    for world in (factors, uneven(np.random.default_rng(4), 6_000)[0]):
        index = in_clusters(world, longest, 40, 10.0)
        assert recall(index, world, queries) > 0.999
        looked_at = [
            one.search(queries, 50, permitted(builders.nobodies(len(queries), len(world))))[2]
            for one in (index, in_clusters(world, longest, 40, 0.1))
        ]
        assert looked_at[1] < looked_at[0]


def test_in_clusters_only_what_is_allowed_is_found_and_all_of_it():
    random = np.random.default_rng(5)
    factors, queries = shop(random, 8_000)
    allowed = np.zeros(len(factors), dtype=bool)
    allowed[random.choice(len(factors), FEW_ITEMS + 1, replace=False)] = True
    index = in_clusters(factors, BLOCK, 40, 10.0)
    found = search(index, queries[:20], FEW_ITEMS + 50, allowed)
    assert (found >= 0).sum(axis=1).tolist() == [FEW_ITEMS + 1] * 20
    assert allowed[found[found >= 0]].all()


def test_in_clusters_a_query_finds_the_same_alone_and_in_a_batch():
    factors, queries = shop(np.random.default_rng(6), 6_000)
    index = in_clusters(factors, BLOCK, 40, 0.2)
    together = search(index, queries, 50)
    for row in range(0, len(queries), 7):
        assert search(index, queries[row : row + 1], 50).tolist() == together[row : row + 1].tolist()


def test_what_lies_in_clusters_is_searched_by_them():
    factors, queries = shop(np.random.default_rng(7), 60_000)
    choice = choose(factors, queries, least_recall=0.99).choice
    plain = in_blocks(factors).search(queries, RECALL_DEPTH, permitted(builders.nobodies(len(queries), len(factors))))[
        2
    ]
    assert (choice.factory, choice.probes) == ("Flat", 0)
    assert choice.clusters > 100
    assert choice.recall >= 0.99
    assert choice.searched < 0.5 * plain / len(queries)


def test_a_small_catalogue_is_searched_exactly():
    factors = np.ones((10, 3), dtype=np.float32)
    assert choose(factors, factors, least_recall=0.5).choice == EXACT


def test_a_large_catalogue_with_clusters_gets_a_cheap_index_that_finds_what_it_promises(tmp_path, monkeypatch):
    monkeypatch.setattr(item_index, "LONGEST", ())  # as of millions of items, whose clusters are too many for blocks
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


@pytest.mark.parametrize("least_recall", [0.98, 0.995])
def test_of_factors_of_uneven_length_the_longest_are_searched(least_recall):
    factors, queries = uneven(np.random.default_rng(1))
    index = choose(factors, queries, least_recall)
    choice = index.choice
    assert (choice.factory, choice.probes) == ("Flat", 0)
    assert 0 < choice.searched < 0.9 * N_ITEMS
    assert choice.recall == pytest.approx(recall(index, factors, queries))
    assert choice.recall >= least_recall


def test_users_to_whom_all_items_are_the_same_do_not_spoil_the_choice():
    factors, queries = uneven(np.random.default_rng(2))
    idle = np.concatenate([queries, np.zeros((len(queries), queries.shape[1]), np.float32)])
    assert choose(factors, idle, 0.98).choice == choose(factors, queries, 0.98).choice
    assert choose(factors, np.zeros_like(queries), 0.98).choice == EXACT


def test_blocks_by_length_alone_are_soon_found_and_find_what_they_promise():
    factors, queries = shop(np.random.default_rng(7), 60_000)
    index = choose(factors, queries, least_recall=0.99, by_length_alone=True)
    assert (index.choice.factory, index.choice.probes, index.choice.clusters) == ("Flat", 0, 0)
    assert 0 < index.choice.searched < len(factors)
    assert index.choice.recall == pytest.approx(recall(index, factors, queries))
    assert index.choice.recall >= 0.99
    assert choose(factors, queries, least_recall=1.1, by_length_alone=True).choice == EXACT


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
    if len(rows) <= FEW_ITEMS:
        np.testing.assert_array_equal(found, truth)


def test_nothing_is_found_where_nothing_is_allowed():
    factors, queries = uneven(np.random.default_rng(4))
    for index in (ItemIndex.exact(factors), choose(factors, queries, 0.98)):
        assert (search(index, queries, 5, np.zeros(N_ITEMS, dtype=bool)) == -1).all()


def test_of_factors_of_one_length_all_are_searched():
    random = np.random.default_rng(1)
    factors = random.normal(size=(N_ITEMS, FACTORS)).astype(np.float32)
    factors /= np.linalg.norm(factors, axis=1, keepdims=True)
    queries = random.normal(size=(50, FACTORS)).astype(np.float32)
    index = choose(factors, queries, least_recall=0.99)
    assert index.choice.searched >= N_ITEMS
    assert recall(index, factors, queries) == index.choice.recall >= 0.99
    assert choose(factors, queries, least_recall=1.1).choice == EXACT


def test_only_an_inverted_file_can_be_written(tmp_path):
    with pytest.raises(ValueError, match=re.escape("without an inverted file")):
        ItemIndex.exact(np.eye(3, dtype=np.float32)).write(tmp_path / "index")
