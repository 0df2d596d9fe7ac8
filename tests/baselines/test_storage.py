import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines.storage import Int4Dimensions, Int8Dimensions, Int8Rows, Signs, Unit
from compressae_jax.baselines.units import unit_rows

ROWS = np.array([[1, -2, 0.5], [0, 0, 0], [100, 1, -1]], np.float32)


def test_int8_rows_are_within_half_a_step():
    storage = Int8Rows(3)
    stored = storage.pack(ROWS)

    steps = np.abs(ROWS).max(axis=1, keepdims=True) / 127
    assert (np.abs(storage.unpack(stored) - ROWS) <= steps / 2 * (1 + 1e-5)).all()
    assert_array_equal(storage.unpack(stored)[1], 0)
    assert stored.nbytes == 3 * (3 + 4) == 3 * storage.width


def test_int8_dimensions_are_within_half_a_step_and_clip_beyond_training():
    storage = Int8Dimensions(ROWS)
    steps = np.abs(ROWS).max(axis=0) / 127

    assert (np.abs(storage.unpack(storage.pack(ROWS)) - ROWS) <= steps / 2 * (1 + 1e-5)).all()
    assert_allclose(storage.unpack(storage.pack(ROWS * 5))[2], [100, 2, -1])
    assert storage.pack(ROWS).nbytes == 9 == 3 * storage.width


def test_a_dimension_that_training_never_used_is_zero():
    storage = Int8Dimensions(np.zeros((2, 3), np.float32))
    with np.errstate(all="raise"):
        assert_array_equal(storage.unpack(storage.pack(np.zeros((2, 3), np.float32))), 0)


def normal(n, m):
    """Unit rows whose first dimension has a mean and whose last are small."""
    x = np.random.default_rng(0).normal(size=(n, m)) / np.arange(1, m + 1) + 3 * (np.arange(m) == 0)
    return unit_rows(x.astype(np.float32))


@pytest.mark.parametrize("m", [6, 7])
def test_int4_dimensions_are_two_a_byte_and_near(m):
    rows = normal(300, m)
    storage = Unit(Int4Dimensions(rows))
    stored = storage.pack(rows)
    assert stored.nbytes == 300 * storage.width == 300 * -(-m // 2)
    assert (storage.unpack(stored) * rows).sum(axis=1).mean() > 0.998
    assert_allclose(np.linalg.norm(storage.unpack(stored), axis=1), 1, rtol=1e-6)


def test_int4_steps_leave_less_error_than_any_of_a_fine_grid():
    rows = normal(2000, 5)
    middle, largest = rows.mean(axis=0), np.abs(rows - rows.mean(axis=0)).max(axis=0)

    def errors(steps):
        levels = np.clip(np.floor((rows - middle) / steps), -8, 7) + 0.5
        return np.square(levels * steps + middle - rows).sum(axis=0)

    storage = Int4Dimensions(rows)
    grid = [errors(largest * share / 7.5) for share in np.linspace(0.2, 1.2, 101)]
    assert_allclose(errors(storage._steps), np.min(grid, axis=0), rtol=0.05)
    assert (errors(storage._steps) < 0.9 * errors(largest / 7.5)).all()  # so clipping is learned


def test_an_int4_dimension_that_is_constant_stays_so():
    rows = np.tile(np.float32([0.6, 0.8, 0]), (4, 1))
    storage = Int4Dimensions(rows)
    with np.errstate(all="raise"):
        assert_allclose(storage.unpack(storage.pack(rows)), rows, rtol=1e-6)


def test_signs_are_a_bit_each():
    rows = np.float32([[1, -2, 3, -4, 5, -6, 7, -8, 9], [0, 0, 0, 0, 0, 0, 0, 0, 1]])
    storage = Signs(9)
    assert storage.pack(rows).nbytes == 2 * storage.width == 4
    assert_allclose(storage.unpack(storage.pack(rows)) * 3, [[1, -1] * 4 + [1], [-1] * 8 + [1]], rtol=1e-6)


def test_signs_may_stand_for_magnitudes():
    storage = Signs(3, np.float32([1, 2, 3]))
    assert_allclose(storage.unpack(storage.pack(np.float32([[5, -0.1, 4]]))), [[1, -2, 3]])
