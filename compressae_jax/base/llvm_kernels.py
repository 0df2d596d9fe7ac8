"""The vectors that numba does not have: what kernels written in LLVM's own terms are put together from.

Arrays are contiguous; others do not compile.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FUSED = ("nsz", "contract")  # products may go into their sums unrounded; the order of the sums stays as written
FLOAT, INT = ir.FloatType(), ir.IntType(64)
emitted: Any = intrinsic  # mypy would ask its callers for the first argument, the typing context, which numba adds


def contiguous(result: Any, *given: Any) -> Any:
    """The signature; None, which does not compile, where an array is not contiguous."""
    return result(*given) if all(getattr(one, "layout", "C") == "C" for one in given) else None


def argument(context: Any, builder: ir.IRBuilder, signature: Any, given: Any, place: int) -> Any:
    """The array that is the argument at a place."""
    return context.make_array(signature.args[place])(context, builder, given[place])


def shape(builder: ir.IRBuilder, array: Any) -> list[ir.Value]:
    """The lengths of an array."""
    return cgutils.unpack_tuple(builder, array.shape)


def load(builder: ir.IRBuilder, data: ir.Value, at: ir.Value, lanes: int = 0) -> ir.Value:
    """An element, or a vector of `lanes`; a memory map may begin anywhere."""
    pointer = builder.gep(data, [at])
    if lanes:
        pointer = builder.bitcast(pointer, ir.VectorType(pointer.type.pointee, lanes).as_pointer())
    return builder.load(pointer, align=1)


def store(builder: ir.IRBuilder, data: ir.Value, at: ir.Value, vector: ir.Value) -> None:
    """Put a vector into an array."""
    builder.store(vector, builder.bitcast(builder.gep(data, [at]), vector.type.as_pointer()), align=1)


def fetch(builder: ir.IRBuilder, data: ir.Value, at: ir.Value) -> None:
    """Have the cache fetch an element, to be read (0) and kept (3) as data (1); past the end it does nothing."""
    pointer, word = builder.bitcast(builder.gep(data, [at]), ir.IntType(8).as_pointer()), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
    function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
    builder.call(function, [pointer, word(0), word(3), word(1)])


def everywhere(builder: ir.IRBuilder, one: ir.Value, lanes: int) -> ir.Value:
    """A vector with the same number in all lanes."""
    vector = builder.insert_element(ir.VectorType(one.type, lanes)(ir.Undefined), one, INT(0))
    return builder.shuffle_vector(vector, vector, ir.VectorType(ir.IntType(32), lanes)([0] * lanes))


def lanes_of(kind: ir.Type, numbers: Iterable[int]) -> ir.Constant:
    """A vector of numbers that are known beforehand."""
    known = list(numbers)
    return ir.VectorType(kind, len(known))(known)


def call(builder: ir.IRBuilder, name: str, result: ir.Type, *given: ir.Value) -> ir.Value:
    """What a function of LLVM's own gives."""
    kind = ir.FunctionType(result, [one.type for one in given])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)


def looked_up(builder: ir.IRBuilder, tables: Sequence[ir.Value], numbers: ir.Value) -> ir.Value:
    """The entries of a table at eight numbers, by AVX2; the table's vectors of eight are a power of two.

    Higher bits of the numbers than the table has entries do not count.
    """
    kind = ir.VectorType(FLOAT, 8)
    found = [call(builder, "llvm.x86.avx2.permps", kind, table, numbers) for table in tables]
    bit = 8
    while len(found) > 1:
        chosen = builder.and_(numbers, lanes_of(numbers.type.element, [bit] * 8))
        above = builder.icmp_unsigned("!=", chosen, numbers.type(None))
        found = [builder.select(above, high, low) for low, high in zip(found[::2], found[1::2], strict=True)]
        bit *= 2
    return found[0]


@emitted
def zeros_below(_, bits):
    """The number of zeros below the lowest bit that is set, of one that is."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        return builder.cttz(given[0], ir.IntType(1)(1))

    return types.int64(types.uint64), emit


def has(context: Any, *features: str) -> bool:
    """Whether a loop is compiled for a machine with all of these instructions."""
    there = context.codegen().magic_tuple()[2].split(",")
    return all(f"+{one}" in there for one in features)
