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

from compressae_jax.base.compiled import FAST, compiled
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

LANES = 16  # of a vector
WORD = 64  # numbers looked at together, a bit each
CHUNK = 128  # numbers of a direction that stay in registers while the others are taken from them
FINITE = FAST | {"nnan", "ninf"}  # all numbers here are finite


@compiled
def aligned(n):
    """`numpy.empty` of n float32 that begins with a line of the cache."""
    room = np.empty(n + LANES, np.float32)
    start = -(room.ctypes.data // 4) % LANES
    return room[start : start + n]


@compiled(fastmath=FINITE)
def largest(c):
    """Where |c| is largest, the lower place of two."""
    whole = len(c) - len(c) % WORD
    best = _most(c)
    for i in range(whole, len(c)):
        best = max(best, abs(c[i]))
    for low in range(0, whole, WORD):
        equal = _equal(c, low, best)
        if equal != 0:
            return low + zeros_below(equal)
    for i in range(whole, len(c)):
        if abs(c[i]) == best:
            return i
    return 0


@compiled(fastmath=FINITE)
def take(g, pull, a, ease, value, left, out, following):
    """out = ease (g + pull a), left −= value out; the memory of `following`, which is read next, is asked for."""
    _take(g, pull, a, ease, value, left, out, following)
    for i in range(len(g) - len(g) % LANES, len(g)):
        out[i] = ease[i] * (g[i] + pull * a[i])
        left[i] -= value * out[i]


@compiled(fastmath=FINITE)
def orthogonal(g, along, shares, t, scaled, out):
    """out = (g − Σ_{s<t} shares[s] along[s]) / shares[t]; `scaled` (k,) is overwritten."""
    inverse = np.float32(1) / shares[t]
    for s in range(t):
        scaled[s] = -shares[s] * inverse
    _combined(g, inverse, along, scaled, t, out)
    for i in range(len(g) - len(g) % CHUNK, len(g)):
        total = g[i] * inverse
        for s in range(t):
            total += scaled[s] * along[s, i]
        out[i] = total


@emitted
def _most(_, c):
    """The largest |c| of the whole words, -1 of none."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        array = argument(context, builder, signature, given, 0)
        end = builder.and_(shape(builder, array)[0], INT(-WORD))
        kind = ir.VectorType(FLOAT, LANES)
        least = ir.Constant(kind, [-1.0] * LANES)
        most = [cgutils.alloca_once_value(builder, least) for _ in range(WORD // LANES)]
        with cgutils.for_range_slice(builder, INT(0), end, INT(WORD), INT) as (low, _):
            for number, one in enumerate(most):
                size = _size(builder, load(builder, array.data, builder.add(low, INT(number * LANES)), LANES))
                builder.store(_larger(builder, size, builder.load(one)), one)
        found = [builder.load(one) for one in most]
        while len(found) > 1:
            found = [_larger(builder, one, other) for one, other in zip(found[::2], found[1::2], strict=True)]
        some = found[0]
        while some.type.count > 1:
            half = some.type.count // 2
            low, high = (
                builder.shuffle_vector(some, some, ir.Constant(ir.VectorType(ir.IntType(32), half), places))
                for places in (list(range(half)), list(range(half, 2 * half)))
            )
            some = _larger(builder, low, high)
        return builder.extract_element(some, INT(0))

    return contiguous(types.float32, c), emit


@emitted
def _equal(_, c, low, best):
    """A bit for each number of the word from `low` on: whether |c| is `best` there."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        array, wanted = argument(context, builder, signature, given, 0), everywhere(builder, given[2], LANES)
        bits: ir.Value = INT(0)
        for start in range(0, WORD, LANES):
            size = _size(builder, load(builder, array.data, builder.add(given[1], INT(start)), LANES))
            some = builder.bitcast(builder.fcmp_ordered("==", size, wanted), ir.IntType(LANES))
            bits = builder.or_(bits, builder.shl(builder.zext(some, INT), INT(start)))
        return bits

    return contiguous(types.uint64, c, types.int64, types.float32), emit


@emitted
def _combined(_, g, inverse, along, scaled, t, out):
    """out = inverse g + Σ_{s<t} scaled[s] along[s], but for what is no whole chunk at the end."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        g, along, scaled, out = (argument(context, builder, signature, given, place) for place in (0, 2, 3, 5))
        h, stride = shape(builder, g)[0], shape(builder, along)[1]
        end, factor = builder.and_(h, INT(-CHUNK)), everywhere(builder, given[1], LANES)
        with cgutils.for_range_slice(builder, INT(0), end, INT(CHUNK), INT) as (low, _):
            places = [builder.add(low, INT(start)) for start in range(0, CHUNK, LANES)]
            sums = [cgutils.alloca_once(builder, factor.type) for _ in places]
            for place, one in zip(places, sums, strict=True):
                builder.store(builder.fmul(load(builder, g.data, place, LANES), factor), one)
            with cgutils.for_range_slice(builder, INT(0), given[4], INT(1), INT) as (s, _):
                times, row = everywhere(builder, load(builder, scaled.data, s), LANES), builder.mul(s, stride)
                for place, one in zip(places, sums, strict=True):
                    some = load(builder, along.data, builder.add(row, place), LANES)
                    builder.store(_fused(builder, some, times, builder.load(one)), one)
            for place, one in zip(places, sums, strict=True):
                store(builder, out.data, place, builder.load(one))
        return context.get_dummy_value()

    return contiguous(types.none, g, types.float32, along, scaled, types.int64, out), emit


@emitted
def _take(_, g, pull, a, ease, value, left, out, following):
    """`take`, but for what is no whole vector at the end."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        g, a, ease, left, out, following = (
            argument(context, builder, signature, given, place) for place in (0, 2, 3, 5, 6, 7)
        )
        end = builder.and_(shape(builder, g)[0], INT(-LANES))
        pull, value = (everywhere(builder, given[place], LANES) for place in (1, 4))
        with cgutils.for_range_slice(builder, INT(0), end, INT(LANES), INT) as (i, _):
            fetch(builder, following.data, i)
            weighed = _fused(builder, pull, load(builder, a.data, i, LANES), load(builder, g.data, i, LANES))
            weighed = builder.fmul(weighed, load(builder, ease.data, i, LANES))
            store(builder, out.data, i, weighed)
            rest = _fused(builder, builder.fneg(weighed), value, load(builder, left.data, i, LANES))
            store(builder, left.data, i, rest)
        return context.get_dummy_value()

    arrays = contiguous(types.none, g, types.float32, a, ease, types.float32, left, out, following)
    return arrays, emit


def _fused(builder: ir.IRBuilder, one: ir.Value, other: ir.Value, sum_: ir.Value) -> ir.Value:
    return call(builder, f"llvm.fma.v{one.type.count}f32", one.type, one, other, sum_)


def _size(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    return call(builder, f"llvm.fabs.v{vector.type.count}f32", vector.type, vector)


def _larger(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)
