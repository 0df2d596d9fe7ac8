"""The loop behind `sampling.shuffled` for the many rows of a step, over which NumPy would pass a hundred times."""

import numpy as np

from compressae_jax.base.compiled import compiled, inlined
from compressae_jax.data.sampling import GOLDEN

FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@inlined
def mixed(x):
    """`sampling._mixed` of one number."""
    x = (x ^ (x >> np.uint64(30))) * FIRST
    x = (x ^ (x >> np.uint64(27))) * SECOND
    return x ^ (x >> np.uint64(31))


@compiled
def shuffled(places, n, bits, rounds, keys, rows):
    """Write to `rows` what `sampling.shuffled` gives; `keys` are one, or as many as places."""
    low_bits = np.uint64(bits // 2)
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    high_mask = (np.uint64(1) << np.uint64(bits - bits // 2)) - np.uint64(1)
    last = np.uint64(n - 1)
    for i in range(len(places)):
        key, x = keys[i if len(keys) > 1 else 0], np.uint64(places[i])
        while True:
            high, low, turn = x >> low_bits, x & low_mask, key
            for number in range(rounds):
                turn += GOLDEN
                if number & 1:
                    high ^= mixed(low + turn) & high_mask
                else:
                    low ^= mixed(high + turn) & low_mask
            x = (high << low_bits) | low
            if x <= last:
                break
        rows[i] = np.int64(x)
