"""Sentence encoders of published weights in JAX: BERT's layers and MPNet's, mean pooling, unit length; to an .npy.

Weights are those of all-MiniLM-L6-v2 and all-mpnet-base-v2 as their safetensors name them. Texts become rows of float32
whatever the batches, up to rounding.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from safetensors.numpy import load_file

from compressae_jax.base import files
from compressae_jax.base import progress as bars
from compressae_jax.notation import InputError

MOST_TOKENS = 256
BATCH_TOKENS = 4096  # of a batch: rows times the longest of them
BUCKETS, FARTHEST = 32, 128  # of MPNet's distances
PADS = (8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, MOST_TOKENS)  # lengths that are compiled for


class Weights(NamedTuple):
    """Of one encoder. `layers` are stacked, one layer an entry of the first axis; every matrix maps x to x @ W + b."""

    words: Float[Array, "v w"]
    places: Float[Array, "l w"]  # what is added at each position, of the first token on
    norm: tuple[Float[Array, " w"], Float[Array, " w"]]
    layers: Mapping[str, Float[Array, "..."]]
    distances: Float[Array, "buckets heads"] | None  # MPNet: added to scores by distance


class Shape(NamedTuple):
    """What a config says: numbers that are no weights."""

    heads: int
    epsilon: float
    pad: int  # the token that fills


NAMES = {
    "bert": {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "mix": "attention.output.dense",
        "norm": "attention.output.LayerNorm",
    },
    "mpnet": {
        "query": "attention.attn.q",
        "key": "attention.attn.k",
        "value": "attention.attn.v",
        "mix": "attention.attn.o",
        "norm": "attention.LayerNorm",
    },
}
BOTH = {"inner": "intermediate.dense", "outer": "output.dense", "last_norm": "output.LayerNorm"}


def load(folder: Path) -> tuple[Weights, Shape]:
    """The encoder of a folder with config.json and model.safetensors.

    Raises:
        InputError: another architecture than BERT's or MPNet's.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = config["model_type"]
    if kind not in NAMES:
        raise InputError(f"{folder} holds a model of type {kind!r}; wanted: {', '.join(NAMES)}")
    raw = {name.removeprefix(f"{kind}."): array for name, array in load_file(folder / "model.safetensors").items()}
    shape = Shape(config["num_attention_heads"], config["layer_norm_eps"], config["pad_token_id"])
    return of_arrays(kind, raw, config["num_hidden_layers"], shape.pad), shape


def of_arrays(kind: str, raw: Mapping[str, np.ndarray], depth: int, pad: int) -> Weights:
    """Weights out of arrays under their published names."""
    layers: dict[str, Any] = {}
    for ours, theirs in (NAMES[kind] | BOTH).items():
        for part in ("weight", "bias"):
            each = [raw[f"encoder.layer.{i}.{theirs}.{part}"] for i in range(depth)]
            layers[f"{ours}.{part}"] = jnp.stack([one.T if one.ndim == 2 else one for one in each])
    places = raw["embeddings.position_embeddings.weight"]
    if kind == "bert":
        places, distances = places + raw["embeddings.token_type_embeddings.weight"][0], None
    else:  # positions count from behind the one of padding
        places, distances = places[pad + 1 :], jnp.asarray(raw["encoder.relative_attention_bias.weight"])
    norm = (jnp.asarray(raw[f"embeddings.LayerNorm.{part}"]) for part in ("weight", "bias"))
    words = jnp.asarray(raw["embeddings.word_embeddings.weight"])
    return Weights(words, jnp.asarray(places), (next(norm), next(norm)), layers, distances)


@functools.partial(jax.jit, static_argnames=("shape",))
def encode(weights: Weights, shape: Shape, tokens: Int[Array, "b l"], there: Bool[Array, "b l"]) -> Float[Array, "b w"]:
    """The unit vectors of texts: the mean over the tokens that are there."""
    with jax.default_matmul_precision("highest"):
        x = _normed(weights.words[tokens] + weights.places[: tokens.shape[1]], *weights.norm, shape.epsilon)
        bias = jnp.where(there, 0.0, -1e9)[:, None, None, :]
        if weights.distances is not None:
            bias = bias + weights.distances[buckets(tokens.shape[1])].transpose(2, 0, 1)[None]

        def layer(x: Array, of: Mapping[str, Array]) -> tuple[Array, None]:
            mixed = _attended(x, of, bias, shape.heads) @ of["mix.weight"] + of["mix.bias"]
            x = _normed(x + mixed, of["norm.weight"], of["norm.bias"], shape.epsilon)
            inner = jax.nn.gelu(x @ of["inner.weight"] + of["inner.bias"], approximate=False)
            outer = inner @ of["outer.weight"] + of["outer.bias"]
            return _normed(x + outer, of["last_norm.weight"], of["last_norm.bias"], shape.epsilon), None

        x, _ = jax.lax.scan(layer, x, dict(weights.layers))
        mean = (x * there[..., None]).sum(axis=1) / there.sum(axis=1, keepdims=True)
        return mean / jnp.linalg.norm(mean, axis=1, keepdims=True)


def buckets(length: int) -> Int[np.ndarray, "l l"]:
    """MPNet's bucket of every pair of places: near distances each their own, far ones by their logarithm, each sign."""
    distance = np.arange(length)[:, None] - np.arange(length)[None]
    half, near = BUCKETS // 2, BUCKETS // 4
    far = np.log(np.maximum(abs(distance), 1) / near) / np.log(FARTHEST / near) * (half - near)
    size = np.where(abs(distance) < near, abs(distance), np.minimum(near + far.astype(int), half - 1))
    return size + half * (distance < 0)


def _attended(x: Array, of: Mapping[str, Array], bias: Array, heads: int) -> Array:
    b, length, width = x.shape
    q, k, v = (
        (x @ of[f"{name}.weight"] + of[f"{name}.bias"]).reshape(b, length, heads, width // heads)
        for name in ("query", "key", "value")
    )
    scores = jnp.einsum("bqhw,bkhw->bhqk", q, k) / jnp.sqrt(width // heads) + bias
    return jnp.einsum("bhqk,bkhw->bqhw", jax.nn.softmax(scores, axis=-1), v).reshape(b, length, width)


def _normed(x: Array, weight: Array, bias: Array, epsilon: float) -> Array:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + epsilon) * weight + bias


def tokens_of(folder: Path, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts, at most 256 each.

    Raises:
        InputError: the package tokenizers is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError("texts are cut into tokens by tokenizers: pip install 'compressae_jax[data]'") from error
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST_TOKENS)
    return [one.ids for one in tokenizer.encode_batch(list(texts))]


def to_file(
    folder: Path, texts: Sequence[str], path: Path, what: str, dtype: str = "float32", progress: bool = True
) -> None:
    """Embed texts into an .npy; an interrupted call goes on with what lies beside it."""
    weights, shape = load(folder)
    embed(weights, shape, tokens_of(folder, texts), path, what, dtype, progress)


def embed(
    weights: Weights,
    shape: Shape,
    tokens: Sequence[Sequence[int]],
    path: Path,
    what: str,
    dtype: str = "float32",
    progress: bool = True,
) -> None:
    """`to_file` of tokens; rows that are made are kept under a name that says which tokens they are of."""
    digest = hashlib.sha256(repr([list(one) for one in tokens]).encode()).hexdigest()[:16]
    begun = path.with_name(f".{path.stem}-{digest}.partial.npy")
    if not begun.exists():
        empty = np.full((len(tokens), weights.words.shape[1]), np.nan, np.float32)
        with files.replacing(begun) as aside, aside.open("wb") as file:
            np.save(file, empty)
    made = np.load(begun, mmap_mode="r+")
    missing = np.flatnonzero(np.isnan(made).any(axis=1))
    lengths = np.array([len(one) for one in tokens])
    done = int(lengths.sum() - lengths[missing].sum())
    with bars.bar(int(lengths.sum()), f"embed {what}", "tokens", done, progress) as bar:
        for rows, length in batches(lengths, missing):
            filled = np.full((BATCH_TOKENS // length, length), shape.pad, np.int32)
            there = np.zeros(filled.shape, bool)
            there[len(rows) :, 0] = True  # rows that are not there: a mean of something
            for place, row in enumerate(rows):
                filled[place, : lengths[row]], there[place, : lengths[row]] = tokens[row], True
            made[rows] = np.asarray(encode(weights, shape, jnp.asarray(filled), jnp.asarray(there)))[: len(rows)]
            bar.update(int(lengths[rows].sum()))
    if not np.isfinite(made).all():
        raise RuntimeError(f"{what}: an embedding is not finite")
    with files.replacing(path) as aside, aside.open("wb") as file:
        np.save(file, made.astype(dtype))
    begun.unlink()


def batches(lengths: Int[np.ndarray, " n"], rows: Int[np.ndarray, " m"]) -> Iterator[tuple[np.ndarray, int]]:
    """Rows by falling length, with the length that they are padded to; the longest first, so that no wait grows."""
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    padded = np.array(PADS)[np.searchsorted(PADS, lengths[rows])]
    for length in PADS[::-1]:
        some, most = rows[padded == length], BATCH_TOKENS // length
        for start in range(0, len(some), most):
            yield some[start : start + most], length
