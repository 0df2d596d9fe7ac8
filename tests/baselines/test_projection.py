import numpy as np
import pytest
from numpy.testing import assert_allclose

from compressae_jax.baselines import projection
from compressae_jax.baselines.rotation import random_rotation
from compressae_jax.baselines.storage import Float32, Unit
from compressae_jax.baselines.units import unit_rows

VECTORS = np.random.default_rng(0).normal(0.5, 1, (300, 10)).astype(np.float32)
KEPT = random_rotation(10, 1)[:, :4]


def stored(reduced):
    return Float32(reduced.shape[1])


@pytest.mark.parametrize("kept", [KEPT, random_rotation(10, 2)])
def test_about_the_mean_rows_are_decoded_with_it(kept):
    units = unit_rows(VECTORS)
    mean = units.mean(axis=0)
    decoded = unit_rows(mean + (units - mean) @ kept @ kept.T)

    scores, rows = projection.about_mean("some", kept, stored, VECTORS).add(VECTORS).search(VECTORS[:9], 40)

    exact = units[:9] @ decoded.T
    assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-5)
    assert_allclose(scores, -np.sort(-exact, axis=1)[:, :40], atol=1e-5)


def test_about_zero_rows_are_of_unit_length_along_what_is_kept():
    fitted = projection.about_zero("some", KEPT, stored, VECTORS)
    assert_allclose(fitted.encode(VECTORS), unit_rows(VECTORS @ KEPT), atol=1e-6)
    assert fitted.bytes_per_vector == 16


def test_the_mean_takes_no_bytes():
    fitted = projection.about_mean("some", KEPT, lambda reduced: Unit(stored(reduced)), VECTORS)
    assert fitted.encode(VECTORS).nbytes == 300 * 16 == 300 * fitted.bytes_per_vector
