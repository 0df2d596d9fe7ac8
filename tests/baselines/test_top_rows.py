import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.baselines.top_rows import TopRows

C, R = 8, 10


@pytest.mark.parametrize("n", [1, C, C + 1, 2 * C + 1, 5 * C + 3])  # below, at and above a block, and past r rows
@pytest.mark.parametrize("block", [C, 2 * R])  # narrower and wider than r
def test_top_rows_is_a_stable_sort(n, block):
    scores = np.random.default_rng(n).integers(-2, 3, (3, n)).astype(np.float32)  # full of ties

    best = TopRows(3, R)
    for start in range(0, n, block):
        best.absorb(scores[:, start : start + block], start)
    found, rows = best.result()

    m = min(n, R)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :m]
    assert_array_equal(rows[:, :m], expected)
    assert_array_equal(found[:, :m], np.take_along_axis(scores, expected, axis=1))
    assert (rows[:, m:] == -1).all() and np.isneginf(found[:, m:]).all()
