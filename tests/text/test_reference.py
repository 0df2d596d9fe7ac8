"""MiniLM as sentence-transformers computes it, beside ours; for launch/test_engines.sh, which installs both."""

import importlib
import os

import numpy as np
import pytest
from numpy.testing import assert_allclose

from compressae_jax import data
from compressae_jax.data.make import found
from compressae_jax.notation import InputError
from compressae_jax.text import embedding, folders

pytestmark = pytest.mark.skipif("COMPRESSAE_ENGINES" not in os.environ, reason="run by launch/test_engines.sh")
TEXTS = ["", "one", "Größe – naïve café, 東京", "a long text " * 200]


@pytest.fixture(scope="module")
def home():
    for package in ("torch", "tokenizers", "sentence_transformers"):
        pytest.importorskip(package)
    try:
        return found.minilm()
    except InputError as missing:
        pytest.skip(str(missing))


def reference(folder, texts):
    model = importlib.import_module("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    return model.encode(texts, normalize_embeddings=True)


def test_minilm_equals_its_reference(home, tmp_path):
    texts = [*TEXTS, *data.load("debian").items[::700], *data.load("scifact").items[::200]]
    model = folders.load(home)
    assert_allclose(embedding.of_texts(model, texts), reference(home, texts), atol=1e-5)
    changed = {**model.params, "norm": {**model.params["norm"], "scale": model.params["norm"]["scale"] * 1.01}}
    trained = model._replace(params=changed)
    folders.save(trained, tmp_path / "trained")
    ours = embedding.of_texts(trained, texts)
    assert np.abs(ours - embedding.of_texts(model, texts)).max() > 1e-4
    assert_allclose(ours, reference(tmp_path / "trained", texts), atol=1e-5)
