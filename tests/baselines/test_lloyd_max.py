import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import lloyd_max
from compressae_jax.baselines.lloyd_max import LloydMax
from compressae_jax.notation import InputError

NORMAL = np.random.default_rng(0).normal(2, 3, 20_000)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_levels_leave_what_max_tabulates_of_a_gaussian(bits):
    levels = lloyd_max.levels(NORMAL, bits)
    left = np.square(levels[np.abs(NORMAL[:, None] - levels).argmin(axis=1)] - NORMAL).mean()
    assert_allclose(left / NORMAL.var(), lloyd_max.LEFT[bits], rtol=0.05)


def test_each_level_is_the_mean_of_its_values():
    values = np.random.default_rng(1).exponential(size=5000)
    levels = lloyd_max.levels(values, 3)
    nearest = np.abs(values[:, None] - levels).argmin(axis=1)
    assert_allclose(levels, [values[nearest == i].mean() for i in range(8)], rtol=0.02)


def test_bits_go_where_they_lower_the_error_most():
    variances = np.float32([0.1, 16, 1, 4, 0])
    dealt = lloyd_max.deal(variances, 7)
    assert dealt.sum() == 7

    def error(bits):
        return (variances * lloyd_max.LEFT[np.array(bits)]).sum()

    others = [bits for bits in np.ndindex(5, 5, 5, 5, 2) if sum(bits) == 7]
    assert_allclose(error(dealt), min(map(error, others)), rtol=1e-6)


def test_no_dimension_gets_more_than_eight():
    assert_array_equal(lloyd_max.deal(np.float32([1e9, 1]), 100), [8, 8])


def test_rows_are_stored_as_the_nearest_levels_bit_by_bit():
    rows = np.random.default_rng(2).normal(size=(4000, 5)).astype(np.float32)
    bits = np.array([3, 0, 1, 8, 3])
    storage = LloydMax(rows, bits)
    stored = storage.pack(rows)
    assert stored.shape == (4000, 2) and storage.width == 2

    unpacked = storage.unpack(stored)
    for j, b in enumerate(bits):
        levels = lloyd_max.levels(rows[:, j], int(b)) if b else rows[:, j].mean(keepdims=True)
        assert_allclose(unpacked[:, j], levels[np.abs(rows[:, j, None] - levels).argmin(axis=1)], atol=1e-6)


def test_constant_values_have_a_level():
    rows = np.full((10, 2), 3, np.float32)
    storage = LloydMax(rows, np.array([2, 1]))
    with np.errstate(all="raise"):
        assert_allclose(storage.unpack(storage.pack(rows)), rows)


@pytest.mark.parametrize("bits", [[9], [-1]])
def test_bits_out_of_range(bits):
    with pytest.raises(InputError, match=r"bits must lie in 0\.\.8, not"):
        LloydMax(np.ones((3, 1), np.float32), np.array(bits))
