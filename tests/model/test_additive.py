"""Sums of atoms: the search beside all sums there are, models of codebooks, what they refuse."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import compressae_jax as cs
from compressae_jax.base import products
from compressae_jax.codes import on_host
from compressae_jax.codes.storage.additive import GROUP
from compressae_jax.model import additive, budgets
from compressae_jax.model.encoders import Encoder
from compressae_jax.notation import InputError
from compressae_jax.training import plan

D = 12


def some_vectors(n=600, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, 6)) @ np.random.default_rng(9).normal(size=(6, D)) + rng.normal(size=(n, D)) / 3
    ).astype(np.float32)


def some_books(k, seed=0, aim=0.9):
    rng = np.random.default_rng(seed)
    atoms = on_host.unit_rows(rng.normal(size=(GROUP * k, D)).astype(np.float32))
    return atoms, additive.books(atoms, rng.uniform(0.2, 1, GROUP * k).astype(np.float32), aim)


def nearest(x, atoms, books, **how):
    return additive.nearest(products.product(x, products.strips(atoms.T)), books, **how)


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budgets, "ADDITIVE_ROWS", 500)
        patch.setattr(budgets, "FEWEST", 4)
        return cs.fit(some_vectors(), budget_bytes=5, refine_rounds=2, progress=False)


@pytest.mark.parametrize("weight", [0.0, 10.0])
def test_with_all_beams_it_is_the_best_of_all_sums(weight):
    atoms, books = some_books(2)
    x = on_host.unit_rows(some_vectors(5))
    long = (atoms * books.lengths[:, None]).astype(np.float64)
    z = (long[:GROUP, None] + long[None, GROUP:]).reshape(-1, D)
    costs = np.square(x[:, None] - z).sum(axis=2) + weight * np.square(books.aim - x @ z.T)
    costs[:, 0] = np.inf  # the zero row's
    found = nearest(x, atoms, books, beams=GROUP, weight=weight).astype(int)
    place = GROUP * found[:, 0] + found[:, 1]
    assert_allclose(costs[np.arange(5), place], costs.min(axis=1), rtol=1e-4)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_more_beams_err_less_and_rows_are_coded_alike_in_any_company(k):
    atoms, books = some_books(k)
    x = on_host.unit_rows(some_vectors(130))
    errors = []
    for beams in (1, 4, 64):
        codes = nearest(x, atoms, books, beams=beams, weight=0.0)
        z = (atoms * books.lengths[:, None])[codes + GROUP * np.arange(k)].sum(axis=1)
        errors.append(np.square(x - z).sum())
        assert_array_equal(codes[7:9], nearest(x[7:9], atoms, books, beams=beams, weight=0.0))
    assert errors[2] <= errors[1] <= errors[0] and (k == 1 or errors[2] < errors[0])


def test_no_row_is_the_first_atom_of_all_codebooks():
    atoms, books = some_books(3)
    first = (atoms * books.lengths[:, None])[GROUP * np.arange(3)].sum(axis=0)[None]
    assert nearest(first.astype(np.float32), atoms, books, weight=0.0).any()


def test_a_model_of_codebooks(model, tmp_path):
    weights = model.weights
    assert (weights.h, weights.k, weights.storage, weights.encoder) == (5 * GROUP, 5, "additive8", "pursuit")
    assert weights.kind == "additive codes"
    assert_allclose(np.linalg.norm(weights.params["decoder_w"], axis=1), 1, atol=1e-5)
    assert len(plan.fields(weights.summary["stages"])) and weights.summary["refine"]["rounds"] == 2
    model.save(tmp_path / "model")
    again = cs.load(tmp_path / "model")
    assert again.weights.levels == weights.levels and again.weights.fingerprint == weights.fingerprint
    held = some_vectors(50, 1)
    assert_array_equal(again.compress(held, progress=False).records, model.compress(held, progress=False).records)


def test_scores_are_inner_products_with_sums_and_near_cosines(model, tmp_path):
    held = some_vectors(100, 1)
    index = model.index(held, progress=False)
    assert index.bytes_per_vector == 5
    scores, rows = index.search(held[:7], top=100)
    z = model.reconstruct(index.codes)
    units = on_host.unit_rows(held)
    assert_allclose(np.take_along_axis(units[:7] @ z.T, rows, axis=1), scores, rtol=1e-4, atol=1e-5)
    own = (units * z).sum(axis=1)
    assert abs(own.mean() - 1) < 0.05 and own.std() < 0.08
    index.add(held[:3])
    index.save(tmp_path / "index")
    found = cs.load_index(tmp_path / "index").search(held[:7], top=20)
    assert_array_equal(found.rows, index.search(held[:7], top=20).rows)


def test_zero_rows_stay_zero(model):
    x = some_vectors(4)
    x[2] = 0
    rows = model.compress(x, zero_rows="keep", progress=False)
    assert not rows.codes().values[2].any() and rows.codes().values[[0, 1, 3]].all()


def test_what_a_model_of_codebooks_refuses(model):
    x = some_vectors(20)
    for how in ({"storage": "packed4"}, {"encoder": "refit"}):
        with pytest.raises(InputError, match="has codebooks, and rows of storage 'additive8'"):
            model.compress(x, progress=False, **how)
    with pytest.raises(InputError, match="are compared by cosines"):
        model.index(x, similarity="dot", progress=False)
    with pytest.raises(InputError, match="5 codebooks makes rows of 5 bytes, not of 4"):
        model.with_budget(4)
    assert model.with_budget(5).weights.fingerprint == model.weights.fingerprint
    with pytest.raises(InputError, match="5 codebooks has rows of k=5, not 4"):
        model.weights.with_k(4)
    with pytest.raises(InputError, match=r"has codebooks .*, which are not trained on"):
        cs.fit(x, start=model, progress=False)
    plain = dataclasses.replace(model.weights, storage="packed4", levels={})
    with pytest.raises(InputError, match="has no codebooks"):
        Encoder(plain, "pursuit", "additive8")
