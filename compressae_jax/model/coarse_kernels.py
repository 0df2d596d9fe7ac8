"""Matching pursuit on products of atoms in 8 bits, compiled loops for a CPU; importing this imports numba.

What a row has left of every atom is a 16-bit number in units of 2^-14, an atom's row of the Gram matrix 8 bits and a
scale: a quarter of the bytes of float32, which the caches hold, and twice the numbers of an instruction. Sums of
integers have one value in any order, so `pursuit.shortlist` finds the same columns on a device.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from compressae_jax.base.compiled import compiled, inlined
from compressae_jax.base.llvm_kernels import (
    INT,
    argument,
    call,
    contiguous,
    emitted,
    everywhere,
    fetch,
    has,
    load,
    shape,
    store,
)
from compressae_jax.model.pursuit_kernels import fill, least_squares, room_for_least_squares
from compressae_jax.model.shortlists import CHUNK_BITS, FACTOR, LEAST, ONE, SHIFT
from compressae_jax.model.vector_kernels import FINITE

SHORT, LANES = ir.IntType(16), 16  # of a vector
CHUNK = 1 << CHUNK_BITS  # numbers of which the largest is known
HALF = 1 << SHIFT - 1  # rounds what is shifted
UNIT = np.float32(1 / ONE)
LINE = 64  # bytes that a core reads at once
TIMES, MOST = np.float32(ONE << SHIFT), np.float32(FACTOR)


@compiled(fastmath=FINITE)
def shortlist(correlations, gram, numbers, scales, corrected, values, columns):
    """k = values.shape[1] atoms of every row by matching pursuit, their least-squares values, and more columns.

    `correlations` (b, h) are those of the unit rows, `numbers` (h, whole) and `scales` (h,) the coarse Gram matrix.
    Each atom is the one with the most left, and takes its own part from all others'; after `corrected` of them (0:
    never) what is left is once made that of their least-squares values. `columns` (b, c) get the k atoms in the order
    of choice, then those with the most left. Where nothing is left they are the lowest ones not taken, with values 0.
    """
    b, k, c = len(values), values.shape[1], columns.shape[1]
    left, most = np.zeros(numbers.shape[1], np.int16), np.zeros(numbers.shape[1] >> CHUNK_BITS, np.int16)
    parts, fitted = np.empty(k, np.float32), np.empty(k, np.float32)
    room = room_for_least_squares(k)
    for row in range(b):
        a, column = correlations[row], columns[row]
        _start(a, left, most)
        chosen = 0
        for t in range(c):
            j = _place(left, most)
            if abs(left[j]) <= LEAST:
                break
            column[t], chosen = j, t + 1
            if t >= k:
                left[j] = 0
                most[j >> CHUNK_BITS] = _most(left, j >> CHUNK_BITS)
                continue
            if t + 1 == c:
                break
            _ask_for(numbers, j)
            parts[t] = left[j] * UNIT
            _take(left, numbers[j], _factor(parts[t], scales[j]), most, column[: t + 1])
            if t + 1 == corrected:
                least_squares(a, gram, column[:corrected], room, fitted)
                for s in range(corrected):
                    i = column[s]
                    _take(left, numbers[i], _factor(fitted[s] - parts[s], scales[i]), most, column[:corrected])
        fill(column, chosen)
        chosen = min(chosen, k)
        least_squares(a, gram, column[:chosen], room, values[row, :chosen])
        values[row, chosen:] = 0


@inlined(fastmath=FINITE)
def _factor(part, scale):
    """What an atom's numbers are multiplied with to be taken off."""
    return np.int16(np.rint(max(min(part * scale * TIMES, MOST), -MOST)))


@inlined(fastmath=FINITE)
def _start(a, left, most):
    """What is left before anything is taken, and the largest of each chunk."""
    whole = len(a) - len(a) % CHUNK
    for low in range(0, whole, CHUNK):
        largest = np.int16(0)
        for i in range(low, low + CHUNK):
            one = np.int16(np.rint(a[i] * np.float32(ONE)))
            left[i] = one
            largest = max(largest, abs(one))
        most[low >> CHUNK_BITS] = largest
    if whole < len(a):
        for i in range(whole, len(a)):
            left[i] = np.int16(np.rint(a[i] * np.float32(ONE)))
        most[whole >> CHUNK_BITS] = _most(left, whole >> CHUNK_BITS)


@inlined
def _most(left, chunk):
    most = np.int16(0)
    for i in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        most = max(most, abs(left[i]))
    return most


@inlined
def _place(left, most):
    """Where the most is left, the lower place of two."""
    best, at = most[0], 0
    for chunk in range(1, len(most)):
        if most[chunk] > best:
            best, at = most[chunk], chunk
    for i in range(at * CHUNK, (at + 1) * CHUNK):
        if abs(left[i]) == best:
            return i
    return 0


@inlined
def _take(left, numbers, factor, most, none):
    """left −= numbers factor, in units, with the largest of each chunk; nothing at the columns `none`."""
    for s in range(len(none)):
        i = none[s]
        left[i] = np.int16((np.int32(numbers[i]) * factor + HALF) >> SHIFT)
    _less(left, numbers, factor, most)


@emitted
def _less(_, left, numbers, factor, most):
    """left −= (numbers factor + HALF) >> SHIFT, and the largest |left| of each chunk."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        left, numbers, most = (argument(context, builder, signature, given, place) for place in (0, 1, 3))
        times = everywhere(builder, given[2], LANES)
        with cgutils.for_range_slice(builder, INT(0), shape(builder, left)[0], INT(CHUNK), INT) as (low, _):
            sizes = []
            for step in range(0, CHUNK, LANES):
                place = builder.add(low, INT(step))
                part = _rounded(context, builder, load(builder, numbers.data, place, LANES), times)
                rest = builder.sub(load(builder, left.data, place, LANES), part)
                store(builder, left.data, place, rest)
                sizes.append(_larger(builder, rest, builder.sub(_all(SHORT, 0), rest)))
            chunk = builder.gep(most.data, [builder.lshr(low, INT(CHUNK_BITS))])
            builder.store(_largest_of(builder, sizes), chunk)
        return context.get_dummy_value()

    return contiguous(types.none, left, numbers, types.int16, most), emit


@emitted
def _ask_for(_, numbers, row):
    """Have the cache fetch a row, all lines of it at once: read in order, the first ones are waited for."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        array = argument(context, builder, signature, given, 0)
        width = shape(builder, array)[1]
        first = builder.mul(given[1], width)
        with cgutils.for_range_slice(builder, INT(0), width, INT(LINE), INT) as (i, _):
            fetch(builder, array.data, builder.add(first, i))
        return context.get_dummy_value()

    return contiguous(types.none, numbers, types.int64), emit


def _rounded(context: Any, builder: ir.IRBuilder, numbers: ir.Value, times: ir.Value) -> ir.Value:
    """(numbers times + HALF) >> SHIFT of 8-bit numbers."""
    wide = builder.shl(builder.sext(numbers, times.type), _all(SHORT, 15 - SHIFT))
    if has(context, "avx2"):  # one instruction, which LLVM does not make of the others
        return call(builder, "llvm.x86.avx2.pmul.hr.sw", times.type, wide, times)
    word = ir.IntType(32)
    product = builder.mul(*(builder.sext(one, ir.VectorType(word, LANES)) for one in (wide, times)))
    product = builder.ashr(builder.add(product, _all(word, 1 << 14)), _all(word, 15))
    return builder.trunc(product, times.type)


def _all(kind: ir.Type, number: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(kind, LANES), [number] * LANES)


def _larger(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    return builder.select(builder.icmp_signed(">", one, other), one, other)


def _largest_of(builder: ir.IRBuilder, some: list[ir.Value]) -> ir.Value:
    """The largest number of some vectors."""
    while len(some) > 1:
        some = [_larger(builder, one, other) for one, other in zip(some[::2], some[1::2], strict=True)]
    vector, half = some[0], LANES // 2
    while half:
        low, high = (
            builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), half), list(places)))
            for places in (range(half), range(half, 2 * half))
        )
        vector, half = _larger(builder, low, high), half // 2
    return builder.extract_element(vector, INT(0))
