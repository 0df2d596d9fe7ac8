import numpy as np
import pytest
from numpy.testing import assert_allclose

from compressae_jax.baselines import sq
from compressae_jax.baselines.units import unit_rows
from compressae_jax.notation import InputError

VECTORS = np.random.default_rng(0).normal(size=(300, 9)).astype(np.float32)


def test_sizes_are_those_of_faiss():
    kind = pytest.importorskip("faiss").ScalarQuantizer
    theirs = [kind(9, getattr(kind, f"QT_{bits}bit")).code_size for bits in sq.BITS]
    assert sq.sizes(9) == theirs == [9, 7, 5]


@pytest.mark.parametrize(("budget", "size", "steps"), [(None, 9, 255), (8, 7, 63)])
def test_the_most_bits_that_fit(budget, size, steps):
    pytest.importorskip("faiss")
    fitted = sq.fit(VECTORS, budget)
    units = unit_rows(VECTORS)
    unpacked = fitted.storage.unpack(fitted.encode(VECTORS))
    assert fitted.bytes_per_vector == size
    half_a_step = np.ptp(units, axis=0) / steps / 2
    assert (np.abs(unpacked - units) < 2 * half_a_step).all()  # twice, for the length of decoded rows is set to 1
    assert np.abs(unpacked - units).max() > half_a_step.min() / 2


def test_four_bits_are_spent_on_the_middle_of_the_range():
    pytest.importorskip("faiss")
    heavy = np.random.default_rng(1).standard_t(3, size=(4000, 9)).astype(np.float32)
    fitted = sq.fit(heavy, 5)
    units = unit_rows(heavy)
    reach = 2.5 * units.std(axis=0)
    inside = (np.abs(units - units.mean(axis=0)) < reach).all(axis=1)
    raw = fitted.storage.quantisers[0].decode(fitted.encode(heavy))
    assert_allclose(raw[inside], units[inside], atol=1.01 * reach.max() / 15)
    assert np.ptp(raw) < np.ptp(units) * 0.99


def test_a_budget_below_the_smallest_form():
    pytest.importorskip("faiss")
    with pytest.raises(InputError, match="budget must be an integer from 5 to 9, not 4"):
        sq.fit(VECTORS, 4)
