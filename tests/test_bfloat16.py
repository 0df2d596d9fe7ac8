"""benchmarks.bfloat16 at a tiny size: what is encoded by which product, and what its recall is of."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from benchmarks import bfloat16
from compressae_jax import compression
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights

N, D, H, K = 301, 16, 64, 4


@pytest.fixture
def given(tmp_path):
    rng = np.random.default_rng(0)
    decoder_w = rng.standard_normal((H, D), np.float32)
    decoder_w /= np.linalg.norm(decoder_w, axis=1, keepdims=True)
    params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(H, np.float32), "decoder_w": decoder_w}
    weights = Weights(params, H, K)
    model_weights.save(weights, tmp_path / "model")
    vectors = rng.standard_normal((N, D), np.float32)
    vectors[[3, 100]] = 0  # rows without a direction are neither asked for nor searched
    np.save(tmp_path / "vectors.npy", vectors)
    return weights, vectors


def run(monkeypatch, tmp_path):
    flags = [f"--model={tmp_path / 'model'}", f"--source={tmp_path / 'vectors.npy'}", "--queries=20"]
    monkeypatch.setattr("sys.argv", ["bfloat16", *flags, f"--out={tmp_path}"])
    bfloat16.main()
    return json.loads((tmp_path / "bfloat16.json").read_text()), (tmp_path / "bfloat16.md").read_text()


def test_both_products_are_searched_in_every_space(monkeypatch, tmp_path, given):
    monkeypatch.setattr(bfloat16, "BLOCK", 100)  # below n and no divisor of it
    report, text = run(monkeypatch, tmp_path)
    assert report["rows"] + report["queries"] == N - 2 and report["model"]["fingerprint"] == given[0].fingerprint
    assert list(report["recall"]) == ["sparse", "reconstructed", "dense_query"]
    for space, recall in report["recall"].items():
        for name in ("float32", "bfloat16"):
            assert 0.3 < recall[name]["low"] <= recall[name]["mean"] <= recall[name]["high"] <= 1
        means = [recall[name]["mean"] for name in ("bfloat16", "float32", "difference")]
        assert means[0] - means[1] == pytest.approx(means[2]) and f"| {space} |" in text
    assert 0.9 < report["same_rows"] <= report["same_columns"] <= 1


@pytest.mark.parametrize("spoilt", ["rows", "queries"])
def test_a_product_that_spoils_codes_shows(monkeypatch, tmp_path, given, spoilt):
    right = bfloat16.encode

    def encode(weights, vectors, product):
        wrong = product == "bfloat16" and spoilt == ("queries" if len(vectors) <= 20 else "rows")
        return right(weights, vectors[::-1] if wrong else vectors, "float32")

    monkeypatch.setattr(bfloat16, "encode", encode)
    report, _ = run(monkeypatch, tmp_path)
    assert report["same_rows"] < 0.1 if spoilt == "rows" else report["same_rows"] == 1
    differences = {space: recall["difference"] for space, recall in report["recall"].items()}
    if spoilt == "queries":  # which are compared as vectors there
        assert set(differences.pop("dense_query").values()) == {0}
    assert all(one["high"] < 0 for one in differences.values())


def test_float32_codes_are_those_of_compress(monkeypatch, given):
    monkeypatch.setattr(bfloat16, "BLOCK", 100)
    weights, vectors = given
    codes = compression.encode(weights, vectors)
    ours = bfloat16.encode(weights, vectors, "float32")
    assert_array_equal(ours.columns, codes.columns)
    np.testing.assert_allclose(np.float32(ours.values), np.float32(codes.values), rtol=2e-3)
    assert (bfloat16.encode(weights, vectors, "bfloat16").values != ours.values).any()


def test_agreement_counts_rows_and_columns():
    whole = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    assert bfloat16.agreement(whole, np.array([[0, 1, 2, 3], [4, 5, 6, 8]])) == {
        "same_rows": 0.5,
        "same_columns": 7 / 8,
    }


def test_a_model_needs_its_source(monkeypatch):
    monkeypatch.setattr("sys.argv", ["bfloat16", "--model=some"])
    with pytest.raises(SystemExit):
        bfloat16.main()
