"""Sums over a code's nonzeros for `kernels`, in LLVM's own terms: numba has no vectors, and LLVM chooses them badly.

Of a plain loop LLVM makes a `dot` that reads u by gather instructions, and a `weighted` that keeps its sums in memory
instead of registers: on one core at k = 32, float16 and uint16, 1.7 times the time of this `dot`, and 1.4 times that of
`weighted` for 64 queries, 1.7 for 16. `python -m benchmarks.search` times the scans.

Both add a row's terms in one order, so a query gets the same bits alone and in company: lane l of `LANES` sums every
lanes-th term from the l-th on, and the sums are folded in halves.

Arrays are contiguous, as `host.stored` leaves them; others do not compile.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
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
    everywhere,
    fetch,
    has,
    lanes_of,
    load,
    shape,
    store,
)
from compressae_jax.codes.storage import fast_avx512_kernels as fast

LANES = (8, 16), (4, 4), (1, 1)  # of a sum, and nonzeros of a step, while there are as many; the best of several
WORD = ir.IntType(32)
ROWS = 4  # that share what is read of u
# Sums of 16 that a row's loop keeps, the most first, of a row by itself and of `ROWS` together. Without AVX-512 (False)
# registers are half as many and half as wide: four sums take 1.5 times the time of two (one row, 64 queries).
REGISTERS = {True: ((4, 2, 1), (2, 1)), False: ((2, 1), (2, 1))}
RECORDS_AHEAD = 2048  # bytes of records fetched early
AHEAD = 768  # nonzeros fetched early: measured alike for float16, but float32 took a third longer without


@emitted
def dot(_, values, columns, row, u):
    """Σ_j values[row, j] u[columns[row, j]]; values are float32, or finite float16 as their bits.

    Where `values` are records of `fast` rows, `columns` are (signed levels, h, low, k). Where they are (columns, some),
    some a multiple of 16, those from the last of some on follow on one another.

    Every u is multiplied in all lanes by as many values; of the sum it goes into, the lane of its own value is kept at
    the end. That is one instruction a nonzero; to put it into its lane of a vector takes two, and 1.25 times as long.
    """

    if values.dtype == types.uint8:
        return contiguous(types.float32, values, columns, row, u), _dot_of_record

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        values, u = (argument(context, builder, signature, given, place) for place in (0, 3))
        k = shape(builder, values)[1]
        first, start, known = builder.mul(given[2], k), INT(0), None
        ordered = isinstance(signature.args[1], types.BaseTuple)
        if ordered:
            columns, known = (builder.extract_value(given[1], place) for place in (0, 1))
            columns = context.make_array(signature.args[1][0])(context, builder, columns)
            last = load(builder, columns.data, builder.add(first, builder.sub(known, INT(1))))
            behind = builder.sub(builder.zext(last, INT), builder.sub(known, INT(1)))
        else:
            columns = argument(context, builder, signature, given, 1)
        total = cgutils.alloca_once_value(builder, FLOAT(0))
        for lanes, stride in LANES:

            def products(j: ir.Value, lanes: int = lanes, stride: int = stride) -> Iterator[tuple[ir.Value, ir.Value]]:
                at = builder.add(first, j)
                if stride > lanes:
                    for data in (values.data, columns.data):
                        fetch(builder, data, builder.add(at, INT(AHEAD)))
                for step in range(0, stride, lanes):
                    here = builder.add(at, INT(step))
                    some = _floats(context, builder, load(builder, values.data, here, lanes))
                    for latent in _pairwise(builder, columns.data, here, lanes):
                        yield some, everywhere(builder, load(builder, u.data, latent), lanes)

            def in_order(j: ir.Value, lanes: int = lanes, stride: int = stride) -> Iterator[tuple[ir.Value, ir.Value]]:
                for step in range(0, stride, lanes):
                    here = builder.add(j, INT(step))
                    some = _floats(context, builder, load(builder, values.data, builder.add(first, here), lanes))
                    yield some, load(builder, u.data, builder.add(behind, here), lanes)

            end = builder.and_(k, INT(-stride))
            with builder.if_then(builder.icmp_signed("<", start, end)):
                middle = end if known is None else known if stride > lanes else start
                some = ir.VectorType(FLOAT, lanes)(None)
                some = _diagonal(builder, _sums(builder, [some] * lanes, (start, middle, stride), products))
                if known is not None:
                    [some] = _sums(builder, [some], (middle, end, stride), in_order)
                while some.type.count > 1:
                    some = _folded(builder, some)
                some = builder.extract_element(some, INT(0))
                builder.store(builder.fadd(builder.load(total), some, flags=FUSED), total)
            start = end
        return builder.load(total)

    return contiguous(types.float32, values, columns, row, u), emit


def _dot_of_record(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
    """The bits of `dot` for what a record holds, which goes from its bytes to the sum in registers.

    The record has room behind it and is one that `fast_kernels.in_registers`.
    """
    records, u = (argument(context, builder, signature, given, place) for place in (0, 3))
    levels, h, low, k = (builder.extract_value(given[1], place) for place in range(4))
    levels = context.make_array(signature.args[1][0])(context, builder, levels)
    start, last = builder.mul(given[2], shape(builder, records)[1]), builder.sub(h, INT(1))
    table = load(builder, levels.data, INT(0), 16)
    fetch(builder, records.data, builder.add(start, INT(RECORDS_AHEAD)))
    *parts, used = fast.record_of(builder, records.data, start, k, h, low)
    # One store each, so what is loaded from it need not wait until it is in the cache.
    kept = [cgutils.alloca_once(builder, part.type) for part in parts]
    for part, place in zip(parts, kept, strict=True):
        builder.store(part, place)
    kept = [builder.bitcast(place, fast.BYTE.as_pointer()) for place in kept]
    total, first = cgutils.alloca_once_value(builder, FLOAT(0)), INT(0)

    def terms(some: list[ir.Value], lanes: int) -> Iterator[tuple[ir.Value, ir.Value]]:
        buckets, fields, numbers = some
        column = fast.columns_of(builder, buckets, fields, low, last, WORD)
        both = fast.levels_of(builder, numbers, table), _gathered(builder, u.data, column)
        for step in range(0, buckets.type.count, lanes):
            yield tuple(fast.some_of(builder, one, step, lanes) for one in both)

    for lanes, stride in LANES:
        end = builder.and_(k, INT(-stride))
        with builder.if_then(builder.icmp_signed("<", first, end)):
            sums = cgutils.alloca_once_value(builder, ir.VectorType(FLOAT, lanes)(None))

            def add(some: list[ir.Value], sums: ir.Value = sums, lanes: int = lanes) -> None:
                for one, other in terms(some, lanes):  # fused: where loops are unrolled, LLVM may choose otherwise
                    fused = call(builder, f"llvm.fma.v{lanes}f32", one.type, one, other, builder.load(sums))
                    builder.store(fused, sums)

            if stride == 16:  # these stay in registers
                for j in range(0, fast.WORD, stride):
                    with builder.if_then(builder.icmp_signed("<", INT(j), end)):
                        add([fast.some_of(builder, part, j, stride) for part in parts])
            else:
                with cgutils.for_range_slice(builder, first, end, INT(stride), INT) as (j, _):
                    add([fast.vector_at(builder, place, j, ir.VectorType(fast.BYTE, stride)) for place in kept])
            some = builder.load(sums)
            while some.type.count > 1:
                some = _folded(builder, some)
            builder.store(builder.fadd(builder.load(total), builder.extract_element(some, INT(0))), total)
        first = end
    return builder.select(used, builder.load(total), FLOAT(0))


def _gathered(builder: ir.IRBuilder, data: ir.Value, places: ir.Value) -> ir.Value:
    """Numbers of an array, by one instruction where there are 16 or 4."""
    lanes = places.type.count
    kind = ir.VectorType(FLOAT, lanes)
    if lanes == 1:
        place = builder.zext(builder.extract_element(places, INT(0)), INT)
        return builder.insert_element(kind(ir.Undefined), load(builder, data, place), INT(0))
    name = {16: "gather.dps.512", 4: "gather3siv4.sf"}[lanes]
    start, all_of_them = builder.bitcast(data, fast.BYTE.as_pointer()), lanes_of(ir.IntType(1), [1] * lanes)
    return call(builder, f"llvm.x86.avx512.mask.{name}", kind, kind(None), start, places, all_of_them, WORD(4))


@emitted
def float32(_, value):
    """A stored value as float32: itself, or a finite float16 given as its bits."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        return _floats(context, builder, given[0])

    return types.float32(value), emit


@emitted
def ahead(_, records, row):
    """Have the cache fetch a record, of at most 64 bytes or the first and last of more, to be read soon."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        records = argument(context, builder, signature, given, 0)
        width = shape(builder, records)[1]
        start = builder.mul(given[1], width)
        fetch(builder, records.data, start)
        fetch(builder, records.data, builder.add(start, builder.sub(width, INT(1))))
        return context.get_dummy_value()

    return contiguous(types.void, records, row), emit


@emitted
def weighted(_, values, columns, u, totals):
    """totals[i] = Σ_j values[j] u[columns[j], i], values float32; the length of `totals` is a multiple of 16."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        values, columns, u, totals = (argument(context, builder, signature, given, place) for place in range(4))
        [k], [w] = (shape(builder, array) for array in (values, totals))
        registers = REGISTERS[has(context, "avx512f")][0]
        _weigh(builder, (values.data, columns.data, u.data, totals.data), [INT(0)], k, w, registers)
        return context.get_dummy_value()

    return contiguous(types.void, values, columns, u, totals), emit


@emitted
def weighted_in_order(_, values, columns, known, row, u, totals):
    """`weighted` of `ROWS` rows from `row` on, whose columns from the last of `known` on are consecutive and the same.

    `known` is a multiple of 16; totals (ROWS, w). What is read of u serves all of them, from a cache that gives less in
    a time than they take.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        values, columns, u, totals = (argument(context, builder, signature, given, place) for place in (0, 1, 4, 5))
        k, w = shape(builder, values)[1], shape(builder, totals)[1]
        firsts = [builder.mul(builder.add(given[3], INT(row)), k) for row in range(ROWS)]
        registers = REGISTERS[has(context, "avx512f")][1]
        _weigh(builder, (values.data, columns.data, u.data, totals.data), firsts, k, w, registers, given[2])
        return context.get_dummy_value()

    return contiguous(types.void, values, columns, types.int64, types.int64, u, totals), emit


def _weigh(
    builder: ir.IRBuilder,
    data: tuple,
    firsts: list[ir.Value],
    k: ir.Value,
    w: ir.Value,
    registers_of: Iterable[int],
    known: ir.Value | None = None,
) -> None:
    """The totals of rows that start at some places of values and columns; from `known` on these are in order.

    `registers_of`: sums of a row at a time, by 16, the most first and 1 last.
    """
    values, columns, u, totals = data
    block, first = ir.VectorType(FLOAT, 16), INT(0)
    if known is not None:
        last_known = load(builder, columns, builder.add(firsts[0], builder.sub(known, INT(1))))
        behind = builder.sub(builder.zext(last_known, INT), builder.sub(known, INT(1)))
    for registers in registers_of:  # as many as w leaves
        last = builder.and_(w, INT(-registers * 16))
        with cgutils.for_range_slice(builder, first, last, INT(registers * 16), INT) as (i, _):
            places = [builder.add(i, INT(16 * register)) for register in range(registers)]
            wholes = [cgutils.alloca_once_value(builder, block(None)) for _ in firsts for _ in places]
            start = INT(0)
            for lanes, stride in LANES:
                end = builder.and_(k, INT(-stride))
                with builder.if_then(builder.icmp_signed("<", start, end)):
                    # Two lanes at a time: with all of them, the sums would not fit in registers.
                    groups, order = [], _reversed(lanes)
                    for chosen in (order[at : at + 2] for at in range(0, lanes, 2)):

                        def weights(at: ir.Value, column: ir.Value, places: list = places) -> list[ir.Value]:
                            row = builder.mul(column, w)
                            return [load(builder, u, builder.add(row, place), 16) for place in places]

                        def products(j: ir.Value, chosen: list = chosen, weights: Any = weights) -> Iterator:
                            for lane in chosen:
                                for row in firsts:
                                    at = builder.add(builder.add(row, j), INT(lane))
                                    value = everywhere(builder, load(builder, values, at), 16)
                                    for one in weights(at, builder.zext(load(builder, columns, at), INT)):
                                        yield value, one

                        def in_order(j: ir.Value, chosen: list = chosen, weights: Any = weights) -> Iterator:
                            for lane in chosen:
                                at = builder.add(j, INT(lane))
                                for_all = weights(at, builder.add(behind, at))
                                for row in firsts:
                                    value = everywhere(builder, load(builder, values, builder.add(row, at)), 16)
                                    for one in for_all:
                                        yield value, one

                        sums = [block(None)] * (len(chosen) * len(wholes))
                        middle = end if known is None else known if stride > lanes else start
                        sums = _sums(builder, sums, (start, middle, lanes), products)
                        if known is not None:
                            sums = _sums(builder, sums, (middle, end, lanes), in_order)
                        groups.append([sums[one :: len(wholes)] for one in range(len(wholes))])
                    for number, whole in enumerate(wholes):
                        some = _tree(builder, [one for group in groups for one in group[number]])
                        builder.store(builder.fadd(builder.load(whole), some, flags=FUSED), whole)
                start = end
            for number, whole in enumerate(wholes):
                place = builder.add(places[number % registers], builder.mul(w, INT(number // registers)))
                store(builder, totals, place, builder.load(whole))
        first = last


def _reversed(lanes: int) -> list[int]:
    """The lanes by their reversed bits: neighbours are those that `_folded` pairs, in every round."""
    return [0] if lanes == 1 else [lane + odd * lanes // 2 for lane in _reversed(lanes // 2) for odd in (0, 1)]


def _tree(builder: ir.IRBuilder, sums: list[ir.Value]) -> ir.Value:
    """The sum of neighbours, and of their sums, until one is left."""
    while len(sums) > 1:
        sums = [builder.fadd(*pair, flags=FUSED) for pair in zip(sums[::2], sums[1::2], strict=True)]
    return sums[0]


def _floats(context: Any, builder: ir.IRBuilder, stored: ir.Value) -> ir.Value:
    """A stored value, or a vector of them, as float32; exact, subnormals too."""
    one = stored.type.element if isinstance(stored.type, ir.VectorType) else stored.type
    if one == FLOAT:
        return stored

    def alike(kind: Any) -> Any:
        return ir.VectorType(kind, stored.type.count) if one is not stored.type else kind

    if "+f16c" in context.codegen().magic_tuple()[2]:  # x86 since 2012 has an instruction, 1.2 times as fast in `dot`
        return builder.fpext(builder.bitcast(stored, alike(ir.HalfType())), alike(FLOAT))
    # Sign to bit 31, exponent and fraction to bits 13 to 27, then the exponent's bias.
    whole = alike(ir.IntType(32))
    bits = builder.zext(stored, whole)

    def constant(kind: Any, number: int | float) -> ir.Constant:
        return kind(number if kind in (FLOAT, ir.IntType(32)) else [number] * kind.count)

    def part(mask: int, places: int) -> ir.Value:
        return builder.shl(builder.and_(bits, constant(whole, mask)), constant(whole, places))

    small = builder.bitcast(builder.or_(part(0x8000, 16), part(0x7FFF, 13)), alike(FLOAT))
    return builder.fmul(small, constant(small.type, 2.0**112))


def _pairwise(builder: ir.IRBuilder, data: ir.Value, at: ir.Value, count: int) -> Iterator[ir.Value]:
    """Numbers of an array as 64-bit integers; one load gives two of them, where several are asked for."""
    if count == 1:
        yield builder.zext(load(builder, data, at), INT)
        return
    bits = data.type.pointee.width
    for pair in range(0, count, 2):
        pointer = builder.bitcast(builder.gep(data, [builder.add(at, INT(pair))]), ir.IntType(2 * bits).as_pointer())
        both = builder.load(pointer, align=1)
        yield builder.zext(builder.trunc(both, ir.IntType(bits)), INT)
        yield builder.zext(builder.lshr(both, both.type(bits)), INT)


def _diagonal(builder: ir.IRBuilder, vectors: list[ir.Value]) -> ir.Value:
    """A vector of the first lane of the first vector, the second of the second and so on."""
    lanes = len(vectors)
    merged = vectors[0]
    for lane in range(1, lanes):
        chosen = [*range(lane), lanes + lane, *range(lane + 1, lanes)]
        merged = builder.shuffle_vector(merged, vectors[lane], ir.VectorType(ir.IntType(32), lanes)(chosen))
    return merged


def _folded(builder: ir.IRBuilder, total: ir.Value) -> ir.Value:
    """The first half of a vector's lanes plus the second."""
    half = total.type.count // 2
    halves = (ir.VectorType(ir.IntType(32), half)(list(range(start, start + half))) for start in (0, half))
    return builder.fadd(*(builder.shuffle_vector(total, total, lanes) for lanes in halves), flags=FUSED)


def _sums(
    builder: ir.IRBuilder,
    totals: list[ir.Value],
    steps: tuple[ir.Value, ir.Value, int],
    products: Callable[[ir.Value], Iterable[tuple[ir.Value, ir.Value]]],
) -> list[ir.Value]:
    """Add to each total in turn a product of two vectors at every step: start, end and stride."""
    start, end, stride = steps
    places = [cgutils.alloca_once_value(builder, total) for total in totals]
    with cgutils.for_range_slice(builder, start, end, INT(stride), INT) as (j, _):
        for place, (a, b) in zip(itertools.cycle(places), products(j)):
            builder.store(builder.fadd(builder.load(place), builder.fmul(a, b, flags=FUSED), flags=FUSED), place)
    return [builder.load(place) for place in places]
