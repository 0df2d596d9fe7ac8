import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import binary
from compressae_jax.baselines.units import unit_rows

VECTORS = np.random.default_rng(0).normal(size=(300, 20)).astype(np.float32)


def test_the_float_query_scores_the_signs_of_the_vector():
    scores, rows = binary.fit(VECTORS).add(VECTORS).search(VECTORS[:5], 300)
    exact = unit_rows(VECTORS[:5]) @ np.sign(VECTORS).T / np.sqrt(20)
    assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-6)


def test_fewer_bytes_are_signs_of_rotated_principal_directions():
    fitted = binary.fit(VECTORS, 2)
    reduced = fitted._reduce(VECTORS)
    assert_allclose(np.linalg.norm(reduced, axis=1), 1, rtol=1e-5)
    assert_allclose(fitted.storage.unpack(fitted.encode(VECTORS)), np.sign(reduced) / 4, rtol=1e-6)
    # Rotated: no dimension is left with a share of the variance of its own.
    falling = (VECTORS * 0.5 ** np.arange(20)).astype(np.float32)
    assert binary.fit(falling, 2)._reduce(falling).std(axis=0).min() > 0.02


def test_a_basis_at_hand_is_used():
    last_first = np.eye(20, dtype=np.float32)[:, ::-1]
    changed = VECTORS.copy()
    changed[:, :12] = 0  # not among the eight directions kept, but for the length
    fitted = binary.fit(VECTORS, 1, basis=last_first)
    assert_array_equal(fitted.encode(changed), fitted.encode(VECTORS))
