"""Rows from one storage into another."""

from collections.abc import Sequence

import numpy as np

from compressae_jax.base import threads
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.codes.mapped import NO_FILES
from compressae_jax.codes.rows import MadeBy, Rows
from compressae_jax.codes.storage.kinds import PACKINGS, packing
from compressae_jax.codes.storage.packed import Packed, Packing, pack
from compressae_jax.notation import InputError

PIECE = 2**13  # rows packed at once


def stored(rows: Rows, storage: str, levels: Sequence[float] | None = None, similarity: str = "cosine") -> Rows:
    """The rows as `storage` has them, checked; themselves where they have it already. Norms and lengths stay.

    `similarity`: of codes that are packed, whose values have lengths folded in under 'dot'. Packed rows can be packed
    otherwise, by the same levels.

    Raises:
        InputError: packed rows for other levels or none, a value beyond what the storage holds, bad rows.
    """
    levels = None if levels is None else tuple(levels)
    if (rows.storage, rows.levels) == (storage, levels):
        return rows.check()
    if rows.levels is not None and rows.levels == levels and storage in PACKINGS:
        how = packing(storage, rows.h, rows.k, levels, rows.similarity)
        return _packed_otherwise(rows.check(), how)
    if rows.levels is not None:
        wanted = f"packed by {levels}" if levels is not None else f"codes for storage {storage!r}"
        raise InputError(f"rows must be {wanted}, not packed by {rows.levels}")
    codes = rows.codes()
    if storage in PACKINGS:
        return pack(codes, packing(storage, codes.h, codes.k, levels or (), similarity))
    with np.errstate(over="ignore"):  # what is too large for float16 is named by the check
        values = np.asarray(codes.values).astype(storage)
    return Codes(values, codes.columns, codes.h, codes.norms, codes.ids, codes.made_by, lengths=codes.lengths).check()


def _packed_otherwise(rows: Rows, how: Packing) -> Packed:
    """Rows of the same levels, which stay as they are: on all cores, a piece at a time."""
    records = np.empty((len(rows), how.width), np.uint8)

    def work(start: int) -> None:
        here = slice(start, start + PIECE)
        records[here] = pack(rows[here].codes(), how).records

    threads.deal(work, range(0, len(rows), PIECE))
    files = NO_FILES if rows.ids is None else rows.files  # which these may be maps of
    return Packed(records, how, rows.ids, rows.made_by, True, files)


def empty(
    h: int,
    k: int,
    storage: str,
    levels: Sequence[float] | None = None,
    made_by: MadeBy | None = None,
    ids: str | None = None,
    similarity: str = "cosine",
) -> Rows:
    """No rows of a kind; `ids`: None, '<i8', '<u8' or 'utf8'."""
    named: Ids | None = None
    if ids is not None:
        named = TextIds.of([]) if ids == "utf8" else np.empty(0, ids)
    if storage in PACKINGS:
        how = packing(storage, h, k, levels or (), similarity)
        return Packed(np.empty((0, how.width), np.uint8), how, named, made_by, verified=True)
    values, columns = np.empty((0, k), storage), np.empty((0, k), column_dtype(h))
    lengths = np.empty(0, np.float32) if similarity == "dot" else None
    return Codes(values, columns, h, np.empty((0, 2), np.float32), named, made_by, verified=True, lengths=lengths)
