"""The compiled loops of `residual` for machines with AVX-512 and its instructions for bytes and for Galois fields."""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from compressae_jax.base.compiled import compiled
from compressae_jax.base.llvm_kernels import (
    FLOAT,
    INT,
    argument,
    call,
    contiguous,
    emitted,
    everywhere,
    lanes_of,
    load,
    shape,
    store,
)
from compressae_jax.codes.storage import residual_parts_kernels as parts
from compressae_jax.codes.storage.residual_parts_kernels import GROUP, TOGETHER

FEATURES = ("avx512f", "avx512bw", "avx512vbmi", "gfni")  # what these loops need of a machine
LANES = 16  # floats of a vector
# Where the bytes of eight groups of so many bits go: byte 7 - i of a group's eight is that of weight 2^i.
ORDER = np.array([[max(0, i // 8 * bits + bits - 8 + i % 8) for i in range(TOGETHER)] for bits in range(9)], np.uint8)


@compiled
def unpack(records, behind, few, deviations, scales, widths, tables, values):
    """What `residual_kernels.unpack` does, with vectors but for the last rows, behind which there is no room."""
    n, inside, how = len(records), parts.with_room(records, values), (deviations, scales, widths, tables)
    unpack_roomy(records, inside, behind, few, *how, values)
    parts.unpack_roomy(records[inside:], n - inside, behind, few[inside:], *how, values[inside:])


@compiled
def unpack_roomy(records, n, behind, few, deviations, scales, widths, tables, values):
    """The first n rows, each with 64 bytes behind it in records and as many numbers in values."""
    first, m, order = few.shape[1], len(deviations), ORDER
    starts = parts.runs(widths, TOGETHER)
    units = np.zeros(m + TOGETHER, np.float32)
    units[:m] = deviations
    for row in range(n):
        # What a run writes beyond its end is written over by what comes next.
        for j in range(first):
            values[row, j] = few[row, j]
        if few[row, 0] == 0:
            values[row, first:] = 0
            continue
        scale, at = scales[records[row, behind]], behind + 1
        for run in range(len(starts)):
            start = starts[run]
            bits, some = widths[start], (starts[run + 1] if run + 1 < len(starts) else m) - start
            if bits <= 4:
                _few_levels(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            elif bits == 5:
                _more_levels(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            else:
                _many_levels(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            at += bits * ((some + GROUP - 1) // GROUP)


def _coordinates(levels: Callable[[ir.IRBuilder, ir.Value, ir.Value, ir.Value], ir.Value]) -> Any:
    """A loop's body for up to 64 coordinates of so many bits, which `levels` looks up."""

    @emitted
    def body(_, records, row, at, bits, some, start, first, order, tables, deviations, scale, values):
        whole = types.int64
        given = contiguous(
            types.void,
            records,
            whole,
            whole,
            whole,
            whole,
            whole,
            whole,
            order,
            tables,
            deviations,
            types.float32,
            values,
        )
        return given, emit

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        _, row, at, bits, some, start, first, *_, scale, _ = given
        records, order, tables, deviations, values = (
            argument(context, builder, signature, given, place) for place in (0, 7, 8, 9, 11)
        )
        byte, number, block = ir.IntType(8), ir.IntType(32), ir.VectorType(FLOAT, LANES)
        planes = load(builder, records.data, builder.add(builder.mul(row, shape(builder, records)[1]), at), TOGETHER)
        place = load(builder, order.data, builder.mul(bits, INT(TOGETHER)), TOGETHER)
        planes = call(builder, "llvm.x86.avx512.permvar.qi.512", planes.type, planes, place)
        # Bit i of byte j of the product with the bytes 2^j is bit j of byte 7 - i: rows of bits become columns.
        each = lanes_of(byte, (1 << lane % 8 for lane in range(TOGETHER)))
        turned = call(builder, "llvm.x86.vgf2p8affineqb.512", planes.type, each, planes, byte(0))
        below = builder.sub(builder.shl(number(1), builder.trunc(bits, number)), number(1))
        table = builder.gep(tables.data, [builder.mul(bits, INT(256))])
        to = builder.add(builder.mul(row, shape(builder, values)[1]), builder.add(first, start))
        for quarter in range(0, TOGETHER, LANES):
            with builder.if_then(builder.icmp_signed(">", some, INT(quarter)), likely=True):
                lanes = lanes_of(number, range(quarter, quarter + LANES))
                numbers = builder.zext(builder.shuffle_vector(turned, turned, lanes), ir.VectorType(number, LANES))
                numbers = builder.and_(numbers, everywhere(builder, below, LANES))
                unit = load(builder, deviations.data, builder.add(start, INT(quarter)), LANES)
                unit = builder.fmul(unit, everywhere(builder, scale, LANES))
                found = levels(builder, table, numbers, block(None))
                store(builder, values.data, builder.add(to, INT(quarter)), builder.fmul(found, unit))
        return context.get_dummy_value()

    return body


def _of_16(builder: ir.IRBuilder, table: ir.Value, numbers: ir.Value, zeros: ir.Value) -> ir.Value:
    some = load(builder, table, INT(0), LANES)
    return call(builder, "llvm.x86.avx512.permvar.sf.512", zeros.type, some, numbers)


def _of_32(builder: ir.IRBuilder, table: ir.Value, numbers: ir.Value, zeros: ir.Value) -> ir.Value:
    low, high = (load(builder, table, INT(at), LANES) for at in (0, LANES))
    return call(builder, "llvm.x86.avx512.vpermi2var.ps.512", zeros.type, low, numbers, high)


def _of_256(builder: ir.IRBuilder, table: ir.Value, numbers: ir.Value, zeros: ir.Value) -> ir.Value:
    start, everyone = builder.bitcast(table, ir.IntType(8).as_pointer()), lanes_of(ir.IntType(1), [1] * LANES)
    name = "llvm.x86.avx512.mask.gather.dps.512"
    return call(builder, name, zeros.type, zeros, start, numbers, everyone, ir.IntType(32)(4))


_few_levels, _more_levels, _many_levels = map(_coordinates, (_of_16, _of_32, _of_256))
