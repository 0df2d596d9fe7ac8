import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.codes import threads
from compressae_jax.codes.on_device import unit_rows
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.model.losses import Mix
from compressae_jax.training import pass_host

W4 = 0.125


def run(d, h, k, b, seed=0, x=None, activation="topk", change=lambda params: params):
    module = CompresSAE(d=d, h=h, k=k, activation=activation)
    x = np.random.default_rng(seed).standard_normal((b, d)).astype(np.float32) if x is None else x
    params = change(module.init(jax.random.key(seed), jnp.asarray(x))["params"])
    a = np.asarray(module.apply({"params": params}, jnp.asarray(x), method="pre_activations"))
    a = np.maximum(a, 0) if activation == "relu_topk" else a
    found = pass_host.Workspace(module, Mix(W4), b)(
        a, np.asarray(unit_rows(jnp.asarray(x))), np.asarray(params["decoder_w"])
    )
    return params, x, found


@pytest.mark.parametrize(("d", "h", "k", "b"), [(12, 32, 3, 24), (1, 5, 1, 1), (33, 130, 8, 150), (16, 8, 4, 70)])
def test_losses_counts_and_gradient_are_the_oracle_s(d, h, k, b):
    params, x, (cosines, counts, gradient) = run(d, h, k, b)
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    assert_allclose(1 - cosines[:, 0].mean(), oracle.losses(params, x, k)[0], rtol=1e-4, atol=1e-6)
    assert_allclose(1 - cosines[:, 1].mean(), oracle.losses(params, x, min(4 * k, h))[0], rtol=1e-4, atol=1e-6)
    for name, wanted in oracle.gradient(params, x, k, W4).items():
        given = gradient[name].T if name == "encoder_w" else gradient[name]
        assert_allclose(given, wanted, rtol=1e-4, atol=1e-6, err_msg=name)
    assert counts.sum() == k * b


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    runs = []
    for cores in (1, 2, 5):
        monkeypatch.setattr(threads, "cores", lambda cores=cores: cores)
        runs.append(run(24, 200, 5, 300)[2])
    for other in runs[1:]:
        jax.tree.map(assert_array_equal, runs[0], other)


def test_zero_rows_say_nothing():
    x = np.random.default_rng(1).standard_normal((20, 12)).astype(np.float32)
    _, _, (_, _, without) = run(12, 64, 2, 20, x=x)
    without = {name: array.copy() for name, array in without.items()}
    with_zeros = np.concatenate([x, np.zeros((20, 12), np.float32)])
    _, _, (cosines, counts, gradient) = run(12, 64, 2, 40, x=with_zeros)
    assert_array_equal(cosines[20:], 0)
    assert counts.sum() == 2 * 20
    for name, array in gradient.items():
        assert_allclose(2 * array, without[name], rtol=1e-4, atol=1e-7)


def test_relu_gives_no_gradient_to_what_it_cut():
    def mostly_off(params):
        return {**params, "encoder_b": jnp.where(jnp.arange(64) < 3, 0.0, -9.0)}

    _, _, (_, counts, gradient) = run(12, 64, 4, 30, activation="relu_topk", change=mostly_off)
    assert counts[:3].all() and not counts[3:].any()
    assert_array_equal(gradient["encoder_w"][3:], 0)
    assert_array_equal(gradient["encoder_b"][3:], 0)
    assert gradient["encoder_b"][:3].any()


def test_nan_is_shown():
    x = np.ones((4, 12), np.float32)
    x[2, 3] = np.nan
    _, _, (cosines, _, _) = run(12, 64, 2, 4, x=x)
    assert np.isnan(cosines[2]).all() and np.isfinite(cosines[[0, 1, 3]]).all()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_any_length_of_decoder_rows_has_a_direction(size):
    _, _, (usual, _, _) = run(12, 64, 2, 10)
    usual = usual.copy()
    _, _, (cosines, _, gradient) = run(12, 64, 2, 10, change=lambda p: {**p, "decoder_w": p["decoder_w"] * size})
    assert_allclose(cosines, usual, rtol=1e-5)
    assert np.isfinite(gradient["encoder_w"]).all()
