"""`.safetensors`: its header, checked against the file before anything is mapped."""

import json
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from compressae_jax.data.kind import Kind
from compressae_jax.data.mapped import Mapped
from compressae_jax.data.opened import File
from compressae_jax.data.sources import SCALE, Beside, Source, only_matrix
from compressae_jax.notation import InputError, check_choice

_FLOATS = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "BF16": ml_dtypes.bfloat16}
_DTYPES = {**_FLOATS, "I8": np.int8, "U8": np.uint8}
_INTEGERS = {"I8": "i1", "I16": "i2", "I32": "i4", "I64": "i8", "U8": "u1", "U16": "u2", "U32": "u4", "U64": "u8"}
_BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64}  # of names that do not end in their bits
_LONGEST_HEADER = 2**21  # bytes, of some 20,000 tensors; JSON takes twenty times as much memory
_MOST_AXES = 64


def open_safetensors(file: File, key: str | None = None, ids_key: str | None = None) -> Source:
    """The one 2-d tensor of a file, or the one named `key`, read where it lies.

    Its ids are the tensor `ids_key`; integers of a byte are to be multiplied by the tensor `scale`, if there is one.
    """
    path = file.path
    tensors, data_start = _read_header(file)
    if key is None:
        key = only_matrix(path, {name: len(tensor["shape"]) for name, tensor in tensors.items()}, "tensors")
    check_choice(f"key ({path})", key, tensors)
    if ids_key is not None:
        check_choice(f"ids_key ({path})", ids_key, tensors)
    tensor = tensors[key]
    if tensor["dtype"] not in _DTYPES:
        raise InputError(f"{path} ({key}) must hold {', '.join(_DTYPES)}, not {tensor['dtype']}")
    dtype = np.dtype(_DTYPES[tensor["dtype"]]).newbyteorder("<")
    offset = data_start + tensor["data_offsets"][0]

    def reader(name: str, dtypes: dict[str, Any]) -> Callable[[], np.ndarray]:
        return lambda: _small(file, name, tensors[name], data_start, dtypes)

    ids = None if ids_key is None else reader(ids_key, _INTEGERS)
    beside = Beside(ids, ids_key or "", reader(SCALE, _FLOATS) if SCALE in tensors else None)
    return Mapped(file, "safetensors", tuple(tensor["shape"]), dtype, offset, key=key, beside=beside)


def _small(file: File, name: str, tensor: dict[str, Any], data_start: int, dtypes: dict[str, Any]) -> np.ndarray:
    """A whole tensor of one of some dtypes."""
    if tensor["dtype"] not in dtypes:
        raise InputError(f"{file.path} ({name}) must hold {', '.join(dtypes)}, not {tensor['dtype']}")
    start, stop = tensor["data_offsets"]
    with file.open() as opened:
        opened.seek(data_start + start)
        some = opened.read(stop - start)
    return np.frombuffer(some, np.dtype(dtypes[tensor["dtype"]]).newbyteorder("<")).reshape(tensor["shape"])


def _read_header(file: File) -> tuple[dict[str, Any], int]:
    """({name: dtype, shape, data_offsets}, where the data starts); the tensors tile the rest of the file."""
    path, size = file.path, file.size
    with file.open() as opened:
        length = int.from_bytes(opened.read(8), "little")
        if size < 8 or length > size - 8:
            raise InputError(f"{path} is truncated or no safetensors: a header of {length} bytes in a file of {size}")
        if length > _LONGEST_HEADER:
            raise InputError(f"{path} has a header of {length} bytes, at most {_LONGEST_HEADER} are read")
        text = opened.read(length)
    try:
        tensors = json.loads(text, object_pairs_hook=_once)
        tensors.pop("__metadata__", None)
        spans = sorted(_span(tensor) for tensor in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InputError(f"{path} is damaged: its header is not that of a safetensors file") from None
    end = 0
    for start, stop in spans:
        if start != end:
            raise InputError(f"{path} is damaged: a tensor starts at byte {start} of the data, wanted {end}")
        end = stop
    if 8 + length + end != size:
        raise InputError(f"{path} has {size} bytes, but its header and tensors make {8 + length + end}")
    return tensors, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name twice")
    return fields


def _span(tensor: dict[str, Any]) -> tuple[int, int]:
    """First and last byte of a tensor; ValueError where they do not hold its shape."""
    start, stop = tensor["data_offsets"]
    shape, name = tensor["shape"], tensor["dtype"]
    if len(shape) > _MOST_AXES or not all(type(size) is int and 0 <= size < 2**63 for size in (start, stop, *shape)):
        raise ValueError("not sizes")
    bits = _BITS.get(name) or int("".join(filter(str.isdigit, name.partition("_")[0])))
    if (stop - start) * 8 != math.prod(shape) * bits:
        raise ValueError("sizes differ")
    return start, stop


KIND = Kind(
    "safetensors",
    (".safetensors",),
    open_safetensors,
    "the one 2-d tensor of several, or the one named `key`",
    frozenset({"key", "ids_key"}),
    ids="the tensor `ids_key`, integers",
    scale="the tensor `scale`",
)
