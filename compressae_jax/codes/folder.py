"""Codes on disk: the layout of a codes folder, reading one, and writing one at once; `writer` does it piece by piece.

`columns.npy` (n, k), `values.npy` (n, k) and `norms.npy` (n, 2), or, of packed rows, `records.npy` (n, width) alone;
`ids.npy` (n,) where there are ids; and `meta.json` with sizes, dtypes, hashes and what the writer was told about model
and source. No name of a file comes from `meta.json`. `docs/FORMAT.md` says what each byte is.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from compressae_jax.codes import disk
from compressae_jax.codes.codes import Codes, checked, column_dtype
from compressae_jax.codes.layout import FORMAT_VERSION, HEADER, META, VALUES, layout, npy_header
from compressae_jax.codes.storage.packed import STORAGES, Packed, Packing, check_records, storage_bits
from compressae_jax.codes.writer import Writer
from compressae_jax.notation import AnyArray, FolderError, InputError, check_choice, check_range

__all__ = ["Writer", "read", "write"]


def write(
    folder: str | os.PathLike,
    codes: Codes | Packed,
    norms: Float[AnyArray, "n 2"] | None,
    ids: Sequence[Any] | np.ndarray | None = None,
    *,
    d: int,
    header: dict[str, Any] | None = None,
) -> None:
    """Write a codes folder at once, complete or not at all; an older codes folder of that name is replaced."""
    if isinstance(codes, Packed):
        storage, levels = f"packed{codes.packing.bits}", codes.packing.levels
    else:
        storage, levels = str(codes.values.dtype), None
    writer = Writer(folder, d, codes.h, codes.k, storage, header, resume=False, levels=levels)
    for start in range(0, len(codes), 2**16):
        rows = slice(start, start + 2**16)
        writer.append(codes[rows], None if norms is None else norms[rows], None if ids is None else ids[rows])
    writer.finish()


def read(
    folder: str | os.PathLike, verify: bool = True, mmap: bool = True
) -> tuple[Codes | Packed, Float[np.ndarray, "n 2"] | None, np.ndarray | None, dict[str, Any]]:
    """Codes, norms (‖s‖, ‖z‖), ids (or None) and `meta.json` of a codes folder, as read-only memory maps or in memory.

    A folder of packed rows has no norms. `verify=False` opens at once: sizes, dtypes and versions are still checked,
    but neither hashes nor ranges, so keep it for folders that were verified before.

    Raises:
        FolderError: a folder that is missing, damaged, or newer than this program.
    """
    folder = Path(folder)
    remedy = f"make it anew: python launch/compress.py --model=… --source=… --out={folder}"
    if not folder.is_dir():
        raise FolderError(f"codes folder {folder} does not exist; {remedy}")
    meta = disk.read_json(folder / META, FORMAT_VERSION, remedy)
    try:
        files = _files(meta)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FolderError(f"{folder / META} is damaged: {error}; {remedy}") from None
    for name, (dtype, shape) in files.items():
        _check_file(folder / name, dtype, shape, meta["files"][name]["xxh3_128"] if verify else None, remedy)
    arrays = {name: _open(folder / name, dtype, shape, mmap) for name, (dtype, shape) in files.items()}
    codes: Codes | Packed
    if (packing := _packing(meta)) is not None:
        codes = Packed(arrays["records.npy"], packing)
    else:
        codes = Codes(arrays["values.npy"], arrays["columns.npy"], meta["h"])
    if verify:
        _check_ranges(codes, arrays.get("norms.npy"), folder, remedy)
    return codes, arrays.get("norms.npy"), arrays.get("ids.npy"), meta


def _files(meta: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The layout that the metadata asks for, after a look at every field it follows from."""
    for name in ("n", "h", "d"):
        check_range(name, meta[name], 1, 2**53)
    check_range("k", meta["k"], 1, meta["h"])
    check_range("format_version", meta["format_version"], 1, FORMAT_VERSION)
    dtypes = meta["dtypes"]
    if _packing(meta) is None:
        check_choice("values", dtypes["values"], VALUES)
        check_choice("columns", dtypes["columns"], [column_dtype(meta["h"]).name])
    if dtypes["ids"] is not None and not re.fullmatch(r"<i8|<U[1-9]\d{0,6}", dtypes["ids"]):
        raise InputError(f"ids must be <i8 or <U…, not {dtypes['ids']!r}")
    storage = dtypes["values"] if meta["format_version"] == 1 else meta["storage"]
    return layout(meta["n"], meta["h"], meta["k"], storage, dtypes["ids"])


def _packing(meta: dict[str, Any]) -> Packing | None:
    """How the rows of a folder are packed, None where they are arrays of floats."""
    if meta["format_version"] == 1:
        return None
    check_choice("storage", meta["storage"], STORAGES[len(VALUES) :])
    levels = tuple(float(level) for level in meta["levels"])
    return Packing(meta["h"], meta["k"], int(storage_bits(meta["storage"]) or 0), levels)


def _check_file(path: Path, dtype: str, shape: tuple[int, ...], wanted: str | None, remedy: str) -> None:
    """Raise FolderError unless the file has the header and length of such an array, and the hash if one is given."""
    if not path.is_file():
        raise FolderError(f"{path} is missing; {remedy}")
    size = HEADER + int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    if path.stat().st_size != size:
        raise FolderError(f"{path} is damaged: {size} bytes wanted, it has {path.stat().st_size}; {remedy}")
    with path.open("rb") as file:
        if file.read(HEADER) != npy_header(dtype, shape):
            raise FolderError(f"{path} is damaged: its header is not that of {dtype} {shape}; {remedy}")
    if wanted is not None and (given := disk.digest_file(path).hexdigest()) != wanted:
        raise FolderError(f"{path} is damaged: its xxh3_128 is {given}, {META} says {wanted}; {remedy}")


def _open(path: Path, dtype: str, shape: tuple[int, ...], mmap: bool) -> np.ndarray:
    array = np.memmap(path, dtype, "r", HEADER, shape)
    return array if mmap else np.array(array)


def _check_ranges(codes: Codes | Packed, norms: np.ndarray | None, folder: Path, remedy: str) -> None:
    """Raise FolderError for what whole files may still hold: columns outside h, numbers that are not finite."""
    try:
        if isinstance(codes, Packed):
            check_records(codes)
        else:
            checked(codes.values, codes.columns, codes.h)
    except InputError as error:
        names = "records.npy" if isinstance(codes, Packed) else "columns.npy or values.npy"
        raise FolderError(f"{folder / names}: {error}; {remedy}") from None
    if norms is not None and not (np.isfinite(norms) & (norms >= 0)).all():
        raise FolderError(f"{folder / 'norms.npy'} has a norm that is negative or not finite; {remedy}")
