"""What loops over `fast` rows share, with vectors or without: where rows begin, bitmaps, the rows that end a file."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from compressae_jax.base.compiled import compiled
from compressae_jax.base.llvm_kernels import INT, argument, call, contiguous, emitted, shape
from compressae_jax.codes.storage.packed import ROOM

ROWS = 32  # whose buckets are found before they are read: a load that waits for a store takes longer than all else
WORD = 64  # bits of a word of the bitmap
COLUMNS = 32  # that are written at once, at most
HALF = 4  # bits of a value
BYTE = ir.IntType(8)


@compiled
def apart(records, k):
    """How many rows come before the last ones, which have no room behind them, and these with room, for them, too."""
    n, width = records.shape
    beyond, columns = (ROOM + width - 1) // width, (COLUMNS + k - 1) // k
    rest = min(n, max(beyond, columns))
    some = np.zeros((rest + beyond, width), np.uint8)
    some[:rest] = records[n - rest :]
    room = rest + columns
    return n - rest, some, np.empty((room, k), np.float32), np.empty((room, k), np.uint16)


@emitted
def word_of(_, records, row, first, bitmap, word):
    """A word of a row's bitmap, which begins at a bit and has so many."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        data, start = row_of(context, builder, signature, given)
        done = builder.shl(given[4], INT(6))
        return bits_of(builder, data, start, given[2], builder.sub(given[3], done), done)

    return contiguous(types.uint64, records, types.int64, types.int64, types.int64, types.int64), emit


def bits_of(
    builder: ir.IRBuilder, data: ir.Value, start: ir.Value, first: ir.Value, left: ir.Value, done: ir.Value
) -> ir.Value:
    """The next 64 of the `left` bits of the bitmap at a bit of the row that starts at a byte, zeros behind them."""
    first = builder.add(first, done)
    at = builder.add(start, builder.lshr(first, INT(3)))
    two = (vector_at(builder, data, builder.add(at, INT(byte)), INT) for byte in (8, 0))
    bits = call(builder, "llvm.fshr.i64", INT, *two, builder.and_(first, INT(7)))
    above = builder.shl(INT(-1), builder.and_(left, INT(63)))
    whole = builder.icmp_signed(">=", left, INT(WORD))
    return builder.select(whole, bits, builder.and_(bits, builder.not_(above)))


def row_of(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> tuple[ir.Value, ir.Value]:
    """The bytes of all records, the first argument, and where the row of the second begins."""
    records = argument(context, builder, signature, given, 0)
    return records.data, builder.mul(given[1], shape(builder, records)[1])


def vector_at(builder: ir.IRBuilder, data: ir.Value, at: ir.Value, kind: ir.Type) -> ir.Value:
    """What lies from a byte on."""
    return builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=1)
