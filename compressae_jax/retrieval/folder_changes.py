"""Changes of an index folder that need no more memory than a piece of it: additions from files, removals, compaction.

Each holds the folder's lock, and takes its name in one step; the same addition again continues what was interrupted.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import xxhash

from compressae_jax import compression
from compressae_jax.base import files, sealed
from compressae_jax.base import progress as bars
from compressae_jax.base.arrays import pieces
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.ids import TextIds
from compressae_jax.codes.rows import MadeBy
from compressae_jax.codes.storage import convert
from compressae_jax.codes.storage.kinds import levels_name, storage_bits
from compressae_jax.compression.pipeline import encoder_for
from compressae_jax.data.sources import Source
from compressae_jax.model.weights import Weights
from compressae_jax.notation import FolderError, InputError
from compressae_jax.retrieval import index_folder
from compressae_jax.retrieval.additions import check_names
from compressae_jax.retrieval.index_folder import ADDING, COMPACTING, SEGMENTS, Opened
from compressae_jax.retrieval.segments import Segment, Segments

PIECE = 2**20  # ids hashed at once


def begin(
    folder: str | os.PathLike,
    weights: Weights,
    source: Source,
    space: str,
    encoder: str | None = None,
    storage: str | None = None,
    similarity: str = "cosine",
) -> None:
    """An index folder of no rows, for vectors such as the source has; levels, where it needs some, are learned of them.

    Raises:
        InputError: a source, encoder or storage that the model cannot serve.
        FolderError: something stands at that name.
    """
    how = encoder_for(weights, source, encoder, storage, similarity)
    ids = source.ids
    kind = None if ids is None else "utf8" if isinstance(ids, TextIds) else np.dtype(ids.dtype).str
    levels = how.levels if storage_bits(how.storage) is not None else None
    made_by = MadeBy(weights.fingerprint, how.encoder)
    rows = convert.empty(weights.h, how.k, how.storage, levels, made_by, kind, how.similarity)
    index_folder.begin(folder, Opened(Segments((Segment(rows),)), weights, space, how.encoder))


def add(
    folder: str | os.PathLike, source: Source, batch: int = 65_536, zero_rows: str = "stop", progress: bool = True
) -> tuple[int, int]:
    """Encode a source into a new segment, resumable; gives the rows added and those that the index then has.

    Where this very addition was the last change of the rows, as after a kill at its very end, it is done: 0 are added.

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
        what = _digest(source, zero_rows)
        if opened.added == what:
            index_folder.tidy(path)
            return 0, opened.segments.alive
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
            levels = {**weights.levels, levels_name(opened.encoder, there.storage, there.similarity): there.levels}
            weights = dataclasses.replace(weights, levels=levels)
        made = path / SEGMENTS / ADDING
        made.parent.mkdir(exist_ok=True)
        how: dict[str, Any] = {"batch": batch, "encoder": opened.encoder, "storage": there.storage}
        how["similarity"] = there.similarity
        compression.to_folder(weights, source, made, zero_rows=zero_rows, overwrite=True, progress=progress, **how)
        alive = index_folder.change(opened._replace(added=what), made).alive
        return alive - opened.segments.alive, alive


def _digest(source: Source, zero_rows: str) -> str:
    """What an addition is of: the source, whatever its name and time, and the ids of its rows."""
    told = {name: value for name, value in source.identity().items() if name not in ("name", "modified")}
    running = xxhash.xxh3_128(sealed.encoded({**told, "zero_rows": zero_rows}))
    ids = source.ids
    for array in [] if ids is None else [ids.offsets, ids.utf8] if isinstance(ids, TextIds) else [ids]:
        for some in pieces(np.asarray(array), PIECE):
            running.update(some.tobytes())
    return running.hexdigest()


def remove(folder: str | os.PathLike, ids: Any) -> int:
    """Take rows out by their ids, or numbers where they have none; gives how many rows the index then has.

    Rows that are removed already are no error, so that the same call again is done.

    Raises:
        InputError: an id that the index has never had since it was compacted; nothing is removed then.
        FolderError: no index stands there.
        BusyError: another process writes it.
    """
    path = files.real(folder)
    with files.locked(path):
        opened = index_folder.read(path, verify=False)
        segments = opened.segments
        with_removed = [dataclasses.replace(part, removed=None) for part in segments.parts]
        rows = Segments(tuple(with_removed)).numbers(ids)
        return index_folder.change(opened._replace(segments=segments.removed(rows), added=None)).alive


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
            index_folder.tidy(path)
            return segments.alive
        nothing = dataclasses.replace(segments, parts=(Segment(segments.rows[:0]),))
        if not segments.alive:
            return index_folder.change(opened._replace(segments=nothing)).alive
        made, rows = path / SEGMENTS / COMPACTING, segments.rows
        header = {"fingerprint": opened.weights.fingerprint, "encoder": opened.encoder}
        sizes = opened.weights.d, rows.h, rows.k, rows.storage
        with (
            codes_folder.Writer(
                made, *sizes, header, resume=False, levels=rows.levels, similarity=rows.similarity
            ) as writer,
            bars.bar(segments.alive, "compact", shown=progress) as bar,
        ):
            for piece in segments.alive_pieces():
                writer.append(piece)
                bar.update(len(piece))
            writer.finish()
        return index_folder.change(opened._replace(segments=nothing), made, segments.alive_grouping()).alive
