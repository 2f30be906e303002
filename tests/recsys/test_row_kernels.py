"""The compiled loops of retrieval against sorting, sparse products and dictionaries, which are slow and plain."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import TypingError

from recsys import candidate_kernels, fetching, order_kernels, product_kernels, row_kernels
from recsys.halves import bits_of, halved
from recsys.kernel import frozen
from recsys.source_kernels import Space, Work
from recsys.types import SECONDS_PER_DAY as DAY

SEEDS = st.integers(0, 100_000)
NO_KEYS, EVERY_ITEM = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)


def scores(random: np.random.Generator, n: int) -> np.ndarray:
    """Scores of both signs, some of them equal, and both zeros."""
    drawn = random.normal(size=n) if random.random() < 0.3 else random.integers(-4, 5, n) * 0.37
    drawn[drawn == 0] *= -1
    return drawn.astype(np.float32)


def rows(random: np.random.Generator, n_rows: int, n_items: int, most: int) -> fetching.Rows:
    """Items, each once in a row, and their scores."""
    lengths = random.integers(0, most + 1, n_rows)
    items = [random.permutation(n_items)[:length] for length in lengths]
    indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return indptr, np.concatenate(items).astype(np.int32), scores(random, int(indptr[-1]))


def sparse(given_rows: fetching.Rows, n_items: int) -> sp.csr_array:
    indptr, items, score = given_rows
    return sp.csr_array((score, items, indptr), shape=(len(indptr) - 1, n_items))


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from([1, 7, 120]), st.sampled_from([8, 60, 2_500]), st.booleans(), st.booleans())
def test_the_best_of_a_row_are_what_sorting_all_that_is_allowed_gives(seed, k, m, shared, filtered):
    random = np.random.default_rng(seed)
    n_items, first = m + 10, 1
    items = [random.permutation(n_items)[:m].astype(np.int32) for _ in range(3)]
    items = [items[0]] * 3 if shared else items
    items[-1][random.integers(m)] = -1 if not shared else items[-1][0]
    score = scores(random, 3 * m)
    excluded = np.flatnonzero(random.random(5 * n_items) < 0.1)
    allowed = random.random(n_items) < 0.7 if filtered else EVERY_ITEM
    least = 0.2 if seed % 2 else -np.inf
    slots = np.zeros(n_items, dtype=np.int32)
    flat = items[0] if shared else np.concatenate(items)
    best, best_score = order_kernels.best_allowed(
        np.arange(4) * m, frozen(flat), score, k, least, first, excluded, allowed, slots
    )
    barred = set(excluded.tolist())
    for row, own in enumerate(items):
        pairs = zip(score[row * m : (row + 1) * m].tolist(), own.tolist(), strict=True)
        offset = (row + first) * n_items
        expected = sorted(
            (-value, item)
            for value, item in pairs
            if value >= least and item >= 0 and (not filtered or allowed[item]) and offset + item not in barred
        )[:k]
        assert best[row].tolist() == [item for _, item in expected] + [-1] * (k - len(expected))
        assert best_score[row].tolist() == [-value for value, _ in expected] + [0] * (k - len(expected))
    assert not slots.any()


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([3, 40, 3_000]))
def test_similar_items_are_the_product_of_two_sparse_matrices(seed, n_items):
    random = np.random.default_rng(seed)
    near = sparse(rows(random, n_items, n_items, min(n_items, 50)), n_items)
    lengths = random.integers(0, 60, 4)
    indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    item = random.integers(0, n_items, indptr[-1]).astype(np.int32)  # an item may come twice
    weight = scores(random, len(item))
    slots = np.zeros(n_items, dtype=np.int32)
    lists = (frozen(near.indptr.astype(np.int64)), frozen(near.indices.astype(np.int32)), frozen(near.data))
    found = row_kernels.similar_items(indptr, item, weight, *lists, slots)
    expected = sp.csr_array((weight, item, indptr), shape=(4, n_items)) @ near
    np.testing.assert_allclose(sparse(found, n_items).toarray(), expected.toarray(), rtol=1e-5, atol=1e-5)
    for row in range(4):
        own = found[1][found[0][row] : found[0][row + 1]]
        assert len(set(own.tolist())) == len(own)
    assert not slots.any()


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([0, 1, 9, 16, 17, 120, 512, 513, 2_000]), st.sampled_from([1, 20, 100]))
def test_the_best_come_first_and_of_equal_scores_the_smaller_item_however_many_there_are(seed, n, k):
    random = np.random.default_rng(seed)
    items, score = random.permutation(3 * n)[:n].astype(np.int32), scores(random, n)
    best, best_score = np.full(k, 7, dtype=np.int32), np.full(k, 7, dtype=np.float32)
    order_kernels.put_in_order(items, score, best, best_score)
    wanted = sorted(zip((-score).tolist(), items.tolist(), strict=True))[:k]
    assert best.tolist() == [item for _, item in wanted] + [-1] * (k - len(wanted))
    assert best_score.tolist() == [-value for value, _ in wanted] + [0] * (k - len(wanted))


def test_each_item_of_a_history_comes_once_with_all_its_weight():
    item, weight = np.array([4, 2, 4, 0, 2, 4], dtype=np.int32), np.array([1, 2, 4, 8, 16, 32], dtype=np.float32)
    own, own_weight, slots = np.zeros(6, dtype=np.int32), np.zeros(6, dtype=np.float32), np.zeros(5, dtype=np.int32)
    assert row_kernels.once(item, weight, slots, own, own_weight) == 3
    assert own[:3].tolist() == [4, 2, 0]
    assert own_weight[:3].tolist() == [37, 18, 8]
    assert not slots.any()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_visit_counts_once_for_each_item_with_its_first_entry(seed):
    random = np.random.default_rng(seed)
    indptr = np.concatenate(([0], np.cumsum(random.integers(0, 40, 5)))).astype(np.int64)
    item, session = (random.integers(0, 6, (2, indptr[-1]))).astype(np.int32)
    weight = random.choice([-1, 0.5, 1, 2], indptr[-1]).astype(np.float32)
    slots = np.zeros(6, dtype=np.int32)
    found = row_kernels.visited_items(indptr, item, session - 3, weight, slots)
    dense = np.zeros((5, 6))
    for row in range(5):
        seen: dict[tuple[int, int], float] = {}
        for entry in range(indptr[row], indptr[row + 1]):
            if weight[entry] >= 0:
                seen.setdefault((item[entry], session[entry]), weight[entry])
        for (own, _), value in seen.items():
            dense[row, own] += value
    np.testing.assert_allclose(sparse(found, 6).toarray(), dense)
    assert not slots.any()


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_scores_of_pairs_are_found_in_their_rows(seed):
    random = np.random.default_rng(seed)
    own = rows(random, 4, 50, 30)
    pairs = np.flatnonzero(random.random(4 * 50) < 0.4)
    query, item = (part.astype(np.int32) for part in np.divmod(pairs, 50))
    slots = np.zeros(50, dtype=np.int32)
    found = np.full((len(query), 2), 7, dtype=np.float32)
    row_kernels.fill_scores(*own, slots, query, item, found, 1)
    assert found[:, 1].tolist() == sparse(own, 50).toarray()[query, item].tolist()
    assert (found[:, 0] == 7).all()
    assert not slots.any()


@pytest.mark.parametrize("width", [1, 7, 8, 16, 45])
@pytest.mark.parametrize("count", [0, 1, 37])
def test_inner_products_of_pairs_and_weighted_sums_are_those_of_numpy(width, count):
    random = np.random.default_rng(width)
    vectors, factors = (random.normal(size=(n, width)).astype(np.float32) for n in (4, 30))
    query, item = random.integers(0, 4, count).astype(np.int32), random.integers(0, 30, count).astype(np.int32)
    every_item, known = np.zeros(0, dtype=bool), random.random(30) < 0.5
    score = np.full((count, 2), 7, dtype=np.float32)
    row_kernels.fill_products(vectors, frozen(factors), every_item, query, item, score, 0)
    row_kernels.fill_products(vectors, frozen(factors), known, query, item, score, 1)
    products = (vectors[query] * factors[item]).sum(axis=1)
    np.testing.assert_allclose(score[:, 0], products, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(score[:, 1], np.where(known[item], products, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [0, 1, 45, 64, 130, 192])
@pytest.mark.parametrize("count", [1, 16, 50])
def test_inner_products_are_summed_in_one_order_whatever_else_is_asked(width, count):
    random = np.random.default_rng(width)
    vectors, factors = (random.normal(size=(n, width)).astype(np.float32) for n in (4, 30))
    query, item = random.integers(0, 4, count).astype(np.int32), random.integers(0, 30, count).astype(np.int32)
    score = np.empty(count, dtype=np.float32)
    product_kernels.products(query, item, vectors, frozen(factors), score)
    terms = vectors[query] * factors[item]
    assert score.tolist() == [summed_in_lanes(own) for own in terms]


def summed_in_lanes(terms: np.ndarray) -> float:
    """The sum of float32[d]: sixteen sums of every sixteenth, four lines at a time, then the rest one by one."""
    whole = len(terms) - len(terms) % 64
    sums = np.zeros(16, dtype=np.float32)
    for a, b, c, d in terms[:whole].reshape(-1, 4, 16):
        sums += (a + b) + (c + d)
    while len(sums) > 1:
        sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
    total = sums[0]
    for term in terms[whole:]:
        total += term
    return float(total)


def test_factors_column_by_column_are_refused():
    factors, place = np.ones((30, 8), dtype=np.float32, order="F"), np.zeros(1, dtype=np.int32)
    with pytest.raises(TypingError, match="row by row"):
        product_kernels.products(place, place, factors, factors, np.empty(1, dtype=np.float32))


@pytest.mark.parametrize("width", [1, 8, 45])
def test_weighted_sums_of_factors_are_those_of_numpy(width):
    random = np.random.default_rng(width)
    factors, indptr = halved(random.normal(size=(30, width))), np.array([0, 0, 5, 17])
    item, event_type = random.integers(0, 30, 17).astype(np.int32), random.integers(0, 10, 17).astype(np.int8)
    time, now = random.integers(0, 9 * DAY, 17), np.array([9, 5, 3]) * DAY
    weights, share = np.arange(10.0) - 1.0, scores(random, 30)
    own = (indptr, item, event_type, time, now, weights, 4.0)
    summed = row_kernels.weighted_rows(*own, frozen(share), bits_of(factors))
    age = np.maximum(now[[*[1] * 5, *[2] * 12]] - time, 0) / DAY
    weight = weights[event_type] * 0.5 ** (age / 4.0) * share[item]
    expected = [weight[part] @ factors[item[part]] for part in (slice(0, 0), slice(0, 5), slice(5, 17))]
    np.testing.assert_allclose(summed, expected, rtol=1e-5, atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.sampled_from([1, 2, 9, 300]))
def test_places_and_the_leading_are_those_of_a_stable_sort(seed, limit):
    random = np.random.default_rng(seed)
    query = np.sort(random.integers(0, 4, random.integers(0, random.choice([900, 5000])))).astype(np.int32)
    score = scores(random, len(query))
    place, leading = order_kernels.places(query, score), order_kernels.are_leading(query, score, limit)
    for one in range(4):
        own = np.flatnonzero(query == one)
        expected = np.empty(len(own), dtype=np.int64)
        expected[np.argsort(-score[own], kind="stable")] = np.arange(1, len(own) + 1)
        np.testing.assert_array_equal(place[own], expected)
        np.testing.assert_array_equal(leading[own], expected <= limit)
        size = min(limit, len(own))
        np.testing.assert_array_equal(order_kernels.foremost(score[own], size), np.argsort(expected)[:size])


def test_a_processor_without_long_vectors_finds_the_same_places(tmp_path):
    score = scores(np.random.default_rng(0), 300)
    np.save(tmp_path / "score.npy", score)
    code = (
        "import numpy as np; from recsys import order_kernels\n"
        "np.save('places.npy', order_kernels.places_of(np.load('score.npy')))"
    )
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    there = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | plain | there, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "places.npy"), order_kernels.places_of(score))


@pytest.mark.parametrize("n_items", [1, 200, 256, 257, 70_000, 17_000_000])
@pytest.mark.parametrize("count", [90, 2_000])
def test_the_union_of_proposals_rises_and_says_where_each_of_them_stands(n_items, count):
    proposed = np.random.default_rng(n_items).integers(-1, n_items, count).astype(np.int32)
    proposed[:2] = [-1, n_items - 1]
    noted = [np.zeros(len(proposed) + 2, dtype=np.int32) for _ in range(2)]
    slots, numbers, before = np.zeros(0, np.int32), np.full(n_items, 3, np.int32), np.full(1, 3)
    space = Space(slots, numbers, before, noted[0], np.zeros((1, 1), np.float32), noted[1])
    unused, unused_too = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int64)
    work = Work(
        *(np.empty_like(proposed) for _ in range(6)),
        *(unused, unused, unused[0], unused[0] > 0, unused.view(np.int32), unused, unused_too[0], unused_too),
        *(unused.view(np.int32)[0], unused[0]),
    )
    count, met = candidate_kernels.union(proposed, work, space, 0)
    expected = [one for one in np.unique(proposed).tolist() if one >= 0]
    assert work.chosen[:count].tolist() == expected
    assert met == count == np.count_nonzero(numbers > 3)
    assert space.met[work.numbers[:count]].tolist() == expected
    assert [expected[space.places[number] - 1] if number else -1 for number in work.proposed] == proposed.tolist()


def test_each_thread_has_slots_of_its_own_as_many_as_it_needs():
    slots = fetching.slots(10)
    with ThreadPoolExecutor(1) as other:
        assert not np.shares_memory(other.submit(fetching.slots, 10).result(), slots)
    assert np.shares_memory(fetching.slots(10), slots)
    assert [len(fetching.slots(count)) for count in (10, 100_000, 10)] == [10, 100_000, 10]
