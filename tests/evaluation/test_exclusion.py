import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal

from compressae_jax.evaluation.exclusion import excluding, without

N = 9


@pytest.mark.parametrize("seed", range(5))
def test_without_is_a_filter(seed):
    rng = np.random.default_rng(seed)
    rows = np.array([rng.permutation(N) for _ in range(3)])
    rows[rng.random((3, N)) < 0.2] = -1
    scores = np.where(rows < 0, -np.inf, -np.arange(9.0)).astype(np.float32)
    banned = rng.random((3, N)) < 0.4

    found, kept = without(scores, rows, scipy.sparse.csr_matrix(banned), 4)

    for i in range(3):
        expected = [(s, r) for s, r in zip(scores[i], rows[i], strict=True) if r >= 0 and not banned[i, r]][:4]
        expected += [(-np.inf, -1)] * (4 - len(expected))
        assert list(zip(found[i], kept[i], strict=True)) == expected


def plain(queries, top):
    order = np.argsort(-queries, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(queries, order, axis=1), order


@pytest.mark.parametrize("share", [0, 0.4, 1])
def test_a_search_that_knows_no_exclusion_is_asked_deeper(share):
    rng = np.random.default_rng(0)
    queries, banned = rng.random((4, N)), rng.random((4, N)) < share
    weights = scipy.sparse.csr_matrix(banned * rng.choice([-1, 2], (4, N)))  # whatever their sign
    scores, rows = excluding(plain)(queries, 4, exclude=weights)
    wanted_scores, wanted = plain(np.where(banned, -np.inf, queries), 4)
    assert_array_equal(scores, wanted_scores)
    assert_array_equal(rows, np.where(np.isneginf(wanted_scores), -1, wanted))


def test_a_search_that_does_is_left_as_it_is():
    def own(queries, top, exclude=None):
        return queries, exclude

    assert excluding(own) is own
