"""Sources through the front door: the model, rows and answers of the same vectors in an array."""

import numpy as np
import pytest
from data import files
from data.test_held import COLUMNS, TABLES
from numpy.testing import assert_array_equal

import compressae_jax as cs
from compressae_jax.model.weights import Weights


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def wanted(x):
    """The model, its rows of the array, and what an index of them finds once they were added again."""
    rng = np.random.default_rng(0)
    decoder = rng.standard_normal((16, 5)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    params = {"encoder_w": decoder.T.copy(), "encoder_b": np.zeros(16, np.float32), "decoder_w": decoder}
    model = cs.Model(Weights(params, 16, 2))
    index = model.index(x, progress=False)
    index.add(x)
    return model, index.search(x, top=3)


@pytest.mark.parametrize("made", [TABLES["pandas, arrays"], COLUMNS["polars"], TABLES["datasets, selected"]])
def test_tables_through_the_doors(made, x, wanted):
    check(made(), x, wanted)


@pytest.mark.parametrize("kind", ["hdf5, in chunks", "arrow, file"])  # in order, and by number
def test_files_through_the_doors(kind, x, wanted, tmp_path):
    check(files.write(kind, tmp_path, x), x, wanted)


def check(held, x, wanted):
    model, found = wanted
    index = model.index(held, progress=False)
    index.add(held)
    again = index.search(held, top=3)
    assert_array_equal(again.rows, found.rows)
    assert_array_equal(again.scores, found.scores)
    assert_array_equal(model.compress(held, progress=False).columns, model.compress(x, progress=False).columns)


def test_a_budget_of_scaled_bytes_in_order(tmp_path):
    rng = np.random.default_rng(1)
    q, scale = rng.integers(-127, 128, (400, 8)).astype(np.int8), rng.uniform(0.5, 1.5, 400).astype(np.float32)
    np.savez_compressed(tmp_path / "x.npz", v=q, scale=scale)
    plain = q.astype(np.float32) * scale[:, None]
    fields = {"budget_bytes": 8, "progress": False, "refine_rounds": 1}
    model = cs.fit(tmp_path / "x.npz", workdir=tmp_path / "run", **fields)
    assert model.weights.fingerprint == cs.fit(plain, **fields).weights.fingerprint
    rows, others = (model.compress(held, progress=False) for held in (tmp_path / "x.npz", plain))
    assert_array_equal(rows.records, others.records)
