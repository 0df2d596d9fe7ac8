import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.data import batches
from compressae_jax.notation import InputError


@given(n=st.integers(1, 40), batch=st.integers(1, 100), seed=st.integers(0, 2**40))
def test_every_row_is_drawn_once_an_epoch(n, batch, seed):
    """Any number of steps draws each row as often as whole epochs passed, or once more."""
    drawn = np.zeros(n, int)
    for step in range(9):
        rows = data.rows_of_step(seed, step, batch, n)
        assert len(rows) == batch and (np.diff(rows) >= 0).all()
        drawn += np.bincount(rows, minlength=n)
        epochs = (step + 1) * batch // n
        assert drawn.min() >= epochs and drawn.max() <= -(-(step + 1) * batch // n)


@pytest.mark.parametrize("n", [7, 8, 9, 17])  # below, at and above a batch, one more than two
def test_a_step_is_a_function_of_its_arguments(n):
    steps = [data.rows_of_step(5, step, 8, n) for step in range(12)]
    for step in (11, 0, 6, 6, 1):
        batches._order.cache_clear()
        assert_array_equal(data.rows_of_step(5, step, 8, n), steps[step])


def test_orders_differ_between_epochs_and_seeds():
    first = [data.rows_of_step(seed, step, 50, 100) for seed in (0, 1) for step in (0, 2, 4)]
    assert len({tuple(rows) for rows in first}) == len(first)


def test_the_order_is_this_one():
    """A run that is continued by another version must go on in the same order."""
    assert [data.rows_of_step(7, step, 4, 10).tolist() for step in range(5)] == [
        [1, 3, 6, 9],
        [0, 2, 5, 7],
        [1, 4, 8, 9],
        [0, 2, 5, 8],
        [3, 4, 6, 7],
    ]


def test_what_is_refused():
    for arguments in ((0, -1, 4, 10), (0, 0, 0, 10), (0, 0, 4, 0)):
        with pytest.raises(InputError):
            data.rows_of_step(*arguments)
