"""Small encoders of random weights, as folders and in memory, and a slow twin in NumPy, one text at a time."""

import json
import math

import numpy as np
import safetensors.numpy

from compressae_jax.text import folders
from compressae_jax.text.bert import TextEncoder

WIDTH, HEADS, DEPTH, INNER, PAD = 8, 2, 2, 32, 1
WORDS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "aeiou")]


def config(kind, **changes):
    sizes = {"vocab_size": len(WORDS), "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
    sizes |= {"intermediate_size": INNER, "max_position_embeddings": 99, "pad_token_id": PAD, "layer_norm_eps": 1e-12}
    return {"model_type": kind, "hidden_act": "gelu", **sizes, **changes}


def arrays(kind, seed=0, **changes):
    of, rng = folders.architecture(config(kind, **changes)), np.random.default_rng(seed)
    shapes = folders.published_shapes(of).items()
    return {name: rng.normal(size=shape, scale=0.5).astype(np.float32) for name, shape in shapes}


def model(kind="bert", seed=0, **changes):
    of = folders.architecture(config(kind, **changes))
    return folders.TextModel(TextEncoder(of), folders.to_params(of, arrays(kind, seed, **changes)))


def folder(path, kind="bert", seed=0, prefix=""):
    """As transformers writes it, with a tokenizer of letters, and arrays that no encoder reads."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    path.mkdir()
    (path / "config.json").write_text(json.dumps(config(kind)))
    others = {"pooler.dense.bias": np.ones(WIDTH, np.float32)}
    named = {f"{prefix}{name}": array for name, array in (arrays(kind, seed) | others).items()}
    safetensors.numpy.save_file(named, path / "model.safetensors")
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 2)]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    return path


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
        parts = (folders.ATTENTION[kind] | folders.BOTH).items()
        at = {ours: f"encoder.layer.{i}.{theirs}" for ours, theirs in parts}
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
