"""What loops over coordinates of `residual` rows share: the bytes of a group, and how they are read one by one."""

import numpy as np

from compressae_jax.base.compiled import compiled

GROUP = 8
TOGETHER = 64  # coordinates that loops with vectors may write at once, and bytes that they may read
ONE, BYTE, LAST = np.uint64(1), np.uint64(8), np.uint64(255)
SPREAD = np.array([sum((byte >> i & 1) << 8 * i for i in range(8)) for byte in range(256)], np.uint64)  # a bit a byte


@compiled
def runs(widths, together):
    """Where runs of coordinates of equal bits begin, each as long as so many are taken together."""
    starts, count = np.empty(len(widths), np.int64), 0
    for start in range(0, len(widths), GROUP):
        if count == 0 or widths[start] != widths[starts[count - 1]] or start - starts[count - 1] == together:
            starts[count] = start
            count += 1
    return starts[:count]


@compiled
def with_room(records, values):
    """How many rows come before the last ones, behind which there is no room for vectors."""
    (n, width), k = records.shape, values.shape[1]
    return max(0, n - max((TOGETHER + width - 1) // width, (TOGETHER + k - 1) // k))


@compiled
def unpack_roomy(records, n, behind, few, deviations, scales, widths, tables, values):
    """The first n rows, one number after the other; needs no room."""
    first, m = few.shape[1], len(deviations)
    for row in range(n):
        values[row, :first] = few[row]
        if few[row, 0] == 0:
            values[row, first:] = 0
            continue
        scale, at = scales[records[row, behind]], behind + 1
        for start in range(0, m, GROUP):
            bits, word = widths[start], np.uint64(0)
            for plane in range(bits):
                word = word << ONE | SPREAD[records[row, at + plane]]
            for i in range(start, min(start + GROUP, m)):
                values[row, first + i] = tables[bits, word & LAST] * (deviations[i] * scale)
                word >>= BYTE
            at += bits
