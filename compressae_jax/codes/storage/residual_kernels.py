"""The compiled loops of `residual`: coordinates to bytes and back.

The bytes of a row: its scale, then for each group one byte a bit, the highest first; bit i of a byte is that of
coordinate i of the group. `unpack` is for any machine; `residual_avx512_kernels` and `residual_avx2_kernels` have
vectors, to the same bits.
"""

from types import ModuleType
from typing import Any

import numpy as np
from numba.core.registry import cpu_target

from compressae_jax.base.compiled import compiled, inlined
from compressae_jax.base.llvm_kernels import has
from compressae_jax.codes.storage import residual_avx2_kernels, residual_avx512_kernels
from compressae_jax.codes.storage.residual_parts_kernels import GROUP, TOGETHER, unpack_roomy

EXACT = 1e-11  # squared error beside a row's square, of values that are levels already


@compiled
def pack(values, used, deviations, scales, widths, tables, tail):
    """Write coordinates (n, m) as level numbers at the scale that leaves the least error, into zeroed bytes.

    Values that are levels already, at some scale, are found by the few scales that their first one may have.
    """
    m, first = values.shape[1], widths[0]
    step = np.log(scales[1] / scales[0])
    for row in range(len(values)):
        if not used[row]:
            continue
        best, square = np.int64(-1), np.float64(0)
        for i in range(m):
            square += np.float64(values[row, i]) * values[row, i]
        for number in range(1 << (first - 1), 1 << first):
            scale = abs(values[row, 0]) / (tables[first, number] * deviations[0])
            if scale <= 0:
                continue
            place = np.int64(np.rint(np.log(scale / scales[0]) / step))
            if 0 <= place < len(scales):
                least = EXACT * square
                if _error(values[row], deviations, scales[place], widths, tables, least) < least:
                    best = place
                    break
        if best < 0:
            best, least = np.int64(0), np.float64(np.inf)
            for some in range(len(scales)):
                error = _error(values[row], deviations, scales[some], widths, tables, least)
                if error < least:
                    best, least = np.int64(some), error
        tail[row, 0] = best
        at = 1
        for start in range(0, m, GROUP):
            bits = widths[start]
            for i in range(start, min(start + GROUP, m)):
                number = nearest(values[row, i], deviations[i] * scales[best], bits, tables)
                for plane in range(bits):
                    tail[row, at + plane] |= ((number >> (bits - 1 - plane)) & 1) << (i - start)
            at += bits


def with_vectors() -> tuple[ModuleType, ...]:
    """The modules of loops with vectors that this machine runs, the fastest first."""
    both = residual_avx512_kernels, residual_avx2_kernels
    return tuple(module for module in both if has(cpu_target.target_context, *module.FEATURES))


def fastest(roomy: bool = False) -> Any:
    """The fastest `unpack` for this machine; or, `roomy`, of those that need room behind."""
    for module in with_vectors():
        return module.unpack_roomy if roomy else module.unpack
    return unpack_roomy if roomy else unpack


@compiled
def unpack(records, behind, few, deviations, scales, widths, tables, values):
    """Whole rows of values (n, first + m): the nonzeros' `few` (n, first), and coordinates; zeros of zero rows.

    `records` (n, w) have the bytes of coordinates from byte `behind` on.
    """
    unpack_roomy(records, len(records), behind, few, deviations, scales, widths, tables, values)


@compiled
def roomy(n, k):
    """Room for n rows of k values, and behind them for what `unpack_roomy_vectors` writes."""
    return np.empty((n + (TOGETHER + k - 1) // k, k), np.float32)


@inlined
def _error(values, deviations, scale, widths, tables, least):
    """The squared error of the nearest levels, or a part of it that is `least` already."""
    error = np.float64(0)
    for i in range(len(values)):
        unit = deviations[i] * scale
        wrong = values[i] - tables[widths[i], nearest(values[i], unit, widths[i], tables)] * unit
        error += wrong * wrong
        if error >= least:
            break
    return error


@inlined
def nearest(value, unit, bits, tables):
    """The number of the level nearest to a value: by halving, over the middles between levels."""
    low, high = 0, (1 << bits) - 1
    while low < high:
        middle = (low + high) >> 1
        if value > (tables[bits, middle] + tables[bits, middle + 1]) * np.float32(0.5) * unit:
            low = middle + 1
        else:
            high = middle
    return low
