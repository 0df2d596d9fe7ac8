"""The cells of an index on disk: centroids, a codes folder, and the numbers of each row's two cells, a file a segment.

`cells/centroids-<generation>/` and `cells/<number>-<generation>.npy`, named in `index.json` with their hashes, as all
else in an index folder (see `index_folder`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from compressae_jax.base import files, sealed
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.layout import META as CODES_META
from compressae_jax.codes.layout import npy_header
from compressae_jax.model.weights import Weights
from compressae_jax.notation import FolderError, InputError, check_range
from compressae_jax.retrieval.cells import MOST, Cells, Grouping

CELLS = "cells"
CENTROIDS = re.compile(r"centroids-\d{1,16}")


def write(
    folder: Path, cells: Cells, weights: Weights, before: dict[str, Any] | None, generation: int
) -> dict[str, Any]:
    """What `index.json` says of the cells, whose centroids are written where they are new."""
    if before is not None and before["digest"] == cells.digest:
        return before
    (folder / CELLS).mkdir(exist_ok=True)
    path = folder / CELLS / f"centroids-{generation}"
    header = {"fingerprint": weights.fingerprint, "encoder": weights.encoder}
    codes_folder.write(path, cells.centroids, d=weights.d, header=header)
    return {"cells": len(cells), "digest": cells.digest, "generation": generation, "meta": _digest(path)}


def write_numbers(
    folder: Path, number: int, grouping: Grouping, before: dict[str, Any] | None, generation: int
) -> dict[str, Any]:
    """What `index.json` says of a segment's cells, written where they are new."""
    numbers = grouping.cells_of
    content = npy_header(_dtype(grouping.cells), numbers.shape) + numbers.tobytes()
    digest = xxhash.xxh3_128_hexdigest(content)
    if before is not None and before["xxh3_128"] == digest:
        return before
    (folder / CELLS).mkdir(exist_ok=True)
    files.write_bytes(folder / CELLS / f"{number:06d}-{generation}.npy", content)
    return {"generation": generation, "xxh3_128": digest}


def names(meta: dict[str, Any]) -> set[str]:
    """The names in `cells/` that belong to an index."""
    said = meta.get("cells")
    if said is None:
        return set()
    numbers = {f"{one['number']:06d}-{one['cells']['generation']}.npy" for one in meta["segments"]}
    return {f"centroids-{said['generation']}", *numbers}


def check(meta: dict[str, Any]) -> None:
    """Raise InputError, LookupError or TypeError unless what `index.json` says of cells can be."""
    if meta["format_version"] < 3:
        if "cells" in meta:
            raise InputError("cells are of version 3")
        return
    said = meta["cells"]
    check_range("cells", said["cells"], 1, MOST)
    check_range("generation", said["generation"], 1, meta["generation"])
    _check_hashes(said, "digest", "meta")
    for one in meta["segments"]:
        check_range("generation", one["cells"]["generation"], 1, meta["generation"])
        _check_hashes(one["cells"], "xxh3_128")


def read(folder: Path, meta: dict[str, Any], weights: Weights, verify: bool, remedy: str) -> Cells | None:
    """The centroids of an index, in memory, None where it has none.

    Raises:
        FolderError: they are missing, damaged, or not those that `index.json` names.
    """
    said = meta.get("cells")
    if said is None:
        return None
    path = folder / CELLS / f"centroids-{said['generation']}"
    try:
        if _digest(path) != said["meta"]:
            raise FolderError(f"{path / CODES_META} is not the one that index.json names; {remedy}")
        rows = codes_folder.read(path, verify, mmap=False).rows
    except FileNotFoundError:
        raise FolderError(f"{path} is missing; {remedy}") from None
    try:
        cells = Cells(rows.check().codes().with_norms(weights.params["decoder_w"]))
    except InputError as error:
        raise FolderError(f"{path}: {error}; {remedy}") from None
    if len(cells) != said["cells"] or rows.h != weights.h:
        raise FolderError(
            f"{path} has {len(cells)} centroids of h={rows.h}, not {said['cells']} of {weights.h}; {remedy}"
        )
    return cells


def read_numbers(folder: Path, said: dict[str, Any], cells: int, remedy: str) -> Grouping:
    """The grouping of a segment, whose hash is always looked at.

    Raises:
        FolderError: a file that is missing or damaged, or a cell that is not there.
    """
    path = folder / CELLS / f"{said['number']:06d}-{said['cells']['generation']}.npy"
    header = npy_header(_dtype(cells), (said["rows"], 2))
    wanted = len(header) + 2 * said["rows"] * np.dtype(_dtype(cells)).itemsize
    try:
        with files.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != wanted:
                raise FolderError(f"{path} is damaged: it has {size} bytes, not {wanted}; {remedy}")
            content = file.read()
    except FileNotFoundError:
        raise FolderError(f"{path} is missing; {remedy}") from None
    if xxhash.xxh3_128_hexdigest(content) != said["cells"]["xxh3_128"] or not content.startswith(header):
        raise FolderError(f"{path} is damaged: its hash is not the one in index.json; {remedy}")
    numbers = np.frombuffer(content, _dtype(cells), offset=len(header))
    if len(numbers) and int(numbers.max()) >= cells:
        raise FolderError(f"{path} is damaged: it names cell {numbers.max()} of {cells}; {remedy}")
    return Grouping.of(numbers.reshape(-1, 2), cells)


def _dtype(cells: int) -> str:
    return "<u2" if cells <= 2**16 else "<u4"


def _check_hashes(said: dict[str, Any], *hashes: str) -> None:
    for name in hashes:
        if not isinstance(said[name], str):
            raise InputError(f"{name} must be a hash, not {said[name]!r}")


def _digest(path: Path) -> str:
    """The hash of a `meta.json`, which holds the hashes of the folder's other files."""
    with files.open_regular(path / CODES_META) as file:
        return files.digest(file, size=sealed.LARGEST).hexdigest()
