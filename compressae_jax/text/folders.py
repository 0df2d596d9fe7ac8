"""Folders of sentence encoders, as transformers writes them: config.json, model.safetensors, tokenizer.json.

Arrays have their published names there, and those of `bert.TextEncoder` here; the way back writes the same file.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from compressae_jax.base import files
from compressae_jax.notation import FolderError, InputError, check_range
from compressae_jax.text.bert import KINDS, Architecture, TextEncoder

CONFIG, ARRAYS = "config.json", "model.safetensors"
SIZES = {  # our names, and a config's
    "words": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "inner": "intermediate_size",
    "places": "max_position_embeddings",
}
OUTSIDE = {
    "words.embedding": "embeddings.word_embeddings.weight",
    "places.embedding": "embeddings.position_embeddings.weight",
    "norm.scale": "embeddings.LayerNorm.weight",
    "norm.bias": "embeddings.LayerNorm.bias",
}
OWN = {
    "bert": {"types.embedding": "embeddings.token_type_embeddings.weight"},
    "mpnet": {"distances.embedding": "encoder.relative_attention_bias.weight"},
}
ATTENTION = {
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

LAYERS = "layers"
Params = dict[str, Any]  # of `TextEncoder`, nested


class TextModel(NamedTuple):
    """A sentence encoder that can be asked and trained on."""

    module: TextEncoder
    params: Params
    folder: Path | None = None  # where it was read from, tokenizer and all


def load(folder: str | os.PathLike) -> TextModel:
    """The encoder of a folder.

    Raises:
        FolderError: no such folder, or files that are missing or damaged.
        InputError: another architecture than BERT's or MPNet's, or one with parts that these do not have.
    """
    folder = Path(os.path.expanduser(os.fspath(folder)))
    of = architecture(_config(folder), str(folder))
    try:
        with files.open_regular(folder / ARRAYS) as file:
            arrays = safetensors.numpy.load(file.read())
    except (FileNotFoundError, NotADirectoryError):
        raise FolderError(f"{folder} has no {ARRAYS}; copy the encoder's folder anew") from None
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise FolderError(f"{folder / ARRAYS} is damaged: {error}; copy the encoder's folder anew") from None
    return TextModel(TextEncoder(of), to_params(of, arrays, str(folder / ARRAYS)), folder)


def save(model: TextModel, folder: str | os.PathLike) -> None:
    """Write an encoder that `load` read, its parameters as they are now, with all else that its folder had.

    Whatever read that folder, sentence-transformers too, reads this one.

    Raises:
        InputError: an encoder that is of no folder, or the folder that it was read from.
        FolderError: something else stands at that name.
    """
    if model.folder is None:
        raise InputError("an encoder is saved with the tokenizer of its folder, and this one was read from none")
    folder = files.check_out(folder)
    if folder.exists() and folder.samefile(model.folder):
        raise InputError(f"{folder} is where the encoder was read from; give another folder")
    held = tuple(path.name for path in model.folder.iterdir())
    with files.replacing(folder, held) as aside:
        for path in model.folder.iterdir():
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, aside / path.name)
        arrays = safetensors.numpy.load_file(aside / ARRAYS)
        prefix = _prefix(model.module.of.kind, arrays)
        arrays |= {f"{prefix}{name}": array for name, array in to_arrays(model.module.of, model.params).items()}
        (aside / ARRAYS).write_bytes(safetensors.numpy.save(arrays, {"format": "pt"}))


def architecture(config: Mapping[str, Any], name: str = "config") -> Architecture:
    """What a config.json says, once it is seen to be one that `bert` computes; `name` is for errors.

    Raises:
        InputError: another architecture, a part of it that is another, or a number that is missing or odd.
    """
    kind = config.get("model_type")
    if kind not in KINDS:
        raise InputError(f"{name} holds a model of type {kind!r}; wanted: {', '.join(KINDS)}")
    wanted = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
    if kind == "mpnet":
        wanted["relative_attention_num_buckets"] = 32  # type: ignore[assignment]
    for field, only in wanted.items():
        if config.get(field, only) != only:
            raise InputError(f"{name}: {field} must be {only!r}, not {config[field]!r}")
    for theirs in SIZES.values():
        check_range(f"{name}: {theirs}", config.get(theirs), 1, 2**24)
    sizes = {ours: config[theirs] for ours, theirs in SIZES.items()}
    if sizes["width"] % sizes["heads"]:
        raise InputError(f"{name}: hidden_size={sizes['width']} must be a multiple of {sizes['heads']} heads")
    pad = config.get("pad_token_id", 0)
    check_range(f"{name}: pad_token_id", pad, 0, sizes["words"] - 1)
    epsilon = config.get("layer_norm_eps", 1e-12)
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 < epsilon < 1:
        raise InputError(f"{name}: layer_norm_eps must be a number between 0 and 1, not {epsilon!r}")
    types = config.get("type_vocab_size", 2)
    check_range(f"{name}: type_vocab_size", types, 1, 2**24)
    return Architecture(kind, **sizes, epsilon=float(epsilon), pad=pad, types=types)


def names(of: Architecture) -> dict[str, tuple[str, ...]]:
    """The published name of every parameter, by its path here; of those of layers, a name a layer."""
    found: dict[str, tuple[str, ...]] = {path: (one,) for path, one in {**OUTSIDE, **OWN[of.kind]}.items()}
    for ours, theirs in (ATTENTION[of.kind] | BOTH).items():
        for here, there in (("scale" if ours.endswith("norm") else "kernel", "weight"), ("bias", "bias")):
            each = tuple(f"encoder.layer.{i}.{theirs}.{there}" for i in range(of.depth))
            found[f"{LAYERS}.{ours}.{here}"] = each
    return found


def to_params(of: Architecture, arrays: Mapping[str, np.ndarray], name: str = "arrays") -> Params:
    """The parameters, float32, of arrays under their published names; others, such as a pooler's, are passed over.

    Raises:
        FolderError: an array that is missing, of another shape, or not finite.
    """
    prefix, params, shapes = _prefix(of.kind, arrays), Params(), published_shapes(of)

    def checked(theirs: str) -> np.ndarray:
        if (given := arrays.get(prefix + theirs)) is None:
            raise FolderError(f"{name} has no array {prefix + theirs}")
        given = np.asarray(given, np.float32)
        if given.shape != shapes[theirs]:
            raise FolderError(f"{name}: {prefix + theirs} must have shape {shapes[theirs]}, not {given.shape}")
        if not np.isfinite(given).all():
            raise FolderError(f"{name}: {prefix + theirs} has a value that is not finite")
        return given

    for path, theirs in names(of).items():
        *above, last = path.split(".")
        place = params
        for part in above:
            place = place.setdefault(part, {})
        each = [checked(one).T if last == "kernel" else checked(one) for one in theirs]
        place[last] = np.stack(each) if above[0] == LAYERS else each[0]
    return params


def to_arrays(of: Architecture, params: Params) -> dict[str, np.ndarray]:
    """The arrays, float32, under their published names without a prefix."""
    found = {}
    for path, theirs in names(of).items():
        leaf: Any = params
        for part in path.split("."):
            leaf = leaf[part]
        arrays = np.asarray(leaf, np.float32)
        for one, array in zip(theirs, arrays if path.startswith(LAYERS) else [arrays], strict=True):
            found[one] = np.ascontiguousarray(array.T if path.endswith(".kernel") else array)
    return found


def published_shapes(of: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of every array, by its published name."""
    own = {"words": (of.words, of.width), "places": (of.places, of.width), "types": (of.types, of.width)}
    own |= {"distances": (32, of.heads), "inner": (of.inner, of.width), "outer": (of.width, of.inner)}

    def shape(path: str) -> tuple[int, ...]:
        *_, part, last = path.split(".")
        matrix = own.get(part, (of.width, of.width))
        return matrix if last in ("embedding", "kernel") else (matrix[0] if part == "inner" else of.width,)

    return {one: shape(path) for path, theirs in names(of).items() for one in theirs}


def _prefix(kind: str, arrays: Mapping[str, Any]) -> str:
    """'bert.' or 'mpnet.' where the file's names begin so, as those of a model with a head do."""
    return f"{kind}." if f"{kind}.{OUTSIDE['words.embedding']}" in arrays else ""


def _config(folder: Path) -> dict[str, Any]:
    try:
        with files.open_regular(folder / CONFIG) as file:
            config = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        raise FolderError(f"{folder} is no folder of a sentence encoder: it has no {CONFIG}") from None
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{folder / CONFIG} is damaged: {error}") from None
    if not isinstance(config, dict):
        raise FolderError(f"{folder / CONFIG} must hold an object, not {str(config)[:60]}")
    return config
