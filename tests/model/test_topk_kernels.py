import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from compressae_jax.model import topk_kernels

NUMBERS = st.floats(-4, 4, width=16) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-38, -1e-45, np.inf, -np.inf])


def wanted(a, k):
    columns = np.broadcast_to(np.arange(a.shape[1]), a.shape)
    return np.lexsort((columns, -np.abs(a)), axis=1)[:, :k]


@settings(deadline=None, max_examples=200)
@given(st.data(), st.integers(1, 3), st.integers(1, 70))
def test_the_largest_magnitudes_and_the_first_of_them_first(data, rows, h):
    a = data.draw(arrays(np.float32, (rows, h), elements=NUMBERS.map(np.float32)))
    keep = data.draw(st.integers(1, h))
    first = data.draw(st.integers(1, keep))
    columns = np.empty((rows, keep), np.int32)
    topk_kernels.select(a, first, columns)
    assert_array_equal(np.sort(columns[:, :first]), np.sort(wanted(a, first)))
    assert_array_equal(np.sort(columns), np.sort(wanted(a, keep)))
    topk_kernels.order(a, columns)
    assert_array_equal(columns, wanted(a, keep))


@pytest.mark.parametrize("h", [4096, 5000])  # in groups, and entry by entry
def test_wide_rows_of_every_kind(h):
    rng = np.random.default_rng(0)
    a = np.stack(
        [
            rng.standard_normal(h),
            rng.standard_normal(h) ** 9,
            np.exp(-np.arange(h) / 9),
            np.where(np.arange(h) % 256 == 3, np.arange(h), 0),  # all in one group
            np.zeros(h),
            np.ones(h),
            np.round(rng.standard_normal(h)),
        ]
    ).astype(np.float32)
    for keep in (1, 16, 64, 300, 4000, h):
        columns = np.empty((len(a), keep), np.int32)
        topk_kernels.select(a, 1, columns)
        assert_array_equal(np.sort(columns), np.sort(wanted(a, keep)))


def test_nan_hides_no_other_entry_of_its_group():
    a = np.full((1, 256), 0.5, np.float32)
    a.reshape(16, 16)[::2] = np.nan  # of every group of 16 columns that are 16 apart, every other entry
    a[0, 17], a[0, 240:] = -100, np.arange(1, 17)
    columns = np.empty((1, 4), np.int32)
    topk_kernels.select(a, 2, columns)
    topk_kernels.order(a, columns)
    assert_array_equal(columns, [[17, 255, 254, 253]])


def test_nan_gives_columns_that_exist():
    a = np.full((2, 9), np.nan, np.float32)
    a[1, 4] = 1
    columns = np.full((2, 5), -1, np.int32)
    topk_kernels.select(a, 2, columns)
    assert_array_equal(columns, np.tile(np.arange(5), (2, 1)))
