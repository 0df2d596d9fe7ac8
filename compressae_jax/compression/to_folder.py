"""Rows into a codes folder, resumable: what was written stays, and the same call continues it or finds it complete."""

import os
import time
import warnings
from pathlib import Path
from typing import Any

from compressae_jax.base import files
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes import writer as codes_writer
from compressae_jax.compression import pipeline
from compressae_jax.compression.parts import PART, SOURCE, check_free, span_of
from compressae_jax.data import identity
from compressae_jax.data.sources import BadRowsError, Source
from compressae_jax.model import weights as model_weights
from compressae_jax.model.encoders import Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import BusyError, FolderError, InputError

WAIT = 30.0  # seconds at most for others that write levels into the same model folder, which takes them milliseconds


def to_folder(
    model: Weights | str | os.PathLike,
    source: Source,
    out: str | os.PathLike,
    part: tuple[int, int] | None = None,
    batch: int = pipeline.BATCH,
    encoder: str | None = None,
    storage: str | None = None,
    zero_rows: str = "stop",
    overwrite: bool = False,
    progress: bool = True,
    similarity: str = "cosine",
) -> dict[str, int | float]:
    """Stream a source into a codes folder; the same call continues what an interruption left, and is done if it is.

    `model`: weights, or a model folder, which then keeps the levels of packed values for rows of other days. `part`:
    (i, m), the i-th of m parts (from 1), for `join`. `batch` rows are read at once. `encoder` is one of
    `model.encoders.ENCODERS`, `storage` of `codes.storage.kinds.STORAGES`; both default to what the model was made
    for. Under `similarity` 'dot' the lengths of vectors are kept, so that searches give inner products. `zero_rows`:
    'stop' refuses them, 'keep' gives them all-zero codes, 'drop' leaves them out and records the ids of the others,
    their row numbers where there are none. `overwrite` replaces what other inputs gave. Returns rows, bytes a vector
    (all that search needs) and how many times smaller than float32 that is.

    Raises:
        BadRowsError: a vector that is not finite, a zero row under 'stop', a value too large for float16.
        InputError: options out of range; a partial folder of a source that has changed since.
        FolderError: something else stands at `out`.
        BusyError: another process writes it.
        OSError: a file that cannot be read or written at this moment; what was written stays, to be continued.
    """
    pipeline.check(batch, zero_rows)
    span = span_of(len(source), part)
    out = files.check_out(out)
    weights = model if isinstance(model, Weights) else model_weights.load(model)
    how = pipeline.encoder_for(weights, source, encoder, storage, similarity)
    if how.packed and not isinstance(model, Weights):
        _keep_levels(weights, model)
    header: dict[str, Any] = {"fingerprint": weights.fingerprint, "encoder": how.encoder}
    header |= {SOURCE: source.identity(), "zero_rows": zero_rows}
    header |= {} if part is None else {PART: list(part)}
    if (rows := _complete(out, how, header)) is None:
        if not (overwrite or (codes_writer.partial_of(files.real(out)).exists() and not out.exists())):
            check_free(out, overwrite)
        rows = _written(out, how, source, header, span, zero_rows, batch, progress)
    else:
        codes_writer.sweep(files.real(out))
    cost = pipeline.bytes_of(how)
    ratio = 4 * weights.d / cost
    if progress:
        print(f"{rows:,} rows, {cost} bytes a vector, {ratio:.1f} times smaller than float32: {out}")
    return {"rows": rows, "bytes_per_vector": cost, "ratio": ratio}


def _written(
    out: Path,
    how: Encoder,
    source: Source,
    header: dict[str, Any],
    span: range,
    zero_rows: str,
    batch: int,
    progress: bool,
) -> int:
    """Write what is missing, and give the number of rows."""
    begun = codes_writer.begun(out)
    if begun is not None:
        if found := identity.difference(begun.get(SOURCE, {}), header[SOURCE]):
            with files.locked(out):  # of one that is at work this is what is said, not that it should be removed
                partial = codes_writer.partial_of(files.real(out))
            raise InputError(
                f"{partial} was begun with another {source.name}: {found}; bring that back, or remove {partial} to "
                "start anew"
            )
        header = {**header, SOURCE: begun.get(SOURCE, header[SOURCE])}
    levels = how.levels if how.packed else None
    sizes = how.weights.d, how.weights.h, how.k, how.storage
    with codes_folder.Writer(out, *sizes, header, levels=levels, similarity=how.similarity) as writer:
        first = pipeline.place_of(source, span, writer.rows, zero_rows)
        try:
            for some in pipeline.compressed(how, source, span, zero_rows, batch, first, progress):
                writer.append(some.rows)
        except BadRowsError:
            writer.discard()  # the source or the options must change, so these bytes can never be continued
            raise
        writer.finish()
        return writer.rows


def _complete(out: Path, how: Encoder, header: dict[str, Any]) -> int | None:
    """The rows of a finished folder that holds what is asked for already; None where it does not, or there is none."""
    if not out.is_dir() or not any(out.iterdir()):
        return None
    try:
        rows, _, _, meta = codes_folder.read(out, verify=False)
    except FolderError:
        return None
    asked = {**header, "storage": how.storage, "levels": how.levels if how.packed else None, "k": how.k}
    asked |= {"similarity": how.similarity}
    there = {**{name: meta.get(name) for name in header}, "storage": rows.storage, "levels": rows.levels, "k": rows.k}
    there |= {"similarity": rows.similarity}
    if PART in meta and PART not in header:
        return None
    before, now = there.pop(SOURCE), asked.pop(SOURCE)
    same = isinstance(before, dict) and "sample" in before and identity.difference(before, now) is None
    return len(rows) if same and there == asked else None


def _keep_levels(weights: Weights, folder: str | os.PathLike) -> None:
    """Write new levels into the model's folder, in turn with others that do; one that is read-only stays as it is."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            return model_weights.keep_levels(weights, folder)
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        except OSError as error:
            warnings.warn(
                f"the levels of packed values cannot be kept in {folder} ({error.strerror}): rows that are compressed "
                "on another day may get others, and cannot be joined with these",
                stacklevel=2,
            )
            return None
