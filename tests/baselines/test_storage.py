import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines.storage import Int8Dimensions, Int8Rows

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
