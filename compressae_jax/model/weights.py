"""A trained model as plain arrays: in memory, on disk, in the published layout; `compressae` has the module."""

import dataclasses
import functools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import xxhash

from compressae_jax.codes import disk
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.model.topk import ACTIVATIONS
from compressae_jax.notation import FolderError, InputError, check_choice, check_range

FORMAT_VERSION = 1
PARAMS, META = "params.safetensors", "model.json"
NAMES = ("encoder_w", "encoder_b", "decoder_w")  # of the published class, which has the same shapes
UNIT_TOLERANCE = 1e-3  # on the length of a decoder row


@dataclasses.dataclass(frozen=True, eq=False)
class Weights:
    """What a model folder holds: float32 encoder_w (d, h), encoder_b (h,), decoder_w (h, d) of unit rows.

    `encoder` and `storage` name how it was made to be used, the defaults of compression; `summary` says how it was
    trained: JSON-able. `levels` are the magnitudes of packed values, by 'encoder:storage', learned once (see
    `encoders.learn_levels`), so that rows made on any day can be joined; they belong to this k. These are no part of
    the fingerprint.
    """

    params: dict[str, np.ndarray]
    h: int
    k: int
    activation: str = "topk"
    summary: dict[str, Any] = dataclasses.field(default_factory=dict)
    encoder: str = "topk"  # one of `encoders.ENCODERS`
    storage: str = "float16"  # one of `codes.storage.packed.STORAGES`
    levels: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Own the levels, so that those learned for one copy do not turn up in another."""
        object.__setattr__(self, "levels", dict(self.levels))

    def with_k(self, k: int) -> "Weights":
        """The same dictionary with another number of nonzeros, whose levels are others."""
        return dataclasses.replace(self, k=k, levels={})

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

    def module(self, **fields: Any) -> CompresSAE:
        """The linen module that these parameters belong to: `module().apply({'params': params}, …)`."""
        return CompresSAE(d=self.d, h=self.h, k=self.k, activation=self.activation, **fields)


def save(weights: Weights, folder: str | os.PathLike) -> None:
    """Write a model folder, complete or not at all; an older model folder of that name is replaced.

    Raises:
        InputError: parameters that `load` would refuse.
        FolderError: something else stands at that name.
    """
    _check(weights)
    folder = Path(folder)
    disk.check_replaceable(folder, (PARAMS, META))
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    safetensors.numpy.save_file({name: np.ascontiguousarray(weights.params[name]) for name in NAMES}, aside / PARAMS)
    disk.sync(aside / PARAMS)
    sizes = {"d": weights.d, "h": weights.h, "k": weights.k, "activation": weights.activation}
    meta = {"format_version": FORMAT_VERSION, **sizes, "fingerprint": weights.fingerprint, "summary": weights.summary}
    meta |= {"encoder": weights.encoder, "storage": weights.storage}
    disk.write_json(aside / META, meta)
    disk.publish(aside, folder, (PARAMS, META))


def load(folder: str | os.PathLike) -> Weights:
    """Read a model folder.

    Raises:
        FolderError: a folder that is missing, damaged, foreign, or newer than this program.
    """
    folder = Path(folder)
    remedy = f"train it again or copy it anew (python launch/train.py writes a model folder such as {folder})"
    if not folder.is_dir():
        raise FolderError(f"model folder {folder} does not exist; {remedy}")
    meta = disk.read_json(folder / META, FORMAT_VERSION, remedy)
    params = _read_params(folder / PARAMS, meta["d"], meta["h"], remedy)
    use = {name: meta[name] for name in ("encoder", "storage") if name in meta}  # older folders have neither
    weights = Weights(params, meta["h"], meta["k"], meta["activation"], meta["summary"], **use)
    if (given := weights.fingerprint) != (wanted := meta["fingerprint"]):
        raise FolderError(f"{folder / PARAMS} is damaged: fingerprint {given}, {META} says {wanted}; {remedy}")
    try:
        _check(weights)
    except InputError as error:
        raise FolderError(f"{folder}: {error}; {remedy}") from None
    return weights


def from_published(state: Mapping[str, Any], k: int) -> Weights:
    """Weights of the published PyTorch class's state dict (arrays or CPU tensors); k is not in it.

    Raises:
        InputError: other names or shapes, values that are not finite, decoder rows that are not of unit length.
    """
    if set(state) != set(NAMES):
        raise InputError(f"state must hold {', '.join(NAMES)}, not {', '.join(sorted(state)) or 'nothing'}")
    params = {name: np.array(state[name], np.float32) for name in NAMES}
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


def _read_params(path: Path, d: int, h: int, remedy: str) -> dict[str, np.ndarray]:
    """The three arrays, read only after their names, dtypes and shapes are those that the model says."""
    wanted = {name: ("F32", list(shape)) for name, shape in _shapes(d, h).items()}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, it is not a dict
            given = {name: (some.get_dtype(), some.get_shape()) for name, some in slices.items()}
            if given != wanted:
                raise FolderError(f"{path} must hold {wanted}, not {given}; {remedy}")
            return {name: file.get_tensor(name) for name in NAMES}
    except FileNotFoundError:
        raise FolderError(f"{path} is missing; {remedy}") from None
    except safetensors.SafetensorError as error:
        raise FolderError(f"{path} is damaged: {error}; {remedy}") from None


def _check(weights: Weights) -> None:
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
    lengths = np.linalg.norm(weights.params["decoder_w"], axis=1)
    worst = int(np.abs(lengths - 1).argmax())
    if abs(lengths[worst] - 1) > UNIT_TOLERANCE:
        raise InputError(f"decoder_w must have rows of unit length; row {worst} has length {lengths[worst]:.6g}")
