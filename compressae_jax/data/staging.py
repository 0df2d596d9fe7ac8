"""A copy with random access of a source without it; sources read, this writes."""

import os
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from compressae_jax.base import files, sealed
from compressae_jax.data import checked, identity
from compressae_jax.data.npy import open_npy
from compressae_jax.data.opened import File
from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError

FORMAT_VERSION = 1
NOTE = ".json"  # beside the copy: of which source it is one


def stage(source: Source, path: str | os.PathLike, progress: bool | None = None) -> Source:
    """The source itself if rows can be taken by number, else an .npy of its rows at `path` (ids stay with the source).

    float16 stays float16, all else is written as float32. It is written whole or not at all, and a sealed note beside
    it says of which source it is the copy: where one stands already, it is taken. `progress` False shows no bar.

    Raises:
        InputError: a path that does not end in .npy, or what `source.batches` finds; no file is left then.
        BusyError: another process or thread makes a copy at this path.
    """
    if source.random_access:
        return source
    path = files.check_out(path, (".npy",), folder=False)
    if (copy := _copy_of(source, path)) is not None:
        for each in (path, _note(path)):  # whoever was killed when all was done has left a lock
            files.sweep(each)
        return copy
    with files.locked(path):  # until the note is written, too: nobody else's copy comes between
        if (copy := _copy_of(source, path)) is not None:  # made meanwhile
            return copy
        with files.renewing(path) as aside:
            _write(source, aside, progress)
        copy = open_npy(File(path))
        checked.same_rows(source, copy)
        fields = {"format_version": FORMAT_VERSION, "source": source.identity(), "copy": _state(copy)}
        files.write_bytes(_note(path), sealed.encoded(fields))
        return copy


def unstage(path: str | os.PathLike) -> None:
    """Remove a copy that `stage` made, and its note; anything else that bears the name stays.

    Raises:
        BusyError: another process or thread makes one at this path.
    """
    path = Path(path)
    if _noted(path) is None:
        return
    with files.locked(path):
        if _noted(path) is not None:
            path.unlink(missing_ok=True)
            _note(path).unlink(missing_ok=True)


def _copy_of(source: Source, path: Path) -> Source | None:
    """The copy at `path`, if it is one of this source and as it was written."""
    fields = _noted(path)
    if fields is None or identity.difference(fields["source"], source.identity()) is not None:
        return None
    try:
        copy = open_npy(File(path))
    except (InputError, FileNotFoundError):
        return None
    return copy if fields["copy"] == _state(copy) else None


def _noted(path: Path) -> dict | None:
    try:
        fields = sealed.read(_note(path), FORMAT_VERSION, "")
    except InputError:
        return None
    return fields if {"source", "copy"} <= set(fields) else None


def _note(path: Path) -> Path:
    return path.with_name(path.name + NOTE)


def _state(copy: Source) -> list[int]:
    return [copy.nbytes, copy.modified]


def _write(source: Source, path: Path, progress: bool | None) -> None:
    # Plain writes, not a writable memory map: on a full disk these raise, where a map would end the process.
    dtype = np.dtype("<f2" if source.dtype == "float16" else "<f4")
    header = {"descr": dtype.str, "fortran_order": False, "shape": (len(source), source.width)}
    with path.open("wb") as file:
        npy_format.write_array_header_1_0(file, header)
        for _, block in checked.seen_through(source, "staging", progress):
            file.write(block.astype(dtype, copy=False).data)
