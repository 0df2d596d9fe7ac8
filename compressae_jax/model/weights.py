"""A trained model as plain arrays: in memory, on disk, in the published layout; `compressae` has the module."""

import dataclasses
import functools
import itertools
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import safetensors.numpy
import xxhash

from compressae_jax.base import files, sealed
from compressae_jax.base.arrays import vectors
from compressae_jax.codes import on_host
from compressae_jax.codes.storage.kinds import ADDITIVE, OWN, RESIDUAL, levels_name, packing, storage_bits
from compressae_jax.codes.storage.packed import Packing
from compressae_jax.model import card, shipped
from compressae_jax.model.pursuit_host import FOLD
from compressae_jax.model.topk_host import ACTIVATIONS
from compressae_jax.notation import FolderError, InputError, check_choice, check_range

if TYPE_CHECKING:
    from compressae_jax.model.compressae import CompresSAE

ONE_PASS, PURSUIT, SUMS = "published one-pass codes", "packed pursuit codes", "additive codes"
# Of folders with a basis or a fold of their own, of squares or of longer queries; 2 have the decoder alone; others are
# 1, which older programs read.
FORMAT_VERSION = 3
DECODER = "decoder_w as F16"  # what PARAMS holds of those; the encoder is its transpose, without a bias
PARAMS, META = "params.safetensors", "model.json"
BASIS = "basis"  # float16 in any folder
STORED: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
NAMES = ("encoder_w", "encoder_b", "decoder_w")  # of the published class, which has the same shapes
LARGEST_HEADER = 2**20  # bytes of what names the arrays of a file; ours have some two hundred
UNIT_TOLERANCE = 1e-3  # on the length of a decoder row
MOST_FOLD = 2.0  # at which all rows have one product with their vector
BASIS_TOLERANCE = 0.01  # on the products of its rows: float16 is off by less than a thousandth


def kind_of(encoder: str, storage: str) -> str:
    """The name of the codes that an encoder and a storage make together."""
    packed = storage_bits(storage) is not None
    if storage == ADDITIVE:
        return SUMS
    if encoder == "pursuit" and packed:
        return PURSUIT
    return ONE_PASS if encoder == "topk" and not packed else f"{encoder} codes, {storage}"


class Rest(NamedTuple):
    """What a dictionary has beside it for rows of storage 'residual4', which budgets of many bytes get."""

    basis: np.ndarray  # (d, d) float32: orthonormal rows, the directions of what a few nonzeros leave
    k: int  # nonzeros and coordinates of such rows of some budget, which those of others are made from
    levels: tuple[float, ...]  # of the same rows, see `codes.storage.residual`


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """What a model folder holds: float32 encoder_w (d, h), encoder_b (h,), decoder_w (h, d) of unit rows.

    `encoder` and `storage` name how it was made to be used, the defaults of compression; `summary` says how it was
    trained: JSON-able. `levels` are the magnitudes of packed values, by 'encoder:storage' (and ':dot' where they have
    the lengths of vectors in them), learned once (see `encoders.learn_levels`), so that rows made on any day can be
    joined; they belong to this k. `rest` is what `budgets.with_budget` makes rows of many bytes from. In the sparse
    space a query has `query_times` the nonzeros of a row. These are no part of the fingerprint.
    """

    params: dict[str, np.ndarray]
    h: int
    k: int
    activation: str = "topk"
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    encoder: str = "topk"  # one of `encoders.ENCODERS`
    storage: str = "float16"  # one of `codes.storage.kinds.STORAGES`
    levels: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    rest: Rest | None = None
    fold: float = FOLD  # of values on levels, see `pursuit_host`: 0.5 for what it was learned from, more if carried
    query_times: int = 1

    def __post_init__(self) -> None:
        """Own the levels, so that those learned for one copy do not turn up in another."""
        object.__setattr__(self, "levels", dict(self.levels))

    def with_k(self, k: int) -> "Weights":
        """The same dictionary with another number of nonzeros, whose levels are others.

        Raises:
            InputError: a model whose rows have coordinates beside their nonzeros: its k follows from a budget. Or one
                of codebooks, which are all in each row.
        """
        if self.storage == RESIDUAL and k != self.k:
            raise InputError(f"k={self.k} of a model of storage {RESIDUAL!r} follows from its bytes; give it a budget")
        if self.storage == ADDITIVE and k != self.k:
            raise InputError(f"a model of {self.k} codebooks has rows of k={self.k}, not {k}: learn another")
        if self.storage in OWN:
            return self
        return dataclasses.replace(self, k=k, levels={})

    @property
    def kind(self) -> str:
        """The name of the codes that it makes, as it is meant to be used."""
        return kind_of(self.encoder, self.storage)

    @property
    def own_levels(self) -> tuple[float, ...] | None:
        """Those of rows by its own encoder in its own storage; None of floats, and where they are not learned yet."""
        return self.levels.get(levels_name(self.encoder, self.storage)) if storage_bits(self.storage) else None

    @property
    def d(self) -> int:
        """Width of the dense vectors."""
        return self.params["encoder_w"].shape[0]

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that tell models apart: parameters, k and activation."""
        digest = xxhash.xxh3_128(f"{self.k} {self.activation}".encode())
        for name in NAMES:
            array = np.ascontiguousarray(self.params[name], np.float32)
            digest.update(f"{name} {array.shape}".encode())
            digest.update(array)
        return digest.hexdigest()[:16]

    def module(self, **fields: Any) -> "CompresSAE":
        """The linen module that these parameters belong to: `module().apply({'params': params}, …)`."""
        from compressae_jax.model.compressae import CompresSAE

        return CompresSAE(d=self.d, h=self.h, k=self.k, activation=self.activation, **fields)


def halved(decoder_w: np.ndarray, k: int, **fields: Any) -> Weights:
    """Weights of a dictionary (h, d) as float16 holds it, which a folder of the decoder alone gives back to the bit.

    The encoder is its transpose. Its rows keep the lengths that rounding gives them, so that no sum, whose last bits
    differ from machine to machine, enters the fingerprint.
    """
    decoder_w = on_host.unit_rows(decoder_w).astype(np.float16).astype(np.float32)
    return Weights(_tied(decoder_w), len(decoder_w), k, **fields)


def _tied(decoder_w: np.ndarray) -> dict[str, np.ndarray]:
    encoder_w = np.ascontiguousarray(decoder_w.T)
    return {"encoder_w": encoder_w, "encoder_b": np.zeros(len(decoder_w), np.float32), "decoder_w": decoder_w}


def save(
    weights: Weights, folder: str | os.PathLike, told: card.Told | None = None, decoder_alone: bool = False
) -> None:
    """Write a model folder, complete or not at all; an older model folder of that name is replaced.

    With `told` it gets a model card; one that is there already is renewed in any case (see `card`). `decoder_alone`
    writes a quarter of the bytes, of weights that `halved` made.

    Raises:
        InputError: parameters that `load` would refuse; with `decoder_alone`, others than those of `halved`.
        FolderError: something else stands at that name.
    """
    _check(weights)
    sizes = {"d": weights.d, "h": weights.h, "k": weights.k, "activation": weights.activation}
    version = FORMAT_VERSION if _later(weights) else 2 if decoder_alone else 1
    meta: dict[str, Any] = {"format_version": version, **sizes, "fingerprint": weights.fingerprint}
    meta |= {
        "summary": weights.summary,
        "encoder": weights.encoder,
        "storage": weights.storage,
        "levels": weights.levels,
    }
    if weights.query_times != 1:
        meta["query_times"] = weights.query_times
    if decoder_alone:
        meta["params"], arrays = DECODER, {"decoder_w": _half(weights)}
    else:
        arrays = {name: np.ascontiguousarray(weights.params[name]) for name in NAMES}
    if weights.fold != FOLD:
        meta["fold"] = weights.fold
    if (rest := weights.rest) is not None:
        meta["rest"] = {"k": rest.k, "levels": rest.levels, "fingerprint": _of_basis(rest.basis)}
        arrays[BASIS] = rest.basis.astype(np.float16)
    if told is not None:
        card.check_licence(told.licence)
    with files.replacing(folder, (PARAMS, META, card.CARD), META) as aside:
        card.write(files.real(folder), aside, weights, told)
        (aside / PARAMS).write_bytes(safetensors.numpy.save(arrays))
        sealed.write(aside / META, meta)


def _later(weights: Weights) -> bool:
    """Whether programs that know formats 1 and 2 alone would make other codes, or ask by other queries."""
    others = weights.rest is not None or weights.fold != FOLD
    return others or weights.activation == "relu2_topk" or weights.query_times != 1


def _half(weights: Weights) -> np.ndarray:
    """The decoder in float16, which all of the parameters follow from.

    Raises:
        InputError: they do not.
    """
    half = weights.params["decoder_w"].astype(np.float16)
    if any(not np.array_equal(array, weights.params[name]) for name, array in _tied(half.astype(np.float32)).items()):
        raise InputError("decoder_alone needs weights that follow from a decoder in float16: see `halved`")
    return half


def keep_levels(weights: Weights, folder: str | os.PathLike) -> None:
    """Write the levels that weights learned since into their model folder; those that it has already count for both.

    A model that comes with the package is not written to.

    Raises:
        FolderError: a folder of another model, damaged, or newer than this program.
    """
    if shipped.named(folder):
        return
    folder = Path(os.path.expanduser(os.fspath(folder)))
    with files.locked(folder):
        meta = _meta(folder)
        if meta["fingerprint"] != weights.fingerprint:
            raise FolderError(f"{folder} is the model {meta['fingerprint']}, not {weights.fingerprint}")
        there = _levels(meta)
        if set(weights.levels) - set(there):
            sealed.replace(folder / META, {**meta, "levels": {**weights.levels, **there}})
        weights.levels.update(there)


def load(folder: str | os.PathLike, any_length: bool = False) -> Weights:
    """Read a model folder, or a model of `shipped` by its name, which wins over a folder of that name: './minilm'.

    With `any_length`, for who looks at that, rows of the decoder need not be of unit length.

    Raises:
        FolderError: a folder that is missing, damaged, foreign, or newer than this program.
        InputError: an empty name.
    """
    if not os.fspath(folder):
        raise InputError("model must name the folder of a model, and is empty")
    if shipped.named(folder):
        return _load(shipped.folder(os.fspath(folder)), any_length)
    folder = Path(os.path.expanduser(os.fspath(folder)))
    return files.steadily(folder, lambda: _load(folder, any_length))


def _load(folder: Path, any_length: bool) -> Weights:
    meta, remedy = _meta(folder), _remedy(folder)
    params = _read_params(folder / PARAMS, meta["d"], meta["h"], "params" in meta, "rest" in meta, remedy)
    rest = _rest(meta["rest"], params.pop(BASIS), folder, remedy) if "rest" in meta else None
    # Older folders have none of them.
    use = {name: meta[name] for name in ("encoder", "storage", "query_times") if name in meta}
    fields = meta["h"], meta["k"], meta["activation"], meta["summary"]
    weights = Weights(params, *fields, **use, levels=_levels(meta), rest=rest, fold=float(meta.get("fold", FOLD)))
    if (given := weights.fingerprint) != (wanted := meta["fingerprint"]):
        raise FolderError(f"{folder / PARAMS} is damaged: fingerprint {given}, {META} says {wanted}; {remedy}")
    try:
        _check(weights, any_length)
    except InputError as error:
        raise FolderError(f"{folder}: {error}; {remedy}") from None
    return weights


def from_published(state: Mapping[str, Any], k: int) -> Weights:
    """Weights of the published PyTorch class's state dict (arrays or tensors, bfloat16 too); k is not in it.

    Raises:
        InputError: other names or shapes, values that are not finite, decoder rows that are not of unit length.
    """
    if set(state) != set(NAMES):
        raise InputError(f"state must hold {', '.join(NAMES)}, not {', '.join(sorted(state)) or 'nothing'}")
    given = {name: vectors(name, state[name]) for name in NAMES}
    params = {name: np.array(given[name], np.float32) for name in NAMES}
    if given["decoder_w"].dtype.itemsize < 4 or str(getattr(state["decoder_w"], "dtype", "")) == "torch.bfloat16":
        params["decoder_w"] = on_host.unit_rows(params["decoder_w"])  # rounding took them from their length
    weights = Weights(params, params["encoder_b"].size, k, summary={"origin": "published layout"})
    _check(weights)
    return weights


def to_published(weights: Weights) -> dict[str, np.ndarray]:
    """The state dict of the published PyTorch class, as copies.

    `params.safetensors` of a model folder is the same: `safetensors.torch.load_file` reads it for `load_state_dict`.
    """
    return {name: np.array(weights.params[name]) for name in NAMES}


def _shapes(d: int, h: int) -> dict[str, tuple[int, ...]]:
    return {"encoder_w": (d, h), "encoder_b": (h,), "decoder_w": (h, d)}


def _remedy(folder: Path) -> str:
    return f"train it again or copy it anew (python launch/train.py writes a model folder such as {folder})"


def _meta(folder: Path) -> dict[str, Any]:
    """The fields of `model.json`, once each is seen to be what it must be."""
    remedy = _remedy(folder)
    if folder.parts[:1] == ("hf:",):
        raise FolderError(f"{folder} is no folder: cs.load('hf://owner/name') reads the Hub; save what it gives")
    if not folder.is_dir():
        raise FolderError(
            f"model folder {folder} {'is not a folder' if folder.exists() else 'does not exist'}, and models that come "
            f"with the package are {', '.join(shipped.NAMES)}; {remedy}"
        )
    meta = sealed.read(folder / META, FORMAT_VERSION, remedy)
    try:
        for name, highest in (("d", 2**32), ("h", 2**32), ("k", meta["h"])):
            check_range(name, meta[name], 1, highest)
        check_choice("activation", meta["activation"], ACTIVATIONS)
        check_range("query_times", meta.get("query_times", 1), 1, meta["h"])
        if "params" in meta:
            check_choice("params", meta["params"], (DECODER,))
        for name, kind in {"fingerprint": str, "summary": dict, "encoder": str, "storage": str, "levels": dict}.items():
            if not isinstance(meta[name] if name in ("fingerprint", "summary") else meta.get(name, kind()), kind):
                raise InputError(f"{name} must be a {kind.__name__}, not {meta[name]!r:.60}")
        for name, levels in meta.get("levels", {}).items():
            storage, numbers = f"{name}:".split(":")[1], tuple(map(_number, levels))
            if storage in OWN:
                packing(storage, meta["h"], meta["k"], numbers)
                continue
            bits = storage_bits(storage)
            Packing(meta["h"], min(meta["k"], 2**16), bits if bits is not None else 0, numbers)
        if "fold" in meta:
            _check_fold(_number(meta["fold"]))
        if "rest" in meta:
            _check_rest(meta["rest"], meta["d"], meta["h"])
    except KeyError as error:
        raise FolderError(f"{folder / META} is damaged: it has no field {error}; {remedy}") from None
    except (InputError, TypeError, ValueError) as error:
        raise FolderError(f"{folder / META} is damaged: {error}; {remedy}") from None
    return meta


def _levels(meta: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    """None in older folders."""
    return {name: tuple(map(float, some)) for name, some in meta.get("levels", {}).items()}


def _check_fold(fold: float) -> None:
    if not 0 <= fold <= MOST_FOLD:
        raise InputError(f"fold must be 0 to {MOST_FOLD}, not {fold}")


def _check_rest(noted: Any, d: int, h: int) -> None:
    check_range("k of rest", noted["k"], 1, h + d)
    how = packing(RESIDUAL, h + d, noted["k"], tuple(map(_number, noted["levels"])))
    if not isinstance(noted["fingerprint"], str) or getattr(how, "d", None) != d:
        raise InputError("rest must have a fingerprint, and levels of d coordinates")


def _rest(noted: dict[str, Any], basis: np.ndarray, folder: Path, remedy: str) -> Rest:
    rest = Rest(basis, noted["k"], tuple(map(float, noted["levels"])))
    if (given := _of_basis(basis)) != noted["fingerprint"]:
        raise FolderError(
            f"{folder / PARAMS} is damaged: the basis has fingerprint {given}, {META} says {noted['fingerprint']}; "
            f"{remedy}"
        )
    return rest


def _of_basis(basis: np.ndarray) -> str:
    """16 hex digits of it."""
    return xxhash.xxh3_128(np.ascontiguousarray(basis, np.float32)).hexdigest()[:16]


def _number(level: Any) -> float:
    if isinstance(level, bool) or not isinstance(level, (int, float)) or abs(level) > float(np.finfo(np.float32).max):
        raise InputError(f"levels must be numbers of float32, not {str(level)[:60]}")
    return float(level)


def _read_params(
    path: Path, d: int, h: int, decoder_alone: bool, with_basis: bool, remedy: str
) -> dict[str, np.ndarray]:
    """The arrays, from one opening of the file, read only after names, dtypes, shapes and sizes are right."""
    shapes: dict[str, tuple[int, ...]] = {"decoder_w": (h, d)} if decoder_alone else _shapes(d, h)
    kinds = dict.fromkeys(shapes, "F16" if decoder_alone else "F32")
    if with_basis:
        shapes, kinds = {**shapes, BASIS: (d, d)}, {**kinds, BASIS: "F16"}
    wanted = {name: (kinds[name], list(shape)) for name, shape in shapes.items()}
    size = sum(STORED[kinds[name]].itemsize * math.prod(shape) for name, shape in shapes.items())
    try:
        with files.open_regular(path) as file:
            there = os.fstat(file.fileno()).st_size
            start = 8 + int.from_bytes(file.read(8), "little")
            if start > min(there, LARGEST_HEADER) or there != start + size:
                raise FolderError(
                    f"{path} is damaged: it has {there} bytes, which are no header and {size} of arrays; {remedy}"
                )
            fields = json.loads(file.read(start - 8), object_pairs_hook=_once)
            fields.pop("__metadata__", None)
            given = {name: (some["dtype"], some["shape"]) for name, some in fields.items()}
            if given != wanted or any(type(side) is not int for _, shape in given.values() for side in shape):
                raise FolderError(f"{path} must hold {wanted}, not {str(given)[:300]}; {remedy}")
            params, places = {}, []
            for name, shape in shapes.items():
                first, end = fields[name]["data_offsets"]
                params[name] = np.empty(shape, STORED[kinds[name]])
                if type(first) is not int or end - first != params[name].nbytes or not 0 <= first <= size - end + first:
                    raise ValueError(f"{name} has the bytes {first} to {end}")
                places.append((first, end))
                file.seek(start + first)
                if file.readinto(params[name].reshape(-1).view(np.uint8)) != params[name].nbytes:  # type: ignore[attr-defined]
                    raise ValueError("it ended while it was read")
            if any(end > first for (_, end), (first, _) in itertools.pairwise(sorted(places))):
                raise ValueError("two arrays share bytes")
            basis = {BASIS: params.pop(BASIS).astype(np.float32)} if with_basis else {}
            return (_tied(params["decoder_w"].astype(np.float32)) if decoder_alone else params) | basis
    except (FileNotFoundError, NotADirectoryError):
        raise FolderError(f"{path} is missing; {remedy}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(f"{path} is damaged: {error}; {remedy}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name twice in its header")
    return fields


def _check(weights: Weights, any_length: bool = False) -> None:
    """Raise InputError unless the parameters can serve: shapes, dtype, finite values, unit decoder rows, legal k."""
    if set(weights.params) != set(NAMES):
        raise InputError(f"params must hold {', '.join(NAMES)}, not {', '.join(sorted(weights.params)) or 'nothing'}")
    check_choice("activation", weights.activation, ACTIVATIONS)
    if weights.params["encoder_w"].ndim != 2:
        raise InputError(f"encoder_w must have shape (d, h), not {weights.params['encoder_w'].shape}")
    for name, shape in _shapes(weights.d, weights.h).items():
        array = weights.params[name]
        if array.shape != shape or array.dtype != np.float32:
            raise InputError(f"{name} must be float32 of shape {shape}, not {array.dtype} of shape {array.shape}")
        if not np.isfinite(array).all():
            raise InputError(f"{name} has a value that is not finite")
    check_range("k", weights.k, 1, weights.h)
    check_range("query_times", weights.query_times, 1, weights.h)
    _check_fold(weights.fold)
    if (rest := weights.rest) is not None:
        if rest.basis.shape != (weights.d, weights.d) or rest.basis.dtype != np.float32:
            raise InputError(f"a basis must be float32 of shape {(weights.d, weights.d)}, not {rest.basis.shape}")
        if (distance := np.abs(rest.basis @ rest.basis.T - np.eye(weights.d)).max()) > BASIS_TOLERANCE:
            raise InputError(f"the rows of a basis must be orthonormal, and are not, by {distance:.3g}")
    lengths = np.linalg.norm(weights.params["decoder_w"], axis=1)
    worst = int(np.abs(lengths - 1).argmax())
    if not any_length and abs(lengths[worst] - 1) > UNIT_TOLERANCE:
        raise InputError(f"decoder_w must have rows of unit length; row {worst} has length {lengths[worst]:.6g}")
