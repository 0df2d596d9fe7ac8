"""Models with a basis for what their nonzeros leave: learned, used, kept, refused."""

import dataclasses

import numpy as np
import pytest

import compressae_jax as cs
from compressae_jax.codes import on_host
from compressae_jax.model import residual
from compressae_jax.model import weights as model_weights
from compressae_jax.model.encoders import Encoder
from compressae_jax.notation import InputError

D = 128


def some_vectors(n=600, seed=0):
    """Mixtures of few directions with noise of falling variance."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(9).normal(size=(24, D))
    few = rng.normal(size=(n, 24)) * (rng.random((n, 24)) < 0.15)
    return (few @ directions + rng.normal(size=(n, D)) * np.linspace(1, 0.1, D)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return cs.fit(some_vectors(), budget_bytes=48, progress=False)


def test_a_budget_of_many_bits_a_number_has_coordinates(model):
    how = residual.packing(model.weights, model.weights.own_levels)
    assert model.weights.storage == "residual4" and how.width == 48
    assert (model.h, model.k) == (how.first.h + D, how.first.k + how.coordinates)
    basis = model.weights.params["decoder_w"][how.first.h :]
    np.testing.assert_allclose(basis @ basis.T, np.eye(D), atol=1e-5)
    assert (np.diff(how.levels[-D:]) <= 0).all()


def test_rows_have_less_error_than_nonzeros_of_as_many_bytes(model):
    held = some_vectors(200, 1)
    units = on_host.unit_rows(held)
    short = cs.Model(residual.short(model.weights, residual.packing(model.weights, model.weights.own_levels)))
    longer = short.with_budget(48)

    def cosine(some):
        return (on_host.unit_rows(some.reconstruct(some.compress(held, progress=False))) * units).sum(axis=1).mean()

    assert cosine(model) > cosine(longer) > cosine(short)


def test_scores_are_inner_products_with_reconstructions(model):
    held = some_vectors(100, 1)
    index = model.index(held, progress=False)
    scores, rows = index.search(held[:7], top=100)
    z = model.reconstruct(index.codes)
    wanted = on_host.unit_rows(held[:7]) @ z.T
    np.testing.assert_allclose(np.take_along_axis(wanted, rows, axis=1), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_codes_are_the_same_in_any_company_and_packed_they_stay_what_they_are(model, similarity):
    held = some_vectors(60, 2) * np.linspace(0.5, 4, 60, dtype=np.float32)[:, None]
    held[7] = 0
    rows = model.compress(held, zero_rows="keep", progress=False, similarity=similarity)
    one = model.compress(held[11:12], progress=False, similarity=similarity)
    np.testing.assert_array_equal(rows.records[11:12], one.records)
    assert not rows.records[7].any()
    encoder = Encoder(model.weights, "pursuit", "residual4", similarity)
    codes, unpacked = encoder(held), rows.codes()
    order = np.argsort(codes.columns, axis=1, kind="stable")
    np.testing.assert_array_equal(np.take_along_axis(codes.values, order, axis=1), unpacked.values)


def test_inner_products_of_vectors_with_lengths(model):
    held = some_vectors(300, 3) * np.random.default_rng(0).uniform(0.5, 3, (300, 1)).astype(np.float32)
    index = model.index(held, progress=False, similarity="dot")
    scores, _ = index.search(held[:20], top=1)
    wanted = (held[:20] @ held.T).max(axis=1)
    np.testing.assert_allclose(scores[:, 0], wanted, rtol=0.15)


def test_an_index_is_saved_grows_and_answers_in_all_spaces(model, tmp_path):
    held = some_vectors(80, 4)
    index = model.index(held, progress=False)
    index.save(tmp_path / "index")
    again = cs.load_index(tmp_path / "index")
    again.add(held[:5])
    assert len(again) == 85
    for space in ("sparse", "reconstructed"):
        found = again.in_space(space).search(held[10:20], top=3)
        assert (found.rows[:, 0] == np.arange(10, 20)).all()
    model.save(tmp_path / "model")
    loaded = cs.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.compress(held, progress=False).records, index.codes.records)


def test_another_budget_leaves_the_nonzeros_and_deals_other_bits(model):
    held = some_vectors(120, 5)
    for budget in (12, 40):
        other = model.with_budget(budget)
        rows = other.compress(held, progress=False)
        assert rows.records.shape[1] == budget
        ours, wanted = (residual.packing(some.weights, some.weights.own_levels) for some in (other, model))
        assert (ours.first.k, ours.first.levels) == (wanted.first.k, wanted.first.levels)
    with pytest.raises(InputError, match="budget_bytes of a model of storage 'residual4' must be"):
        model.with_budget(3)


def test_a_dictionary_with_a_basis_beside_it_has_coordinates_where_bytes_are_many(model, tmp_path):
    """Both forms of one model, which a budget chooses from, and its folder has both."""
    plain = residual.short(model.weights, residual.packing(model.weights, model.weights.own_levels))
    plain = dataclasses.replace(plain, rest=residual.rest_of(model.weights))
    model_weights.save(plain, tmp_path / "model")
    held = some_vectors(120, 7)
    units = on_host.unit_rows(held)
    cosines = []
    for budget, storage in [(20, "packed4"), (32, "residual4"), (48, "residual4")]:
        other = cs.load(tmp_path / "model").with_budget(budget)
        assert other.weights.storage.replace("fast4", "packed4") == storage
        rows = other.compress(held, progress=False)
        assert rows.records.shape[1] <= budget
        cosines.append((on_host.unit_rows(other.reconstruct(rows)) * units).sum(axis=1).mean())
        again = cs.load(tmp_path / "model").compress(held, budget_bytes=budget, progress=False)
        np.testing.assert_array_equal(again.records, rows.records)
    assert cosines[0] < cosines[1] < cosines[2]
    np.testing.assert_allclose(
        other.reconstruct(rows), model.reconstruct(model.compress(held, progress=False)), atol=0.02
    )


@pytest.mark.parametrize("budget", [20, 48])
@pytest.mark.parametrize("fold", [0.0, 0.5, 1.0])
def test_a_model_s_fold_says_what_scores_rows_have_with_themselves(model, budget, fold):
    plain = residual.short(model.weights, residual.packing(model.weights, model.weights.own_levels))
    plain = dataclasses.replace(plain, rest=residual.rest_of(model.weights), fold=fold)
    one, held = cs.Model(plain).with_budget(budget), some_vectors(300, 8)
    z, units = one.reconstruct(one.compress(held, progress=False)), on_host.unit_rows(held)
    cosine = (on_host.unit_rows(z) * units).sum(axis=1)
    np.testing.assert_allclose(((z * units).sum(axis=1) / cosine ** (2 - fold)).mean(), 1, atol=0.02)


def test_what_such_models_do_not_make_is_refused(model):
    held = some_vectors(30, 6)
    for asked in ({"storage": "fast4"}, {"encoder": "topk"}, {"encoder": "topk", "storage": "float16"}):
        with pytest.raises(InputError, match="has a basis for what its nonzeros leave"):
            model.compress(held, progress=False, **asked)
    plain = cs.fit(held, h=32, k=4, steps=2, batch=16, progress=False)
    with pytest.raises(InputError, match="has no basis for what its nonzeros leave"):
        plain.compress(held, storage="residual4", encoder="pursuit", progress=False)
    with pytest.raises(InputError, match="which is not trained on"):
        cs.fit(held, start=model, progress=False)
    with pytest.raises(InputError, match="give it a budget"):
        model.weights.with_k(3)
    with pytest.raises(InputError, match="values of residual4 fit residual4, not 'fast4'"):
        model.index(held, progress=False).stored_as("fast4")
