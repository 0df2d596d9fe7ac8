import dataclasses
import gc
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from oracle import unit

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import Packing, pack
from compressae_jax.model import encoders, kept, on_device, pursuit_host, shortlists
from compressae_jax.model.encoders import Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError

B, D, H, K = 41, 20, 50, 5
LEVELS = (0.2, 0.4, 0.8, 1.2)


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


def on_levels(encoder, weights=None):
    weights = dataclasses.replace(weights or some_weights(), levels={f"{encoder}:packed3": LEVELS})
    return Encoder(weights, encoder, "packed3")


def codes_of(encoder, x=None):
    weights, x = some_weights(), some_vectors() if x is None else x
    return jitted_codes(weights, x, encoder)


def jitted_codes(weights, x, encoder):
    coarse = shortlists.coarse(weights.params["decoder_w"]) if encoder == "shortlist" else None
    params = jax.tree.map(jnp.asarray, weights.params)
    return on_device.encode(params, jnp.asarray(x), weights.module(), encoder, coarse)


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


@pytest.mark.parametrize("encoder", encoders.ENCODERS)
def test_the_compiled_loops_are_the_jitted_form(encoder):
    on_host, jitted = Encoder(some_weights(), encoder, "float32")(some_vectors()), codes_of(encoder)
    assert_allclose(on_host.values, jitted.values, atol=2e-5)
    rows = some_vectors().any(axis=1)
    assert_array_equal(on_host.columns[rows], np.asarray(jitted.columns)[rows])


@pytest.mark.parametrize("encoder", encoders.ENCODERS)
def test_on_levels_every_row_has_k_signed_levels(encoder):
    codes = on_levels(encoder)(some_vectors())
    rows = some_vectors().any(axis=1)
    assert np.isin(np.abs(codes.values[rows]), np.float32(LEVELS)).all() and not codes.values[~rows].any()
    assert all(len(set(row)) == K for row in codes.columns[rows].tolist())


def test_atoms_of_a_shortlist_are_swapped_for_the_columns_behind_it():
    weights, x = some_weights(), some_vectors()
    rows, w = x.any(axis=1), weights.params["decoder_w"]
    coarse, of_rows = shortlists.coarse(w), (unit(x) @ w.T).astype(np.float32)
    among = pursuit_host.shortlist(of_rows, pursuit_host.gram(w), coarse, K, K // 2)[1]
    chosen, rounded = (one(x).columns for one in (Encoder(weights, "shortlist"), on_levels("shortlist")))
    kept = np.array([set(row) <= set(own[:K]) for row, own in zip(rounded.tolist(), among.tolist(), strict=True)])
    assert all(set(row) <= set(own) for row, own in zip(rounded[rows].tolist(), among[rows].tolist(), strict=True))
    assert_array_equal(np.sort(chosen[rows], axis=1), np.sort(among[rows, :K], axis=1))
    assert 0 < kept[rows].mean() < 1


def test_magnitudes_are_those_that_levels_replace():
    weights, x = some_weights(), some_vectors()[:5]
    magnitudes = Encoder(weights, "pursuit").magnitudes(x)
    plain = Encoder(weights, "pursuit", "float32")(x)
    n = cosines(plain, x)
    assert_allclose(np.sort(magnitudes), np.sort((np.abs(plain.values) / np.sqrt(n)[:, None]).reshape(-1)), atol=1e-4)


def test_signed_encoders_need_signed_activations():
    with pytest.raises(InputError, match="activation is relu_topk"):
        encoders.check("pursuit", "relu_topk", rounded=False)
    with pytest.raises(InputError, match="activation is relu_topk"):
        encoders.check("topk", "relu_topk", rounded=True)
    encoders.check("topk", "relu_topk", rounded=False)


@pytest.mark.parametrize("activation", ["topk", "relu2_topk"])
def test_more_nonzeros_begin_with_the_code(activation):
    x, weights = some_vectors(), some_weights(activation)
    more, code = Encoder(weights, "topk", "float32", nonzeros=3 * K)(x), Encoder(weights, "topk", "float32")(x)
    assert more.k == 3 * K and (activation == "topk" or (more.values >= 0).all())
    assert_array_equal(more.prefix(K).to_dense(), code.to_dense())
    jitted = Encoder(weights, "topk", "float32", nonzeros=3 * K).on_device(x, jax.devices()[0])
    assert_allclose(jitted.to_dense(), more.to_dense(), atol=1e-5)
    for wrong in ({"encoder": "refit", "nonzeros": 2}, {"nonzeros": H + 1}):
        with pytest.raises(InputError, match="nonzeros"):
            Encoder(some_weights(), **wrong)


def test_unknown_encoders_are_named():
    with pytest.raises(InputError, match="did you mean 'pursuit'"):
        encoders.check("persuit", "topk", rounded=False)


@pytest.mark.parametrize("encoder", encoders.ENCODERS)
def test_refused_where_the_levels_are_unknown_and_learned_once(encoder):
    weights, x = some_weights(), some_vectors()
    with pytest.raises(InputError, match=f"no levels for encoder='{encoder}', storage='packed4'"):
        Encoder(weights, encoder, "packed4")(x)
    learned = encoders.learn_levels(weights, encoder, "packed4", lambda: x)
    assert len(learned) == 8 and min(learned) > 0
    assert encoders.learn_levels(weights, encoder, "packed4", lambda: pytest.fail("learned again")) == learned
    assert dataclasses.replace(weights, summary={}).levels == weights.levels
    assert weights.with_k(4).levels == {} and weights.fingerprint == some_weights().fingerprint


@pytest.mark.cpu
@pytest.mark.parametrize("shape", [(D, H), (64, 1000), (100, 70)])
@pytest.mark.parametrize(("encoder", "storage"), [("topk", "float16"), ("refit", "float32"), ("shortlist", "packed3")])
def test_a_row_is_the_same_bits_in_any_company(encoder, storage, shape):
    d, h = shape
    rng = np.random.default_rng(0)
    decoder_w = unit(rng.standard_normal((h, d))).astype(np.float32)
    params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.full(h, 0.01, np.float32), "decoder_w": decoder_w}
    weights = Weights(params, h, K, levels={"shortlist:packed3": LEVELS})
    x = rng.standard_normal((17 * encoders.LOOPED + 1, d)).astype(np.float32)
    one = Encoder(weights, encoder, storage)
    whole = one.encode(x)
    for start, end in ((0, 1), (1, 3), (3, 70), (70, len(x))):
        part = one.encode(x[start:end], block=max(16, end // 3))
        assert_array_equal(part.values, whole.values[start:end])
        assert_array_equal(part.columns, whole.columns[start:end])
    assert len(one.encode(x[:0])) == 0


@pytest.mark.parametrize("encoder", encoders.ENCODERS)
def test_threads_share_an_encoder(encoder):
    """Batched solves in two threads waited for each other for ever."""
    x, one = np.random.default_rng(2).standard_normal((100, D)).astype(np.float32), Encoder(some_weights(), encoder)
    wanted = one.encode(x)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: one.encode(x), range(16)):
            assert_array_equal(found.values, wanted.values)


@pytest.mark.cpu
@pytest.mark.parametrize("storage", ["float16", "packed3"])
def test_a_forked_process_and_a_pickle_encode_likewise(storage):
    """JAX's threads are not in a forked process, and a call of it there waited for ever."""
    one = on_levels("pursuit") if storage == "packed3" else Encoder(some_weights(), "shortlist", storage)
    x = some_vectors()
    wanted = one.encode(x)
    jax.block_until_ready(jnp.ones(4) + 1)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply_async(one.encode, (x,)).get(timeout=60)  # the encoder travels as a pickle
    assert_array_equal(found.values, wanted.values)
    assert found.made_by == wanted.made_by == (one.weights.fingerprint, one.encoder)


def one_hot(n, d):
    return np.eye(d, dtype=np.float32)[np.arange(n) % d]


DEGENERATE = {
    "one hot": lambda rng: one_hot(B, D),
    "rank one": lambda rng: np.outer(rng.standard_normal(B), rng.standard_normal(D)).astype(np.float32),
    "one row": lambda rng: np.tile(rng.standard_normal(D), (B, 1)).astype(np.float32),
    "tiny and huge": lambda rng: (some_vectors() * 10.0 ** rng.integers(-30, 30, (B, 1))).astype(np.float32),
}
ATOMS = {
    "units": lambda rng: np.concatenate([np.eye(D), np.eye(D), unit(rng.standard_normal((H - 2 * D, D)))]),
    "twins": lambda rng: np.tile(unit(rng.standard_normal((H // 5, D))), (5, 1)),
    "random": lambda rng: unit(rng.standard_normal((H, D))),
}


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    st.sampled_from(encoders.ENCODERS),
    st.sampled_from(sorted(DEGENERATE)),
    st.sampled_from(sorted(ATOMS)),
    st.sampled_from([1, K, H]),
    st.integers(0, 3),
)
def test_a_row_always_has_k_different_columns_and_on_levels_k_nonzeros(encoder, vectors, atoms, k, seed):
    """A row that fewer than k atoms give exactly left the others at column 0, and could not be packed."""
    rng = np.random.default_rng(seed)
    decoder_w = ATOMS[atoms](rng).astype(np.float32)
    params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(H, np.float32), "decoder_w": decoder_w}
    weights, x = Weights(params, H, k), DEGENERATE[vectors](rng)
    learned = encoders.learn_levels(weights, encoder, "packed4", lambda: x)
    for storage in ("float32", "packed4"):
        codes = Encoder(weights, encoder, storage).encode(x)
        assert (np.diff(np.sort(codes.columns, axis=1), axis=1) > 0).all() and np.isfinite(codes.values).all()
    used = x.any(axis=1)
    assert (codes.values[used] != 0).all() and not codes.values[~used].any()
    pack(codes, Packing(H, k, 4, learned))


@pytest.mark.parametrize("encoder", ["refit", "shortlist", "pursuit"])
def test_jitted_columns_differ_where_fewer_atoms_reach_a_row(encoder):
    decoder_w = ATOMS["units"](np.random.default_rng(0)).astype(np.float32)
    params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(H, np.float32), "decoder_w": decoder_w}
    codes = jitted_codes(Weights(params, H, K), one_hot(B, D), encoder)
    assert (np.diff(np.sort(codes.columns, axis=1), axis=1) > 0).all()
    if encoder == "pursuit":
        assert_allclose(np.abs(codes.values)[:, 0], 1, atol=1e-5)
    z = Codes(np.asarray(codes.values), np.asarray(codes.columns), H).to_dense() @ decoder_w
    assert_allclose(z, one_hot(B, D), atol=1e-5)  # by a twin, or two, and what rounding made of others


def test_one_hot_rows_keep_their_cosine_on_levels():
    """Levels learned from such rows alone have one that hardly counts, for the places that no row uses."""
    decoder_w = np.eye(D, dtype=np.float32)
    weights = Weights({"encoder_w": decoder_w, "encoder_b": np.zeros(D, np.float32), "decoder_w": decoder_w}, D, K)
    encoders.learn_levels(weights, "pursuit", "packed4", lambda: one_hot(B, D))
    codes = Encoder(weights, "pursuit", "packed4").encode(one_hot(B, D))
    assert_allclose((unit(codes.to_dense()) * one_hot(B, D)).sum(axis=1), 1, atol=1e-4)


def test_what_is_kept_is_found_by_fingerprint_and_goes_with_the_model(monkeypatch):
    """Two models in turn computed a Gram matrix a query, and the last one stayed for good."""
    made, gram = [], encoders.pursuit_host.gram
    monkeypatch.setattr(encoders.pursuit_host, "gram", lambda w: made.append(1) or gram(w))
    first, second = some_weights().with_k(1), some_weights().with_k(2)
    for weights in (first, second, first, dataclasses.replace(first, summary={}), second):
        encoders.gram_of(weights)
    assert len(made) == 2
    gc.collect()  # what other tests left goes now, so that below only what goes with `first` is counted
    before = kept.size()
    del first, weights
    gc.collect()
    assert kept.size() == before - H * H * 4

    monkeypatch.setattr(kept, "MOST", H * H * 4)
    third = some_weights().with_k(3)
    encoders.gram_of(third)
    assert kept.size() == kept.MOST

    device = jax.devices()[0]
    for weights in (second, third):  # which have nothing to do with what lies in the host's memory
        on_device.atoms_on(weights, device)
        assert kept.size() == kept.MOST and kept.size(device) == H * H * 4 + H * D * 4
        assert on_device.atoms_on(weights, device) is on_device.atoms_on(weights, device)


@pytest.mark.parametrize("encoder", ["refit", "shortlist"])  # shortlist: with pursuit in it
def test_all_stay_float32_where_jax_has_64_bits(encoder):
    jax.config.update("jax_enable_x64", True)
    try:
        jitted, here = codes_of(encoder), Encoder(some_weights(), encoder, "float32")(some_vectors())
    finally:
        jax.config.update("jax_enable_x64", False)
    assert jitted.values.dtype == here.values.dtype == np.float32
    assert jitted.columns.dtype == here.columns.dtype == np.uint16
    assert_allclose(here.values, jitted.values, atol=2e-5)


def test_on_devices_one_compilation_serves_any_number_of_rows(monkeypatch):
    x, one = np.tile(some_vectors(), (3, 1)), Encoder(some_weights(), "topk")
    wanted = one.encode(x)
    monkeypatch.setattr(encoders.devices, "on_cpu", lambda: False)
    on_device.encode.clear_cache()
    for n in (1, 16, 17, len(x)):
        codes = one.encode(x[:n], block=16, on=jax.devices()[:1])
        assert_array_equal(codes.columns, wanted.columns[:n])
        assert codes.made_by == one.made_by and codes.values.dtype == np.float16
    assert on_device.encode._cache_size() == 1
    assert_array_equal(one.encode(x, block=16).values, codes.values)  # dealt to all
