"""The compiled loops of `packed`, which imports this module, and with it numba, when rows are first packed or unpacked.

Unpacking takes `ROWS` rows through each digit of their ranks together, since one row's digits wait for one another: 1.3
to 1.5 times as fast as vectors of rows, whose look-ups gather (`python -m benchmarks.packed` times unpacking alone).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from compressae_jax.base.compiled import compiled

ROWS = 64
WORD, ONE = np.uint64(64), np.uint64(1)
WORD_VALUE = 2.0**64
emitted: Any = intrinsic  # mypy would ask its callers for the first argument, the typing context, which numba adds


@compiled
def pack(numbers, columns, used, bits, low, rank_bits, zero_rank, binomials, words):
    """Write rows with rising columns and level numbers into zeroed words (n, w); rows not in use become zero rows."""
    k, width = numbers.shape[1], len(zero_rank)
    for row in range(len(numbers)):
        if not used[row]:
            for w in range(width):
                words[row, w] = zero_rank[w]
            continue
        for i in range(k):
            carry = np.uint64(0)
            for w in range(width):
                more = binomials[i, w, columns[row, i] >> np.uint32(low)]
                total = words[row, w] + more
                carried = total + carry
                words[row, w] = carried
                carry = np.uint64(total < more) | np.uint64(carried < total)
        at = rank_bits
        for i in range(k):
            _put(words[row], at, np.uint64(columns[row, i]) & ((ONE << np.uint64(low)) - ONE))
            at += low
        for i in range(k):
            _put(words[row], at, np.uint64(numbers[row, i]))
            at += bits


@compiled(inline="always")
def _put(words, at, number):
    """Add a number to zeroed bits from bit `at` on."""
    shift = np.uint64(at & 63)
    words[at >> 6] |= number << shift
    words[(at >> 6) + 1] |= (number >> ONE) >> (WORD - ONE - shift)


@compiled
def unpack(words, h, bits, signed, tables, values, columns):
    """Values and rising columns (n, k) of records (n, w), whose level numbers index `signed`; zero rows get 0.

    Columns are kept below h, so that damaged records, too, are safe to score.
    """
    k, width = values.shape[1], len(tables.zero_rank)
    rest, zero = np.empty((width, ROWS), np.uint64), np.empty(ROWS, np.bool_)
    buckets = np.empty((k, ROWS), np.uint32)
    for start in range(0, len(words), ROWS):
        some = words[start : start + ROWS]
        _ranks(some, tables.rank_bits, tables.zero_rank, rest, zero)
        for i in range(k - 1, -1, -1):
            length, first, end = tables.lengths[i], tables.firsts[i], tables.firsts[i + 1]
            cells = tables.mantissas[i], tables.guesses[first:end], tables.floats[i]
            if length == 1:  # numbers of words that the compiler knows take half of the time
                _digit(rest, 1, cells, tables.binomials[i], buckets[i])
            elif length == 2:
                _digit(rest, 2, cells, tables.binomials[i], buckets[i])
            elif length == 3:
                _digit(rest, 3, cells, tables.binomials[i], buckets[i])
            else:
                _digit(rest, length, cells, tables.binomials[i], buckets[i])
        _fields(some, h, bits, signed, tables, buckets, zero, columns[start:], values[start:])


@compiled(inline="always")
def _ranks(words, rank_bits, zero_rank, rest, zero):
    """The ranks of some rows; those of zero rows, and of rows that fill up the block, become 0."""
    width = len(zero_rank)
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(-rank_bits & 63)
    rest[:] = 0
    for row in range(len(words)):
        zero[row] = True
        for w in range(width):
            rest[w, row] = words[row, w] & mask if w == width - 1 else words[row, w]
            zero[row] &= rest[w, row] == zero_rank[w]
        if zero[row]:
            rest[:, row] = 0


@compiled(inline="always")
def _digit(rest, length, cells, binomials, bucket):
    """The bucket of each remainder of so many words, whose binomial is taken from it.

    A row at a time: gathered into vectors of rows, the look-ups take longer than all else.
    """
    mantissa, guesses, floats = cells
    last, shift = np.int64(len(guesses) - 1), np.int64(52 - mantissa)
    before = (np.int64(1023) << np.int64(mantissa)) - np.int64(1)
    for row in range(ROWS):
        number = np.float64(rest[length - 1, row])
        if length > 1:
            number = number * WORD_VALUE + np.float64(rest[length - 2, row])
        cell = (np.float64(number).view(np.int64) >> shift) - before
        there = np.uint64(guesses[np.uint64(min(max(cell, np.int64(0)), last))])
        there -= np.uint64(number < floats[there])  # the guess is one too far, where the leading bits do not tell
        while _over(rest, length, row, binomials, there):  # rare: the number was rounded
            there -= ONE
        borrow = np.uint64(0)
        for w in range(length):
            word, taken = rest[w, row], binomials[w, there]
            less = word - taken
            rest[w, row] = less - borrow
            borrow = np.uint64(word < taken) | np.uint64(less < borrow)
        bucket[row] = there


@compiled(inline="always")
def _over(rest, length, row, binomials, there):
    """Whether a binomial is more than the remainder."""
    borrow = np.uint64(0)
    for w in range(length):
        word, taken = rest[w, row], binomials[w, there]
        borrow = np.uint64(word < taken) | np.uint64(word - taken < borrow)
    return borrow != 0


@compiled(inline="always")
def _fields(words, h, bits, signed, tables, buckets, zero, columns, values):
    """Columns of some rows from their buckets and low parts, and values from their level numbers."""
    k = values.shape[1]
    last, left = np.uint64(h - 1), np.uint64(tables.low)
    low_mask, level_mask = (ONE << left) - ONE, (ONE << np.uint64(bits)) - ONE
    for row in range(len(words)):
        if zero[row]:
            for i in range(k):
                columns[row, i], values[row, i] = i, 0
            continue
        at = tables.rank_bits
        for i in range(k):
            columns[row, i] = min((np.uint64(buckets[i, row]) << left) | _field(words, row, at, low_mask), last)
            at += tables.low
        for i in range(k):
            values[row, i] = signed[_field(words, row, at, level_mask)]
            at += bits


@emitted
def _field(_, words, row, at, mask):
    """The number of up to 57 bits that begins at bit `at` of a row of words, by one load from the byte it begins in."""

    def emit(context, builder, signature, given):
        array = context.make_array(signature.args[0])(context, builder, given[0])
        word, byte = ir.IntType(64), ir.IntType(8)
        start = builder.gep(array.data, [builder.mul(given[1], cgutils.unpack_tuple(builder, array.shape)[1])])
        there = builder.gep(builder.bitcast(start, byte.as_pointer()), [builder.lshr(given[2], word(3))])
        bits = builder.load(builder.bitcast(there, word.as_pointer()), align=1)
        return builder.and_(builder.lshr(bits, builder.and_(given[2], word(7))), given[3])

    return types.uint64(words, types.int64, types.int64, types.uint64), emit
