"""The compiled loop of `within`: all rows at or above a score, one thread's chunk."""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled
from compressae_jax.retrieval.backends import vector_kernels as vectors


@compiled(fastmath=FAST)
def collect(values, columns, row_scales, allowed, u, at_least, queries, rows, scores):
    """Put (query, row of the chunk, score) of every pair at or above `at_least` (q,) into three arrays; their number.

    `u` (h, w) has the queries last, w >= q a multiple of 16; `allowed` (c,) is empty where all rows are. The arrays
    have room for all pairs.
    """
    k, w, q, some = values.shape[1], u.shape[1], len(at_least), len(allowed) > 0
    value, total = np.empty(k, np.float32), np.empty(w, np.float32)
    hits = 0
    for y in range(len(values)):
        if some and not allowed[y]:
            continue
        for j in range(k):
            value[j] = vectors.float32(values[y, j])
        vectors.weighted(value, columns[y], u, total)
        for i in range(q):
            score = total[i] * row_scales[y]
            if score >= at_least[i]:
                queries[hits], rows[hits], scores[hits] = i, y, score
                hits += 1
    return hits
