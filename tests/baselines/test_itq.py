import numpy as np
import pytest
from numpy.testing import assert_allclose

from compressae_jax.baselines import itq
from compressae_jax.baselines.rotation import random_rotation
from compressae_jax.baselines.units import unit_rows
from compressae_jax.notation import InputError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("bits", itq.BITS)
def test_a_rotation_leaves_less_error_than_the_one_it_began_with(bits):
    rows = (RNG.normal(size=(900, 6)) * np.arange(1, 7)).astype(np.float32)
    turn = itq.rotation(rows, bits, seed=0)
    assert_allclose(turn @ turn.T, np.eye(6), atol=1e-5)

    def error(one):
        return np.square(itq.rounded(rows @ one, bits) - rows @ one).mean()

    assert error(turn) < 0.97 * error(random_rotation(6, seed=0))


def test_corners_of_a_turned_cube_are_found():
    corners = np.sign(RNG.normal(size=(800, 6))).astype(np.float32)
    near = np.linalg.qr(random_rotation(6, seed=0) + 0.1 * RNG.normal(size=(6, 6)))[0].astype(np.float32)
    near *= np.sign((near * random_rotation(6, seed=0)).sum(axis=0))  # to where the learning begins, but for a little
    along = np.abs(corners @ near.T @ itq.rotation(corners @ near.T, 1, seed=0))
    assert_allclose(along, 1, atol=1e-3)


def test_a_bit_stands_for_the_mean_of_its_side():
    vectors = RNG.normal(size=(500, 8)).astype(np.float32)
    fitted = itq.fit(vectors, 1)  # one bit of all eight, the first form
    along = fitted._reduce(vectors)
    sides = along > along.mean(axis=0)

    means = np.stack(
        [np.where(side, a[side].mean(), a[~side].mean()) for a, side in zip(along.T, sides.T, strict=True)]
    )

    found = (fitted.storage.unpack(fitted.encode(vectors)) * unit_rows(means.T)).sum(axis=1)
    assert np.median(found) > 0.9995  # levels settle a little beside the mean, where few values change sides


def test_a_budget_between_the_forms():
    with pytest.raises(InputError, match="budget must be an integer from 1 to 4, not 5"):
        itq.fit(np.ones((5, 8), np.float32), 5)
