"""The names, dtypes and headers of the files in a codes folder; `folder` reads them and `writer` writes them."""

import struct
from collections.abc import Sequence

from compressae_jax.codes.codes import column_dtype
from compressae_jax.codes.storage.kinds import FLOATS, PACKINGS, RANKED, STORAGES, record_width

# The storages that each format version has; from 3 on, it also has ids that the others do not know.
VERSIONS = {
    1: FLOATS,
    2: RANKED,
    3: (*FLOATS, *RANKED),
    4: (*FLOATS, *RANKED, "fast4"),
    5: (*FLOATS, *RANKED, "fast4", "residual4"),
    6: STORAGES,
}
FORMAT_VERSION = max(VERSIONS)  # the newest that is read
META, MANIFEST = "meta.json", "manifest.json"
OFFSETS, UTF8, TEXT = "ids.offsets.npy", "ids.utf8", "utf8"
ARRAYS = ("columns.npy", "values.npy", "norms.npy", "lengths.npy", "records.npy", "ids.npy", OFFSETS, UTF8)
OLDER = ("ids.jsonl", "meta.json.new", "manifest.json.new")  # what version 0.1 left in a folder in the making
NAMES = (*ARRAYS, META, MANIFEST, *OLDER)  # complete or in the making
HEADER = 128  # bytes before the data of each `.npy`, whatever its length


def version_of(storage: str, ids: str | None, similarity: str = "cosine") -> int:
    """The lowest format version that has a folder: 1 of floats, 2 of ranks, 3 with ids that these do not know, 4 to 6.

    4 has 'fast4' and inner products, 5 'residual4', 6 all storages.
    """
    least = 4 if similarity != "cosine" else 3 if ids in (TEXT, "<u8") else 1
    return next(version for version, known in VERSIONS.items() if version >= least and storage in known)


def layout(
    n: int,
    h: int,
    k: int,
    storage: str,
    ids: str | None,
    similarity: str = "cosine",
    levels: Sequence[float] | None = None,
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (dtype, shape) of the arrays of a codes folder; `ids`: None, '<i8', '<u8', 'utf8' or, once, '<U12'.

    The bytes of texts (`UTF8`) are not among them: their number does not follow from n.
    """
    files: dict[str, tuple[str, tuple[int, ...]]] = {}
    if storage in PACKINGS:
        files["records.npy"] = ("|u1", (n, record_width(storage, h, k, levels)))
    else:
        files["columns.npy"] = (column_dtype(h).str, (n, k))
        files["values.npy"] = ({"float16": "<f2", "float32": "<f4"}[storage], (n, k))
        files["norms.npy"] = ("<f4", (n, 2))
        if similarity == "dot":
            files["lengths.npy"] = ("<f4", (n,))
    if ids == TEXT:
        files[OFFSETS] = ("<i8", (n + 1,))
    elif ids is not None:
        files["ids.npy"] = (ids, (n,))
    return files


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The first 128 bytes of a `.npy` file; their number does not depend on the shape, so that a file can grow."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", HEADER - 10) + text.ljust(HEADER - 11).encode("ascii") + b"\n"
