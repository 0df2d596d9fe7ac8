import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import scipy.special
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.model import losses
from compressae_jax.model.compressae import Outputs


def some_vectors(scale=1.0):
    rng = np.random.default_rng(0)
    return [(scale * rng.normal(size=(6, 5))).astype(np.float32) for _ in range(3)]


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e18, 1e30])
def test_cosine_is_the_oracles_at_any_magnitude(scale):
    x, z, _ = some_vectors(scale)
    assert_allclose(losses.cosine(jnp.asarray(x), jnp.asarray(z)), oracle.cosine(x, z), atol=1e-6)


def test_zero_rows_have_cosine_zero_and_no_gradient():
    x, z, _ = map(jnp.asarray, some_vectors())
    for x0, z0 in [(x.at[2].set(0), z), (x, z.at[2].set(0)), (x.at[2].set(0), z.at[2].set(0))]:
        assert losses.cosine(x0, z0)[2] == 0
        for gradient in jax.grad(lambda x, z: losses.cosine(x, z).sum(), argnums=(0, 1))(x0, z0):
            assert np.isfinite(gradient).all()
        zero = jax.grad(lambda z, x0=x0: losses.cosine(x0, z).sum())(z0)
        assert_array_equal(zero[2] != 0, np.zeros(5, bool))


def test_loss_is_the_sum_of_its_terms():
    x, z_k, z_4k = map(jnp.asarray, some_vectors())
    for given, weight in [((), 1 / 8), ((losses.Mix(0.5),), 0.5), ((losses.Mix(0.0),), 0.0)]:
        loss, terms = losses.compressae_loss(x, Outputs(x, z_k, z_4k), *given)
        assert set(terms) == {"loss_k", "loss_4k"}
        assert_allclose(terms["loss_k"], np.mean(1 - oracle.cosine(x, z_k)), rtol=1e-6)
        assert_allclose(terms["loss_4k"], np.mean(1 - oracle.cosine(x, z_4k)), rtol=1e-6)
        assert_allclose(loss, terms["loss_k"] + weight * terms["loss_4k"], rtol=1e-6)


def test_perfect_and_opposite_reconstructions():
    x = jnp.asarray(some_vectors()[0])
    assert_allclose(losses.compressae_loss(x, Outputs(x, 3 * x, 0.1 * x))[0], 0, atol=1e-6)
    assert_allclose(losses.compressae_loss(x, Outputs(x, -x, -2 * x))[0], 2 + 2 / 8, rtol=1e-6)


def of_pairs(x, s):
    """By SciPy, one row at a time."""
    total = 0.0
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        wanted, given = (
            scipy.special.softmax((oracle.unit(v) @ oracle.unit(v)[i])[others] / losses.TEMPERATURE)
            for v in (x.astype(np.float64), s.astype(np.float64))
        )
        total += scipy.stats.entropy(wanted, given)
    return total / len(x)


def test_pairs_are_divergences_of_who_is_near():
    x, s, _ = some_vectors()
    assert_allclose(losses.pairs(jnp.asarray(x), jnp.asarray(s)), of_pairs(x, s), rtol=1e-4)
    assert_allclose(losses.pairs(jnp.asarray(x), 3 * jnp.asarray(x)), 0, atol=1e-5)
    loss, terms = losses.compressae_loss(jnp.asarray(x), Outputs(*map(jnp.asarray, (s, x, x))), losses.Mix(0, 0.5))
    assert_allclose(loss, terms["loss_pairs"] / 2, rtol=1e-4)


def test_pairs_are_looked_at_in_groups(monkeypatch):
    monkeypatch.setattr(losses, "GROUP", 5)
    rng = np.random.default_rng(3)
    x, s = (rng.normal(size=(13, 4)).astype(np.float32) for _ in range(2))
    wanted = (of_pairs(x[:6], s[:6]) + of_pairs(x[6:12], s[6:12])) / 2
    assert_allclose(losses.pairs(jnp.asarray(x), jnp.asarray(s)), wanted, rtol=1e-4)


def test_zero_rows_have_finite_pairs_and_gradients():
    x, s, _ = map(jnp.asarray, some_vectors())
    value, gradient = jax.value_and_grad(lambda s: losses.pairs(x, s))(s.at[2].set(0))
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_l2_is_half_the_square_of_what_is_missed():
    rng = np.random.default_rng(0)
    x, z = jnp.asarray(rng.standard_normal((2, 5, 7)), jnp.float32)
    unit = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    assert_allclose(losses.distances(x, z, "l2"), np.square(unit - z).sum(axis=1) / 2, rtol=1e-5)
    of_unit = z / jnp.linalg.norm(z, axis=1, keepdims=True)
    assert_allclose(losses.distances(x, of_unit, "l2"), losses.distances(x, of_unit), rtol=1e-4)


def test_ranking_is_the_oracles_and_other_answers_do_not_count():
    rng = np.random.default_rng(1)
    queries, documents = (rng.normal(size=(n, 5)).astype(np.float32) for n in (3, 7))
    others = np.zeros((3, 7), bool)
    others[0, [1, 5]] = others[1, 1] = True  # of query 1 its own document, which is none of the others
    expected = []
    for i in range(3):
        near = (
            oracle.unit(documents.astype(np.float64)) @ oracle.unit(queries.astype(np.float64))[i] / losses.TEMPERATURE
        )
        held = [j for j in range(7) if j == i or not others[i, j]]
        expected.append(scipy.special.logsumexp(near[held]) - near[i])
    found = losses.ranking(jnp.asarray(queries), jnp.asarray(documents), jnp.asarray(others))
    assert_allclose(found, np.mean(expected), rtol=1e-5)
