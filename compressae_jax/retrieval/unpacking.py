"""Rows as every backend scores them, a slice at a time: arrays as they are, packed rows unpacked on the host."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import Packed, Unpacker
from compressae_jax.notation import RowScales


class Part(NamedTuple):
    """Some rows, in NumPy; of packed ones the arrays belong to their reader."""

    values: Float[np.ndarray, "c k"]
    columns: Integer[np.ndarray, "c k"]
    row_scales: Float[np.ndarray, " c"]


def reader(
    codes: Codes | Packed, row_scales: RowScales | None, rows: int, fresh: bool = False
) -> Callable[[slice], Part]:
    """What reads slices of at most `rows` rows, for one thread; unless `fresh`, the next call may overwrite the last.

    `row_scales` None is for packed rows only: 1 / ‖values‖, computed as they are unpacked, so that nothing is held for
    a row but its record. Where all scales are one number, a broadcast view of it costs nothing either.
    """
    scales = None if row_scales is None else np.asarray(row_scales, np.float32)
    if isinstance(codes, Packed):
        return _packed_reader(codes, scales, min(rows, max(1, len(codes))), fresh)
    assert scales is not None
    values, columns = np.asarray(codes.values), np.asarray(codes.columns)
    return lambda here: Part(values[here], columns[here], scales[here])


def _packed_reader(
    packed: Packed, scales: Float[np.ndarray, " n"] | None, rows: int, fresh: bool
) -> Callable[[slice], Part]:
    from compressae_jax.codes import row_kernels

    unpacker, own = Unpacker(packed.packing, rows), np.empty(rows, np.float32)

    def read(here: slice) -> Part:
        values, columns = unpacker(packed.records[here])
        if fresh:
            values, columns = values.copy(), columns.copy()
        if scales is not None:
            return Part(values, columns, scales[here])
        computed = np.empty(len(values), np.float32) if fresh else own[: len(values)]
        row_kernels.unit_scales(values, computed)
        return Part(values, columns, computed)

    return read
