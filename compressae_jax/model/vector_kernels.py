"""What `pursuit_kernels` do to all latents at once, in LLVM's own terms: numba's loops find a maximum number by number.

Of a loop for a maximum LLVM makes one comparison after the other, and it takes a direction through memory for every few
others that are taken from it; `python -m benchmarks.encoders` times the whole. Arrays are contiguous; others do not
compile.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from compressae_jax.base.compiled import FAST, inlined
from compressae_jax.base.llvm_kernels import (
    FLOAT,
    INT,
    argument,
    call,
    contiguous,
    emitted,
    everywhere,
    fetch,
    load,
    shape,
    store,
    zeros_below,
)

LANES, DOUBLES = 16, 8  # of a vector
WORD = 64  # numbers looked at together, a bit each
CHUNK_BITS = 7
CHUNK = 1 << CHUNK_BITS  # numbers of a direction that stay in registers while the others are taken from them
GROUP_BITS = 3
GROUP = 1 << GROUP_BITS  # numbers with one peak, those in one lane of a chunk's vectors
FINITE = FAST | {"nnan", "ninf"}  # all numbers here are finite
NONE = ir.Constant(ir.VectorType(FLOAT, LANES), [-1.0] * LANES)  # below all sizes


@inlined
def aligned(n):
    """`numpy.empty` of n float32 that begins with a line of the cache."""
    room = np.empty(n + LANES, np.float32)
    start = -(room.ctypes.data // 4) % LANES
    return room[start : start + n]


@inlined(fastmath=FINITE)
def largest(c):
    """Where |c| is largest, the lower place of two."""
    return place_of(c, most(c))


@inlined(fastmath=FINITE)
def most(c):
    """The largest |c|."""
    best = _most(c)
    for i in range(len(c) - len(c) % WORD, len(c)):
        best = max(best, abs(c[i]))
    return best


@inlined(fastmath=FINITE)
def place_of(c, best):
    """The first place where |c| is `best`, which is somewhere."""
    whole = len(c) - len(c) % WORD
    for low in range(0, whole, WORD):
        equal = _equal(c, low, best)
        if equal != 0:
            return low + zeros_below(equal)
    for i in range(whole, len(c)):
        if abs(c[i]) == best:
            return i
    return 0


@inlined
def padded(h):
    """The length of arrays of h numbers in which chunks are whole."""
    return (h + CHUNK - 1) // CHUNK * CHUNK


@inlined
def group_of(i):
    """The place of the peak of the numbers that the i-th is among: of those in one lane of a chunk's vectors."""
    return i // CHUNK * LANES + i % LANES


@inlined(fastmath=FINITE)
def take(g, pull, a, ease, value, left, out, peak, peaks, following):
    """out = ease (g + pull a), left −= value out, with the peaks of both, |left| and |out|, zeros behind h.

    g and a are (h,), the others `padded`. The memory of `following`, which is read next, is asked for.
    """
    h = len(g)
    _take(g, pull, a, ease, value, left, out, peak, peaks, following)
    whole = h - h % CHUNK
    if whole < len(left):
        first = whole // GROUP
        peak[first:], peaks[first:], out[h:] = 0, 0, 0
    for i in range(whole, h):
        out[i] = ease[i] * (g[i] + pull * a[i])
        left[i] -= value * out[i]
        group = group_of(i)
        peak[group], peaks[group] = max(peak[group], abs(left[i])), max(peaks[group], abs(out[i]))


@inlined(fastmath=FINITE)
def stronger(left, peak, value, atom, peaks, least):
    """The place where |left + value atom| is largest, if it is above `least`, or -1; of two the lower.

    A chunk whose peaks allow none above the largest until then is not looked at; all arrays are `padded`.
    """
    size = abs(value) * np.float32(1 + 1e-6)  # peaks are multiplied and added by two roundings, the numbers by one
    best, where = least, -1
    for low in range(0, len(left), CHUNK):
        if _reaches(peak, peaks, size, low // GROUP, best):
            most = _most_beside(left, value, atom, low)
            if most > best:
                best, where = most, low
    if where < 0:
        return -1
    first = _equal_beside(left, value, atom, where, best)
    if first != 0:
        return where + zeros_below(first)
    return where + WORD + zeros_below(_equal_beside(left, value, atom, where + WORD, best))


@emitted
def add(_, left, value, atom, peak):
    """left += value atom, with the peaks of |left|; all are `padded`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        left, atom, peak = (argument(context, builder, signature, given, place) for place in (0, 2, 3))
        value = everywhere(builder, given[1], LANES)
        with cgutils.for_range_slice(builder, INT(0), shape(builder, left)[0], INT(CHUNK), INT) as (low, _):
            found = []
            for place in _vectors_of(builder, low):
                rest = _fused(
                    builder, value, load(builder, atom.data, place, LANES), load(builder, left.data, place, LANES)
                )
                store(builder, left.data, place, rest)
                found.append(_size(builder, rest))
            store(builder, peak.data, builder.lshr(low, INT(GROUP_BITS)), _larger_of(builder, found))
        return context.get_dummy_value()

    return contiguous(types.none, left, types.float32, atom, peak), emit


@emitted
def _reaches(_, peak, peaks, size, first, best):
    """Whether any of the groups of a chunk, from the first on, can be above `best`."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        both = (argument(context, builder, signature, given, place).data for place in (0, 1))
        peak, peaks = (load(builder, data, given[3], LANES) for data in both)
        size, best = (everywhere(builder, given[place], LANES) for place in (2, 4))
        above = builder.fcmp_ordered(">", _fused(builder, size, peaks, peak), best)
        return builder.icmp_unsigned("!=", builder.bitcast(above, ir.IntType(LANES)), ir.IntType(LANES)(0))

    return contiguous(types.boolean, peak, peaks, types.float32, types.int64, types.float32), emit


@emitted
def _most_beside(_, left, value, atom, low):
    """The largest |left + value atom| of a chunk."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        left, atom = (argument(context, builder, signature, given, place).data for place in (0, 2))
        value = everywhere(builder, given[1], LANES)
        places = _vectors_of(builder, given[3])
        return _largest_of(builder, [_beside(builder, left, value, atom, place) for place in places])

    return contiguous(types.float32, left, types.float32, atom, types.int64), emit


@emitted
def _equal_beside(_, left, value, atom, low, best):
    """A bit for each number of a word: whether |left + value atom| is `best` there."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        left, atom = (argument(context, builder, signature, given, place).data for place in (0, 2))
        value, wanted = (everywhere(builder, given[place], LANES) for place in (1, 4))
        places = _vectors_of(builder, given[3])[: WORD // LANES]
        return _bits_where(builder, wanted, [_beside(builder, left, value, atom, place) for place in places])

    return contiguous(types.uint64, left, types.float32, atom, types.int64, types.float32), emit


def _beside(builder: ir.IRBuilder, left: ir.Value, value: ir.Value, atom: ir.Value, place: ir.Value) -> ir.Value:
    """|left + value atom| of a vector."""
    return _size(builder, _fused(builder, value, load(builder, atom, place, LANES), load(builder, left, place, LANES)))


def _vectors_of(builder: ir.IRBuilder, low: ir.Value) -> list[ir.Value]:
    """Where the vectors of a chunk begin."""
    return [builder.add(low, INT(step)) for step in range(0, CHUNK, LANES)]


@inlined(fastmath=FINITE)
def orthogonal(g, along, shares, k, t, scaled, part, c):
    """along[t] = (g − Σ_{s<t} shares[s] along[s]) / shares[t], c −= part along[t]; gives the largest |c|.

    `along` (k h,) holds k directions, chunk by chunk, so that what is read together lies together; `scaled` (k,) is
    overwritten.
    """
    h, inverse = len(g), np.float32(1) / shares[t]
    for s in range(t):
        scaled[s] = -shares[s] * inverse
    best = _combined(g, inverse, along, scaled, k, t, part, c)
    for i in range(h - h % CHUNK, h):
        total = g[i] * inverse
        for s in range(t):
            total += scaled[s] * along[place_along(h, k, s, i)]
        along[place_along(h, k, t, i)] = total
        c[i] -= part * total
        best = max(best, abs(c[i]))
    return best


@inlined
def place_along(h, k, s, i):
    """Where `orthogonal` has the i-th number of a direction."""
    whole = h - h % CHUNK
    if i < whole:
        return i // CHUNK * CHUNK * k + s * CHUNK + i % CHUNK
    return whole * k + s * (h - whole) + i - whole


@emitted
def _most(_, c):
    """The largest |c| of the whole words, -1 of none."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        array = argument(context, builder, signature, given, 0)
        end = builder.and_(shape(builder, array)[0], INT(-WORD))
        most = [cgutils.alloca_once_value(builder, NONE) for _ in range(WORD // LANES)]
        with cgutils.for_range_slice(builder, INT(0), end, INT(WORD), INT) as (low, _):
            for number, one in enumerate(most):
                size = _size(builder, load(builder, array.data, builder.add(low, INT(number * LANES)), LANES))
                builder.store(_larger(builder, size, builder.load(one)), one)
        return _largest_of(builder, [builder.load(one) for one in most])

    return contiguous(types.float32, c), emit


def _larger_of(builder: ir.IRBuilder, found: list[ir.Value]) -> ir.Value:
    """The largest number in each lane of some vectors."""
    while len(found) > 1:
        found = [_larger(builder, one, other) for one, other in zip(found[::2], found[1::2], strict=True)]
    return found[0]


def _largest_of(builder: ir.IRBuilder, found: list[ir.Value]) -> ir.Value:
    """The largest number of some vectors."""
    some = _larger_of(builder, found)
    while some.type.count > 1:
        half = some.type.count // 2
        low, high = (
            builder.shuffle_vector(some, some, ir.Constant(ir.VectorType(ir.IntType(32), half), places))
            for places in (list(range(half)), list(range(half, 2 * half)))
        )
        some = _larger(builder, low, high)
    return builder.extract_element(some, INT(0))


@emitted
def _equal(_, c, low, best):
    """A bit for each number of the word from `low` on: whether |c| is `best` there."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        array, wanted = argument(context, builder, signature, given, 0), everywhere(builder, given[2], LANES)
        places = [builder.add(given[1], INT(start)) for start in range(0, WORD, LANES)]
        sizes = [_size(builder, load(builder, array.data, place, LANES)) for place in places]
        return _bits_where(builder, wanted, sizes)

    return contiguous(types.uint64, c, types.int64, types.float32), emit


def _bits_where(builder: ir.IRBuilder, wanted: ir.Value, found: list[ir.Value]) -> ir.Value:
    """A bit for each number of a word's vectors: whether it is the wanted one."""
    bits: ir.Value = INT(0)
    for number, some in enumerate(found):
        equal = builder.bitcast(builder.fcmp_ordered("==", some, wanted), ir.IntType(LANES))
        bits = builder.or_(bits, builder.shl(builder.zext(equal, INT), INT(number * LANES)))
    return bits


@emitted
def _combined(_, g, inverse, along, scaled, k, t, part, c):
    """`orthogonal`, but for what is no whole chunk at the end; the largest |c| of the others, -1 of none."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        g, along, scaled, c = (argument(context, builder, signature, given, place) for place in (0, 2, 3, 7))
        end, factor = builder.and_(shape(builder, g)[0], INT(-CHUNK)), everywhere(builder, given[1], LANES)
        k, t, taken = given[4], given[5], everywhere(builder, builder.fneg(given[6]), LANES)
        steps = range(0, CHUNK, LANES)
        most = [cgutils.alloca_once_value(builder, NONE) for _ in range(2)]
        with cgutils.for_range_slice(builder, INT(0), end, INT(CHUNK), INT) as (low, _):
            chunk = builder.mul(low, k)
            sums = [cgutils.alloca_once(builder, factor.type) for _ in steps]
            for step, one in zip(steps, sums, strict=True):
                place = builder.add(low, INT(step))
                builder.store(builder.fmul(load(builder, g.data, place, LANES), factor), one)
            with cgutils.for_range_slice(builder, INT(0), t, INT(1), INT) as (s, _):
                times = everywhere(builder, load(builder, scaled.data, s), LANES)
                row = builder.add(chunk, builder.shl(s, INT(CHUNK_BITS)))
                for step, one in zip(steps, sums, strict=True):
                    some = load(builder, along.data, builder.add(row, INT(step)), LANES)
                    builder.store(_fused(builder, some, times, builder.load(one)), one)
            row = builder.add(chunk, builder.shl(t, INT(CHUNK_BITS)))
            for step, one in zip(steps, sums, strict=True):
                place, direction = builder.add(low, INT(step)), builder.load(one)
                store(builder, along.data, builder.add(row, INT(step)), direction)
                left = _fused(builder, direction, taken, load(builder, c.data, place, LANES))
                store(builder, c.data, place, left)
                largest = most[step // LANES % len(most)]
                builder.store(_larger(builder, _size(builder, left), builder.load(largest)), largest)
        return _largest_of(builder, [builder.load(one) for one in most])

    integers = types.int64
    arrays = contiguous(types.float32, g, types.float32, along, scaled, integers, integers, types.float32, c)
    return arrays, emit


@emitted
def _take(_, g, pull, a, ease, value, left, out, peak, peaks, following):
    """`take`, but for what is no whole chunk at the end."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        g, a, ease, left, out, peak, peaks, following = (
            argument(context, builder, signature, given, place) for place in (0, 2, 3, 5, 6, 7, 8, 9)
        )
        end = builder.and_(shape(builder, g)[0], INT(-CHUNK))
        pull, value = (everywhere(builder, given[place], LANES) for place in (1, 4))
        with cgutils.for_range_slice(builder, INT(0), end, INT(CHUNK), INT) as (low, _):
            found: tuple[list[ir.Value], list[ir.Value]] = [], []
            for i in _vectors_of(builder, low):
                fetch(builder, following.data, i)
                weighed = _fused(builder, pull, load(builder, a.data, i, LANES), load(builder, g.data, i, LANES))
                weighed = builder.fmul(weighed, load(builder, ease.data, i, LANES))
                store(builder, out.data, i, weighed)
                rest = _fused(builder, builder.fneg(weighed), value, load(builder, left.data, i, LANES))
                store(builder, left.data, i, rest)
                for some, numbers in zip(found, (rest, weighed), strict=True):
                    some.append(_size(builder, numbers))
            group = builder.lshr(low, INT(GROUP_BITS))
            for some, into in zip(found, (peak, peaks), strict=True):
                store(builder, into.data, group, _larger_of(builder, some))
        return context.get_dummy_value()

    arrays = contiguous(types.none, g, types.float32, a, ease, types.float32, left, out, peak, peaks, following)
    return arrays, emit


@emitted
def take_off(_, matrix, to, row, share, low):
    """matrix[to] −= share matrix[row], float64, from the column `low` on; both that and the width are whole vectors."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        matrix = argument(context, builder, signature, given, 0)
        width, share = shape(builder, matrix)[1], everywhere(builder, builder.fneg(given[3]), DOUBLES)
        to, row = (builder.mul(given[place], width) for place in (1, 2))
        with cgutils.for_range_slice(builder, given[4], width, INT(DOUBLES), INT) as (low, _):
            above = load(builder, matrix.data, builder.add(row, low), DOUBLES)
            place = builder.add(to, low)
            below = load(builder, matrix.data, place, DOUBLES)
            rest = call(builder, f"llvm.fma.v{DOUBLES}f64", above.type, share, above, below)
            store(builder, matrix.data, place, rest)
        return context.get_dummy_value()

    integers = types.int64
    return contiguous(types.none, matrix, integers, integers, types.float64, integers), emit


def _fused(builder: ir.IRBuilder, one: ir.Value, other: ir.Value, sum_: ir.Value) -> ir.Value:
    return call(builder, f"llvm.fma.v{one.type.count}f32", one.type, one, other, sum_)


def _size(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    return call(builder, f"llvm.fabs.v{vector.type.count}f32", vector.type, vector)


def _larger(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)
