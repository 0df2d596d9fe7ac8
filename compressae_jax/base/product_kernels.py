"""The compiled loop of `products`: a tile of rows and columns in registers, an addition a term.

An entry is the sum of its terms in their order, however many rows come together and whatever the tile.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from compressae_jax.base.compiled import FAST, compiled
from compressae_jax.base.llvm_kernels import (
    FUSED,
    INT,
    argument,
    contiguous,
    emitted,
    everywhere,
    load,
    shape,
    store,
)

STRIP = 64  # columns that lie together: with d to 2,000 they stay in the second cache while all rows pass
ROWS = 6  # of a tile
# Columns of a tile and lanes of its vectors: with 6 rows, 24 or 12 sums, as many as registers hold beside what is read.
WIDE, HALF, QUARTER = (64, 16), (16, 8), (16, 4)


@emitted
def _tile(_, x, row, strip, start, out, into, column):
    """What `start` (64,) has plus `ROWS` rows of x from the one numbered `row` on, by a strip (d, 64).

    It goes into out at the row `into` and at `column`.
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> ir.Value:
        x, strip, start, out = (argument(context, builder, signature, given, place) for place in (0, 2, 3, 4))
        row, into, column = given[1], given[5], given[6]
        d, h = shape(builder, x)[1], shape(builder, out)[1]
        columns, lanes = _registers(context)
        rows = [builder.mul(builder.add(row, INT(i)), d) for i in range(ROWS)]
        for first in range(0, STRIP, columns):
            places = range(first, first + columns, lanes)
            first_terms = [load(builder, start.data, INT(place), lanes) for place in places]
            sums = [[cgutils.alloca_once_value(builder, term) for term in first_terms] for _ in rows]
            with cgutils.for_range(builder, d, intp=INT) as loop:
                term = builder.mul(loop.index, INT(STRIP))
                weights = [load(builder, strip.data, builder.add(term, INT(place)), lanes) for place in places]
                for own, some in zip(rows, sums, strict=True):
                    one = everywhere(builder, load(builder, x.data, builder.add(own, loop.index)), lanes)
                    for weight, total in zip(weights, some, strict=True):
                        more = builder.fmul(one, weight, flags=FUSED)
                        builder.store(builder.fadd(builder.load(total), more, flags=FUSED), total)
            for i, some in enumerate(sums):
                at = builder.add(builder.mul(builder.add(into, INT(i)), h), column)
                for place, total in zip(places, some, strict=True):
                    store(builder, out.data, builder.add(at, INT(place)), builder.load(total))
        return context.get_dummy_value()

    return contiguous(types.void, x, row, strip, start, out, into, column), emit


def _registers(context: Any) -> tuple[int, int]:
    features = context.codegen().magic_tuple()[2]
    return WIDE if "+avx512f" in features else HALF if "+avx" in features else QUARTER


@compiled(fastmath=FAST)
def product(x, strips, starts, first, last, out):
    """Of out (b, h) = x W + b the columns of some strips (s, d, 64) of W, with `starts` (s, 64) of b."""
    b, h = out.shape
    few = b < ROWS
    if few:
        given, x = x, np.zeros((ROWS, x.shape[1]), np.float32)
        x[:b] = given
    edge = np.empty((ROWS, STRIP), np.float32)
    for s in range(first, last):
        low = np.int64(STRIP * s)
        columns = min(STRIP, h - low)
        for start in range(0, b, ROWS):
            row = max(np.int64(0), min(start, b - ROWS))  # the last tile takes some rows again
            if few or columns < STRIP:
                _tile(x, row, strips[s], starts[s], edge, np.int64(0), np.int64(0))
                for i in range(min(ROWS, b)):
                    for c in range(columns):
                        out[row + i, low + c] = edge[i, c]
            else:
                _tile(x, row, strips[s], starts[s], out, row, low)
