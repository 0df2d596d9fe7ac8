import numpy as np
import pytest
from numpy.testing import assert_allclose

from compressae_jax.baselines import opq, pq
from compressae_jax.baselines.units import unit_rows


@pytest.fixture(scope="module")
def vectors():
    """Pairs of dimensions that are nearly one, put where subspaces of two part them."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(500, 6))
    return np.hstack([half, half + 0.05 * rng.normal(size=(500, 6))]).astype(np.float32)


@pytest.mark.parametrize(("subspaces", "width"), [(4, 12), (5, 15), (12, 12)])
def test_the_rotation_keeps_inner_products(vectors, subspaces, width):
    pytest.importorskip("faiss")
    turn = opq.rotation(unit_rows(vectors), subspaces, seed=0)
    assert turn.shape == (12, width)
    assert_allclose(turn @ turn.T, np.eye(12), atol=1e-5)


def test_the_rotation_is_that_of_faiss_and_another_for_another_seed(vectors):
    faiss = pytest.importorskip("faiss")
    units = unit_rows(vectors)
    theirs = faiss.OPQMatrix(12, 4)
    theirs.train(units)
    assert_allclose(units @ opq.rotation(units, 4, seed=0), theirs.apply(units), atol=1e-5)
    assert np.abs(units @ opq.rotation(units, 4, seed=1) - theirs.apply(units)).max() > 1e-3


def test_a_learned_rotation_beats_none(vectors):
    pytest.importorskip("faiss")

    def error(baseline):
        scores = baseline._reduce(vectors) @ baseline.storage.unpack(baseline.encode(vectors)).T
        return np.square(scores - unit_rows(vectors) @ unit_rows(vectors).T).mean()

    assert error(opq.fit(vectors, 4)) < 0.6 * error(pq.fit(vectors, 4))
