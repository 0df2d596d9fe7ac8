"""Pursuit on levels as a device makes it, beside the compiled loops and beside the definition in float64."""

import dataclasses

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle import unit

from compressae_jax import data
from compressae_jax.base import products
from compressae_jax.model import encoders, on_device, pursuit_host, pursuit_levels, residual, shipped
from compressae_jax.model import weights as model_weights
from compressae_jax.model.encoders import Encoder
from compressae_jax.model.weights import Weights

LEVELS = np.float32([0.03, 0.05, 0.08, 0.11, 0.15, 0.2, 0.28, 0.4])
SHIPPED = model_weights.load(shipped.folder("minilm")).params["decoder_w"]


def real(h, n):
    """Rows of debian, and of a dictionary for such texts."""
    source = data.load("debian").vectors
    return np.asarray(source.take(np.linspace(0, len(source) - 1, n).astype(int)), np.float32), SHIPPED[:h].copy()


def random(h, n, d=24):
    rng = np.random.default_rng(h)
    return rng.standard_normal((n, d)).astype(np.float32), unit(rng.standard_normal((h, d))).astype(np.float32)


def by_loops(x, w, k, times=None, fold=0.5):
    of_x = pursuit_host.correlations(x, products.strips(w.T))
    return pursuit_host.pursue_on_levels(of_x, pursuit_host.gram(w), k, LEVELS, times, fold)


def jitted(x, w, k, times=None, fold=0.5):
    times = np.ones(len(x), np.float32) if times is None else times
    found = pursuit_levels.pursue_on_levels(x, w, pursuit_host.gram(w), k, LEVELS, times, np.float32(fold))
    return tuple(map(np.asarray, found))


def by_definition(x, w, k, times=None, fold=0.5):
    """Orthogonal matching pursuit, then sweeps that try every free atom in the place of each, in float64."""
    found = np.zeros((len(x), k)), np.tile(np.arange(k), (len(x), 1))
    w, levels = w.astype(float), LEVELS.astype(float)
    gram = w @ w.T
    for row, one in enumerate(unit(x.astype(float))):
        column, along, left = [], w @ one, w @ one
        for _ in range(k):
            column.append(int(np.abs(left).argmax()))
            value = np.linalg.solve(gram[np.ix_(column, column)], along[column])
            left = along - value @ gram[column]
        n, scale = np.sqrt(value @ along[column]), 1.0 if times is None else times[row]
        length = scale * n ** (2 - fold)
        value = near(value * scale * n**-fold, levels)
        ease = 1 / np.sqrt(1 + pursuit_host.WEIGHT * along**2)
        for _ in range(pursuit_host.SWEEPS):
            for s in np.argsort(np.abs(value), kind="stable"):
                others = [t for t in range(k) if t != s]
                columns = [column[t] for t in others]
                across = length - value[others] @ along[columns]
                left = (length * along - value[others] @ gram[columns] + pursuit_host.WEIGHT * along * across) * ease
                free = left.copy()
                free[column] = 0
                if np.abs(free).max() > np.abs(left[column[s]]) + 1e-12:
                    column[s] = int(np.abs(free).argmax())
                value[s] = near(left[column[s]] * ease[column[s]], levels)
        found[0][row], found[1][row] = value, column
    return found


def near(values, levels):
    return np.copysign(levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(values))], values)


def dense(values, columns, h):
    s = np.zeros((len(values), h))
    np.put_along_axis(s, columns, values, axis=1)
    return s


def share(found, wanted):
    """Of rows that are equal: sums in another order, as another processor has them, may turn a choice."""
    return (found == wanted).all(axis=1).mean()


def objective(x, w, k, found, times, fold):
    """What the descent lessens: ‖ℓx̂ − z‖² + weight (ℓ − ⟨x̂, z⟩)²."""
    of_x = pursuit_host.correlations(x, products.strips(w.T))
    fitted = pursuit_host.pursue(of_x, pursuit_host.gram(w), k)
    lengths, units = pursuit_host.folded(of_x, fitted, None, times, fold)[1], unit(x.astype(float))
    z = dense(*found, len(w)) @ w
    return ((lengths[:, None] * units - z) ** 2).sum(axis=1) + pursuit_host.WEIGHT * (
        lengths - (units * z).sum(axis=1)
    ) ** 2


@pytest.mark.parametrize(("h", "k", "n", "times"), [(777, 20, 80, True), (650, 44, 60, False)])
def test_a_device_makes_the_codes_of_the_definition_and_of_the_loops(h, k, n, times):
    x, w = real(h, n)
    lengths, fold = (np.linspace(0.5, 3, n, dtype=np.float32), 0.3) if times else (None, 0.5)
    wanted, found, exact = (form(x, w, k, lengths, fold) for form in (by_loops, jitted, by_definition))
    assert np.isin(np.abs(found[0]), LEVELS).all()
    assert (np.diff(np.sort(found[1], axis=1), axis=1) > 0).all()
    assert share(dense(*found, h), dense(*exact, h).astype(np.float32)) >= 0.98
    # Of so many choices the loops' sums, which lie in float32 one on the other, decide some otherwise.
    assert share(dense(*found, h), dense(*wanted, h)) >= 0.9
    reached, by_device = (objective(x, w, k, one, lengths, fold).mean() for one in (wanted, found))
    assert by_device <= reached * (1 + 1e-3)


def test_rows_that_one_atom_gives_zero_rows_and_twins():
    x, w = random(100, 90)
    w[50:] = w[:50]
    x[:10], x[10:13] = -2 * w[50:60], 0
    values, columns = jitted(x, w, 7)
    assert_array_equal(values.any(axis=1), x.any(axis=1))
    assert (np.diff(np.sort(columns, axis=1), axis=1) > 0).all()
    used = np.r_[0:10, 13:90]
    wanted, found = by_loops(x[used], w, 7), (values[used], columns[used])
    reached, by_device = (objective(x[used], w, 7, one, None, 0.5) for one in (wanted, found))
    assert_allclose(by_device.mean(), reached.mean(), rtol=1e-3)
    folded = [dense(*one, 100).reshape(-1, 2, 50).sum(axis=1) for one in (wanted, found)]  # either twin will do
    assert np.isclose(*folded).all(axis=1).mean() >= 0.97


def test_all_columns_may_be_taken():
    x, w = random(8, 20)
    values, columns = jitted(x, w, 8)
    assert_array_equal(np.sort(columns, axis=1), np.tile(np.arange(8), (20, 1)))
    assert share(dense(values, columns, 8), dense(*by_loops(x, w, 8), 8)) >= 0.9


def test_rows_that_memory_does_not_hold_together_are_made_in_pieces(monkeypatch):
    x, w = random(100, 90)
    wanted = jitted(x, w, 7)
    monkeypatch.setattr(pursuit_levels, "ROOM", 4 * 13 * (2 * 7 * 24 + 4 * 100))
    pursuit_levels.pursue_on_levels.clear_cache()
    rest = 7, LEVELS, np.ones(90, np.float32), np.float32(0.5)
    text = pursuit_levels.pursue_on_levels.lower(x, w, pursuit_host.gram(w), *rest).as_text()
    assert "tensor<13x100xf32>" in text and "tensor<90x100xf32>" not in text
    found = jitted(x, w, 7)
    pursuit_levels.pursue_on_levels.clear_cache()
    assert share(dense(*found, 100), dense(*wanted, 100)) >= 0.9


def test_float32_where_jax_has_64_bits():
    x, w = random(100, 90)
    jax.config.update("jax_enable_x64", True)
    try:
        values, columns = jitted(x, w, 7)
    finally:
        jax.config.update("jax_enable_x64", False)
    assert values.dtype == np.float32
    assert share(dense(values, columns, 100), dense(*jitted(x, w, 7), 100)) >= 0.9


def some_weights(h=60, d=24, k=5, **levels):
    w = random(h + 1, h, d)[1][:h]  # not the rows that `random(h, …)` gives: rows that are atoms need only one
    params = {"encoder_w": w.T.copy(), "encoder_b": np.zeros(h, np.float32), "decoder_w": w}
    return Weights(params, h, k, levels=levels)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_encoders_deal_blocks_to_devices_and_compile_once(similarity, monkeypatch):
    x = random(60, 41)[0]
    x[7] = 0
    weights = some_weights()
    encoders.learn_levels(weights, "pursuit", "fast4", lambda: x, similarity)
    one = Encoder(weights, "pursuit", "fast4", similarity)
    wanted = one.encode(x)
    monkeypatch.setattr(encoders.devices, "on_cpu", lambda: False)
    assert not one.by_loops
    on_device.encode_on_levels.clear_cache()
    for n in (41, 16, 1):
        found = one.encode(x[:n], block=16, on=jax.devices()[:1])
        assert share(dense(found.values, found.columns, 60), dense(wanted.values, wanted.columns, 60)[:n]) >= 0.9
        assert found.columns.dtype == wanted.columns.dtype and found.made_by == wanted.made_by
        assert (found.lengths is None) == (similarity == "cosine")
    assert on_device.encode_on_levels._cache_size() == 1
    assert share(one.encode(x, block=16, on=jax.devices()[:2]).columns, wanted.columns) >= 0.9
    assert len(one.encode(x[:0])) == 0


def test_rows_with_a_residual_begin_with_a_device_s_codes(monkeypatch):
    x = random(60, 200)[0]
    few = some_weights()
    encoders.learn_levels(few, "pursuit", "fast4", lambda: x)
    codes = Encoder(few, "pursuit", "fast4").encode(x)
    weights = residual.extended(few, 24, x, codes)
    one = Encoder(weights, "pursuit", "residual4")
    wanted = one.encode(x)
    monkeypatch.setattr(encoders.devices, "on_cpu", lambda: False)
    called = []
    make = on_device.encode_on_levels
    monkeypatch.setattr(on_device, "encode_on_levels", lambda *given: called.append(1) or make(*given))
    found = one.encode(x, block=16, on=jax.devices()[:1])
    assert len(called) == 13 and found.made_by == wanted.made_by
    assert (
        share(dense(found.values, found.columns, few.h + 24), dense(wanted.values, wanted.columns, few.h + 24)) >= 0.9
    )


def test_other_encoders_on_levels_stay_with_the_loops(monkeypatch):
    monkeypatch.setattr(encoders.devices, "on_cpu", lambda: False)
    levels = {f"{name}:packed4": tuple(LEVELS.tolist()) for name in encoders.ENCODERS}
    weights = dataclasses.replace(some_weights(), levels=levels)
    by = {name: Encoder(weights, name, "fast4").by_loops for name in encoders.ENCODERS}
    assert by == {"topk": True, "refit": True, "shortlist": True, "pursuit": False}
    assert not Encoder(weights, "shortlist", "float16").by_loops


def test_a_dictionary_beyond_memory_is_refused():
    weights = some_weights(h=2**15 + 1, d=2)
    with pytest.raises(encoders.InputError, match="h must be at most"):
        on_device.atoms_on(weights, jax.devices()[0])
