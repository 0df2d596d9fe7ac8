"""Changes of an index folder that need no more memory than a piece of it: additions from files, removals, compaction.

Each holds the folder's lock, and takes its name in one step; the same addition again continues what was interrupted.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from compressae_jax import compression
from compressae_jax.base import files
from compressae_jax.base import progress as bars
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.ids import TextIds
from compressae_jax.codes.rows import MadeBy
from compressae_jax.codes.storage import convert
from compressae_jax.codes.storage.packed import storage_bits
from compressae_jax.compression.pipeline import encoder_for
from compressae_jax.data.sources import Source
from compressae_jax.model.weights import Weights
from compressae_jax.notation import FolderError, InputError
from compressae_jax.retrieval import index_folder
from compressae_jax.retrieval.additions import check_names
from compressae_jax.retrieval.index_folder import ADDING, COMPACTING, SEGMENTS, Opened
from compressae_jax.retrieval.segments import Segment, Segments


def begin(
    folder: str | os.PathLike,
    weights: Weights,
    source: Source,
    space: str,
    encoder: str | None = None,
    storage: str | None = None,
) -> None:
    """An index folder of no rows, for vectors such as the source has; levels, where it needs some, are learned of them.

    Raises:
        InputError: a source, encoder or storage that the model cannot serve.
        FolderError: something stands at that name.
    """
    how = encoder_for(weights, source, encoder, storage)
    ids = source.ids
    kind = None if ids is None else "utf8" if isinstance(ids, TextIds) else np.dtype(ids.dtype).str
    levels = how.levels if storage_bits(how.storage) is not None else None
    made_by = MadeBy(weights.fingerprint, how.encoder)
    rows = convert.empty(weights.h, how.k, how.storage, levels, made_by, kind)
    index_folder.begin(folder, Opened(Segments((Segment(rows),)), weights, space, how.encoder))


def add(
    folder: str | os.PathLike, source: Source, batch: int = 65_536, zero_rows: str = "stop", progress: bool = True
) -> tuple[int, int]:
    """Encode a source into a new segment, resumable; gives the rows added and those that the index then has.

    Raises:
        InputError: vectors that compression would refuse, ids that are missing, not wanted, or in the index already.
        FolderError: no index stands there.
        BusyError: another process writes it.
    """
    path = files.real(folder)
    with files.locked(path):
        opened = index_folder.read(path, verify=False)
        there, names = opened.segments.parts[0].rows, source.ids
        check_names(names, there.ids)
        if names is not None:
            opened.segments.check_new(names)
        if zero_rows == "drop" and names is None:
            raise InputError("zero_rows='drop' tells rows by their ids, and the rows of this index have none")
        if there.k != opened.weights.k:
            raise InputError(
                f"the rows of {folder} are the first {there.k} of {opened.weights.k} nonzeros: add to it in memory "
                "(Index.add), or to the whole"
            )
        if opened.segments.home is None:
            raise FolderError(f"{folder} is an index of version 0.1: load it and save it once, then add to it")
        weights = opened.weights
        if there.levels is not None:
            levels = {**weights.levels, f"{opened.encoder}:{there.storage}": there.levels}
            weights = dataclasses.replace(weights, levels=levels)
        made = path / SEGMENTS / ADDING
        made.parent.mkdir(exist_ok=True)
        how: dict[str, Any] = {"batch": batch, "encoder": opened.encoder, "storage": there.storage}
        compression.to_folder(weights, source, made, zero_rows=zero_rows, overwrite=True, progress=progress, **how)
        alive = index_folder.change(opened, made).alive
        return alive - opened.segments.alive, alive


def remove(folder: str | os.PathLike, ids: Any) -> int:
    """Take rows out by their ids, or numbers where they have none; gives how many rows the index then has.

    Raises:
        InputError: an id that is not in the index; nothing is removed then.
        FolderError: no index stands there.
        BusyError: another process writes it.
    """
    path = files.real(folder)
    with files.locked(path):
        opened = index_folder.read(path, verify=False)
        segments = opened.segments.removed(opened.segments.numbers(ids))
        return index_folder.change(opened._replace(segments=segments)).alive


def compact(folder: str | os.PathLike, progress: bool = True) -> int:
    """Write one segment of all rows that are there, numbered anew; gives how many these are.

    Raises:
        FolderError: no index stands there, or a damaged one.
        BusyError: another process writes it.
    """
    path = files.real(folder)
    with files.locked(path):
        opened = index_folder.read(path)
        segments = opened.segments
        if len(segments.parts) == 1 and segments.allowed is None:
            return segments.alive
        nothing = dataclasses.replace(segments, parts=(Segment(segments.rows[:0]),))
        if not segments.alive:
            return index_folder.change(opened._replace(segments=nothing)).alive
        made, rows = path / SEGMENTS / COMPACTING, segments.rows
        header = {"fingerprint": opened.weights.fingerprint, "encoder": opened.encoder}
        sizes = opened.weights.d, rows.h, rows.k, rows.storage
        with (
            codes_folder.Writer(made, *sizes, header, resume=False, levels=rows.levels) as writer,
            bars.bar(segments.alive, "compact", shown=progress) as bar,
        ):
            for piece in segments.alive_pieces():
                writer.append(piece)
                bar.update(len(piece))
            writer.finish()
        return index_folder.change(opened._replace(segments=nothing), made).alive
