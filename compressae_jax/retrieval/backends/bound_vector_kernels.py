"""The vectors of `bound_kernels`, for x86 machines that have AVX2.

Rows are turned around, so that a line is one byte of each of 32 rows, and a half of it is looked up in a register, in
a table of 16 numbers of 8 bits (André, Kermarrec & Le Scouarnec 2015, Cache locality is not enough, as faiss does).
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from compressae_jax.base.llvm_kernels import (
    FLOAT,
    FUSED,
    INT,
    argument,
    call,
    contiguous,
    emitted,
    fetch,
    lanes_of,
    load,
    shape,
    store,
)
from compressae_jax.codes.storage.fast_parts_kernels import HALF as VALUE_BITS
from compressae_jax.codes.storage.fast_parts_kernels import bits_of, row_of, vector_at

FEATURES = ("avx2",)  # what these loops need of a machine
ROWS, HALF = 32, 16  # of a line, and of what instructions move bytes within
TOGETHER = 4  # queries that share what is read of a line
BYTE, SHORT, NUMBER = ir.IntType(8), ir.IntType(16), ir.IntType(32)
LINE = 64  # bytes that a cache fetches together
FIELDS = 8  # of low bits, which are 8 at most, in a word


@emitted
def turn(_, records, row, at, tile, block, line):
    """Write bytes at … at + 15 of the 32 rows from a row on as 16 lines of a block of the tile (blocks, lines, 32)."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        records, tile = (argument(context, builder, signature, given, place) for place in (0, 3))
        width, lines = shape(builder, records)[1], shape(builder, tile)[1]
        start = builder.add(builder.mul(given[1], width), given[2])
        some = []
        for row in range(HALF):
            places = [builder.add(start, builder.mul(width, INT(one))) for one in (row, row + HALF)]
            halves = [load(builder, records.data, place, HALF) for place in places]
            some.append(builder.shuffle_vector(*halves, lanes_of(NUMBER, range(ROWS))))
        low, high = (
            lanes_of(NUMBER, [start + lane + i // 2 + i % 2 * ROWS for lane in (0, HALF) for i in range(HALF)])
            for start in (0, HALF // 2)
        )
        for _ in range(4):  # each turn moves a bit of the row's number into a byte's place, and one of that out
            pairs = list(zip(some[: HALF // 2], some[HALF // 2 :], strict=True))
            some = [builder.shuffle_vector(*pair, order) for pair in pairs for order in (low, high)]
        first = builder.add(builder.mul(given[4], lines), given[5])
        for i, one in enumerate(some):
            store(builder, tile.data, builder.mul(builder.add(first, INT(i)), INT(ROWS)), one)
        return context.get_dummy_value()

    return contiguous(types.void, records, types.int64, types.int64, tile, types.int64, types.int64), emit


@emitted
def ahead(_, records, row):
    """Have the cache fetch a record, which may be beyond the last one."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        records = argument(context, builder, signature, given, 0)
        width = shape(builder, records)[1]
        start = builder.mul(given[1], width)
        with cgutils.for_range_slice(builder, INT(0), width, INT(LINE), INT) as (at, _):
            fetch(builder, records.data, builder.add(start, at))
        return context.get_dummy_value()

    return contiguous(types.void, records, types.int64), emit


def _sums(queries: int, blocks: int) -> Any:
    """totals[query + i, 32 b + r] = Σ over lines of the numbers that row r of block + b looks up; below 2^16."""

    @emitted
    def body(_, tile, block, tables, query, totals):
        return contiguous(types.void, tile, types.int64, tables, types.int64, totals), emit

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        tile, tables, totals = (argument(context, builder, signature, given, place) for place in (0, 2, 4))
        room = shape(builder, totals)[1]
        kind, wide = ir.VectorType(BYTE, ROWS), ir.VectorType(SHORT, HALF)
        four, eight = (lanes_of(SHORT, [bits] * HALF) for bits in (4, 8))
        below, twice = lanes_of(BYTE, [15] * ROWS), lanes_of(NUMBER, [*range(HALF), *range(HALF)])
        # Sums of 16 bits of even rows plus 256 times those of odd ones, which wraps, and of odd ones alone.
        every, odd = (
            [[cgutils.alloca_once_value(builder, wide(None)) for _ in range(blocks)] for _ in range(queries)]
            for _ in range(2)
        )
        size = builder.mul(shape(builder, tile)[1], INT(ROWS))
        starts = [builder.mul(builder.add(given[1], INT(b)), size) for b in range(blocks)]
        firsts = [builder.mul(builder.add(given[3], INT(q)), size) for q in range(queries)]
        with cgutils.for_range_slice(builder, INT(0), size, INT(ROWS), INT) as (at, _):
            nibbles = []
            for start in starts:
                line = load(builder, tile.data, builder.add(start, at), ROWS)
                above = builder.bitcast(builder.lshr(builder.bitcast(line, wide), four), kind)
                nibbles.append([builder.and_(one, below) for one in (line, above)])
            for q, first in enumerate(firsts):
                place = builder.add(first, at)
                both = [load(builder, tables.data, builder.add(place, INT(half)), HALF) for half in (0, HALF)]
                both = [builder.shuffle_vector(table, table, twice) for table in both]
                for b in range(blocks):
                    pairs = zip(both, nibbles[b], strict=True)
                    found = [call(builder, "llvm.x86.avx2.pshuf.b", kind, *pair) for pair in pairs]
                    pair = builder.bitcast(builder.add(*found), wide)
                    for some, added in ((every, pair), (odd, builder.lshr(pair, eight))):
                        builder.store(builder.add(builder.load(some[q][b]), added), some[q][b])
        in_order = lanes_of(NUMBER, [i // 2 + i % 2 * HALF for i in range(ROWS)])
        for q in range(queries):
            for b in range(blocks):
                odds = builder.load(odd[q][b])
                evens = builder.sub(builder.load(every[q][b]), builder.shl(odds, eight))
                to = builder.mul(builder.add(given[3], INT(q)), room)
                to = builder.add(to, builder.mul(builder.add(given[1], INT(b)), INT(ROWS)))
                store(builder, totals.data, to, builder.shuffle_vector(evens, odds, in_order))
        return context.get_dummy_value()

    return body


sums_of_two_blocks, sums_of_four_queries = _sums(1, 2), _sums(TOGETHER, 1)


@emitted
def nonzeros(_, records, row, how, u):
    """Σ value u[column] of the nonzeros of a row of `fast` storage, whose bitmap is a word, in any order.

    `how`: signed levels, h, low bits of a column and k. Of damaged rows columns may be up to 64 · 2^low and more.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        data, start = row_of(context, builder, signature, given)
        u = argument(context, builder, signature, given, 3)
        signed, h, low, k = (builder.extract_value(given[2], place) for place in range(4))
        signed = context.make_array(signature.args[2][0])(context, builder, signed)
        values = builder.mul(low, k)  # where they begin, and the bitmap
        bitmap = builder.add(values, builder.mul(k, INT(VALUE_BITS)))
        size = builder.add(k, builder.lshr(builder.sub(h, INT(1)), low))
        bits = cgutils.alloca_once_value(builder, bits_of(builder, data, start, bitmap, size, INT(0)))
        sums = [cgutils.alloca_once_value(builder, FLOAT(0)) for _ in range(2)]
        below = builder.sub(builder.shl(INT(1), low), INT(1))

        def fields(bit: ir.Value) -> ir.Value:
            word = vector_at(builder, data, builder.add(start, builder.lshr(bit, INT(3))), INT)
            return builder.lshr(word, builder.and_(bit, INT(7)))

        first = INT(0)
        for stride in (FIELDS, 1):
            end = builder.and_(k, INT(-stride))
            with cgutils.for_range_slice(builder, first, end, INT(stride), INT) as (i, _):
                lows = fields(builder.mul(low, i))
                numbers = fields(builder.add(values, builder.mul(i, INT(VALUE_BITS))))
                left = builder.load(bits)
                for lane in range(stride):
                    place = builder.cttz(left, ir.IntType(1)(0))  # 64 if none is left
                    left = builder.and_(left, builder.sub(left, INT(1)))
                    bucket = builder.sub(place, builder.add(i, INT(lane)))
                    column = builder.add(builder.shl(bucket, low), builder.and_(lows, below))
                    lows = builder.lshr(lows, low)
                    number = builder.and_(builder.lshr(numbers, INT(VALUE_BITS * lane)), INT(15))
                    one = load(builder, signed.data, number), load(builder, u.data, column)
                    total = builder.fadd(builder.load(sums[lane % 2]), builder.fmul(*one, flags=FUSED), flags=FUSED)
                    builder.store(total, sums[lane % 2])
                builder.store(left, bits)
            first = end
        return builder.fadd(*(builder.load(one) for one in sums), flags=FUSED)

    return contiguous(types.float32, records, types.int64, how, u), emit
