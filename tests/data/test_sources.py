import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.data import sources
from compressae_jax.notation import InputError


def with_zero_rows(n, zero):
    x = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    x[zero] = 0
    x[1, :2] = 0  # not a zero row
    return data.open_source(x)


def test_zero_rows_are_found_in_every_piece(monkeypatch):
    monkeypatch.setattr(sources, "PIECE_BYTES", 4 * 3 * 4)  # four rows
    zero = [0, 3, 4, 12]
    assert_array_equal(data.find_zero_rows(with_zero_rows(13, zero), progress=False), zero)
    assert data.find_zero_rows(with_zero_rows(13, [])).dtype == np.int64


def test_zero_rows_are_told():
    source = with_zero_rows(40, np.arange(2, 35, 3))
    message = str(data.zero_rows_met(source, data.find_zero_rows(source)))
    assert "array has 11 zero rows" in message and "(rows 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, …)" in message
    assert "(rows 7)" in str(data.zero_rows_met(source, np.array([7])))


def test_the_search_for_zero_rows_sees_what_is_not_finite():
    with pytest.raises(InputError, match="row 1 "):
        data.find_zero_rows(data.open_source(np.array([[0, 0], [0, np.nan]], np.float32)))
