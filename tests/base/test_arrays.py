"""What people hold vectors in, as NumPy."""

import numpy as np
import pytest

from compressae_jax.base import arrays
from compressae_jax.notation import InputError


def test_lists_and_arrays_are_arrays():
    assert arrays.vectors("vectors", [[1.0, 2.0]]).tolist() == [[1, 2]]
    own = np.ones((2, 3), np.float32)
    assert arrays.vectors("vectors", own) is own
    with pytest.raises(InputError, match="vectors must be rows of numbers"):
        arrays.vectors("vectors", [[1.0], [2.0, 3.0]])


def test_a_mask_that_hides_nothing_is_no_matter_and_one_that_does_is_an_error():
    given = np.ma.masked_array(np.ones((3, 2)), mask=False)
    assert arrays.vectors("vectors", given).sum() == 6
    given[1, 0] = np.ma.masked
    with pytest.raises(InputError, match="vectors hide values under a mask, first in row 1"):
        arrays.vectors("vectors", given)


def test_blocks_are_padded_with_zeros():
    assert arrays.padded(np.ones((2, 3)), 4).sum() == 6
    assert arrays.padded(np.ones(2), 4).tolist() == [1, 1, 0, 0]
    assert [len(some) for some in arrays.pieces(np.ones(7), 3)] == [3, 3, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.uint8])
def test_arrays_of_loops_begin_with_a_line_of_the_cache(dtype):
    some = arrays.empty((7, 3), dtype)
    assert some.shape == (7, 3) and some.dtype == dtype and some.ctypes.data % arrays.LINE == 0
    moved = arrays.empty((30,), dtype)[1:]
    moved[:] = np.arange(29)
    copy = arrays.aligned(moved)
    assert copy.ctypes.data % arrays.LINE == 0 and (copy == moved).all()
    assert arrays.aligned(copy) is copy
