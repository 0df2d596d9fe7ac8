"""The linen encoder beside a twin in NumPy, its folders both ways, and its answer to bad ones."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as some
from numpy.testing import assert_allclose, assert_array_equal
from text import made

from compressae_jax.notation import FolderError, InputError
from compressae_jax.text import bert, embedding, folders, tokens

TEXTS = [[0, 5, 9, 2], [0, *range(4, 30), 2], [0, 2], [0, 7, 2], [0, *range(4, 9), 2]]
A_TEXT = some.lists(some.integers(3, len(made.WORDS) - 1), min_size=1, max_size=20)


@pytest.mark.parametrize("kind", bert.KINDS)
def test_texts_in_batches_equal_each_by_itself(kind):
    found = embedding.of_tokens(made.model(kind), TEXTS)
    assert found.dtype == np.float32
    assert_allclose(found, [made.twin(kind, made.arrays(kind), text) for text in TEXTS], atol=2e-5)


@given(texts=some.lists(A_TEXT, min_size=2, max_size=8), pad=some.integers(0, 3))
def test_what_fills_a_batch_changes_no_text(texts, pad):
    model = made.model()

    def encoded(texts, pad):
        batch = tokens.padded(texts, pad, rows=8, length=24)
        return np.asarray(embedding.units(model.module, model.params, *batch))

    together = encoded(texts, pad)
    assert np.isfinite(together).all()
    assert_allclose(together[: len(texts)][::-1], encoded(texts[::-1], made.PAD)[: len(texts)], atol=1e-5)
    assert_allclose(together[:1], encoded(texts[:1], made.PAD)[:1], atol=1e-5)


def test_last_layers_that_stand_apart_are_the_same_layers():
    model, batch = made.model(), tokens.padded(TEXTS, made.PAD)
    layers = model.params["layers"]
    apart = {
        "layers": jax.tree.map(lambda one: one[:1], layers),
        "last_layers": jax.tree.map(lambda one: one[1:], layers),
    }
    found = embedding.units(bert.TextEncoder(model.module.of, last=1), {**model.params, **apart}, *batch)
    assert_allclose(found, embedding.units(model.module, model.params, *batch), atol=1e-6)


def test_far_distances_share_buckets():
    expected = [[made.bucket(b - a) for b in range(200)] for a in range(200)]
    assert_array_equal(bert.buckets(200), expected)


def test_the_gradient_is_that_of_small_changes():
    model = made.model()
    batch = tokens.padded(TEXTS, made.PAD)

    def score(params):
        return (embedding.units(model.module, params, *batch) * np.linspace(-1, 1, made.WIDTH)).sum()

    gradient = jax.grad(score)(model.params)
    for part in ("words", "layers"):
        slopes, tree = jax.tree.flatten(gradient[part])
        rng = np.random.default_rng(0)
        ways = [rng.normal(size=slope.shape).astype(np.float32) for slope in slopes]

        before = jax.tree.leaves(model.params[part])
        up, down = (
            score(
                {
                    **model.params,
                    part: jax.tree.unflatten(tree, [b + step * w for b, w in zip(before, ways, strict=True)]),
                }
            )
            for step in (2e-3, -2e-3)
        )
        expected = sum((np.asarray(slope) * way).sum() for slope, way in zip(slopes, ways, strict=True))
        assert_allclose((up - down) / 4e-3, expected, rtol=2e-2)


@pytest.mark.parametrize(("kind", "prefix"), [("bert", ""), ("mpnet", ""), ("bert", "bert.")])
def test_a_folder_read_and_written_is_the_same_but_for_what_was_trained(kind, prefix, tmp_path):
    pytest.importorskip("tokenizers")
    home = made.folder(tmp_path / "home", kind, prefix=prefix)
    model = folders.load(home)
    folders.save(model, tmp_path / "again")
    read, again = (safetensors.numpy.load_file(tmp_path / name / "model.safetensors") for name in ("home", "again"))
    assert read.keys() == again.keys()
    for name in read:
        assert_array_equal(read[name], again[name])
    trained = jax.tree.map(lambda one: one + 1, model.params)
    folders.save(model._replace(params=trained), tmp_path / "again")
    changed = folders.load(tmp_path / "again")
    jax.tree.map(assert_array_equal, changed.params, trained)
    texts = ["a b cab", "", "z" * 300]
    assert_array_equal(embedding.of_texts(model, texts), embedding.of_tokens(model, tokens.of_texts(home, texts)))
    assert_allclose(
        embedding.of_texts(model, ["a CAB"]), embedding.of_tokens(model, [[0, 4, 3, 2]]), atol=1e-6
    )  # one whole word is unknown


def test_texts_are_cut(tmp_path):
    pytest.importorskip("tokenizers")
    home = made.folder(tmp_path / "home")
    assert tokens.of_texts(home, ["a b c d", "a"], longest=4) == [[0, 4, 5, 2], [0, 4, 2]]
    model = folders.load(home)
    assert len(embedding.of_texts(model, ["a " * 400])) == 1, "the encoder has 99 places"


def test_batches_hold_every_row_once_the_longest_first():
    lengths = np.random.default_rng(0).integers(2, tokens.MOST_TOKENS + 1, 999)
    some_rows = np.arange(0, 999, 2)
    cut = list(tokens.batches(lengths, some_rows))
    assert sorted(row for rows, _ in cut for row in rows) == some_rows.tolist()
    assert all(lengths[rows].max() <= length and len(rows) * length <= tokens.BATCH_TOKENS for rows, length in cut)
    assert [length for _, length in cut] == sorted((length for _, length in cut), reverse=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_type": "gpt2"}, "a model of type 'gpt2'; wanted: bert, mpnet"),
        ({"hidden_act": "relu"}, "hidden_act must be 'gelu', not 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type must be 'absolute'"),
        ({"num_hidden_layers": "3"}, "num_hidden_layers must be an integer"),
        ({"num_attention_heads": 3}, "hidden_size=8 must be a multiple of 3 heads"),
        ({"layer_norm_eps": -1}, "layer_norm_eps must be a number between 0 and 1, not -1"),
        ({"pad_token_id": 99}, "pad_token_id must be an integer from 0 to 34"),
        ({"hidden_size": 16}, r"must have shape \(35, 16\), not \(35, 8\)"),
        ({"num_hidden_layers": 3}, "has no array encoder.layer.2.attention.self.query.weight"),
    ],
)
def test_configs_of_others(changes, told, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(made.config("bert", **changes)))
    safetensors.numpy.save_file(made.arrays("bert"), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=told):
        folders.load(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_files_that_are_damaged_or_missing(name, tmp_path):
    pytest.importorskip("tokenizers")
    home = made.folder(tmp_path / "home")

    def used():
        tokens.of_texts(home, ["a"])
        folders.load(home)

    used()
    whole = (home / name).read_bytes()
    for content in (whole[: len(whole) // 2], b"[]", b"\xff\xfe"):
        (home / name).write_bytes(content)
        with pytest.raises(FolderError, match=name):
            used()
    (home / name).unlink()
    with pytest.raises(FolderError, match=name):
        used()


def test_values_that_are_not_finite(tmp_path):
    broken = made.arrays("bert") | {"embeddings.LayerNorm.bias": np.full(made.WIDTH, np.nan, np.float32)}
    with pytest.raises(FolderError, match=r"embeddings.LayerNorm.bias has a value that is not finite"):
        folders.to_params(folders.architecture(made.config("bert")), broken)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ([[]], "text 0 has 0 tokens; wanted: 1 to 99"),
        ([[0], [2] * 100], "text 1 has 100 tokens"),
        ([[0, 35]], r"text 0 has a token outside 0..34"),
        ([[0, -1]], r"text 0 has a token outside 0..34"),
    ],
)
def test_tokens_that_no_text_has(texts, told):
    with pytest.raises(InputError, match=told):
        embedding.of_tokens(made.model(), texts)


@pytest.mark.parametrize(("texts", "told"), [("a text", "not one text"), (["a", None], "not None at 1")])
def test_texts_that_are_none(texts, told, tmp_path):
    with pytest.raises(InputError, match=f"texts must be a list of texts, {told}"):
        tokens.of_texts(tmp_path, texts)


def test_an_encoder_without_a_folder():
    with pytest.raises(InputError, match="give tokens"):
        embedding.of_texts(made.model(), ["a"])
    with pytest.raises(InputError, match="this one was read from none"):
        folders.save(made.model(), "anywhere")


def test_an_encoder_is_not_saved_over_its_own_folder(tmp_path):
    pytest.importorskip("tokenizers")
    model = folders.load(made.folder(tmp_path / "home"))
    with pytest.raises(InputError, match="is where the encoder was read from"):
        folders.save(model, tmp_path / "home")
