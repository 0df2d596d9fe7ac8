import numpy as np
import pytest
from numpy.testing import assert_allclose

from compressae_jax.baselines import pca
from compressae_jax.baselines.units import unit_rows
from compressae_jax.notation import InputError


def test_directions_are_the_right_singular_vectors_uncentred():
    x = np.random.default_rng(0).normal(1, 1, (200, 5)).astype(np.float32) * np.float32([5, 4, 3, 2, 1])
    _, _, theory = np.linalg.svd(unit_rows(x).astype(np.float64), full_matrices=False)

    basis = pca.directions(x)

    assert_allclose(np.abs(np.sum(basis * theory.T, axis=0)), 1, atol=1e-4)
    # A mean is left in: the first direction points along it.
    assert abs(basis[:, 0] @ unit_rows(unit_rows(x).mean(axis=0, keepdims=True))[0]) > 0.99


def test_vectors_of_few_dimensions_are_kept_whole():
    rng = np.random.default_rng(1)
    x = (rng.normal(size=(50, 3)) @ rng.normal(size=(3, 20))).astype(np.float32)  # rank 3
    scores, rows = pca.fit(x, 12).add(x).search(x, 50)
    exact = unit_rows(x) @ unit_rows(x).T
    assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-5)


def test_a_basis_at_hand_is_used():
    x = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    last_first = np.eye(4, dtype=np.float32)[:, ::-1]
    assert_allclose(pca.fit(x, 8, basis=last_first).encode(x), unit_rows(unit_rows(x)[:, [3, 2]]), rtol=1e-6)


def test_unknown_storage():
    with pytest.raises(
        InputError, match=r"storage must be one of 'float32', 'int8', 'int4', not 'int9' \(did you mean 'int8'"
    ):
        pca.fit(np.ones((3, 4), np.float32), storage="int9")


@pytest.mark.parametrize(("d", "budget", "m"), [(9, None, 9), (9, 2, 4), (8, 4, 8)])
def test_int4_holds_two_dimensions_a_byte(d, budget, m):
    x = np.random.default_rng(3).normal(size=(40, d)).astype(np.float32)
    fitted = pca.fit_int4(x, budget)
    assert fitted._reduce(x).shape == (40, m)
    assert fitted.bytes_per_vector == -(-m // 2)


def test_directions_about_the_mean_are_the_covariances():
    x = np.random.default_rng(4).normal(1, 1, (200, 5)).astype(np.float32)
    units = unit_rows(x).astype(np.float64)
    _, _, theory = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)
    assert_allclose(np.abs(np.sum(pca.directions(x, centred=True) * theory.T, axis=0)), 1, atol=1e-3)


@pytest.mark.parametrize("fit", [pca.fit, pca.fit_int8, pca.fit_int4])
def test_held_out_rows_choose_between_zero_and_mean(fit):
    rng = np.random.default_rng(5)
    spread = rng.normal(size=(1500, 16)) * 0.6 ** np.arange(16)
    far = (spread + 8 * (np.arange(16) == 15)).astype(np.float32)  # a mean along what varies least

    def about_mean(vectors):
        return fit(vectors, 8)._reduce(vectors).shape[1] % 2 == 1  # with the mean's own dimension

    assert about_mean(far)
    assert not about_mean(far[:1000]), "too few rows to tell"
