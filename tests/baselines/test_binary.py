import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import binary
from compressae_jax.baselines.units import unit_rows

RNG = np.random.default_rng(4)
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


@pytest.mark.parametrize("budget", [None, 1])
def test_a_threshold_at_the_mean_where_it_finds_more(budget):
    vectors = (RNG.normal(size=(1200, 20)) + 3 * RNG.normal(size=20)).astype(np.float32)
    fitted = binary.fit(vectors, budget)
    along = unit_rows(vectors) if budget is None else fitted._reduce(vectors)[:, :8]
    assert_array_equal(np.unpackbits(fitted.encode(vectors), axis=1, count=along.shape[1]), along > along.mean(axis=0))
    one = fitted.storage.unpack(fitted.encode(vectors))
    assert_allclose(np.linalg.norm(one, axis=1), 1, rtol=1e-5)


def test_deviations_are_mean_magnitudes():
    assert_allclose(binary.deviations(np.float32([[1, -4], [3, 2]])).unpack(np.uint8([[128]])), [[2, -3]])
