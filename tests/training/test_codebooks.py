"""Codebooks: k-means of what is left, rounds of codes and least squares, the same by seed and after a stop."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax import data
from compressae_jax.codes import on_host
from compressae_jax.codes.storage.additive import GROUP
from compressae_jax.model import budgets
from compressae_jax.training import codebooks, loop, recipes, resolved, stages

D, K = 10, 3


def some_units(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    return on_host.unit_rows(rng.normal(size=(n, D)).astype(np.float32))


def begun(x, seed=0):
    source = data.open_source(x)
    return codebooks.start(GROUP * K, source, data.split_rows(len(x), 0, 0).train, seed)


def error(found, x):
    return float(np.square(x - codebooks.decoded(codebooks.codes_of(x, found, 8), found)).sum(axis=1).mean())


def test_rounds_lessen_the_error_of_rows_not_seen_too():
    x, held = some_units(), some_units(500, 1)
    found = begun(x)
    assert_array_equal(found, begun(x))
    assert not np.array_equal(found, begun(x, 1))
    before, before_held = error(found, x), error(found, held)
    cosines = []
    for _ in range(3):
        found, told = codebooks.improved(found, x)
        cosines.append(told["cosine"])
    assert error(found, x) < 0.9 * before and error(found, held) < before_held
    assert cosines == sorted(cosines)
    assert 1 - before < codebooks.aim(found, x) <= 1


def test_atoms_are_the_least_squares_ones_for_their_codes(monkeypatch):
    x = some_units()
    found = begun(x)
    codes = codebooks.codes_of(x, found, codebooks.BEAMS)
    monkeypatch.setattr(codebooks, "HOLD", 1e-3)
    solved, _ = codebooks.improved(found, x)
    ones = np.zeros((len(x), GROUP * K))
    for j in range(K):
        ones[np.arange(len(x)), GROUP * j + codes[:, j].astype(int)] = 1
    hold = 1e-3 * len(x) / GROUP
    wanted = np.linalg.solve(ones.T @ ones + hold * np.eye(GROUP * K), ones.T @ x + hold * found)
    assert_allclose(solved, wanted, atol=2e-3)


def test_fewer_rows_than_atoms_and_rows_that_are_alike():
    x = np.repeat(some_units(5), 3, axis=0)
    found, told = codebooks.improved(begun(x), x)
    assert np.isfinite(found).all() and told["idle"] > 0 and error(found, x) < 1e-3


def test_the_default_budget_keeps_to_rows_that_serve_inner_products(monkeypatch):
    monkeypatch.setattr(budgets, "ADDITIVE_ROWS", 500)
    monkeypatch.setattr(budgets, "FEWEST", 4)
    x = some_units(600)
    fields, source = {"seed": 0, **recipes.recipe("default")}, data.open_source(x)
    runs = [resolved.of({**fields, "budget_bytes": budget}, source, len(x)) for budget in (None, D // 2)]
    assert [one.fields["budget_bytes"] for one in runs] == [D // 2] * 2
    assert [one.use.storage == "additive8" for one in runs] == [False, True]


def test_a_run_that_was_stopped_goes_on_to_the_same_codebooks(tmp_path, monkeypatch):
    monkeypatch.setattr(budgets, "ADDITIVE_ROWS", 500)
    monkeypatch.setattr(budgets, "FEWEST", 4)
    x, fields = some_units(600), {"budget_bytes": 4, "refine_rounds": 3, "refine_gain": 0.0, "progress": False}
    whole = loop.fit(x, **fields)
    save = stages.Keeping.save

    def stopped(self, number, arrays, told):
        save(self, number, arrays, told)
        if number == 2:
            self.keeper.wait()
            raise RuntimeError("the power failed")

    with monkeypatch.context() as patch:
        patch.setattr(stages.Keeping, "save", stopped)
        with pytest.raises(RuntimeError, match="the power failed"):
            loop.fit(x, tmp_path / "run", **fields)
    again = loop.fit(x, tmp_path / "run", **fields)
    assert again.fingerprint == whole.fingerprint and again.levels == whole.levels
    assert again.summary["refine"] == whole.summary["refine"]
