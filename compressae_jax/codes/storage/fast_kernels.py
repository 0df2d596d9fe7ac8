"""The compiled loops of `fast`, which imports this module, and with it numba, when rows are first packed or unpacked.

`unpack_vectors` is for machines with AVX-512 and its second set of byte instructions, `unpack` for all others, to the
same bits: bucket i is the place of the i-th set bit less i, by eight bits; 0 - i where too few bits are set.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target

from compressae_jax.base.compiled import compiled
from compressae_jax.base.llvm_kernels import (
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
    zeros_below,
)
from compressae_jax.codes.storage.packed import ROOM

VECTORS = ("avx512f", "avx512bw", "avx512vl", "avx512vbmi2")  # what `unpack_vectors` needs of a machine
ROWS = 32  # whose buckets are found before they are read: a load that waits for a store takes longer than all else
WORD = 64  # bits of a word of the bitmap, and buckets that one instruction finds
COLUMNS, VALUES = 32, 16  # written by one instruction
LOW = 8  # bits of a column that are a byte of their own
ONE = np.uint64(1)
BYTE = ir.IntType(8)


def has_vectors() -> bool:
    """Whether loops are compiled for a machine that `unpack_vectors` runs on."""
    return has(cpu_target.target_context, *VECTORS)


def in_registers(h: int, k: int) -> bool:
    """Whether this machine takes rows apart in registers: those of up to 64 nonzeros, with vectors."""
    return k <= WORD and k + -(-h // 256) - 1 <= 2 * WORD and has_vectors()


@compiled
def pack(numbers, columns, used, records):
    """Write rows with rising columns and 4-bit level numbers into zeroed records (n, w); others stay zero rows."""
    k = numbers.shape[1]
    for row in range(len(numbers)):
        if not used[row]:
            continue
        record = records[row]
        for i in range(k):
            record[i] = columns[row, i] & 255
            record[k + i // 2] |= numbers[row, i] << (4 * (i & 1))
            at = 12 * k + (columns[row, i] >> 8) + i
            record[at >> 3] |= 1 << (at & 7)


@compiled
def unpack(records, h, signed, values, columns):
    """Values and columns (n, k) below h of records (n, w); zero rows get 0 and the first k columns."""
    inside, some, last_values, last_columns = _apart(records, values.shape[1])
    unpack_roomy(records, inside, h, signed, values, columns)
    unpack_roomy(some, len(records) - inside, h, signed, last_values, last_columns)
    rest = len(records) - inside
    values[inside:], columns[inside:] = last_values[:rest], last_columns[:rest]


@compiled
def unpack_vectors(records, h, signed, values, columns):
    """What `unpack` does, with vectors."""
    inside, some, last_values, last_columns = _apart(records, values.shape[1])
    unpack_roomy_vectors(records, inside, h, signed, values, columns)
    rest = len(records) - inside
    unpack_roomy_vectors(some, rest, h, signed, last_values, last_columns)
    values[inside:], columns[inside:] = last_values[:rest], last_columns[:rest]


def fastest(roomy: bool = False) -> Any:
    """Of `unpack_vectors` and `unpack`, the one for this machine; or, `roomy`, of those that need room behind."""
    if roomy:
        return unpack_roomy_vectors if has_vectors() else unpack_roomy
    return unpack_vectors if has_vectors() else unpack


@compiled
def _apart(records, k):
    """How many rows come before the last ones, which have no room behind them, and these with room, for them, too."""
    n, width = records.shape
    beyond, columns = (ROOM + width - 1) // width, (COLUMNS + k - 1) // k
    rest = min(n, max(beyond, columns))
    some = np.zeros((rest + beyond, width), np.uint8)
    some[:rest] = records[n - rest :]
    room = rest + columns
    return n - rest, some, np.empty((room, k), np.float32), np.empty((room, k), np.uint16)


@compiled
def unpack_roomy(records, n, h, signed, values, columns):
    """The first n rows, each with room behind it: nonzeros one by one."""
    k, bitmap = values.shape[1], values.shape[1] + ((h + 255) >> 8) - 1
    last, words = np.int64(h - 1), (bitmap + WORD - 1) // WORD
    for row in range(n):
        word, bits, some = 0, np.uint64(0), False
        for i in range(k):
            while bits == 0 and word < words:
                bits = _bits(records, row, k, bitmap, word)
                word += 1
            place = np.int64(0)
            if bits != 0:
                place, some = (word - 1) * WORD + zeros_below(bits), True
                bits &= bits - ONE
            columns[row, i] = min(((place - i) & 255) << 8 | np.int64(records[row, i]), last)
            values[row, i] = signed[(records[row, k + (i >> 1)] >> (4 * (i & 1))) & 15]
        if not some:
            for i in range(k):
                values[row, i], columns[row, i] = 0, i


@compiled
def unpack_roomy_vectors(records, n, h, signed, values, columns):
    """The first n rows, each with room behind it in records, values and columns: a row's nonzeros together."""
    k, bitmap = values.shape[1], values.shape[1] + ((h + 255) >> 8) - 1
    words, some = (bitmap + WORD - 1) // WORD, np.empty(ROWS, np.bool_)
    long = k > WORD or words > 2
    places = np.empty(ROWS * k + WORD * (words + 1), np.uint8)
    for start in range(0, n, ROWS):
        stop = min(start + ROWS, n)
        if long:
            for row in range(start, stop):
                some[row - start] = _find(records, row, k, bitmap, words, places, (row - start) * k)
            for row in range(start, stop):
                _fields(records, row, h, signed, values, columns, places, (row - start) * k)
        else:
            for row in range(start, stop):
                some[row - start] = _whole(records, row, h, signed, values, columns)
        for row in range(start, stop):
            if not some[row - start]:
                for i in range(k):
                    values[row, i], columns[row, i] = 0, i


@compiled
def _find(records, row, k, bitmap, words, places, at):
    """Put the buckets of a row of any length into `places`, from `at` on; whether any bit is set."""
    count, some = np.int64(0), np.uint64(0)
    for w in range(words):
        bits = _bits(records, row, k, bitmap, w)
        _places(bits, w, count, places, at + count)
        count += _ones(bits)
        some |= bits
    while count < k:  # of damaged rows
        _places(np.uint64(0), 0, count, places, at + count)
        count += WORD
    return some != 0


@emitted
def _bits(_, records, row, k, bitmap, word):
    """A word of a row's bitmap, which has so many bits."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        data, start = _row(context, builder, signature, given)
        done = builder.shl(given[4], INT(6))
        return bits_of(builder, data, start, given[2], builder.sub(given[3], done), done)

    return contiguous(types.uint64, records, types.int64, types.int64, types.int64, types.int64), emit


def bits_of(
    builder: ir.IRBuilder, data: ir.Value, start: ir.Value, k: ir.Value, left: ir.Value, done: ir.Value
) -> ir.Value:
    """The next 64 of the `left` bits of the bitmap of the row that starts at a byte, zeros behind them."""
    first = builder.add(builder.mul(k, INT(12)), done)
    at = builder.add(start, builder.lshr(first, INT(3)))
    two = (vector_at(builder, data, builder.add(at, INT(byte)), INT) for byte in (8, 0))
    bits = call(builder, "llvm.fshr.i64", INT, *two, builder.and_(first, INT(7)))
    above = builder.shl(INT(-1), builder.and_(left, INT(63)))
    whole = builder.icmp_signed(">=", left, INT(WORD))
    return builder.select(whole, bits, builder.and_(bits, builder.not_(above)))


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


def buckets_of_row(
    builder: ir.IRBuilder, data: ir.Value, start: ir.Value, k: ir.Value, h: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The buckets of a row of up to 64 nonzeros and 128 bits of bitmap, and whether any bit is set."""
    bitmap = builder.add(builder.sub(k, INT(1)), builder.lshr(builder.add(h, INT(255)), INT(8)))
    first = bits_of(builder, data, start, k, bitmap, INT(0))
    found = cgutils.alloca_once_value(builder, buckets_of(builder, first, INT(0), INT(0)))
    any_bits = cgutils.alloca_once_value(builder, first)
    with builder.if_then(builder.icmp_signed(">", bitmap, INT(WORD))):
        second = bits_of(builder, data, start, k, builder.sub(bitmap, INT(WORD)), INT(WORD))
        count = builder.ctpop(first)
        more = buckets_of(builder, second, INT(WORD), count)
        behind = builder.shl(INT(-1), builder.and_(count, INT(63)))
        behind = builder.select(builder.icmp_unsigned("<", count, INT(WORD)), behind, INT(0))
        mask = builder.bitcast(behind, ir.VectorType(ir.IntType(1), WORD))
        both = call(builder, "llvm.x86.avx512.mask.expand.v64i8", more.type, more, builder.load(found), mask)
        builder.store(both, found)
        builder.store(builder.or_(first, second), any_bits)
    return builder.load(found), builder.icmp_unsigned("!=", builder.load(any_bits), INT(0))


@emitted
def _whole(_, records, row, h, signed, values, columns):
    """Put values and columns of a row of up to 64 nonzeros, more than k of each, and say whether it is no zero row."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        data, start = _row(context, builder, signature, given)
        fields = _Fields(context, builder, signature, given, data, start)
        buckets, used = buckets_of_row(builder, data, start, fields.k, given[2])
        for i in range(0, WORD, VALUES):
            with builder.if_then(builder.icmp_signed("<", INT(i), fields.k)):
                if i % COLUMNS == 0:
                    some = builder.shuffle_vector(buckets, buckets, lanes_of(ir.IntType(32), range(i, i + COLUMNS)))
                    fields.put_columns(INT(i), some)
                fields.put_values(INT(i))
        return used

    return contiguous(types.boolean, records, types.int64, types.int64, signed, values, columns), emit


@emitted
def _fields(_, records, row, h, signed, values, columns, places, at):
    """The same of a row whose buckets stand at `at`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        fields = _Fields(context, builder, signature, given, *_row(context, builder, signature, given))
        places = argument(context, builder, signature, given, 6).data
        with cgutils.for_range_slice(builder, INT(0), fields.k, INT(COLUMNS), INT) as (i, _):
            fields.put_columns(i, load(builder, places, builder.add(given[7], i), COLUMNS))
        with cgutils.for_range_slice(builder, INT(0), fields.k, INT(VALUES), INT) as (i, _):
            fields.put_values(i)
        return context.get_dummy_value()

    given = records, types.int64, types.int64, signed, values, columns, places, types.int64
    return contiguous(types.void, *given), emit


class _Fields:
    """What puts the values and columns of a row, `VALUES` and `COLUMNS` at a time, into arrays (n, k)."""

    def __init__(
        self, context: Any, builder: ir.IRBuilder, signature: Any, given: Any, data: ir.Value, start: ir.Value
    ) -> None:
        signed, self.values, self.columns = (argument(context, builder, signature, given, at) for at in (3, 4, 5))
        self.builder, self.data, self.start = builder, data, start
        self.k = shape(builder, self.values)[1]
        self.into = builder.mul(given[1], self.k)
        self.last = builder.sub(given[2], INT(1))
        self.levels = load(builder, signed.data, INT(0), VALUES)

    def put_columns(self, i: ir.Value, buckets: ir.Value) -> None:
        low = vector_at(self.builder, self.data, self.builder.add(self.start, i), buckets.type)
        columns = columns_of(self.builder, buckets, low, self.last, ir.IntType(16))
        store(self.builder, self.columns.data, self.builder.add(self.into, i), columns)

    def put_values(self, i: ir.Value) -> None:
        at = self.builder.add(self.builder.add(self.start, self.k), self.builder.lshr(i, INT(1)))
        levels = levels_of(self.builder, vector_at(self.builder, self.data, at, INT), self.levels)
        store(self.builder, self.values.data, self.builder.add(self.into, i), levels)


def columns_of(builder: ir.IRBuilder, buckets: ir.Value, low: ir.Value, last: ir.Value, kind: ir.IntType) -> ir.Value:
    """Columns, integers of a kind and not above the last one, of vectors of buckets and of low bytes."""
    wide, last = ir.VectorType(kind, low.type.count), builder.trunc(last, kind)
    above = builder.shl(builder.zext(buckets, wide), wide([LOW] * wide.count))
    columns, most = builder.or_(above, builder.zext(low, wide)), everywhere(builder, last, wide.count)
    return builder.select(builder.icmp_unsigned("<", columns, most), columns, most)


def levels_of(builder: ir.IRBuilder, numbers: ir.Value, levels: ir.Value) -> ir.Value:
    """The 16 levels of the half bytes of a word."""
    halves = builder.bitcast(everywhere(builder, numbers, 8), ir.VectorType(ir.IntType(32), VALUES))
    order = lanes_of(ir.IntType(32), (i // 8 for i in range(VALUES)))
    halves = builder.shuffle_vector(halves, halves, order)
    # The other bits of a lane do not count.
    lowest = builder.lshr(halves, lanes_of(ir.IntType(32), (4 * (i % 8) for i in range(VALUES))))
    return call(builder, "llvm.x86.avx512.permvar.sf.512", levels.type, levels, lowest)


def _row(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> tuple[ir.Value, ir.Value]:
    """The bytes of all records, the first argument, and where the row of the second begins."""
    records = argument(context, builder, signature, given, 0)
    return records.data, builder.mul(given[1], shape(builder, records)[1])


def vector_at(builder: ir.IRBuilder, data: ir.Value, at: ir.Value, kind: ir.Type) -> ir.Value:
    """What lies from a byte on."""
    return builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=1)
