"""`.safetensors`: its header, checked against the file before anything is mapped."""

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from compressae_jax.data.mapped import Mapped
from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError, check_choice

_DTYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "BF16": ml_dtypes.bfloat16}
_BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "C64": 64}  # of names that do not end in their bits
_LONGEST_HEADER = 100_000_000  # the format's own limit


def open_safetensors(path: Path, key: str | None = None) -> Source:
    """The one 2-d tensor of a file, or the one named `key`, by memory map."""
    tensors, data_start = _read_header(path)
    if key is None:
        key = _only_matrix(path, tensors)
    check_choice(f"key ({path})", key, tensors)
    tensor = tensors[key]
    if tensor["dtype"] not in _DTYPES:
        raise InputError(f"{path} ({key}) must hold {', '.join(_DTYPES)}, not {tensor['dtype']}")
    dtype = np.dtype(_DTYPES[tensor["dtype"]]).newbyteorder("<")
    offset = data_start + tensor["data_offsets"][0]
    return Mapped(path, "safetensors", tuple(tensor["shape"]), dtype, offset, key=key)


def _only_matrix(path: Path, tensors: dict[str, Any]) -> str:
    matrices = [name for name, tensor in tensors.items() if len(tensor["shape"]) == 2]
    if len(matrices) != 1:
        names = ", ".join(matrices[:10]) or f"only {', '.join(list(tensors)[:10]) or 'nothing'}"
        raise InputError(f"{path} holds {len(matrices)} 2-d tensors ({names}); give the wanted one as key")
    return matrices[0]


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """({name: dtype, shape, data_offsets}, where the data starts); the tensors tile the rest of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise InputError(f"{path} is truncated or no safetensors: a header of {length} bytes in a file of {size}")
        text = file.read(length)
    try:
        tensors = json.loads(text)
        tensors.pop("__metadata__", None)
        spans = sorted(_span(tensor) for tensor in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path} is damaged: its header is not that of a safetensors file") from None
    end = 0
    for start, stop in spans:
        if start != end:
            raise InputError(f"{path} is damaged: a tensor starts at byte {start} of the data, wanted {end}")
        end = stop
    if 8 + length + end != size:
        raise InputError(f"{path} has {size} bytes, but its header and tensors make {8 + length + end}")
    return tensors, 8 + length


def _span(tensor: dict[str, Any]) -> tuple[int, int]:
    """First and last byte of a tensor; ValueError where they do not hold its shape."""
    start, stop = tensor["data_offsets"]
    shape, name = tensor["shape"], tensor["dtype"]
    if not all(type(number) is int and number >= 0 for number in (start, stop, *shape)):
        raise ValueError("not sizes")
    bits = _BITS.get(name) or int("".join(filter(str.isdigit, name.partition("_")[0])))
    if (stop - start) * 8 != math.prod(shape) * bits:
        raise ValueError("sizes differ")
    return start, stop
