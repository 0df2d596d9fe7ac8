"""The compiled loops of `residual` for x86 machines that have AVX2 and not all of what AVX-512 would need."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from compressae_jax.base.compiled import compiled
from compressae_jax.base.llvm_kernels import (
    INT,
    argument,
    contiguous,
    emitted,
    everywhere,
    load,
    looked_up,
    shape,
    store,
)
from compressae_jax.codes.storage import residual_parts_kernels as parts
from compressae_jax.codes.storage.residual_parts_kernels import BYTE, GROUP, LAST, ONE, SPREAD, TOGETHER

FEATURES = ("avx2",)  # what these loops need of a machine
MOST_BITS = 5  # of a coordinate whose level is looked up in registers


@compiled
def unpack(records, behind, few, deviations, scales, widths, tables, values):
    """What `residual_kernels.unpack` does, with vectors but for the last rows, behind which there is no room."""
    n, inside, how = len(records), parts.with_room(records, values), (deviations, scales, widths, tables)
    unpack_roomy(records, inside, behind, few, *how, values)
    parts.unpack_roomy(records[inside:], n - inside, behind, few[inside:], *how, values[inside:])


@compiled
def unpack_roomy(records, n, behind, few, deviations, scales, widths, tables, values):
    """The first n rows, each with 64 numbers behind it in values: eight coordinates together."""
    first, m, spread = few.shape[1], len(deviations), SPREAD
    units = np.zeros(m + TOGETHER, np.float32)
    units[:m] = deviations
    for row in range(n):
        # What a group writes beyond its end is written over by what comes next.
        for j in range(first):
            values[row, j] = few[row, j]
        if few[row, 0] == 0:
            values[row, first:] = 0
            continue
        scale, at = scales[records[row, behind]], behind + 1
        for start in range(0, m, GROUP):
            bits, word = widths[start], np.uint64(0)
            for plane in range(bits):
                word = word << ONE | spread[records[row, at + plane]]
            if bits <= 3:
                _levels_of_3(word, bits, start, first, tables, units, scale, values, row)
            elif bits == 4:
                _levels_of_4(word, bits, start, first, tables, units, scale, values, row)
            elif bits <= MOST_BITS:
                _levels_of_5(word, bits, start, first, tables, units, scale, values, row)
            else:
                for i in range(start, min(start + GROUP, m)):
                    values[row, first + i] = tables[bits, word & LAST] * (units[i] * scale)
                    word >>= BYTE
            at += bits


def _levels(most: int) -> Any:
    """What puts a group's values, of numbers of up to so many bits, each in a byte of a word."""

    @emitted
    def body(_, word, bits, start, first, tables, units, scale, values, row):
        whole = types.int64
        given = types.uint64, whole, whole, whole, tables, units, types.float32, values, whole
        return contiguous(types.void, *given), emit

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        word, bits, start, first, *_, row = given
        tables, units, values = (argument(context, builder, signature, given, place) for place in (4, 5, 7))
        bytes_of = builder.bitcast(word, ir.VectorType(ir.IntType(8), GROUP))
        numbers = builder.zext(bytes_of, ir.VectorType(ir.IntType(32), GROUP))
        table = builder.gep(tables.data, [builder.mul(bits, INT(256))])
        found = looked_up(builder, [load(builder, table, INT(at), GROUP) for at in range(0, 1 << most, GROUP)], numbers)
        unit = builder.fmul(load(builder, units.data, start, GROUP), everywhere(builder, given[6], GROUP))
        to = builder.add(builder.mul(row, shape(builder, values)[1]), builder.add(first, start))
        store(builder, values.data, to, builder.fmul(found, unit))
        return context.get_dummy_value()

    return body


_levels_of_3, _levels_of_4, _levels_of_5 = map(_levels, (3, 4, MOST_BITS))
