"""The compiled loops of `residual`: coordinates to bytes and back.

The bytes of a row: its scale, then for each group one byte a bit, the highest first; bit i of a byte is that of
coordinate i of the group. `unpack_vectors` is for machines with AVX-512 and its instructions for bytes and for Galois
fields, `unpack` for all others, to the same bits.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target

from compressae_jax.base.compiled import compiled, inlined
from compressae_jax.base.llvm_kernels import (
    FLOAT,
    INT,
    argument,
    call,
    contiguous,
    emitted,
    everywhere,
    has,
    lanes_of,
    load,
    shape,
    store,
)

GROUP = 8
ONE, BYTE, LAST = np.uint64(1), np.uint64(8), np.uint64(255)
SPREAD = np.array([sum((byte >> i & 1) << 8 * i for i in range(8)) for byte in range(256)], np.uint64)  # a bit a byte
VECTORS = ("avx512f", "avx512bw", "avx512vbmi", "gfni")  # what `unpack_vectors` needs of a machine
TOGETHER, LANES = 64, 16  # coordinates whose bits one instruction turns around, and floats of a vector
# Where the bytes of eight groups of so many bits go: byte 7 - i of a group's eight is that of weight 2^i.
ORDER = np.array([[max(0, i // 8 * bits + bits - 8 + i % 8) for i in range(TOGETHER)] for bits in range(9)], np.uint8)
EXACT = 1e-11  # squared error beside a row's square, of values that are levels already


@compiled
def pack(values, used, deviations, scales, widths, tables, tail):
    """Write coordinates (n, m) as level numbers at the scale that leaves the least error, into zeroed bytes.

    Values that are levels already, at some scale, are found by the few scales that their first one may have.
    """
    m, first = values.shape[1], widths[0]
    step = np.log(scales[1] / scales[0])
    for row in range(len(values)):
        if not used[row]:
            continue
        best, square = np.int64(-1), np.float64(0)
        for i in range(m):
            square += np.float64(values[row, i]) * values[row, i]
        for number in range(1 << (first - 1), 1 << first):
            scale = abs(values[row, 0]) / (tables[first, number] * deviations[0])
            if scale <= 0:
                continue
            place = np.int64(np.rint(np.log(scale / scales[0]) / step))
            if 0 <= place < len(scales):
                least = EXACT * square
                if _error(values[row], deviations, scales[place], widths, tables, least) < least:
                    best = place
                    break
        if best < 0:
            best, least = np.int64(0), np.float64(np.inf)
            for some in range(len(scales)):
                error = _error(values[row], deviations, scales[some], widths, tables, least)
                if error < least:
                    best, least = np.int64(some), error
        tail[row, 0] = best
        at = 1
        for start in range(0, m, GROUP):
            bits = widths[start]
            for i in range(start, min(start + GROUP, m)):
                number = nearest(values[row, i], deviations[i] * scales[best], bits, tables)
                for plane in range(bits):
                    tail[row, at + plane] |= ((number >> (bits - 1 - plane)) & 1) << (i - start)
            at += bits


def has_vectors() -> bool:
    """Whether loops are compiled for a machine that `unpack_vectors` runs on."""
    return has(cpu_target.target_context, *VECTORS)


def fastest(roomy: bool = False) -> Any:
    """Of `unpack_vectors` and `unpack`, the one for this machine; or, `roomy`, of those that need room behind."""
    if roomy:
        return unpack_roomy_vectors if has_vectors() else unpack_roomy
    return unpack_vectors if has_vectors() else unpack


@compiled
def unpack(records, behind, few, deviations, scales, widths, tables, values):
    """Whole rows of values (n, first + m): the nonzeros' `few` (n, first), and coordinates; zeros of zero rows.

    `records` (n, w) have the bytes of coordinates from byte `behind` on.
    """
    unpack_roomy(records, len(records), behind, few, deviations, scales, widths, tables, values)


@compiled
def unpack_vectors(records, behind, few, deviations, scales, widths, tables, values):
    """What `unpack` does, with vectors but for the last rows, behind which there is no room."""
    (n, width), k = records.shape, values.shape[1]
    inside = max(0, n - max((TOGETHER + width - 1) // width, (TOGETHER + k - 1) // k))
    how = deviations, scales, widths, tables
    unpack_roomy_vectors(records, inside, behind, few, *how, values)
    unpack_roomy(records[inside:], n - inside, behind, few[inside:], *how, values[inside:])


@compiled
def roomy(n, k):
    """Room for n rows of k values, and behind them for what `unpack_roomy_vectors` writes."""
    return np.empty((n + (TOGETHER + k - 1) // k, k), np.float32)


@compiled
def unpack_roomy_vectors(records, n, behind, few, deviations, scales, widths, tables, values):
    """The first n rows, each with 64 bytes behind it in records and as many numbers in values."""
    first, m, order = few.shape[1], len(deviations), ORDER
    # Runs of coordinates of equal bits, as long as vectors take them together.
    starts, count = np.empty(m, np.int64), 0
    for start in range(0, m, GROUP):
        if count == 0 or widths[start] != widths[starts[count - 1]] or start - starts[count - 1] == TOGETHER:
            starts[count] = start
            count += 1
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
        for run in range(count):
            start = starts[run]
            bits, some = widths[start], (starts[run + 1] if run + 1 < count else m) - start
            if bits <= 4:
                _few_levels(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            elif bits == 5:
                _more_levels(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            else:
                _many_levels(records, row, at, bits, some, start, first, order, tables, units, scale, values)
            at += bits * ((some + GROUP - 1) // GROUP)


@compiled
def unpack_roomy(records, n, behind, few, deviations, scales, widths, tables, values):
    """The same, one by one; needs no room."""
    first, m = few.shape[1], len(deviations)
    for row in range(n):
        values[row, :first] = few[row]
        if few[row, 0] == 0:
            values[row, first:] = 0
            continue
        scale, at = scales[records[row, behind]], behind + 1
        for start in range(0, m, GROUP):
            bits, word = widths[start], np.uint64(0)
            for plane in range(bits):
                word = word << ONE | SPREAD[records[row, at + plane]]
            for i in range(start, min(start + GROUP, m)):
                values[row, first + i] = tables[bits, word & LAST] * (deviations[i] * scale)
                word >>= BYTE
            at += bits


@inlined
def _error(values, deviations, scale, widths, tables, least):
    """The squared error of the nearest levels, or a part of it that is `least` already."""
    error = np.float64(0)
    for i in range(len(values)):
        unit = deviations[i] * scale
        wrong = values[i] - tables[widths[i], nearest(values[i], unit, widths[i], tables)] * unit
        error += wrong * wrong
        if error >= least:
            break
    return error


@inlined
def nearest(value, unit, bits, tables):
    """The number of the level nearest to a value: by halving, over the middles between levels."""
    low, high = 0, (1 << bits) - 1
    while low < high:
        middle = (low + high) >> 1
        if value > (tables[bits, middle] + tables[bits, middle + 1]) * np.float32(0.5) * unit:
            low = middle + 1
        else:
            high = middle
    return low


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
