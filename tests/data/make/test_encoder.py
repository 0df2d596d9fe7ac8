"""Embeddings written to files; what the encoder computes is tested beside it."""

import numpy as np
import pytest
from text import made

from compressae_jax.data.make import encoder
from compressae_jax.text import embedding

TEXTS = [[0, 5, 9, 2], [0, *range(4, 30), 2], [0, 2], [0, 7, 2], [0, *range(4, 9), 2]]


def test_a_file_holds_the_vectors_and_nothing_lies_beside_it(tmp_path):
    model = made.model()
    encoder.embed(model, TEXTS, tmp_path / "x.npy", "x", progress=False)
    written = np.load(tmp_path / "x.npy")
    assert written.dtype == np.float32 and [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    np.testing.assert_array_equal(written, embedding.of_tokens(model, TEXTS))


def test_an_interrupted_embedding_goes_on(tmp_path, monkeypatch):
    model = made.model()
    encoder.embed(model, TEXTS, tmp_path / "whole.npy", "x", "float16", progress=False)
    units, calls = embedding.units, []

    def ends(*given):
        calls.append(given[2].shape[1])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return units(*given)

    monkeypatch.setattr(embedding, "units", ends)
    with pytest.raises(KeyboardInterrupt):
        encoder.embed(model, TEXTS, tmp_path / "x.npy", "x", "float16", progress=False)
    assert not (tmp_path / "x.npy").exists()
    encoder.embed(model, TEXTS, tmp_path / "x.npy", "x", "float16", progress=False)
    assert calls == [32, 8, 8], "the longest once"
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
