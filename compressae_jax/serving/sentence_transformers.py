"""Models in sentence-transformers: a SparseEncoder from text to codes, and its folders, CSR's too, read as models."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import safetensors.numpy
from jaxtyping import Float

from compressae_jax.base import files
from compressae_jax.codes import on_host
from compressae_jax.codes.spaces import SPACES
from compressae_jax.model import weights as model_weights
from compressae_jax.model.card import CARD
from compressae_jax.model.weights import META, PARAMS, Weights
from compressae_jax.notation import FolderError, InputError, check_choice
from compressae_jax.serving.uploaded import engine

MODULES, MODEL = "modules.json", "config_sentence_transformers.json"  # of a whole model
CONFIG, ARRAYS = "config.json", "model.safetensors"  # of a module
SAE, OWN = "SparseAutoEncoder", "CompresSAE"  # the last module, theirs or ours
TIED = ("encoder.weight", "decoder.linear.weight")  # names of one array, of which files have either
PARTS = tuple(f"*{kind}/*.{end}" for kind in (SAE, OWN) for end in ("json", "safetensors"))
FETCHED = (MODULES, MODEL, *PARTS)  # of a repository: all but the text encoder
EXTRA = "sentence-transformers"
LARGEST = 2**20  # bytes of their JSON
ALIKE = 1e-6  # how far numbers lie apart that are the same but for another program's rounding


def export(model: Any, text_model: Any, out: str | os.PathLike, space: str | None = None) -> None:
    """Write a folder that `sentence_transformers.SparseEncoder` reads: from text to the codes of a model.

    `text_model` made the vectors that the model was trained on: a SentenceTransformer, or its folder or name. Without a
    `space` the folder has classes of sentence-transformers alone: nonnegative codes of 2h columns (`signs.split`),
    compared by cosine. Two things are lost: products of opposite signs, which `signs` tells of, and the spaces of
    reconstructions, since no class of theirs holds ρ. With a `space` it carries a module of ours, which needs
    `trust_remote_code=True`: inner products of `encode_query` and `encode_document` are the scores of that space.
    Both have the model in them, so that `read` gives it back.

    Raises:
        InputError: a model whose codes take more than one pass, a text model of another width, an unknown space,
            sentence-transformers is not installed.
        FolderError: something stands at `out` already.
    """
    weights: Weights = getattr(model, "weights", model)
    if space is not None:
        check_choice("space", space, SPACES)
    if weights.encoder != "topk":
        raise InputError(
            f"the model makes its codes by {weights.encoder!r}, which no module of one pass does: train one for "
            "one-pass codes (cs.fit(vectors, recipe='published'))"
        )
    theirs = engine("sentence_transformers", "sentence-transformers", EXTRA)
    text = _text_model(theirs, text_model, weights)
    modules = dict(text.named_children())
    if type(list(modules.values())[-1]).__name__ != "Normalize":
        normalize = engine("sentence_transformers.base.modules", "sentence-transformers", EXTRA).Normalize()
        modules[_free(modules)] = normalize
    modules[_free(modules)] = _own_module(weights, space) if space is not None else _sae(weights)
    made = theirs.SparseEncoder(
        modules=collections.OrderedDict(modules),
        similarity_fn_name="cosine" if space is None else "dot",
        prompts=dict(text.prompts),
        default_prompt_name=text.default_prompt_name,
        device=str(text.device),  # where its modules, which are the caller's, stay
    )
    made.module_kwargs = text.module_kwargs
    with files.replacing(out, ()) as aside:
        made.save(str(aside), create_model_card=False)
        _finish(aside, weights, space)


def stands_at(folder: str | os.PathLike) -> bool:
    """Whether a folder is one of sentence-transformers, and no model folder of ours."""
    folder = Path(os.path.expanduser(os.fspath(folder)))
    return (folder / MODULES).is_file() and not (folder / META).exists()


def read(folder: str | os.PathLike, length: float | int | None = None) -> Weights:
    """The model in a folder of sentence-transformers: what `export` wrote, a CSR model, or its SparseAutoEncoder alone.

    Needs neither torch nor sentence-transformers. Of a CSR model the codes are theirs, of positive values, and their
    cosines in the space 'sparse', too. Its reconstructions are not: decoder rows, which are those of its tied encoder,
    come to unit length, and what it adds to every reconstruction, `pre_bias`, has no place here. Where nothing brings
    its vectors to unit length, biases count as they do for vectors of the `length` that is given, exactly for these.

    Raises:
        FolderError: a folder that is missing, damaged, unsafe to read, or has no such module.
        InputError: a module that no model of ours can stand for: biases with vectors that are not of unit length.
    """
    folder = Path(os.path.expanduser(os.fspath(folder)))
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder of sentence-transformers")
    if length is not None and not (isinstance(length, (int, float)) and 0 < length < float("inf")):
        raise InputError(f"length must be a positive number, not {length!r}")
    return files.steadily(folder, lambda: _read(folder, length))


def _read(folder: Path, length: float | int | None) -> Weights:
    if not (folder / MODULES).exists():
        return _of_csr(folder, length)
    modules = _json(folder / MODULES)
    if not isinstance(modules, list) or not all(
        isinstance(one, dict) and isinstance(one.get("type"), str) and isinstance(one.get("path"), str)
        for one in modules
    ):
        raise FolderError(f"{folder / MODULES} is damaged: it must list modules, each with type and path")
    kinds = [one["type"].rpartition(".")[2] for one in modules]
    if not kinds or kinds[-1] not in (SAE, OWN):
        raise FolderError(f"{folder} is no sparse encoder of one pass: its modules are {', '.join(kinds) or 'none'}")
    path = PurePosixPath(modules[-1]["path"])
    if path.is_absolute() or ".." in path.parts:
        raise FolderError(f"{folder / MODULES} leads outside its folder: {modules[-1]['path']!r}")
    if kinds[-1] == OWN:
        return model_weights.load(folder / path)
    told = _json(folder / MODEL) if (folder / MODEL).exists() else {}
    most = told.get("max_active_dims") if isinstance(told, dict) else None
    return _of_csr(folder / path, 1.0 if "Normalize" in kinds[-2:-1] else length, most)


def _of_csr(folder: Path, length: float | int | None, most: Any = None) -> Weights:
    """The weights of a SparseAutoEncoder's folder; `length` of its vectors, if that is known; `most` nonzeros."""
    config, arrays = _json(folder / CONFIG), _arrays(folder / ARRAYS)
    try:
        d, hidden, k = (int(config[name]) for name in ("input_dim", "hidden_dim", "k"))
        k, centred = (k if most is None else min(int(most), hidden)), bool(config.get("normalize", False))
        tied = next((name for name in TIED if name in arrays), TIED[0])
        shapes = {tied: (hidden, d), "latent_bias": (hidden,), "pre_bias": (d,)}
        encoder, bias, shift = (_float32(arrays[name], shape) for name, shape in shapes.items())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FolderError(f"{folder} is no {SAE} of sentence-transformers: {error!r:.100}") from None
    if (folder / META).exists():  # of `export`, unless it was trained on since
        ours = model_weights.load(folder)
        same = _split(ours)
        if all(
            one.shape == other.shape and np.allclose(one, other, rtol=0, atol=ALIKE)
            for one, other in zip(same, (encoder, bias - encoder @ shift), strict=True)
        ):
            cut = "topk" if ours.activation == "identity" else ours.activation
            return ours if k == _nonzeros(ours) else dataclasses.replace(ours.with_k(min(k, ours.h)), activation=cut)
    if not all(np.isfinite(one).all() for one in (encoder, bias, shift)):
        raise FolderError(f"{folder / ARRAYS} has a value that is not finite")
    bias = bias - encoder @ shift
    if centred:  # by LayerNorm: its centring is linear, its scale one number a row
        encoder = encoder - encoder.mean(axis=1, keepdims=True)
        if bias.any():
            raise InputError(f"{folder} has biases after a LayerNorm, which no model of ours has")
    if bias.any() and length is None:
        raise InputError(
            f"{folder} has biases, and may get vectors of any length, where a model of ours sees directions: give "
            "serving.sentence_transformers.read their length, or the whole model, if it brings them to unit length"
        )
    bias = bias / (1.0 if length is None else np.float32(length))
    if not (lengths := np.linalg.norm(encoder, axis=1)).all():
        raise FolderError(f"{folder}: row {int(lengths.argmin())} of its encoder is zero, a column that no vector has")
    params = {"encoder_w": encoder.T.copy(), "encoder_b": bias, "decoder_w": on_host.unit_rows(encoder)}
    try:
        found = model_weights.from_published(params, k)
    except InputError as error:
        raise FolderError(f"{folder}: {error}") from None
    return dataclasses.replace(found, activation="relu_topk", summary={"origin": f"{SAE} of sentence-transformers"})


def _split(weights: Weights) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    """Encoder rows and biases whose k largest are the code: of column j, 2j for positive values, 2j + 1 for others."""
    rows, bias = np.asarray(weights.params["encoder_w"]).T, np.asarray(weights.params["encoder_b"])
    if weights.activation == "relu_topk":
        return rows.copy(), bias.copy()
    both = np.stack([rows, -rows], axis=1).reshape(2 * weights.h, weights.d)
    return both, np.stack([bias, -bias], axis=1).reshape(-1)


def _free(modules: Mapping[str, Any]) -> str:
    """A name for one module more."""
    return next(str(number) for number in range(len(modules), 2 * len(modules) + 1) if str(number) not in modules)


def _nonzeros(weights: Weights) -> int:
    return weights.h if weights.activation == "identity" else weights.k


def _sae(weights: Weights) -> Any:
    """Their SparseAutoEncoder with the codes of a model.

    Raises:
        InputError: codes of squares, which it does not make.
    """
    if weights.activation == "relu2_topk":
        raise InputError("their SparseAutoEncoder makes no squares (activation 'relu2_topk'); give a space: 'sparse'")
    torch = engine("torch", "PyTorch", EXTRA)
    sae = engine("sentence_transformers.sparse_encoder.modules", "sentence-transformers", EXTRA).SparseAutoEncoder
    encoder, bias = _split(weights)
    module = sae(weights.d, len(encoder), k=_nonzeros(weights), k_aux=0)
    with torch.no_grad():
        module.encoder.weight.copy_(torch.from_numpy(encoder))
        module.latent_bias.copy_(torch.from_numpy(bias))
    return module


def _own_module(weights: Weights, space: str) -> Any:
    torch = engine("torch", "PyTorch", EXTRA)
    own = engine("compressae_jax.serving.sentence_transformers_module", "sentence-transformers", EXTRA).CompresSAE
    module = own(weights.d, weights.h, weights.k, weights.activation, space, weights.query_times)
    module.load_state_dict({name: torch.from_numpy(np.array(one)) for name, one in weights.params.items()})
    return module


def _text_model(theirs: Any, given: Any, weights: Weights) -> Any:
    text = given
    if isinstance(given, (str, os.PathLike)):
        try:
            text = theirs.SentenceTransformer(os.path.expanduser(os.fspath(given)))
        except (OSError, ValueError) as error:
            told = " ".join(str(error).split())[:200]
            raise InputError(f"text_model: sentence-transformers cannot load {os.fspath(given)!r}: {told}") from error
    if not isinstance(text, theirs.SentenceTransformer):
        raise InputError(f"text_model must be a SentenceTransformer, or its folder or name, not {type(text).__name__}")
    width = text.truncate_dim or text.get_embedding_dimension()
    if width != weights.d or text.truncate_dim:
        cut = " that it is cut to, which a SparseEncoder cannot do" if text.truncate_dim else ""
        raise InputError(f"text_model gives vectors of width {width}{cut}; the model was trained on {weights.d}")
    if not str(text.dtype).endswith("float32"):  # its classes bring all modules to the dtype of the first
        raise InputError(f"text_model is in {text.dtype}, which would round the model: load it in float32")
    return text


def _finish(folder: Path, weights: Weights, space: str | None) -> None:
    """What their `save` leaves out: the model itself in the last module's folder, where our module lies, a card."""
    modules = json.loads((folder / MODULES).read_text(encoding="utf-8"))
    last = folder / modules[-1]["path"]
    model_weights.save(dataclasses.replace(weights, rest=None), last / "model")  # their loader takes no other array
    for name in (PARAMS, META):
        os.replace(last / "model" / name, last / name)
    (last / "model").rmdir()
    if space is not None:
        modules[-1]["type"] = f"compressae_module.{OWN}"
        (folder / MODULES).write_text(json.dumps(modules, indent=2), encoding="utf-8")
    (folder / CARD).write_text(_card(weights, space), encoding="utf-8")


def _card(weights: Weights, space: str | None) -> str:
    columns = _split(weights)[1].size
    if space is not None:
        told = f"Inner products of queries and documents are the scores of the space `{space}`."
        told += " Queries are dense." if space != "sparse" else ""
    else:
        sides = "; column j of the model is 2j where its value is positive, 2j + 1 where it is negative"
        told = (
            f"Codes have {_nonzeros(weights)} nonzeros of {columns:,} columns, none negative"
            f"{sides if columns > weights.h else ''}. They are compared by cosine. Products of opposite signs are "
            "lost, and the spaces of reconstructions are not here."
        )
    trust = "" if space is None else ", trust_remote_code=True"
    return (
        "---\nlibrary_name: sentence-transformers\ntags:\n- sentence-transformers\n- sparse-encoder\n---\n\n"
        f"# Sparse codes of text\n\n{weights.kind} of compressae_jax, k={weights.k} of h={weights.h:,}, "
        f"model `{weights.fingerprint}`, behind a text encoder.\n\n"
        f"```python\nfrom sentence_transformers import SparseEncoder\n\nmodel = SparseEncoder(folder{trust})\n"
        "documents, queries = model.encode_document(texts), model.encode_query(questions)\n"
        "scores = model.similarity(queries, documents)\n```\n\n"
        f"{told} `compressae_jax.load(folder)` gives the model.\n\n"
        "No licence is stated here: the text encoder has its own.\n"
    )


def _json(path: Path) -> Any:
    try:
        with files.open_regular(path) as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ValueError("too long")
        return json.loads(text.decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FolderError(f"{path} is missing: this is no folder of sentence-transformers") from None
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path} is damaged: {error!r:.100}") from None


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with files.open_regular(path) as file:
            return safetensors.numpy.load(file.read())
    except (FileNotFoundError, NotADirectoryError):
        if path.with_name("pytorch_model.bin").exists():
            raise FolderError(
                f"{path.with_name('pytorch_model.bin')} is a pickle, which may run anything and is not read: load the "
                "model in sentence-transformers and save it as safetensors"
            ) from None
        raise FolderError(f"{path} is missing") from None
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise FolderError(f"{path} is damaged, or of a dtype that NumPy does not have: {error!r:.100}") from None


def _float32(array: np.ndarray, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    if array.shape != shape or not (array.dtype.kind == "f" or array.dtype.name == "bfloat16"):
        raise ValueError(f"an array of {array.dtype}, {array.shape}, not floats, {shape}")
    return array.astype(np.float32)
