"""The encoder beside a slow twin in NumPy, one text at a time, without padding."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.data.make import encoder
from compressae_jax.notation import InputError

WIDTH, HEADS, DEPTH, WORDS, PAD = 8, 2, 3, 40, 1
TEXTS = [[2, 5, 9, 3], [2, *range(4, 30), 3], [2, 3], [2, 7, 3], [2, *range(4, 9), 3]]


def arrays(kind):
    rng = np.random.default_rng(0)

    def made(*shape):
        return rng.normal(size=shape, scale=0.5).astype(np.float32)

    raw = {
        "embeddings.word_embeddings.weight": made(WORDS, WIDTH),
        "embeddings.position_embeddings.weight": made(99, WIDTH),
    }
    raw |= {f"embeddings.LayerNorm.{part}": made(WIDTH) for part in ("weight", "bias")}
    if kind == "bert":
        raw["embeddings.token_type_embeddings.weight"] = made(2, WIDTH)
    else:
        raw["encoder.relative_attention_bias.weight"] = made(32, HEADS)
    sizes = {"inner": (4 * WIDTH, WIDTH), "outer": (WIDTH, 4 * WIDTH), "norm": (WIDTH,), "last_norm": (WIDTH,)}
    for ours, theirs in (encoder.NAMES[kind] | encoder.BOTH).items():
        for i in range(DEPTH):
            shape = sizes.get(ours, (WIDTH, WIDTH))
            raw[f"encoder.layer.{i}.{theirs}.weight"], raw[f"encoder.layer.{i}.{theirs}.bias"] = (
                made(*shape),
                made(shape[0]),
            )
    return raw


def bucket(distance):
    """Of the key's place less the query's: T5's rule with 32 buckets, to 128."""
    n, base = -distance, 0
    if n < 0:
        n, base = -n, 16
    if n < 8:
        return base + n
    return base + min(15, 8 + int(math.log(n / 8) / math.log(128 / 8) * 8))


def twin(kind, raw, tokens):
    raw = {name: array.astype(np.float64) for name, array in raw.items()}

    def linear(x, name):
        return x @ raw[f"{name}.weight"].T + raw[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-12)
        return x * raw[f"{name}.weight"] + raw[f"{name}.bias"]

    n = len(tokens)
    places = raw["embeddings.position_embeddings.weight"]
    x = raw["embeddings.word_embeddings.weight"][tokens]
    if kind == "bert":
        x = x + places[:n] + raw["embeddings.token_type_embeddings.weight"][0]
    else:
        x = x + places[PAD + 1 : PAD + 1 + n]
    x = norm(x, "embeddings.LayerNorm")
    for i in range(DEPTH):
        at = {ours: f"encoder.layer.{i}.{theirs}" for ours, theirs in (encoder.NAMES[kind] | encoder.BOTH).items()}
        q, k, v = (linear(x, at[name]) for name in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(HEADS):
            own = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            scores = q[:, own] @ k[:, own].T / math.sqrt(WIDTH // HEADS)
            if kind == "mpnet":
                table = raw["encoder.relative_attention_bias.weight"][:, head]
                scores = scores + np.array([[table[bucket(b - a)] for b in range(n)] for a in range(n)])
            weights = np.exp(scores - scores.max(1, keepdims=True))
            mixed[:, own] = weights / weights.sum(1, keepdims=True) @ v[:, own]
        x = norm(x + linear(mixed, at["mix"]), at["norm"])
        inner = linear(x, at["inner"])
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + linear(inner, at["outer"]), at["last_norm"])
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_texts_in_batches_equal_each_by_itself(kind, tmp_path):
    raw = arrays(kind)
    weights, shape = encoder.of_arrays(kind, raw, DEPTH, PAD), encoder.Shape(HEADS, 1e-12, PAD)
    encoder.embed(weights, shape, TEXTS, tmp_path / "x.npy", "x", progress=False)
    made = np.load(tmp_path / "x.npy")
    assert made.dtype == np.float32 and [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    assert_allclose(made, [twin(kind, raw, text) for text in TEXTS], atol=2e-5)


def test_far_distances_share_buckets():
    expected = [[bucket(b - a) for b in range(200)] for a in range(200)]
    assert_array_equal(encoder.buckets(200), expected)


def test_an_interrupted_embedding_goes_on(tmp_path, monkeypatch):
    weights, shape = encoder.of_arrays("bert", arrays("bert"), DEPTH, PAD), encoder.Shape(HEADS, 1e-12, PAD)
    encoder.embed(weights, shape, TEXTS, tmp_path / "whole.npy", "x", "float16", progress=False)
    encode, calls = encoder.encode, []

    def ends(*given):
        calls.append(given[2].shape[1])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(*given)

    monkeypatch.setattr(encoder, "encode", ends)
    with pytest.raises(KeyboardInterrupt):
        encoder.embed(weights, shape, TEXTS, tmp_path / "x.npy", "x", "float16", progress=False)
    assert not (tmp_path / "x.npy").exists()
    encoder.embed(weights, shape, TEXTS, tmp_path / "x.npy", "x", "float16", progress=False)
    assert calls == [32, 8, 8], "the longest once"
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_batches_hold_every_row_once_the_longest_first():
    lengths = np.random.default_rng(0).integers(2, encoder.MOST_TOKENS + 1, 999)
    some = np.arange(0, 999, 2)
    cut = list(encoder.batches(lengths, some))
    assert sorted(row for rows, _ in cut for row in rows) == some.tolist()
    assert all(lengths[rows].max() <= length and len(rows) * length <= encoder.BATCH_TOKENS for rows, length in cut)
    assert [length for _, length in cut] == sorted((length for _, length in cut), reverse=True)


def test_another_architecture(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(InputError, match="a model of type 'gpt2'; wanted: bert, mpnet"):
        encoder.load(tmp_path)
