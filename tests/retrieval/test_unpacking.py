import numpy as np
import pytest
from numpy.testing import assert_array_equal
from retrieval import oracle

from compressae_jax.retrieval import unpacking


@pytest.mark.parametrize("unit", [True, False])
def test_fresh_parts_outlive_the_next_read(unit):
    (packed, row_scales, _), (codes, *_) = oracle.packed_problem(50, 1)
    for fresh in (True, False):
        read = unpacking.reader(packed, None if unit else row_scales, 20, fresh)
        first = read(slice(0, 20))
        second = read(slice(40, 60))  # 10 rows, the last ones
        assert_array_equal(second.values, codes.values[40:])
        assert_array_equal(second.columns, codes.columns[40:])
        shared = [np.shares_memory(*arrays) for arrays in zip(first, second, strict=True)]
        assert shared == [not fresh, not fresh, unit and not fresh]
        if fresh:
            assert_array_equal(first.values, codes.values[:20])


def test_unit_scales_are_those_of_float64():
    (packed, *_), (codes, *_) = oracle.packed_problem(50, 1)
    scales = unpacking.reader(packed, None, 50)(slice(0, 50)).row_scales
    lengths = np.linalg.norm(codes.values.astype(np.float64), axis=1)
    wanted = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    assert_array_equal(scales, wanted.astype(np.float32))
