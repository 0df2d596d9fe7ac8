"""A dictionary of several sets: who gives how many rows, and what it learns."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.notation import InputError
from compressae_jax.training import mixed


def some(n, d=8, seed=0):
    return data.open_source(np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32))


def test_shares_go_by_the_root_of_the_size():
    assert mixed.shares([10_000, 400], 120).tolist() == [100, 20]
    assert mixed.shares([10_000, 4, 400], 120).sum() == 120, "what a small set cannot give is left to the others"
    assert mixed.shares([3, 2], 100).tolist() == [3, 2], "no more than there is"


def test_rows_are_of_unit_length_and_of_every_set():
    far = data.open_source(some(50).read(0, 50) + 100)
    x = mixed.drawn({"near": some(200), "far": far}, 60, np.random.default_rng(0))
    assert x.shape == (60, 8) and np.allclose(np.linalg.norm(x, axis=1), 1, atol=1e-6)
    assert (x.min(axis=1) > 0.3).sum() == mixed.shares([200, 50], 60)[1]


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_rounds_learn_and_a_seed_is_the_same_dictionary(share):
    sets = {"a": some(400), "b": some(200, seed=1)}
    first, cosines = mixed.learn(sets, 32, (2, 2, 2, 2), 500, share, shown=False)
    again, _ = mixed.learn(sets, 32, (2, 2, 2, 2), 500, share, shown=False)
    assert_array_equal(first, again)
    assert first.shape == (32, 8) and np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert len(cosines) == 4 and cosines[-1] > cosines[0] + 0.01


def test_sets_that_do_not_go_together():
    with pytest.raises(InputError, match="of one width"):
        mixed.learn({"a": some(40), "b": some(40, d=9)}, 8, (2,), 30, shown=False)
    with pytest.raises(InputError, match="of one width"):
        mixed.learn({}, 8, (2,), 30, shown=False)
    with pytest.raises(InputError, match="h must be"):
        mixed.learn({"a": some(40)}, 41, (2,), 30, shown=False)
    with pytest.raises(InputError, match="share must be"):
        mixed.learn({"a": some(40)}, 8, (2,), 30, share=1.0, shown=False)
