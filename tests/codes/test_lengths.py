import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.codes import lengths
from compressae_jax.codes.mapped import NO_FILES
from compressae_jax.notation import InputError


def test_lengths_of_any_magnitude_are_those_of_float64():
    x = np.random.default_rng(0).standard_normal((9, 50)).astype(np.float32)
    x *= np.float32(10.0) ** np.array([-30, -10, -3, 0, 1, 3, 10, 17, 0], np.float32)[:, None]
    x[8] = 0
    assert_allclose(lengths.of(x), np.linalg.norm(x.astype(np.float64), axis=1), rtol=1e-7)
    assert_array_equal(lengths.of(x[3:5]), lengths.of(x)[3:5])  # the same in any company


def test_lengths_in_range_have_no_fault():
    assert lengths.fault(np.array([0, 1e-30, 2.0**60], np.float32)) is None


@pytest.mark.parametrize("bad", [-1, np.nan, np.inf, 2.0**61])
def test_others_are_named(bad):
    row, why = lengths.fault(np.array([1, 2, bad], np.float32))
    assert row == 2 and "multiply all vectors with one number" in why
    with pytest.raises(InputError, match="row 2 has the length"):
        lengths.check(np.array([1, 2, bad], np.float32), 3)


def test_lengths_of_other_rows_are_refused():
    with pytest.raises(InputError, match=r"lengths must be \(4,\), one a row of codes, not \(3,\)"):
        lengths.check(np.ones(3, np.float32), 4, NO_FILES)
