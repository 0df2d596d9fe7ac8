"""The compiled loops of `fast`, which imports this module, and with it numba, when rows are first packed or unpacked.

`unpack` is for any machine; `fast_avx512_kernels` and `fast_avx2_kernels` have vectors, to the same bits: bucket i is
the place of the i-th set bit less i, by eight bits; 0 - i where too few bits are set.
"""

from types import ModuleType
from typing import Any

import numpy as np
from numba.core.registry import cpu_target

from compressae_jax.base.compiled import compiled
from compressae_jax.base.llvm_kernels import has, zeros_below
from compressae_jax.codes.storage import fast_avx2_kernels, fast_avx512_kernels
from compressae_jax.codes.storage.fast_parts_kernels import HALF, WORD, apart, word_of

ONE = np.uint64(1)


def with_vectors() -> tuple[ModuleType, ...]:
    """The modules of loops with vectors that this machine runs, the fastest first."""
    both = fast_avx512_kernels, fast_avx2_kernels
    return tuple(module for module in both if has(cpu_target.target_context, *module.FEATURES))


def in_registers(h: int, k: int, low: int) -> bool:
    """Whether this machine takes rows apart in registers: those of up to 64 nonzeros, with AVX-512."""
    return k <= WORD and k + -(-h >> low) - 1 <= 2 * WORD and fast_avx512_kernels in with_vectors()


def fastest(roomy: bool = False) -> Any:
    """The fastest `unpack` for this machine; or, `roomy`, of those that need room behind."""
    for module in with_vectors():
        return module.unpack_roomy if roomy else module.unpack
    return unpack_roomy if roomy else unpack


@compiled
def pack(numbers, columns, used, low, records):
    """Write rows with rising columns and 4-bit level numbers into zeroed records (n, w); others stay zero rows."""
    k = numbers.shape[1]
    for row in range(len(numbers)):
        if not used[row]:
            continue
        for i in range(k):
            column = np.int64(columns[row, i])
            _put(records[row], low * i, low, column & ((1 << low) - 1))
            _put(records[row], low * k + HALF * i, HALF, np.int64(numbers[row, i]))
            _put(records[row], (low + HALF) * k + (column >> low) + i, 1, np.int64(1))


@compiled
def _put(record, at, bits, number):
    """Set a field of up to 8 zero bits that begins at a bit."""
    byte, number = at >> 3, number << (at & 7)
    record[byte] |= number & 255
    if (at & 7) + bits > 8:
        record[byte + 1] |= number >> 8


@compiled
def _field(records, row, at, bits):
    """A field of up to 8 bits that begins at a bit; the row has a byte behind it."""
    byte = at >> 3
    both = np.int64(records[row, byte]) | np.int64(records[row, byte + 1]) << 8
    return (both >> (at & 7)) & ((1 << bits) - 1)


@compiled
def unpack(records, h, low, signed, values, columns):
    """Values and columns (n, k) below h of records (n, w); zero rows get 0 and the first k columns."""
    inside, some, last_values, last_columns = apart(records, values.shape[1])
    unpack_roomy(records, inside, h, low, signed, values, columns)
    unpack_roomy(some, len(records) - inside, h, low, signed, last_values, last_columns)
    rest = len(records) - inside
    values[inside:], columns[inside:] = last_values[:rest], last_columns[:rest]


@compiled
def unpack_roomy(records, n, h, low, signed, values, columns):
    """The first n rows, each with room behind it: nonzeros one by one."""
    k = values.shape[1]
    bitmap, first = k + ((h - 1) >> low), (low + HALF) * k
    last, words = np.int64(h - 1), (bitmap + WORD - 1) // WORD
    for row in range(n):
        word, bits, some = 0, np.uint64(0), False
        for i in range(k):
            while bits == 0 and word < words:
                bits = word_of(records, row, first, bitmap, word)
                word += 1
            place = np.int64(0)
            if bits != 0:
                place, some = (word - 1) * WORD + zeros_below(bits), True
                bits &= bits - ONE
            columns[row, i] = min(((place - i) & 255) << low | _field(records, row, low * i, low), last)
            values[row, i] = signed[_field(records, row, low * k + HALF * i, HALF)]
        if not some:
            for i in range(k):
                values[row, i], columns[row, i] = 0, i
