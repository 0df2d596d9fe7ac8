"""Rows from one storage into another."""

from collections.abc import Sequence

import numpy as np

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.rows import Rows
from compressae_jax.codes.storage.packed import Packing, pack, storage_bits
from compressae_jax.notation import InputError


def stored(rows: Rows, storage: str, levels: Sequence[float] | None = None) -> Rows:
    """The rows as `storage` has them, checked; themselves where they have it already. Norms stay what they were.

    Raises:
        InputError: packed rows for another storage, a value beyond what the storage holds, bad rows.
    """
    levels = None if levels is None else tuple(levels)
    if (rows.storage, rows.levels) == (storage, levels):
        return rows.check()
    if rows.levels is not None:
        wanted = f"packed by {levels}" if levels is not None else f"codes for storage {storage!r}"
        raise InputError(f"rows must be {wanted}, not packed by {rows.levels}")
    codes = rows.codes()
    if (bits := storage_bits(storage)) is not None:
        return pack(codes, Packing(codes.h, codes.k, bits, levels or ()))
    with np.errstate(over="ignore"):  # what is too large for float16 is named by the check
        values = np.asarray(codes.values).astype(storage)
    return Codes(values, codes.columns, codes.h, codes.norms, codes.ids, codes.made_by).check()
