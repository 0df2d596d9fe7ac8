"""The loss on neighbours: its gradient against finite differences of what the module says it is, and what it gains."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle import unit

from compressae_jax.base import threads
from compressae_jax.training import neighbour_kernels as kernels
from compressae_jax.training import neighbours

N, D, H, K = 90, 12, 20, 3


def some_rows():
    return unit(np.random.default_rng(0).standard_normal((N, D)) + 0.3).astype(np.float32)


def some_atoms(x):
    mean = x.mean(axis=0)
    return np.ascontiguousarray(unit(x[:H] - mean), np.float32), mean


def dense_codes(w, x):
    """Unit codes (n, h) of the k largest positive pre-activations, squared."""
    a = np.maximum(x @ w.T, 0)
    a[a < -np.sort(-a, axis=1)[:, [K - 1]]] = 0
    return unit(a**2)


def test_neighbours_are_the_nearest_of_those_that_share_a_latent():
    x = some_rows()
    w, mean = some_atoms(x)
    columns = neighbours.candidates(x - mean, w, K)
    near = neighbours.nearest(x - mean, (x - mean) @ mean, columns, H)
    assert near.shape == (N, N // neighbours.SHARE)
    cosines = (x @ x.T).astype(np.float64)
    for row in range(N):
        shares = np.isin(columns, columns[row]).any(axis=1) & (np.arange(N) != row)
        best = np.sort(cosines[row][shares])[::-1][: near.shape[1]]
        found = near[row][near[row] != row]
        assert len(np.unique(found)) == len(found) == len(best)
        assert_allclose(np.sort(cosines[row][found])[::-1], best, atol=1e-6)


def test_of_equal_cosines_none_displaces_a_nearer_row():
    x = np.array([[1, 0], [0.5, 0], [0.5, 0], [0.5, 0], [0.9, 0]], np.float32)
    columns, near = np.zeros((5, 1), np.int32), np.empty((1, 2), np.int32)
    lists = neighbours.by_latent(columns, np.ones((5, 1), np.float32), 1)
    kernels.nearest(0, x, np.zeros(5, np.float32), columns, lists.ends, lists.rows, near)
    assert sorted(near[0]) == [1, 4]


def test_rows_that_all_share_all_latents_pull_each_other_and_not_themselves():
    values = unit(np.random.default_rng(0).random((N, K)) + 0.5).astype(np.float32)
    columns, near = np.tile(np.arange(K, dtype=np.int32), (N, 1)), np.arange(N, dtype=np.int32)[:, None] - 1
    near[0] = N - 1
    out, lists = np.empty_like(values), neighbours.by_latent(columns, values, K)
    kernels.pulls.py_func(0, near, columns, values, *lists, np.float32(1), out)  # as Python, which checks bounds

    wrong = 1 / (1 + np.maximum(1 - (values @ values.T - 1) / 256, 0) ** 256)  # so wide that the threshold is 1
    wrong[np.arange(N), near[:, 0]] -= 1
    np.fill_diagonal(wrong, 0)
    assert_allclose(out, wrong @ values, rtol=1e-3)


def test_gradient_is_that_of_the_loss(monkeypatch):
    monkeypatch.setattr(neighbours, "WIDTH", 0.2)
    x = some_rows()
    w, mean = some_atoms(x)
    x = x - mean
    columns = neighbours.candidates(x, w, 2 * K)
    near = neighbours.nearest(x, x @ mean, columns[:, :K], H)
    given = neighbours.gradient(w, K, x, columns, near)

    still, width = dense_codes(w, x).astype(np.float64), 0.2
    rows = np.arange(N)
    is_near = np.zeros((N, N), bool)
    is_near[rows[:, None], near] = True
    met = still @ still.T > 0
    met[rows, rows] = is_near[rows, rows] = False
    threshold = np.array([_threshold(still[r] @ still[met[r]].T, (is_near & met)[r].sum(), width) for r in rows])

    def loss(w):
        u = (dense_codes(w, x) @ still.T - threshold[:, None]) / width
        return (np.where(is_near, np.logaddexp(0, -u), np.logaddexp(0, u)) * met).sum() * width

    wanted, eps = np.zeros((H, D)), 1e-5
    wide = w.astype(np.float64)
    for i in range(H):
        for j in range(D):
            up, down = wide.copy(), wide.copy()
            up[i, j] += eps
            down[i, j] -= eps
            wanted[i, j] = (loss(up) - loss(down)) / (2 * eps)
    assert np.abs(wanted).max() > 0.5
    assert_allclose(given, wanted, atol=0.02 * np.abs(wanted).max())  # the sigmoid is within .004


def _threshold(cosines, wanted, width):
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp((middle - cosines) / width))).sum() > wanted else (low, middle)
    return low


def test_equal_rows_stay_finite():
    x = unit(np.ones((N, D), np.float32))
    w, mean = some_atoms(x + some_rows())
    for common in (mean, x[0]):  # away from the mean, and nothing but the mean
        *_, last = neighbours.moved(w, K, x, common, 2)
        assert np.isfinite(last).all()


@pytest.mark.parametrize("patience", [0, 1, 2, 3])
def test_whoever_asks_to_stop_waits_for_a_piece_and_not_for_a_step(patience):
    left = iter(range(patience))

    def check():
        if next(left, None) is None:
            raise KeyboardInterrupt

    x = some_rows()
    w, mean = some_atoms(x)
    with pytest.raises(KeyboardInterrupt):
        next(neighbours.moved(w, K, x, mean, 1, check))
    assert next(left, None) is None


@pytest.mark.parametrize("h", [1, K, H])
def test_steps_are_the_same_on_any_number_of_threads(h, monkeypatch):
    x = some_rows()
    w, mean = some_atoms(x)
    monkeypatch.setattr(neighbours, "ROWS", 7)
    made = []
    for cores in (1, 3):
        monkeypatch.setattr(threads, "cores", lambda cores=cores: cores)
        *_, last = neighbours.moved(w[:h], min(K, h), x, mean, 3)
        made.append(last)
    assert_array_equal(*made)
    assert np.isfinite(made[0]).all() and not np.shares_memory(made[0], w)
