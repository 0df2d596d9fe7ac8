import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines.units import unit_rows


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])  # whose squares leave float32
def test_unit_rows_of_any_finite_magnitude(size):
    x = np.array([[3, 4], [0, 0], [-1, 0]], np.float32) * np.float32(size)
    given = x.copy()

    assert_allclose(unit_rows(x), [[0.6, 0.8], [0, 0], [-1, 0]], rtol=1e-6)
    assert_array_equal(x, given)
    assert unit_rows(x).dtype == np.float32


def test_no_rows():
    assert unit_rows(np.zeros((0, 3), np.float32)).shape == (0, 3)
