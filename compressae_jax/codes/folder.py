"""Codes on disk: the layout of a codes folder, reading one, and writing one at once; `writer` does it piece by piece.

`columns.npy` (n, k), `values.npy` (n, k) and `norms.npy` (n, 2), or, of packed rows, `records.npy` (n, width) alone;
`lengths.npy` (n,) of floats that are compared by inner products; `ids.npy` (n,), or `ids.offsets.npy` (n + 1,) and
`ids.utf8`, where there are ids; and `meta.json` with sizes, dtypes, hashes and what the writer was told about model and
source. No name of a file comes from `meta.json`. `docs/FORMAT.md` says what each byte is.
"""

import contextlib
import math
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float

from compressae_jax.base import files as base_files
from compressae_jax.base import sealed
from compressae_jax.codes import ids as ids_of
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.codes.layout import (
    FORMAT_VERSION,
    HEADER,
    META,
    OFFSETS,
    TEXT,
    UTF8,
    VERSIONS,
    layout,
    npy_header,
)
from compressae_jax.codes.mapped import Map, MappedFiles, mapped
from compressae_jax.codes.rows import SIMILARITIES, MadeBy, Rows
from compressae_jax.codes.storage.kinds import PACKINGS, packing
from compressae_jax.codes.storage.packed import Packed, Packing
from compressae_jax.codes.writer import Writer, write, write_pieces
from compressae_jax.notation import AnyArray, FolderError, InputError, check_choice, check_range

__all__ = ["Read", "Writer", "read", "write", "write_pieces"]

IDS, OLDER_IDS = r"<i8|<u8|<U[1-9]\d{0,6}|utf8", r"<i8|<U[1-9]\d{0,6}"
ONCE = "topk"  # made the rows of folders that do not say so


class Read(NamedTuple):
    """What a folder holds; `norms` and `ids` are those of the rows, by name for programs of version 0.1."""

    rows: Rows
    norms: Float[AnyArray, "n 2"] | None
    ids: Ids | None
    meta: dict[str, Any]


def read(folder: str | os.PathLike, verify: bool = True, mmap: bool = True) -> Read:
    """Rows and `meta.json` of a codes folder, as read-only memory maps or in memory.

    `verify=False` opens at once: metadata, sizes and headers are still checked, but neither hashes nor ranges; rows are
    then looked at as they are read. A folder that is replaced meanwhile is read as it was or as it is then.

    Raises:
        FolderError: a folder that is missing, damaged, or newer than this program.
    """
    folder = Path(os.path.expanduser(os.fspath(folder)))
    remedy = f"make it anew: python launch/compress.py --model=… --source=… --out={folder}"
    if not folder.is_dir():
        raise FolderError(f"codes folder {folder} does not exist; {remedy}")
    return base_files.steadily(folder, lambda: _read(folder, verify, mmap, remedy))


def _read(folder: Path, verify: bool, mmap: bool, remedy: str) -> Read:
    meta = sealed.read(folder / META, FORMAT_VERSION, remedy)
    try:
        how, made_by, arrays, sizes = _checked_meta(meta)
    except (InputError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise FolderError(f"{folder / META} is damaged: {error}; {remedy}") from None
    opened: dict[str, np.ndarray] = {}
    maps: list[Map] = []
    for name, size in sizes.items():
        dtype, shape = arrays.get(name, ("|u1", (size,)))
        start = HEADER if name in arrays else 0
        with _opened(folder / name, size, remedy) as file:
            if name in arrays and file.read(HEADER) != npy_header(dtype, shape):
                raise FolderError(f"{folder / name} is damaged: its header is not that of {dtype} {shape}; {remedy}")
            wanted = meta["files"][name]["xxh3_128"]
            if verify and (given := base_files.digest(file).hexdigest()) != wanted:
                raise FolderError(
                    f"{folder / name} is damaged: its xxh3_128 is {given}, {META} says {wanted}; {remedy}"
                )
            try:
                opened[name], one = mapped(file, folder / name, dtype, shape, start)
            except ValueError:  # shorter than a moment ago
                raise FolderError(f"{folder / name} changes while it is read; {remedy}") from None
            maps += [one] if one is not None else []
    behind = MappedFiles(maps)
    if not mmap:
        behind.check()
        opened, behind = {name: np.array(array) for name, array in opened.items()}, MappedFiles()
    rows = _rows(opened, meta["h"], how, made_by, behind)
    if verify:
        try:
            rows = rows.check()
            if rows.ids is not None:
                ids_of.check(rows.ids, rows.files)
        except InputError as error:
            raise FolderError(f"{folder}, {' or '.join(sizes)}: {error}; {remedy}") from None
    return Read(rows, rows.norms, rows.ids, meta)


def _rows(
    arrays: dict[str, np.ndarray], h: int, how: Packing | None, made_by: MadeBy | None, behind: MappedFiles
) -> Rows:
    ids: Ids | None = arrays.get("ids.npy")
    if OFFSETS in arrays:
        ids = TextIds(arrays[OFFSETS], arrays[UTF8], behind)
    if how is not None:
        return Packed(arrays["records.npy"], how, ids, made_by, files=behind)
    names = ("values.npy", "columns.npy", "norms.npy")
    values, columns, norms = (arrays[name] for name in names)
    return Codes(values, columns, h, norms, ids, made_by, files=behind, lengths=arrays.get("lengths.npy"))


def _checked_meta(
    meta: dict[str, Any],
) -> tuple[Packing | None, MadeBy | None, dict[str, tuple[str, tuple[int, ...]]], dict[str, int]]:
    """Packing, origin, arrays, and the bytes of each file: all that follows from the metadata, every field checked."""
    for name, most in (("n", 2**53), ("h", 2**32), ("d", 2**53)):
        check_range(name, meta[name], 1, most)
    check_range("k", meta["k"], 1, meta["h"])
    version, ids = meta["format_version"], meta["dtypes"]["ids"]
    if ids is not None and not (isinstance(ids, str) and re.fullmatch(IDS if version > 2 else OLDER_IDS, ids)):
        raise InputError(f"ids must be <i8 or <U…, from version 3 on also <u8 or utf8, not {ids!r}")
    how = None
    storage = meta["dtypes"]["values"] if version == 1 else meta["storage"]
    check_choice("storage", storage, VERSIONS[version])
    similarity = meta.get("similarity", "cosine") if version > 3 else "cosine"
    check_choice("similarity", similarity, SIMILARITIES)
    if storage in PACKINGS:
        how = packing(storage, meta["h"], meta["k"], _levels(meta["levels"]), similarity)
    else:
        check_choice("values", meta["dtypes"]["values"], [storage])
        check_choice("columns", meta["dtypes"]["columns"], [column_dtype(meta["h"]).name])
    arrays = layout(meta["n"], meta["h"], meta["k"], storage, ids, similarity, how.levels if how else None)
    sizes = {name: HEADER + math.prod(shape) * np.dtype(dtype).itemsize for name, (dtype, shape) in arrays.items()}
    for name in [*arrays, UTF8] if ids == TEXT else arrays:
        said = meta["files"][name]
        check_range(f"bytes of {name}", said["bytes"], 0, 2**63)
        if not isinstance(said["xxh3_128"], str) or not re.fullmatch("[0-9a-f]{32}", said["xxh3_128"]):
            raise InputError(f"the xxh3_128 of {name} must be 32 hex digits, not {str(said['xxh3_128'])[:80]!r}")
        if sizes.setdefault(name, said["bytes"]) != said["bytes"]:
            raise InputError(f"{name} must have {sizes[name]} bytes, not {said['bytes']}")
    return how, _made_by(meta), arrays, sizes


def _levels(given: Any) -> tuple[float, ...]:
    if not isinstance(given, list) or any(type(level) not in (int, float) for level in given):
        raise InputError(f"levels must be a list of numbers, not {str(given)[:80]}")
    return tuple(map(float, given))


def _made_by(meta: dict[str, Any]) -> MadeBy | None:
    """Who made the rows; None where the folder does not say."""
    fingerprint, encoder = meta.get("fingerprint"), meta.get("encoder", ONCE)
    if not (fingerprint is None or isinstance(fingerprint, str)) or not isinstance(encoder, str):
        raise InputError(f"fingerprint and encoder must be texts, not {fingerprint!r} and {encoder!r}")
    return None if fingerprint is None else MadeBy(fingerprint, encoder)


@contextlib.contextmanager
def _opened(path: Path, size: int, remedy: str) -> Any:
    """The open file, of that size; it is opened once, so what is checked is what is read."""
    try:
        file: BinaryIO = base_files.open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FolderError(f"{path} is missing; {remedy}") from None
    with file:
        if (given := os.fstat(file.fileno()).st_size) != size:
            raise FolderError(f"{path} is damaged: {size} bytes wanted, it has {given}; {remedy}")
        yield file
