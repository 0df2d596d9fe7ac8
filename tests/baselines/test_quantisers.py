import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import quantisers
from compressae_jax.baselines.units import unit_rows

UNITS = unit_rows(np.random.default_rng(0).normal(size=(301, 9)).astype(np.float32))


def parts(*sizes):
    faiss = pytest.importorskip("faiss")
    return quantisers.Parts(faiss.ProductQuantizer(width, count, 8) for width, count in sizes).train(UNITS)


def test_parts_are_quantisers_of_their_dimensions():
    faiss = pytest.importorskip("faiss")
    both = parts((4, 2), (5, 1))
    alone = faiss.ProductQuantizer(5, 1, 8)
    alone.train(np.ascontiguousarray(UNITS[:, 4:]))

    codes = both.pack(UNITS)

    assert both.width == 3
    assert_array_equal(codes[:, 2:], alone.compute_codes(np.ascontiguousarray(UNITS[:, 4:])))
    unpacked = both.unpack(codes)
    decoded = alone.decode(np.ascontiguousarray(codes[:, 2:]))
    assert_allclose(unit_rows(unpacked[:, 4:]), unit_rows(decoded), atol=1e-6)
    assert_allclose(np.linalg.norm(unpacked, axis=1), 1, rtol=1e-6)


def test_blocks_change_no_code(monkeypatch):
    one = parts((9, 3))
    whole = one.pack(UNITS)
    monkeypatch.setattr(quantisers, "BLOCK", 64)
    assert_array_equal(one.pack(UNITS), whole)
    assert one.pack(UNITS[:0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("total", "count", "sizes"), [(7, 3, [2, 2, 3]), (8, 4, [2] * 4), (5, 5, [1] * 5), (3, 1, [3])]
)
def test_even_parts(total, count, sizes):
    assert quantisers.even(total, count) == sizes
