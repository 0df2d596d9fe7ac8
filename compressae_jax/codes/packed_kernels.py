"""The compiled loops of `packed`, which imports this module, and with it numba, when rows are first packed or unpacked.

Unpacking takes `ROWS` rows through each digit of their ranks together, so that the loops over rows vectorise.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

ROWS = 64
WORD, ONE = np.uint64(64), np.uint64(1)
WORD_VALUE = 2.0**64


def _compiled(**options: Any) -> Callable:
    """Compile a function, less any wrapper around it, to run without Python's lock; the result is kept on disk."""
    return lambda function: numba.njit(nogil=True, cache=True, **options)(inspect.unwrap(function))


@_compiled()
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


@_compiled(inline="always")
def _put(words, at, number):
    """Add a number to zeroed bits from bit `at` on."""
    shift = np.uint64(at & 63)
    words[at >> 6] |= number << shift
    words[(at >> 6) + 1] |= (number >> ONE) >> (WORD - ONE - shift)


@_compiled()
def unpack(words, h, bits, signed, tables, values, columns):
    """Values and rising columns (n, k) of records (n, w), whose level numbers index `signed`; zero rows get 0.

    Columns are kept below h, so that damaged records, too, are safe to score.
    """
    k, width = values.shape[1], len(tables.zero_rank)
    rest, borrow, zero = np.empty((width, ROWS), np.uint64), np.empty(ROWS, np.uint64), np.empty(ROWS, np.bool_)
    buckets = np.empty((k, ROWS), np.uint32)
    for start in range(0, len(words), ROWS):
        some = words[start : start + ROWS]
        _ranks(some, tables.rank_bits, tables.zero_rank, rest, zero)
        for i in range(k - 1, -1, -1):
            length, first, end = tables.lengths[i], tables.firsts[i], tables.firsts[i + 1]
            _guess(rest, length, tables.mantissas[i], tables.guesses[first:end], tables.floats[i], buckets[i])
            if _subtract(rest, length, tables.binomials[i], buckets[i], borrow):
                _correct(rest, length, tables.binomials[i], buckets[i], borrow)
        _columns(some, h, tables.rank_bits, tables.low, buckets, zero, columns[start:])
        _values(some, tables.rank_bits + k * tables.low, bits, signed, zero, values[start:])


@_compiled(inline="always")
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


@_compiled(inline="always")
def _guess(rest, length, mantissa, guesses, floats, bucket):
    """The bucket of each remainder, or, where its leading bits do not tell, one too far."""
    last, shift = np.int64(len(guesses) - 1), np.int64(52 - mantissa)
    before = (np.int64(1023) << np.int64(mantissa)) - np.int64(1)
    top, second = rest[length - 1], rest[max(length - 2, 0)]
    unit, rise = (0.0, 1.0) if length == 1 else (1.0, WORD_VALUE)
    for row in range(ROWS):
        number = np.float64(top[row]) * rise + np.float64(second[row]) * unit
        cell = (np.float64(number).view(np.int64) >> shift) - before
        there = guesses[np.uint64(min(max(cell, np.int64(0)), last))]
        bucket[row] = there - np.uint32(number < floats[there])


@_compiled(inline="always")
def _subtract(rest, length, binomials, bucket, borrow):
    """Take the binomials from the remainders; returns whether that was too much of any."""
    over = np.uint64(0)
    lowest, table = rest[0], binomials[0]
    for row in range(ROWS):
        number, taken = lowest[row], table[bucket[row]]
        lowest[row] = number - taken
        borrow[row] = np.uint64(number < taken)
        over |= borrow[row]
    for w in range(1, length):
        over = np.uint64(0)
        words, table = rest[w], binomials[w]
        for row in range(ROWS):
            number, taken, one = words[row], table[bucket[row]], borrow[row]
            less = number - taken
            words[row] = less - one
            borrow[row] = np.uint64(number < taken) | np.uint64(less < one)
            over |= borrow[row]
    return over != 0


@_compiled()
def _correct(rest, length, binomials, bucket, borrow):
    """Where too much was taken, step down bucket by bucket until it was not: rare, so the cells may be few."""
    for row in range(ROWS):
        while borrow[row]:
            bucket[row] -= 1
            under = np.uint64(0)  # of the difference between the two binomials, which is given back
            over = np.uint64(0)
            for w in range(length):
                more, less = binomials[w, bucket[row] + 1], binomials[w, bucket[row]]
                back = more - less - under
                under = np.uint64((more < less) | ((more == less) & (under == ONE)))
                total = rest[w, row] + back
                carried = total + over
                over = np.uint64(total < back) | np.uint64(carried < total)
                rest[w, row] = carried
            borrow[row] = np.uint64(over == 0)


@_compiled(inline="always")
def _columns(words, h, at, low, buckets, zero, columns):
    """Columns of some rows from their buckets, and from the low parts that stand from bit `at` on."""
    last, left, mask = np.uint64(h - 1), np.uint64(low), (ONE << np.uint64(low)) - ONE
    for i in range(len(buckets)):
        word, shift = np.uint64(at >> 6), np.uint64(at & 63)
        for row in range(len(words)):
            column = (np.uint64(buckets[i, row]) << left) | _bits(words[row, word], words[row, word + ONE], shift, mask)
            columns[row, i] = np.uint64(i) if zero[row] else min(column, last)
        at += low


@_compiled(inline="always")
def _values(words, at, bits, signed, zero, values):
    """Values of some rows from their level numbers, which stand from bit `at` on."""
    mask = (ONE << np.uint64(bits)) - ONE
    for i in range(values.shape[1]):
        word, shift = np.uint64(at >> 6), np.uint64(at & 63)
        for row in range(len(words)):
            value = signed[_bits(words[row, word], words[row, word + ONE], shift, mask)]
            values[row, i] = np.float32(0) if zero[row] else value
        at += bits


@_compiled(inline="always")
def _bits(word, following, shift, mask):
    """The number that begins at a bit of a word and may end in the following one."""
    return ((word >> shift) | ((following << ONE) << (WORD - ONE - shift))) & mask


@_compiled()
def unit_scales(values, scales):
    """1 / ‖values‖ of every row, 0 of a zero row."""
    for row in range(len(values)):
        total = 0.0
        for i in range(values.shape[1]):
            total += np.float64(values[row, i]) * np.float64(values[row, i])
        scales[row] = 1 / np.sqrt(total) if total > 0 else 0
