"""A copy with random access of a source without it; sources read, this writes."""

import os
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format
from tqdm import tqdm

from compressae_jax.data.npy import open_npy
from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError


def stage(source: Source, path: str | os.PathLike, progress: bool | None = None) -> Source:
    """The source itself if rows can be taken by number, else an .npy of its rows at `path` (ids stay with the source).

    float16 stays float16, all else is written as float32. The file is written aside, flushed, and renamed. It takes
    over the time of the source's last change: where a file of that time and shape stands already, it is the copy.
    `progress` None shows a bar on a terminal.

    Raises:
        InputError: a path that does not end in .npy, or what `source.batches` finds; no file is left then.
    """
    if source.random_access:
        return source
    path = Path(path)
    if path.suffix != ".npy":
        raise InputError(f"path must end in .npy, not {path.name!r}")
    if _is_copy(path, source):
        return open_npy(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _write(source, aside, progress)
        os.utime(aside, ns=(source.modified, source.modified))
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return open_npy(path)


def _is_copy(path: Path, source: Source) -> bool:
    if not path.is_file() or path.stat().st_mtime_ns != source.modified:
        return False
    try:
        there = open_npy(path)
    except InputError:
        return False
    return (len(there), there.width) == (len(source), source.width)


def _write(source: Source, path: Path, progress: bool | None) -> None:
    # Plain writes, not a writable memory map: on a full disk these raise, where a map would end the process.
    dtype = np.dtype("<f2" if source.dtype == "float16" else "<f4")
    header = {"descr": dtype.str, "fortran_order": False, "shape": (len(source), source.width)}
    disable = None if progress is None else not progress
    with (
        path.open("wb") as file,
        tqdm(total=len(source), desc=f"staging {path.name}", unit="row", unit_scale=True, disable=disable) as bar,
    ):
        npy_format.write_array_header_1_0(file, header)
        for _, block in source.batches(source.piece_rows):
            file.write(block.astype(dtype, copy=False).data)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
