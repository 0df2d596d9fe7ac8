import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.evaluation import rankings

# Two queries over five rows; the second one wants nothing.
WANTED = scipy.sparse.csr_matrix(np.array([[0, 2, 0, 1, 0], [0, 0, 0, 0, 0]]))


def test_gains_by_rank():
    rows = np.array([[3, 0, 1, -1], [4, 3, 2, 1]])
    assert_array_equal(rankings.gains(rows, WANTED), [[1, 0, 2, 0], [0, 0, 0, 0]])


def test_nothing_found_gains_nothing_even_where_the_outer_rows_are_wanted():
    outer = scipy.sparse.csr_matrix(np.array([[1, 0, 1]]))
    assert_array_equal(rankings.gains(np.array([[-1, 2, -1]]), outer), [[0, 1, 0]])


def test_metrics_by_hand():
    gained = np.array([[1.0, 0, 2, 0], [0, 0, 0, 0]])
    assert_allclose(rankings.ndcg(gained, WANTED, 3), [(1 + 2 / 2) / (2 + 1 / np.log2(3)), 0])
    assert_allclose(rankings.ndcg(gained, WANTED, 1), [1 / 2, 0])
    assert_allclose(rankings.recall(gained, WANTED, 2), [1 / 2, 0])
    assert_allclose(rankings.capped_recall(gained, WANTED, 1), [1, 0])
    assert_allclose(rankings.reciprocal_rank(gained[:, 1:], WANTED, 10), [1 / 2, 0])
    assert_allclose(rankings.reciprocal_rank(gained[:, 1:], WANTED, 1), [0, 0])


@pytest.mark.parametrize("top", [1, 3, 9])
def test_an_ideal_ranking_scores_one(top):
    rng = np.random.default_rng(0)
    wanted = rng.integers(0, 4, (20, 8))
    wanted[:, 0] = 1
    best = np.argsort(-wanted, axis=1, kind="stable")
    gained = rankings.gains(best, scipy.sparse.csr_matrix(wanted))
    assert_allclose(rankings.ndcg(gained, scipy.sparse.csr_matrix(wanted), top), 1)


def test_empty():
    assert rankings.gains(np.zeros((0, 5), np.int64), WANTED[:0]).shape == (0, 5)
    assert rankings.reciprocal_rank(np.zeros((3, 0)), WANTED, 10).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("grades", "expected"),
    [([-2, 1, 0], 1 / np.log2(3)), ([1, 0, -1], 1), ([-1, -1, -2], 0), ([2, -3, 1], (2 + 0.5) / (2 + 1 / np.log2(3)))],
)
def test_a_grade_below_0_is_not_relevant(grades, expected):
    wanted, rows = scipy.sparse.csr_matrix(np.array([grades])), np.array([[0, 1, 2]])
    gained = rankings.gains(rows, wanted)
    assert_allclose(rankings.ndcg(gained, wanted, 3), [expected])
    assert_array_equal(rankings.recall(gained, wanted, 3), [float(max(grades) > 0)])
