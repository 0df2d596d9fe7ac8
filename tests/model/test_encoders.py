import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle import unit

from compressae_jax.codes.codes import Codes
from compressae_jax.model import encoders
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError

B, D, H, K = 41, 20, 50, 5


def some_weights(activation="topk"):
    rng = np.random.default_rng(0)
    decoder_w = unit(rng.standard_normal((H, D))).astype(np.float32)
    encoder_w = decoder_w.T + 0.05 * rng.standard_normal((D, H)).astype(np.float32)
    bias = 0.02 * rng.standard_normal(H).astype(np.float32)
    return Weights({"encoder_w": encoder_w, "encoder_b": bias, "decoder_w": decoder_w}, H, K, activation)


def some_vectors(seed=1):
    x = np.random.default_rng(seed).standard_normal((B, D)).astype(np.float32)
    x[7] = 0
    return x


def codes_of(encoder, x=None):
    weights, x = some_weights(), some_vectors() if x is None else x
    return encoders.encode(jax.tree.map(jnp.asarray, weights.params), jnp.asarray(x), weights.module(), encoder)


def cosines(codes, x):
    z = np.asarray(Codes(np.asarray(codes.values), np.asarray(codes.columns), codes.h).to_dense())
    return (unit(z @ some_weights().params["decoder_w"]) * unit(x)).sum(axis=1)


@pytest.mark.parametrize("encoder", encoders.ENCODERS)
def test_codes_fall_by_magnitude_and_zero_rows_are_zero(encoder):
    codes = codes_of(encoder)
    values = np.abs(np.asarray(codes.values))
    assert (np.diff(values, axis=1) <= 0).all()
    assert_array_equal(values.any(axis=1), some_vectors().any(axis=1))
    assert codes.columns.dtype == np.uint16 and codes.k == K


@pytest.mark.parametrize("encoder", encoders.ENCODERS)
def test_jit_and_eager_are_one(encoder):
    with jax.disable_jit():
        eager = codes_of(encoder, some_vectors()[:3])
    jitted = codes_of(encoder)
    assert_array_equal(eager.columns, jitted.columns[:3])
    assert_allclose(eager.values, jitted.values[:3], atol=2e-5)


def test_refit_keeps_the_columns_of_one_pass():
    one_pass, refit = codes_of("topk"), codes_of("refit")
    rows = some_vectors().any(axis=1)
    assert_array_equal(np.sort(one_pass.columns, axis=1)[rows], np.sort(refit.columns, axis=1)[rows])


def test_each_encoder_is_closer_than_the_one_before():
    x = some_vectors()
    rows = x.any(axis=1)
    means = [cosines(codes_of(encoder), x)[rows].mean() for encoder in encoders.ENCODERS]
    assert means == sorted(means) and len(set(means)) == 4


@pytest.mark.parametrize("encoder", ["refit", "shortlist", "pursuit"])
def test_the_compiled_loops_are_the_jitted_form(encoder):
    on_host, jitted = encoders.HostEncoder(some_weights(), encoder)(some_vectors()), codes_of(encoder)
    assert_allclose(on_host.values, jitted.values, atol=2e-5)
    rows = some_vectors().any(axis=1)
    assert_array_equal(on_host.columns[rows], np.asarray(jitted.columns)[rows])


@pytest.mark.parametrize("encoder", encoders.ENCODERS)
def test_on_levels_every_row_has_k_signed_levels(encoder):
    levels = np.float32([0.2, 0.4, 0.8, 1.2])
    codes = encoders.HostEncoder(some_weights(), encoder, levels)(some_vectors())
    rows = some_vectors().any(axis=1)
    assert np.isin(np.abs(codes.values[rows]), levels).all() and not codes.values[~rows].any()
    assert all(len(set(row)) == K for row in codes.columns[rows].tolist())


@pytest.mark.parametrize("levels", [None, np.float32([0.2, 0.4, 0.8, 1.2])])
def test_a_shortlist_is_kept_to(levels):
    x, weights = some_vectors(), some_weights()
    arguments = jax.tree.map(jnp.asarray, weights.params), jnp.asarray(x), weights.module()
    among = np.asarray(encoders.shortlist(*arguments))
    a = weights.module().apply({"params": arguments[0]}, arguments[1], method="pre_activations")
    rows = x.any(axis=1)
    assert_array_equal(np.sort(among[rows]), np.sort(np.argsort(-np.abs(np.asarray(a)), axis=1)[rows, : 4 * K]))
    codes = encoders.HostEncoder(weights, "shortlist", levels)(x)
    for row in np.flatnonzero(x.any(axis=1)):
        assert set(codes.columns[row]) <= set(among[row])


def test_a_shortlist_of_all_columns_is_pursuit():
    levels, weights = np.float32([0.2, 0.4, 0.8, 1.2]), dataclasses.replace(some_weights(), k=13)
    few, all_ = (encoders.HostEncoder(weights, name, levels)(some_vectors()) for name in ("shortlist", "pursuit"))
    assert_array_equal(np.sort(few.columns), np.sort(all_.columns))
    assert_allclose(np.sort(few.values), np.sort(all_.values))


def test_magnitudes_are_those_that_levels_replace():
    weights, x = some_weights(), some_vectors()[:5]
    magnitudes = encoders.HostEncoder(weights, "pursuit").magnitudes(x)
    plain = encoders.HostEncoder(weights, "pursuit")(x)
    n = cosines(plain, x)
    assert_allclose(np.sort(magnitudes), np.sort((np.abs(plain.values) / np.sqrt(n)[:, None]).reshape(-1)), atol=1e-4)


def test_signed_encoders_need_signed_activations():
    with pytest.raises(InputError, match="activation is relu_topk"):
        encoders.check("pursuit", some_weights("relu_topk"), rounded=False)
    with pytest.raises(InputError, match="activation is relu_topk"):
        encoders.check("topk", some_weights("relu_topk"), rounded=True)
    encoders.check("topk", some_weights("relu_topk"), rounded=False)


def test_unknown_encoders_are_named():
    with pytest.raises(InputError, match="did you mean 'pursuit'"):
        encoders.check("persuit", some_weights(), rounded=False)
