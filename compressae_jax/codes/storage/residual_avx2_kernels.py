"""The compiled loops of `residual` for x86 machines that have AVX2 and not all of what AVX-512 would need.

A bit of each of 32 coordinates: the byte that it is in goes to the coordinate's own byte, where all others are masked.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

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
    looked_up,
    shape,
    store,
)
from compressae_jax.codes.storage import residual_parts_kernels as parts
from compressae_jax.codes.storage.residual_parts_kernels import GROUP, TOGETHER

FEATURES = ("avx2",)  # what these loops need of a machine
MOST, HALF = 32, 16  # coordinates whose bits are put together, and half of them: bytes are moved within halves
BYTE, NUMBER = ir.IntType(8), ir.IntType(32)
# Where the first byte of a coordinate's group of so many bits stands behind that of the first group of the half.
ORDER = np.array([[i % HALF // GROUP * bits for i in range(MOST)] for bits in range(9)], np.uint8)


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
    starts = parts.runs(widths, MOST)
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
            if bits <= 3:
                _levels_of_3(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            elif bits == 4:
                _levels_of_4(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            elif bits == 5:
                _levels_of_5(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            else:
                _levels_of_8(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            at += bits * ((some + GROUP - 1) // GROUP)


def _coordinates(levels: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Any:
    """A loop's body for up to 32 coordinates of so many bits, eight of which `levels` looks up."""

    @emitted
    def body(_, records, row, at, bits, some, start, first, order, tables, units, scale, values):
        whole = [types.int64] * 6
        given = records, *whole, order, tables, units, types.float32, values
        return contiguous(types.void, *given), emit

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        _, row, at, bits, some, start, first, *_, scale, _ = given
        records, order, tables, units, values = (
            argument(context, builder, signature, given, place) for place in (0, 7, 8, 9, 11)
        )
        at = builder.add(builder.mul(row, shape(builder, records)[1]), at)
        halves = [
            load(builder, records.data, builder.add(at, place), HALF) for place in (INT(0), builder.shl(bits, INT(1)))
        ]
        planes = builder.shuffle_vector(*halves, lanes_of(NUMBER, range(MOST)))
        mask = lanes_of(BYTE, (1 << lane % GROUP for lane in range(MOST)))
        place = cgutils.alloca_once_value(builder, load(builder, order.data, builder.mul(bits, INT(MOST)), MOST))
        numbers = cgutils.alloca_once_value(builder, planes.type(None))
        with cgutils.for_range(builder, bits):
            here, so_far = builder.load(place), builder.load(numbers)
            moved = builder.and_(call(builder, "llvm.x86.avx2.pshuf.b", planes.type, planes, here), mask)
            bit = builder.zext(builder.icmp_unsigned("==", moved, mask), planes.type)
            builder.store(builder.add(builder.add(so_far, so_far), bit), numbers)
            builder.store(builder.add(here, lanes_of(BYTE, [1] * MOST)), place)
        found = builder.load(numbers)
        table = builder.gep(tables.data, [builder.mul(bits, INT(256))])
        to = builder.add(builder.mul(row, shape(builder, values)[1]), builder.add(first, start))
        for quarter in range(0, MOST, GROUP):
            with builder.if_then(builder.icmp_signed(">", some, INT(quarter)), likely=True):
                eight = builder.shuffle_vector(found, found, lanes_of(NUMBER, range(quarter, quarter + GROUP)))
                unit = load(builder, units.data, builder.add(start, INT(quarter)), GROUP)
                unit = builder.fmul(unit, everywhere(builder, scale, GROUP))
                level = levels(builder, table, builder.zext(eight, ir.VectorType(NUMBER, GROUP)))
                store(builder, values.data, builder.add(to, INT(quarter)), builder.fmul(level, unit))
        return context.get_dummy_value()

    return body


def _in_registers(bits: int) -> Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]:
    def levels(builder: ir.IRBuilder, table: ir.Value, numbers: ir.Value) -> ir.Value:
        return looked_up(builder, [load(builder, table, INT(at), GROUP) for at in range(0, 1 << bits, GROUP)], numbers)

    return levels


def _gathered(builder: ir.IRBuilder, table: ir.Value, numbers: ir.Value) -> ir.Value:
    kind, start = ir.VectorType(FLOAT, GROUP), builder.bitcast(table, BYTE.as_pointer())
    everyone = builder.bitcast(lanes_of(NUMBER, [-1] * GROUP), kind)
    return call(builder, "llvm.x86.avx2.gather.d.ps.256", kind, kind(None), start, numbers, everyone, BYTE(4))


_levels_of_3, _levels_of_4, _levels_of_5 = (_coordinates(_in_registers(bits)) for bits in (3, 4, 5))
_levels_of_8 = _coordinates(_gathered)
