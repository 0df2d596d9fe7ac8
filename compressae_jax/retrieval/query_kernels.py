"""The compiled loop that expands queries; `queries` deals it out, and imports it, and numba, at the first query.

A BLAS would be faster for many queries on idle cores, but its threads wait for one another by spinning: where another
program uses a core, the product of a single query takes a time slice of the scheduler, ten times as long as this loop.
"""

import numpy as np
from jaxtyping import Float

from compressae_jax.base.compiled import FAST, compiled
from compressae_jax.retrieval.backends import vector_kernels as vectors

STRIP = 128  # atoms: their numbers stay in the second cache for all queries, the sums of 64 at a time in registers


def strips(decoder_w: Float[np.ndarray, "h d"]) -> Float[np.ndarray, "s d 128"]:
    """W_d by strips of atoms, each transposed; the last one is filled with zeros."""
    h, d = decoder_w.shape
    whole = np.zeros((-(-h // STRIP) * STRIP, d), np.float32)
    whole[:h] = decoder_w
    return np.ascontiguousarray(whole.reshape(-1, STRIP, d).transpose(0, 2, 1))


@compiled(fastmath=FAST)
def expand(units, places, strips, first, last, u):
    """Of u (q, 128 s) = x̂ W_dᵀ the columns of some of the s strips, for unit rows (q, d); `places` are 0..d-1.

    A row is the same bits in any company.
    """
    totals = np.empty(STRIP, np.float32)
    for s in range(first, last):
        for i in range(len(units)):
            vectors.weighted(units[i], places, strips[s], totals)
            u[i, s * STRIP : (s + 1) * STRIP] = totals
