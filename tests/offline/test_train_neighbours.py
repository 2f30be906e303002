"""Item-item models against their formulas, entry by entry, on matrices small enough to spell them out."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_offline.train.neighbours import co_occurrence, ease


def matrix(seed: int = 0, rows: int = 30, n_items: int = 12) -> sp.csr_matrix:
    """Weights from 0 to 1; row 0 and item 0 are empty."""
    random = np.random.default_rng(seed)
    dense = np.where(random.random((rows, n_items)) < 0.3, random.random((rows, n_items)), 0)
    dense[0], dense[:, 0] = 0, 0
    return sp.csr_matrix(dense.astype(np.float32))


@pytest.mark.parametrize(("shrinkage", "power"), [(0, 0), (10, 0.5), (3, 1), (0, 0.5)])
def test_a_weight_sums_the_rows_of_both_items_and_holds_down_long_rows_and_popular_items(shrinkage, power):
    found, dense = matrix(), matrix().toarray().astype(np.float64)
    norm = np.sqrt((dense**2).sum(axis=0) + shrinkage)
    expected = np.zeros((12, 12))
    for one in range(1, 12):
        for other in set(range(1, 12)) - {one}:
            shared = sum(row[one] * row[other] / row.sum() ** power for row in dense if row[one] * row[other])
            expected[one, other] = shared / (norm[one] * norm[other])
    assert co_occurrence(found, 12, shrinkage, power, 1).toarray() == pytest.approx(expected, rel=1e-5)


def test_without_damping_the_weights_are_cosines():
    dense = matrix().toarray()[:, 1:]
    unit = dense / np.linalg.norm(dense, axis=0)
    expected = unit.T @ unit - np.eye(11)
    assert co_occurrence(matrix(), 12, 0, 0, 1).toarray()[1:, 1:] == pytest.approx(expected, abs=1e-5)


def test_only_the_strongest_neighbours_of_an_item_are_kept_and_it_is_not_its_own():
    everything = co_occurrence(matrix(), 12, 0, 0, 1).toarray()
    kept = co_occurrence(matrix(), 3, 0, 0, 1)
    assert np.diff(kept.indptr).tolist() == [0] + [3] * 11
    for row in range(1, 12):
        assert sorted(kept[[row]].data) == pytest.approx(sorted(everything[row])[-3:])
    assert not kept.diagonal().any()


def test_who_acts_on_everything_says_less_of_a_pair_the_more_rows_are_damped():
    of_few, of_many = [[1, 1, 0, 0, 0, 0]], [[1, 0, 1, 1, 1, 1]]
    rows = sp.csr_matrix(np.array(of_few + of_many + [[0, 1, 1, 0, 0, 0]], dtype=np.float32))
    plain, damped = (co_occurrence(rows, 6, 0, power, 1) for power in (0, 1))
    assert plain[0, 1] == pytest.approx(plain[0, 2])
    assert damped[0, 1] == pytest.approx(2.5 * damped[0, 2])


def test_ease_is_what_predicts_each_item_best_from_the_others_by_ridge_regression():
    dense = matrix(seed=1).toarray().astype(np.float64)
    weights = ease(matrix(seed=1), 12, 2.0).toarray()
    for item in range(12):
        others = np.delete(np.arange(12), item)
        left = dense[:, others].T @ dense[:, others] + 2.0 * np.eye(11)
        expected = np.linalg.solve(left, dense[:, others].T @ dense[:, item])
        assert weights[others, item] == pytest.approx(expected, abs=1e-4)
