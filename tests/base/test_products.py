import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.base import products, threads


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 14), st.integers(1, 40), st.integers(1, 200), st.booleans())
def test_the_product_is_that_of_float64(b, d, h, biased):
    x, w, bias = drawn(0, b, d), drawn(1, d, h), drawn(2, h) if biased else None
    wanted = x.astype(np.float64) @ w + (0 if bias is None else bias)
    found = products.product(x, products.strips(w, bias))
    assert found.shape == (b, h)
    assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("h", [64, 130])
def test_a_row_is_the_same_bits_in_any_company_and_by_any_threads(h, monkeypatch):
    x, w = drawn(0, 67, 96), products.strips(drawn(1, 96, h), drawn(2, h))
    whole = products.product(x, w)
    for start, end in ((0, 1), (1, 6), (5, 12), (12, 67)):
        assert_array_equal(products.product(x[start:end], w), whole[start:end])
    monkeypatch.setattr(products, "SHARE", 1)
    for cores in (1, 2, 9):
        monkeypatch.setenv(threads.VARIABLE, str(cores))
        assert_array_equal(products.by_all_cores(x, w), whole)


def test_what_is_written_stays_within_the_array():
    around = np.full((9, 70), 7, np.float32)
    out = around.reshape(-1)[70:560].reshape(7, 70)
    products.product(drawn(0, 7, 5), products.strips(drawn(1, 5, 70)), out)
    assert (around[0] == 7).all() and (around[8] == 7).all() and (out != 7).all()


def test_infinities_and_nan_come_through():
    x = np.float32([[np.inf, 1], [np.nan, 1], [1, 1]])
    found = products.product(x, products.strips(np.ones((2, 3), np.float32)))
    assert_array_equal(found, np.float32([[np.inf] * 3, [np.nan] * 3, [2] * 3]))
