"""The names, dtypes and headers of the files in a codes folder; `folder` reads them and `writer` writes them."""

import struct

from compressae_jax.codes.codes import column_dtype
from compressae_jax.codes.storage.packed import packed_width, storage_bits

FORMAT_VERSION = 2  # the newest that is read
VALUES = ("float16", "float32")
META, MANIFEST, TEXT_IDS = "meta.json", "manifest.json", "ids.jsonl"
ARRAYS = ("columns.npy", "values.npy", "norms.npy", "records.npy", "ids.npy")
NAMES = (*ARRAYS, META, MANIFEST, TEXT_IDS, META + ".new", MANIFEST + ".new")  # complete or in the making
HEADER = 128  # bytes before the data of each `.npy`, whatever its length


def version_of(storage: str) -> int:
    """The format version of a folder: 1 of columns, values and norms, so that older programs read it, 2 of records."""
    return 1 if storage_bits(storage) is None else 2


def layout(n: int, h: int, k: int, storage: str, ids: str | None) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (dtype, shape) of the arrays of a codes folder; `ids` is a dtype ('<i8', '<U12') or None."""
    bits = storage_bits(storage)
    files: dict[str, tuple[str, tuple[int, ...]]] = {}
    if bits is not None:
        files["records.npy"] = ("|u1", (n, packed_width(h, k, bits)))
    else:
        files["columns.npy"] = (column_dtype(h).str, (n, k))
        files["values.npy"] = ({"float16": "<f2", "float32": "<f4"}[storage], (n, k))
        files["norms.npy"] = ("<f4", (n, 2))
    return files if ids is None else {**files, "ids.npy": (ids, (n,))}


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The first 128 bytes of a `.npy` file; their number does not depend on the shape, so that a file can grow."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER - 10) + text.ljust(HEADER - 11).encode("ascii") + b"\n"
