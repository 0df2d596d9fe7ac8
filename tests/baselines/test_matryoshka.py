import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax import data
from compressae_jax.baselines import dense, matryoshka, pca, truncation
from compressae_jax.baselines.storage import Float16
from compressae_jax.baselines.units import unit_rows
from compressae_jax.evaluation import contenders, neighbours


def rows(n=60, d=40, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def loss(weights, units):
    return float(jax.jit(matryoshka.loss)(jnp.asarray(weights, jnp.float32), jnp.asarray(units, jnp.float32)))


def test_the_loss_is_that_of_theory():
    x, weights = unit_rows(rows(7)).astype(np.float64), rows(40, 40, seed=1).astype(np.float64)

    def near(z):
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
        powers = np.exp(z @ z.T / matryoshka.TEMPERATURE) * (1 - np.eye(7))
        return powers / powers.sum(axis=1, keepdims=True)

    def entropy(m):
        found = near(x @ weights[:, :m])
        return -(near(x) * np.log(found + np.eye(7))).sum(axis=1).mean()

    found = loss(weights, x)
    assert_allclose(found, entropy(32) + entropy(40), rtol=1e-4)


@pytest.mark.parametrize("hidden", [slice(0, 32), slice(32, 40)])
def test_every_coordinate_has_a_gradient(hidden):
    weights, units = jnp.asarray(rows(40, seed=1)), jnp.asarray(unit_rows(rows()))
    gradient = np.asarray(jax.jit(jax.grad(matryoshka.loss))(weights, units))
    assert (np.abs(gradient[:, hidden]).max(axis=0) > 1e-5).all()


def test_training_lowers_the_loss_from_pca(monkeypatch):
    monkeypatch.setattr(matryoshka, "BATCH", 50)
    x = rows(120)
    x[3] = 0
    learned = matryoshka.learned(x)
    units = unit_rows(np.delete(x, 3, axis=0))
    assert loss(learned, units) < loss(pca.directions(x), units) - 0.05


def test_every_row_is_drawn_before_any_comes_again(monkeypatch):
    monkeypatch.setattr(matryoshka, "BATCH", 4)
    monkeypatch.setattr(matryoshka, "STEPS", 5)
    drawn = list(matryoshka._batches(9, seed=0))
    assert [len(some) for some in drawn] == [4] * 5
    assert len(set(np.concatenate(drawn[:2]))) == len(set(np.concatenate(drawn[2:4]))) == 8


@pytest.mark.parametrize("x", [np.zeros((3, 5), np.float32), np.eye(1, 5, dtype=np.float32)])
def test_rows_without_neighbours_leave_the_start(x):
    assert_array_equal(matryoshka.learned(x), pca.directions(x))


def test_a_projection_at_hand_is_used():
    x = rows(9, 6)
    fitted = matryoshka.fit(x, 8, projection=np.eye(6, dtype=np.float32)[:, ::-1])
    assert_allclose(fitted.encode(x), unit_rows(unit_rows(x)[:, [5, 4]]), rtol=1e-6)


def test_the_map_is_learned_once_for_all_forms(monkeypatch):
    calls = []
    monkeypatch.setattr(matryoshka, "learned", lambda x, basis, seed: calls.append(seed) or basis)
    names = ["matryoshka", "matryoshka_float16", "matryoshka_int8"]
    found = contenders.baselines(names, [8, 12], rows(30, 16), seed=5)
    assert calls == [5]
    assert [one.name for one in found] == [
        f"Matryoshka{form}, {size} bytes" for form in ("", " float16", " int8") for size in (12, 8)
    ]


def test_float16_is_within_its_bits():
    x = unit_rows(rows(5, 8))
    stored = Float16(8).pack(x)
    assert stored.nbytes == 5 * Float16(8).width and Float16(8).unpack(stored).dtype == np.float32
    assert_allclose(Float16(8).unpack(stored), x, rtol=2**-11, atol=1e-7)


def test_real_rows_are_found_better_than_by_truncation(monkeypatch):
    monkeypatch.setattr(matryoshka, "STEPS", 10)
    monkeypatch.setattr(matryoshka, "BATCH", 256)
    x = data.load("scifact").vectors.read(0, 2000)
    queries, x = x[:150], x[150:]
    truth = dense.fit(x).add(x).search(queries, 100)[1]

    def recall(of):
        return neighbours.overlap(of.fit(x, 4 * 32).add(x).search(queries, 100)[1], truth).mean()

    assert recall(matryoshka) > recall(truncation) + 0.2
