import numpy as np
from numpy.testing import assert_allclose

from compressae_jax.baselines import lloyd_max, pca, transform
from compressae_jax.baselines.units import unit_rows

RNG = np.random.default_rng(0)
VECTORS = (RNG.normal(size=(700, 12)) * 0.7 ** np.arange(12) + 0.3).astype(np.float32)


def test_scores_are_those_of_levels_along_principal_directions():
    basis = pca.directions(VECTORS)
    along = unit_rows(VECTORS) @ basis
    decoded = np.empty_like(along)
    for j, bits in enumerate(lloyd_max.deal(along.var(axis=0), 24)):
        levels = lloyd_max.levels(along[:, j], int(bits)) if bits else along[:, j].mean(keepdims=True)
        decoded[:, j] = levels[np.abs(along[:, j, None] - levels).argmin(axis=1)]

    fitted = transform.fit(VECTORS, 3)
    scores, rows = fitted.add(VECTORS).search(VECTORS[:5], 50)

    exact = unit_rows(VECTORS[:5]) @ basis @ unit_rows(decoded).T
    assert fitted.bytes_per_vector == 3
    assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-5)
    assert_allclose(scores, -np.sort(-exact, axis=1)[:, :50], atol=1e-5)


def test_a_basis_at_hand_is_used():
    mirrored = -pca.directions(VECTORS)[:, ::-1]
    fitted = transform.fit(VECTORS, 3, basis=mirrored)
    assert_allclose(fitted._reduce(VECTORS), unit_rows(VECTORS) @ mirrored, atol=1e-6)
