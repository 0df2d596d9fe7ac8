"""Sums over a code's nonzeros for `kernels`, in LLVM's own terms: numba has no vectors, and LLVM chooses them badly.

Of a plain loop LLVM makes a `dot` that reads u by gather instructions, slower than a load for each lane, and a
`weighted` that keeps its sums in memory instead of registers: on one core at k = 32, float16 and uint16, 1.4 times the
time of these for one query and for 64, 1.7 for 16. `python -m benchmarks.search` times the scans.

Arrays are contiguous, as `host.stored` leaves them; others do not compile. What numba keeps on disk is renewed when
`kernels` changes, not when this module does.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FAST = ("reassoc", "nsz", "contract")  # as in `kernels`
emitted: Any = intrinsic  # mypy would ask its callers for the first argument, the typing context, which numba adds
FLOAT, INT = ir.FloatType(), ir.IntType(64)
WIDTHS = 16, 4, 1  # lanes: a sum takes as many as there are nonzeros left
AHEAD = 512  # nonzeros fetched early: measured alike for float16, but float32 took a third longer without


@emitted
def dot(_, values, columns, row, u):
    """Σ_j values[row, j] u[columns[row, j]]; values are float32, or finite float16 as their bits."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        values, columns, u = (_array(context, builder, signature, given, place) for place in (0, 1, 3))
        k = cgutils.unpack_tuple(builder, values.shape)[1]
        first, start = builder.mul(given[2], k), INT(0)
        total = ir.VectorType(FLOAT, WIDTHS[0])(None)
        for lanes in WIDTHS:
            while total.type.count > lanes:
                total = _folded(builder, total)

            def product(j: ir.Value, lanes: int = lanes) -> list[tuple[ir.Value, ir.Value]]:
                at, parts = builder.add(first, j), ir.VectorType(FLOAT, lanes)(ir.Undefined)
                if lanes == WIDTHS[0]:
                    for data in (values.data, columns.data):
                        _fetch(builder, data, builder.add(at, INT(AHEAD)))
                for lane in range(lanes):
                    latent = _load(builder, columns.data, builder.add(at, INT(lane)))
                    part = _load(builder, u.data, builder.zext(latent, INT))
                    parts = builder.insert_element(parts, part, INT(lane))
                return [(_floats(builder, _load(builder, values.data, at, lanes)), parts)]

            end = builder.and_(k, INT(-lanes))
            [total] = _sums(builder, [total], (start, end, lanes), product)
            start = end
        return builder.extract_element(total, INT(0))

    return _signature(types.float32, values, columns, row, u), emit


@emitted
def weighted(_, values, columns, u, totals):
    """totals[i] = Σ_j values[j] u[columns[j], i], values float32; the length of `totals` is a multiple of 16."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        values, columns, u, totals = (_array(context, builder, signature, given, place) for place in range(4))
        [k], [w] = (cgutils.unpack_tuple(builder, array.shape) for array in (values, totals))
        lanes, start = 16, INT(0)
        for registers in (4, 2, 1):  # of sums; as many as w leaves
            end = builder.and_(w, INT(-registers * lanes))
            with cgutils.for_range_slice(builder, start, end, INT(registers * lanes), INT) as (i, _):
                places = [builder.add(i, INT(lanes * register)) for register in range(registers)]

                def products(j: ir.Value, places: list = places) -> list[tuple[ir.Value, ir.Value]]:
                    value = ir.VectorType(FLOAT, lanes)(ir.Undefined)
                    value = builder.insert_element(value, _load(builder, values.data, j), INT(0))
                    value = builder.shuffle_vector(value, value, ir.VectorType(ir.IntType(32), lanes)([0] * lanes))
                    row = builder.mul(builder.zext(_load(builder, columns.data, j), INT), w)
                    return [(value, _load(builder, u.data, builder.add(row, place), lanes)) for place in places]

                zeros = [ir.VectorType(FLOAT, lanes)(None)] * registers
                for place, total in zip(places, _sums(builder, zeros, (INT(0), k, 1), products), strict=True):
                    there = builder.bitcast(builder.gep(totals.data, [place]), total.type.as_pointer())
                    builder.store(total, there, align=1)
            start = end
        return context.get_dummy_value()

    return _signature(types.void, values, columns, u, totals), emit


def _signature(result: Any, *given: Any) -> Any:
    """The signature; None, which does not compile, where an array is not contiguous."""
    return result(*given) if all(getattr(one, "layout", "C") == "C" for one in given) else None


def _array(context: Any, builder: ir.IRBuilder, signature: Any, given: Any, place: int) -> Any:
    return context.make_array(signature.args[place])(context, builder, given[place])


def _load(builder: ir.IRBuilder, data: ir.Value, at: ir.Value, lanes: int = 0) -> ir.Value:
    """An element, or a vector of `lanes`; a memory map may begin anywhere."""
    pointer = builder.gep(data, [at])
    if lanes:
        pointer = builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, lanes).as_pointer())
    return builder.load(pointer, align=1)


def _fetch(builder: ir.IRBuilder, data: ir.Value, at: ir.Value) -> None:
    """Have the cache fetch an element, to be read (0) and kept (3) as data (1); past the end it does nothing."""
    pointer, word = builder.bitcast(builder.gep(data, [at]), ir.IntType(8).as_pointer()), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
    fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
    builder.call(fetch, [pointer, word(0), word(3), word(1)])


def _floats(builder: ir.IRBuilder, stored: ir.Value) -> ir.Value:
    """A vector of stored values as float32, as `kernels._float32` does it."""
    if stored.type.element == FLOAT:
        return stored
    whole = ir.VectorType(ir.IntType(32), stored.type.count)
    bits = builder.zext(stored, whole)

    def part(mask: int, places: int) -> ir.Value:
        return builder.shl(builder.and_(bits, whole([mask] * whole.count)), whole([places] * whole.count))

    small = builder.bitcast(builder.or_(part(0x8000, 16), part(0x7FFF, 13)), ir.VectorType(FLOAT, whole.count))
    return builder.fmul(small, small.type([2.0**112] * whole.count))


def _folded(builder: ir.IRBuilder, total: ir.Value) -> ir.Value:
    """The first half of a vector's lanes plus the second."""
    half = total.type.count // 2
    halves = (ir.VectorType(ir.IntType(32), half)(list(range(start, start + half))) for start in (0, half))
    return builder.fadd(*(builder.shuffle_vector(total, total, lanes) for lanes in halves), flags=FAST)


def _sums(
    builder: ir.IRBuilder,
    totals: list[ir.Value],
    steps: tuple[ir.Value, ir.Value, int],
    products: Callable[[ir.Value], list[tuple[ir.Value, ir.Value]]],
) -> list[ir.Value]:
    """Add to each total its product of two vectors at every step: start, end and stride."""
    start, end, stride = steps
    places = [cgutils.alloca_once_value(builder, total) for total in totals]
    with cgutils.for_range_slice(builder, start, end, INT(stride), INT) as (j, _):
        for place, (a, b) in zip(places, products(j), strict=True):
            builder.store(builder.fadd(builder.load(place), builder.fmul(a, b, flags=FAST), flags=FAST), place)
    return [builder.load(place) for place in places]
