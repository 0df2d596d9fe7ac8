"""The compiled loops of `fast` for machines with AVX-512 and both of its sets of byte instructions."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from compressae_jax.base.compiled import compiled
from compressae_jax.base.llvm_kernels import (
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
from compressae_jax.codes.storage.fast_parts_kernels import (
    BYTE,
    COLUMNS,
    HALF,
    ROWS,
    WORD,
    apart,
    bits_of,
    row_of,
    vector_at,
    word_of,
)

FEATURES = ("avx512f", "avx512bw", "avx512vl", "avx512vbmi", "avx512vbmi2")  # what these loops need of a machine
VALUES = 16  # written by one instruction


@compiled
def unpack(records, h, low, signed, values, columns):
    """What `unpack` does, with vectors."""
    inside, some, last_values, last_columns = apart(records, values.shape[1])
    unpack_roomy(records, inside, h, low, signed, values, columns)
    rest = len(records) - inside
    unpack_roomy(some, rest, h, low, signed, last_values, last_columns)
    values[inside:], columns[inside:] = last_values[:rest], last_columns[:rest]


@compiled
def unpack_roomy(records, n, h, low, signed, values, columns):
    """The first n rows, each with room behind it in records, values and columns: a row's nonzeros together."""
    k = values.shape[1]
    bitmap, first = k + ((h - 1) >> low), (low + HALF) * k
    words, some = (bitmap + WORD - 1) // WORD, np.empty(ROWS, np.bool_)
    long = k > WORD or words > 2
    places = np.empty(ROWS * k + WORD * (words + 2), np.uint8)
    for start in range(0, n, ROWS):
        stop = min(start + ROWS, n)
        if long:
            for row in range(start, stop):
                some[row - start] = _find(records, row, k, first, bitmap, words, places, (row - start) * k)
            for row in range(start, stop):
                for i in range(0, k, WORD):
                    _fields(records, row, h, low, signed, values, columns, places, (row - start) * k, i)
        else:
            for row in range(start, stop):
                some[row - start] = _whole(records, row, h, low, signed, values, columns)
        for row in range(start, stop):
            if not some[row - start]:
                for i in range(k):
                    values[row, i], columns[row, i] = 0, i


@compiled
def _find(records, row, k, first, bitmap, words, places, at):
    """Put the buckets of a row of any length into `places`, from `at` on; whether any bit is set."""
    count, some = np.int64(0), np.uint64(0)
    for w in range(words):
        bits = word_of(records, row, first, bitmap, w)
        _places(bits, w, count, places, at + count)
        count += _ones(bits)
        some |= bits
    while count < k:  # of damaged rows
        _places(np.uint64(0), 0, count, places, at + count)
        count += WORD
    return some != 0


@emitted
def _ones(_, bits):
    """How many bits are set."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        return builder.ctpop(given[0])

    return types.int64(types.uint64), emit


@emitted
def _places(_, bits, word, count, places, at):
    """Put the buckets of the bits set in a word, `WORD` bytes, where `count` bits were set in those before, at `at`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        bits, word, count, _, at = given
        found = buckets_of(builder, bits, builder.shl(word, INT(6)), count)
        store(builder, argument(context, builder, signature, given, 3).data, at, found)
        return context.get_dummy_value()

    return contiguous(types.void, types.uint64, types.int64, types.int64, places, types.int64), emit


def buckets_of(builder: ir.IRBuilder, bits: ir.Value, first: ir.Value, count: ir.Value) -> ir.Value:
    """The buckets of the bits set in a word that begins at a place, where `count` bits were set before: 64 bytes."""
    mask, each = builder.bitcast(bits, ir.VectorType(ir.IntType(1), WORD)), lanes_of(BYTE, range(WORD))
    places, before = (builder.add(each, everywhere(builder, builder.trunc(one, BYTE), WORD)) for one in (first, count))
    found = call(builder, "llvm.x86.avx512.mask.compress.v64i8", each.type, places, each.type(None), mask)
    return builder.sub(found, before)


class Record(NamedTuple):
    """A row of up to 64 nonzeros and 128 bits of bitmap, taken apart: 64 bytes each, and whether any bit is set."""

    buckets: ir.Value
    low: ir.Value
    numbers: ir.Value  # of levels, in the lowest four bits; what stands above them is of others
    used: ir.Value


def record_of(
    builder: ir.IRBuilder, data: ir.Value, start: ir.Value, k: ir.Value, h: ir.Value, low: ir.Value
) -> Record:
    """The parts of the row that starts at a byte."""
    bitmap = builder.add(k, builder.lshr(builder.sub(h, INT(1)), low))
    behind_low = builder.mul(k, low)
    place = builder.add(behind_low, builder.mul(k, INT(HALF)))
    first = bits_of(builder, data, start, place, bitmap, INT(0))
    found = cgutils.alloca_once_value(builder, buckets_of(builder, first, INT(0), INT(0)))
    any_bits = cgutils.alloca_once_value(builder, first)
    with builder.if_then(builder.icmp_signed(">", bitmap, INT(WORD))):
        second = bits_of(builder, data, start, place, builder.sub(bitmap, INT(WORD)), INT(WORD))
        count = builder.ctpop(first)
        more = buckets_of(builder, second, INT(WORD), count)
        behind = builder.shl(INT(-1), builder.and_(count, INT(63)))
        behind = builder.select(builder.icmp_unsigned("<", count, INT(WORD)), behind, INT(0))
        mask = builder.bitcast(behind, ir.VectorType(ir.IntType(1), WORD))
        both = call(builder, "llvm.x86.avx512.mask.expand.v64i8", more.type, more, builder.load(found), mask)
        builder.store(both, found)
        builder.store(builder.or_(first, second), any_bits)
    used = builder.icmp_unsigned("!=", builder.load(any_bits), INT(0))
    return Record(builder.load(found), *_low_and_numbers(builder, data, start, INT(0), behind_low, low), used)


def _low_and_numbers(
    builder: ir.IRBuilder, data: ir.Value, start: ir.Value, i: ir.Value, behind_low: ir.Value, low: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Of 64 nonzeros from the i-th on, a multiple of 64: low bits, and level numbers as `Record` has them."""
    fields = fields_of(builder, data, start, builder.mul(i, low), low)
    ones = builder.sub(builder.shl(INT(1), low), INT(1))
    fields = builder.and_(fields, everywhere(builder, builder.trunc(ones, BYTE), WORD))
    values = builder.add(behind_low, builder.mul(i, INT(HALF)))
    return fields, fields_of(builder, data, start, values, INT(HALF))


def fields_of(builder: ir.IRBuilder, data: ir.Value, start: ir.Value, first: ir.Value, bits: ir.Value) -> ir.Value:
    """64 fields from a bit of a row on, each in the lowest bits of a byte; of 8 bits only where `first` is a byte's.

    Eight fields of up to 8 bits stand in as many bytes as each has bits, and one more.
    """
    some = vector_at(builder, data, builder.add(start, builder.lshr(first, INT(3))), ir.VectorType(BYTE, WORD))
    bits, shift = builder.trunc(bits, BYTE), builder.trunc(builder.and_(first, INT(7)), BYTE)

    def each(factor: ir.Value, numbers: Iterable[int], added: ir.Value) -> ir.Value:
        return builder.add(builder.mul(everywhere(builder, factor, WORD), lanes_of(BYTE, numbers)), added)

    bytes_of = each(bits, (lane // 8 for lane in range(WORD)), lanes_of(BYTE, (lane % 8 for lane in range(WORD))))
    shifts = each(bits, (lane % 8 for lane in range(WORD)), everywhere(builder, shift, WORD))
    words = call(builder, "llvm.x86.avx512.permvar.qi.512", some.type, some, bytes_of)
    return call(builder, "llvm.x86.avx512.pmultishift.qb.512", some.type, shifts, words)


@emitted
def _whole(_, records, row, h, low, signed, values, columns):
    """Put values and columns of a row of up to 64 nonzeros, more than k of each, and say whether it is no zero row."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        data, start = row_of(context, builder, signature, given)
        into = _Into(context, builder, signature, given)
        record = record_of(builder, data, start, into.k, given[2], given[3])
        into.put(record.buckets, record.low, record.numbers, INT(0))
        return record.used

    return contiguous(types.boolean, records, *[types.int64] * 3, signed, values, columns), emit


@emitted
def _fields(_, records, row, h, low, signed, values, columns, places, at, i):
    """The same of up to 64 nonzeros from the i-th on of a row whose buckets stand at `at`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        data, start = row_of(context, builder, signature, given)
        into = _Into(context, builder, signature, given)
        places = argument(context, builder, signature, given, 7).data
        buckets = load(builder, places, builder.add(given[8], given[9]), WORD)
        parts = _low_and_numbers(builder, data, start, given[9], builder.mul(into.k, given[3]), given[3])
        into.put(buckets, *parts, given[9])
        return context.get_dummy_value()

    integers = types.int64
    given = records, integers, integers, integers, signed, values, columns, places, integers, integers
    return contiguous(types.void, *given), emit


class _Into:
    """What puts values and columns of a row, `VALUES` and `COLUMNS` at a time, into arrays (n, k)."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> None:
        signed, self.values, self.columns = (argument(context, builder, signature, given, at) for at in (4, 5, 6))
        self.builder, self.bits = builder, given[3]
        self.k = shape(builder, self.values)[1]
        self.first = builder.mul(given[1], self.k)
        self.last = builder.sub(given[2], INT(1))
        self.levels = load(builder, signed.data, INT(0), VALUES)

    def put(self, buckets: ir.Value, low: ir.Value, numbers: ir.Value, i: ir.Value) -> None:
        """Of 64 nonzeros those that the row has from its i-th on, and up to `COLUMNS` - 1 more."""
        builder = self.builder
        left, into = builder.sub(self.k, i), builder.add(self.first, i)
        for j in range(0, WORD, VALUES):
            with builder.if_then(builder.icmp_signed("<", INT(j), left)):
                at = builder.add(into, INT(j))
                if j % COLUMNS == 0:
                    bucket, field = (some_of(builder, one, j, COLUMNS) for one in (buckets, low))
                    columns = columns_of(builder, bucket, field, self.bits, self.last, ir.IntType(16))
                    store(builder, self.columns.data, at, columns)
                store(
                    builder, self.values.data, at, levels_of(builder, some_of(builder, numbers, j, VALUES), self.levels)
                )


def some_of(builder: ir.IRBuilder, vector: ir.Value, first: int, count: int) -> ir.Value:
    """Neighbouring lanes."""
    return builder.shuffle_vector(vector, vector, lanes_of(ir.IntType(32), range(first, first + count)))


def columns_of(
    builder: ir.IRBuilder, buckets: ir.Value, low: ir.Value, bits: ir.Value, last: ir.Value, kind: ir.IntType
) -> ir.Value:
    """Columns, integers of a kind and not above the last one, of vectors of buckets and of so many low bits."""
    wide, last = ir.VectorType(kind, low.type.count), builder.trunc(last, kind)
    above = builder.shl(builder.zext(buckets, wide), everywhere(builder, builder.trunc(bits, kind), wide.count))
    columns, most = builder.or_(above, builder.zext(low, wide)), everywhere(builder, last, wide.count)
    return builder.select(builder.icmp_unsigned("<", columns, most), columns, most)


def levels_of(builder: ir.IRBuilder, numbers: ir.Value, levels: ir.Value) -> ir.Value:
    """The levels of up to 16 numbers, of which the lowest four bits count."""
    count = numbers.type.count
    some = (
        numbers
        if count == VALUES
        else builder.shuffle_vector(
            numbers, numbers, lanes_of(ir.IntType(32), (lane % count for lane in range(VALUES)))
        )
    )
    wide = builder.zext(some, ir.VectorType(ir.IntType(32), VALUES))
    return call(builder, "llvm.x86.avx512.permvar.sf.512", levels.type, levels, wide)
