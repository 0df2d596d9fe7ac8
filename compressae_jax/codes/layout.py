"""The names, dtypes and headers of the files in a codes folder; `folder` reads them and `writer` writes them."""

import struct

from compressae_jax.codes.codes import column_dtype

FORMAT_VERSION = 1
VALUES = ("float16", "float32")
META, MANIFEST, TEXT_IDS = "meta.json", "manifest.json", "ids.jsonl"
ARRAYS = ("columns.npy", "values.npy", "norms.npy", "ids.npy")
NAMES = (*ARRAYS, META, MANIFEST, TEXT_IDS, META + ".new", MANIFEST + ".new")  # complete or in the making
HEADER = 128  # bytes before the data of each `.npy`, whatever its length


def layout(n: int, h: int, k: int, values: str, ids: str | None) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (dtype, shape) of the arrays of a codes folder; `ids` is a dtype ('<i8', '<U12') or None."""
    files: dict[str, tuple[str, tuple[int, ...]]] = {
        "columns.npy": (column_dtype(h).str, (n, k)),
        "values.npy": ({"float16": "<f2", "float32": "<f4"}[values], (n, k)),
        "norms.npy": ("<f4", (n, 2)),
    }
    return files if ids is None else {**files, "ids.npy": (ids, (n,))}


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The first 128 bytes of a `.npy` file; their number does not depend on the shape, so that a file can grow."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER - 10) + text.ljust(HEADER - 11).encode("ascii") + b"\n"
