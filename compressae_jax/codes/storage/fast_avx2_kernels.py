"""The compiled loops of `fast` for x86 machines that have AVX2 and no byte instructions of AVX-512.

Set bits are found a byte of the bitmap at a time, by a table of where each byte has them (as simdjson's and Lemire's
loops over bitmaps do); eight nonzeros at a time are cut out of the fields of low bits and of values.
"""

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
    lanes_of,
    load,
    looked_up,
    shape,
    store,
)
from compressae_jax.codes.storage.fast_parts_kernels import BYTE, HALF, ROWS, WORD, apart, row_of, vector_at, word_of

FEATURES = ("avx2",)  # what these loops need of a machine
LANES = 8  # nonzeros of a step, and bits whose places one look into the table gives
NUMBER = ir.IntType(32)


def _spots(byte: int) -> list[int]:
    places = [place for place in range(LANES) if byte >> place & 1]
    return [place - i for i, place in enumerate(places)] + [0] * (LANES - len(places))


# The i-th number of a byte's line: the place of its i-th set bit, less i.
SPOTS = np.array([_spots(byte) for byte in range(256)], np.uint8)


@compiled
def unpack(records, h, low, signed, values, columns):
    """What `fast_kernels.unpack` does."""
    inside, some, last_values, last_columns = apart(records, values.shape[1])
    unpack_roomy(records, inside, h, low, signed, values, columns)
    rest = len(records) - inside
    unpack_roomy(some, rest, h, low, signed, last_values, last_columns)
    values[inside:], columns[inside:] = last_values[:rest], last_columns[:rest]


@compiled
def unpack_roomy(records, n, h, low, signed, values, columns):
    """The first n rows, each with room behind it in records, values and columns: eight nonzeros together."""
    k, spots = values.shape[1], SPOTS
    bitmap, first = k + ((h - 1) >> low), (low + HALF) * k
    words, some = (bitmap + WORD - 1) // WORD, np.empty(ROWS, np.bool_)
    width = max(k, words * WORD) + LANES
    places = np.empty(ROWS * width, np.uint8)
    for start in range(0, n, ROWS):
        stop = min(start + ROWS, n)
        for row in range(start, stop):
            at, count, used = (row - start) * width, np.int64(0), np.uint64(0)
            for word in range(words):
                bits = word_of(records, row, first, bitmap, word)
                count = _find(bits, word, count, spots, places, at)
                used |= bits
            for i in range(count, k):  # of damaged rows, and of zero rows
                places[at + i] = (0 - i) & 255
            some[row - start] = used != 0
        for row in range(start, stop):
            for i in range(0, k, LANES):
                _fields(records, row, h, low, signed, values, columns, places, (row - start) * width, i)
        for row in range(start, stop):
            if not some[row - start]:
                for i in range(k):
                    values[row, i], columns[row, i] = 0, i


@emitted
def _find(_, bits, word, count, spots, places, at):
    """Put the buckets of the bits set in a word behind the `count` of those before, and count them, too."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        bits, word, count, _, _, at = given
        spots, places = (argument(context, builder, signature, given, place).data for place in (3, 4))
        first = builder.shl(word, INT(6))
        for byte in range(0, WORD, LANES):
            some = builder.and_(builder.lshr(bits, INT(byte)), INT(255))
            before = builder.sub(builder.add(first, INT(byte)), count)
            found = load(builder, spots, builder.shl(some, INT(3)), LANES)
            found = builder.add(found, everywhere(builder, builder.trunc(before, BYTE), LANES))
            store(builder, places, builder.add(at, count), found)
            count = builder.add(count, builder.ctpop(some))
        return count

    given = types.uint64, types.int64, types.int64, spots, places, types.int64
    return contiguous(types.int64, *given), emit


@emitted
def _fields(_, records, row, h, low, signed, values, columns, places, at, i):
    """Put values and columns of eight nonzeros from the i-th on of a row whose buckets stand at `at`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        _, row, h, low, *_, at, i = given
        signed, values, columns, places = (argument(context, builder, signature, given, place) for place in range(4, 8))
        data, start = row_of(context, builder, signature, given)
        k, wide = shape(builder, values)[1], ir.VectorType(NUMBER, LANES)
        bits = builder.trunc(low, NUMBER)

        # Eight fields of low bits are as many bytes: four in each of two words.
        packed = vector_at(builder, data, builder.add(start, builder.lshr(builder.mul(i, low), INT(3))), INT)
        halves = [builder.lshr(packed, shift) for shift in (INT(0), builder.shl(low, INT(2)))]
        halves = [everywhere(builder, builder.trunc(half, NUMBER), LANES) for half in halves]
        four = lanes_of(NUMBER, (*range(LANES // 2), *range(LANES + LANES // 2, 2 * LANES)))
        fields = builder.shuffle_vector(*halves, four)
        shifts = builder.mul(everywhere(builder, bits, LANES), lanes_of(NUMBER, (lane % 4 for lane in range(LANES))))
        below = builder.sub(builder.shl(NUMBER(1), bits), NUMBER(1))
        fields = builder.and_(builder.lshr(fields, shifts), everywhere(builder, below, LANES))
        buckets = builder.zext(load(builder, places.data, builder.add(at, i), LANES), wide)
        found = builder.or_(builder.shl(buckets, everywhere(builder, bits, LANES)), fields)
        last = everywhere(builder, builder.trunc(builder.sub(h, INT(1)), NUMBER), LANES)
        found = builder.select(builder.icmp_unsigned("<", found, last), found, last)
        into = builder.add(builder.mul(row, k), i)
        store(builder, columns.data, into, builder.trunc(found, ir.VectorType(ir.IntType(16), LANES)))

        first = builder.add(builder.mul(k, low), builder.mul(i, INT(HALF)))
        packed = vector_at(builder, data, builder.add(start, builder.lshr(first, INT(3))), INT)
        packed = builder.trunc(builder.lshr(packed, builder.and_(first, INT(7))), NUMBER)
        shifts = lanes_of(NUMBER, range(0, LANES * HALF, HALF))
        numbers = builder.lshr(everywhere(builder, packed, LANES), shifts)
        levels = [load(builder, signed.data, INT(half), LANES) for half in (0, LANES)]
        store(builder, values.data, into, looked_up(builder, levels, numbers))
        return context.get_dummy_value()

    integers = types.int64
    given = records, integers, integers, integers, signed, values, columns, places, integers, integers
    return contiguous(types.void, *given), emit
