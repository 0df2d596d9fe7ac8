"""The compiled loops of `lookup`: hashes of texts, and whether texts are the same."""

import numpy as np

from compressae_jax.base.compiled import compiled

BASIS, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # of FNV-1a
SHIFT, SPREAD = np.uint64(32), np.uint64(0x9E3779B97F4A7C15)


@compiled
def hashes(offsets, utf8, out):
    """FNV-1a of every text, its high bits folded into the low ones; offsets that nobody checked stay inside `utf8`."""
    for i in range(len(out)):
        value = BASIS
        for at in range(max(0, offsets[i]), min(len(utf8), offsets[i + 1])):
            value = (value ^ np.uint64(utf8[at])) * PRIME
        out[i] = (value ^ (value >> SHIFT)) * SPREAD


@compiled
def same(offsets, utf8, rows, other_offsets, other_utf8, other_rows, out):
    """Whether the text at each of `rows` is the other one's at the same place of `other_rows`."""
    for i in range(len(rows)):
        start, stop = max(0, offsets[rows[i]]), min(len(utf8), offsets[rows[i] + 1])
        other = max(0, other_offsets[other_rows[i]])
        equal = stop - start == min(len(other_utf8), other_offsets[other_rows[i] + 1]) - other
        at = 0
        while equal and at < stop - start:
            equal = utf8[start + at] == other_utf8[other + at]
            at += 1
        out[i] = equal
