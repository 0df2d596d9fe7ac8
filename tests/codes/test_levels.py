import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.codes import levels


def error(magnitudes, chosen):
    return (np.abs(magnitudes[:, None] - chosen).min(axis=1) ** 2).mean()


def test_levels_of_few_different_magnitudes_are_these():
    magnitudes = np.float32([1, 1, 1, 2, 2, 5, 5, 5, 9])
    assert_allclose(levels.learn(magnitudes, 4), [1, 2, 5, 9])


def test_a_level_is_the_mean_of_what_is_nearest_to_it():
    magnitudes = np.abs(np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)
    chosen = levels.learn(magnitudes, 8)
    nearest = np.abs(magnitudes[:, None] - chosen).argmin(axis=1)
    means = np.array([magnitudes[nearest == i].mean() for i in range(8)])
    assert_allclose(chosen, means, atol=0.01)
    even = np.linspace(0, magnitudes.max(), 17)[1::2]
    assert error(magnitudes, chosen) < 0.5 * error(magnitudes, even)


def test_zeros_do_not_count():
    magnitudes = np.float32([0, 0, 0, 0, 0, 3, 4])
    assert_allclose(levels.learn(magnitudes, 2), [3, 4])


@given(arrays(np.float32, st.integers(0, 20), elements=st.floats(0, 2, width=32)), st.sampled_from([1, 2, 4, 128]))
def test_levels_are_positive_and_rise(magnitudes, count):
    chosen = levels.learn(magnitudes, count)
    assert chosen.dtype == np.float32 and chosen.shape == (count,)
    assert (chosen > 0).all() and (np.diff(chosen) > 0).all()


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_the_order_of_magnitudes_does_not_matter(order):
    magnitudes = np.random.default_rng(1).random(500).astype(np.float32)
    assert_array_equal(levels.learn(magnitudes[order], 8), levels.learn(magnitudes, 8))
