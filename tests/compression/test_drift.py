"""Whether vectors are reconstructed as well as those held out: against sums by hand, on shipped data, and bad input."""

import dataclasses

import numpy as np
import pytest

import compressae_jax as cs
from compressae_jax import data
from compressae_jax.compression import drift
from compressae_jax.compression.drift import Drift, Held
from compressae_jax.model.encoders import Encoder
from compressae_jax.notation import InputError


def by_hand(model, some, **how):
    z = model.reconstruct(model.compress(some, progress=False, **how))
    return (some * z).sum(1) / np.linalg.norm(some, axis=1) / np.linalg.norm(z, axis=1)


@pytest.fixture(scope="module")
def shop():
    """Item vectors in an order of chance: those of popular items stand first in the file."""
    return data.load("shop").vectors.take(np.random.default_rng(0).permutation(2600))


@pytest.fixture(scope="module")
def model(shop):
    return cs.fit(shop[:1500], h=256, k=8, steps=60, batch=256, progress=False)


@pytest.fixture(scope="module")
def packed(shop):
    return cs.fit(shop[:1500], budget_bytes=16, refine_rounds=2, progress=False)


@pytest.fixture(scope="module")
def elsewhere():
    """Vectors of another kind, as wide."""
    return np.asarray(data.load("scifact").vectors.read(0, 500))[:, :128]


def test_what_a_model_notes_is_the_mean_of_the_rows_it_never_saw(model, packed, shop):
    out = data.split_rows(1500, 0, 75).validation
    for made in (model, packed):
        found, noted = by_hand(made, shop[out]), made.weights.summary["held_out"]
        assert noted["rows"] == 75
        np.testing.assert_allclose([noted["cosine"], noted["std"]], [found.mean(), found.std(ddof=1)], atol=1e-5)
        assert (noted["encoder"], noted["storage"], noted["k"]) == (made.weights.encoder, made.weights.storage, made.k)


@pytest.mark.parametrize("which", ["model", "packed"])
def test_rows_of_the_same_data_have_not_drifted_and_others_have(request, shop, elsewhere, tmp_path, which):
    made = request.getfixturevalue(which)
    made.save(tmp_path / "model")
    made = cs.load(tmp_path / "model")
    same, other = made.drift(shop[1500:], tolerance=0.03), made.drift(elsewhere)
    assert not same.drifted and str(same).startswith("not drifted: ")
    assert other.drifted and str(other).startswith("drifted: mean cosine") and "drifted" in repr(other)
    np.testing.assert_allclose(other.cosine, by_hand(made, elsewhere).mean(), atol=1e-5)
    assert other == made.drift(elsewhere) != made.drift(elsewhere, seed=1)
    assert made.drift(elsewhere, reference=elsewhere).difference == 0


def test_the_interval_is_that_of_the_difference_of_two_means():
    """Of pairs of samples of two known kinds, one in twenty misses the true difference."""
    rng = np.random.default_rng(0)
    missed = []
    for seed in range(200):
        before, now = drift.held(rng.normal(0.8, 0.1, 40)), rng.normal(0.75, 0.05, 60)
        low, high = drift.interval(now, before, seed)
        missed.append(not low <= -0.05 <= high)
    assert 0.02 <= np.mean(missed) <= 0.1
    sure = drift.interval(np.full(50, 0.5), Held(0.75, 0.0, 99), 0)
    np.testing.assert_allclose(sure, (-0.25, -0.25), atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (-0.03, -0.02, "drifted: "),
        (-0.03, -0.009, "not drifted, as far as so few rows can tell: "),
        (-0.009, 0.02, "not drifted: "),
        (0.02, 0.03, "not drifted: "),
    ],
)
def test_only_a_sure_drop_beyond_the_tolerance_is_drift(low, high, word):
    told = Drift(0.7, 0.7 - (low + high) / 2, low, high, 1234, 99, tolerance=0.01)
    assert str(told).startswith(word) and told.drifted == word.startswith("drifted")
    assert "1,234 new rows" in str(told) and f"{low:+.4f} to {high:+.4f}" in str(told)


def test_many_rows_are_looked_at_in_part_whatever_holds_them(model, shop, tmp_path, monkeypatch):
    monkeypatch.setattr(drift, "MOST", 100)
    np.savez_compressed(tmp_path / "vectors.npz", x=shop)
    told = model.drift(shop)
    assert told.rows == 100 and told == model.drift(tmp_path / "vectors.npz")
    spread = np.linspace(0, len(shop) - 1, 100).astype(int)
    np.testing.assert_allclose(told.cosine, by_hand(model, shop[spread]).mean(), atol=1e-5)


def test_codes_cut_to_fewer_nonzeros(model, shop):
    how = Encoder(model.weights, "topk", "float16")
    source, few = shop[:200], model.compress(shop[:200], progress=False).prefix(3)
    z = model.reconstruct(few)
    wanted = (shop[:200] * z).sum(1) / np.linalg.norm(shop[:200], axis=1) / np.linalg.norm(z, axis=1)
    np.testing.assert_allclose(drift.of(how, source, source, k=3).cosine, wanted.mean(), atol=1e-5)
    with pytest.raises(InputError, match=r"with encoder='topk', storage='float16', k=8, not with .* k=3"):
        drift.of(how, source, k=3)


@pytest.mark.parametrize("which", ["model", "packed"])
def test_an_index_asks_by_the_way_its_rows_were_made(request, shop, elsewhere, tmp_path, which):
    made = request.getfixturevalue(which)
    index = made.index(shop[:300], progress=False)
    assert index.drift(elsewhere) == made.drift(elsewhere)
    index.save(tmp_path / "index")
    assert cs.load_index(tmp_path / "index").drift(elsewhere) == made.drift(elsewhere)
    other = made.index(shop[:300], encoder="refit", storage="packed5", progress=False)
    with pytest.raises(InputError, match=r"not with encoder='refit', storage='packed5', k=\d+; give reference="):
        other.drift(elsewhere)
    found = by_hand(made, elsewhere, encoder="refit", storage="packed5")
    np.testing.assert_allclose(other.drift(elsewhere, reference=shop[:300]).cosine, found.mean(), atol=1e-5)


def test_bad_input_is_named(model, shop):
    zero, bad = shop[:20].copy(), shop[:20].copy()
    zero[3], bad[4, 0] = 0, np.nan
    for some, message in (
        (shop[:, :5], "width 5, the model was trained on 128"),
        (shop[:9], "has 9 rows; a mean needs at least 10"),
        (zero, "row 3 is zero; 1 of 20 rows"),
        (bad, "row 4 is not finite"),
    ):
        for asked in ((some,), (shop[:20], some)):
            with pytest.raises(InputError, match=message):
                model.drift(*asked)
    for tolerance in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="tolerance must be"):
            model.drift(shop[:20], tolerance=tolerance)


@pytest.mark.parametrize(
    ("noted", "message"),
    [
        (None, "does not say how well rows held out .* are reconstructed: an older version .*; give reference="),
        ({"k": 9}, "with encoder='topk', storage='float16', k=9, not with .*k=8; give reference="),
        ({"cosine": "0.9"}, "damaged note"),
        ({"cosine": float("nan")}, "damaged note"),
        ({"rows": 1}, "damaged note"),
        ([1], "damaged note"),
    ],
)
def test_a_note_that_does_not_serve(model, shop, noted, message):
    there = {**model.weights.summary["held_out"], **noted} if isinstance(noted, dict) else noted
    weights = dataclasses.replace(model.weights, summary={} if noted is None else {"held_out": there})
    with pytest.raises(InputError, match=message):
        cs.Model(weights).drift(shop[:20])
    assert cs.Model(weights).drift(shop[:20], reference=shop).rows == 20
