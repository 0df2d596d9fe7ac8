"""Loops over nonzeros for `neighbours`: who shares latents with a row, who of them is near, where its code should go.

A row is summed by one thread in a fixed order: the result does not depend on how many threads there are.
"""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled, inlined

LOOKS = 14  # bisections of a threshold between cosines 0 and 1
SQUARINGS = 8


@compiled(fastmath=FAST)
def activations(x, w, columns, out):
    """Inner products (b, m) of each row of x (b, d) with the atoms, rows of w (h, d), of its columns (b, m)."""
    for row in range(len(x)):
        for j in range(columns.shape[1]):
            out[row, j] = _dot(x[row], w[columns[row, j]])


@compiled(fastmath=FAST)
def nearest(first, x, common, columns, ends, rows, near):
    """Of the rows that share a latent with rows first, first + 1, …, the m nearest, near (b, m), in no order.

    x (n, d): rows less what all have in common, `common` (n,): their inner products with that. Where fewer than m share
    a latent the row itself fills the places.
    """
    n, k = columns.shape
    m = near.shape[1]
    seen, met, cosines = np.zeros(n, np.bool_), np.empty(n, np.int32), np.empty(n, np.float32)
    for b in range(len(near)):
        row, count = first + b, 0
        seen[row] = True
        for j in range(k):
            for p in range(ends[columns[row, j]], ends[columns[row, j] + 1]):
                if not seen[rows[p]]:
                    seen[rows[p]] = True
                    met[count] = rows[p]
                    count += 1
        seen[row] = False
        for e in range(count):
            seen[met[e]] = False
            cosines[e] = _dot(x[row], x[met[e]]) + common[met[e]]
        limit = np.partition(cosines[:count], count - m)[count - m] if count > m else -np.float32(np.inf)
        found = 0
        for e in range(count):
            if cosines[e] > limit:
                near[b, found] = met[e]
                found += 1
        for e in range(count):  # of equal ones, as duplicates are, those that there is room for
            if cosines[e] == limit and found < m:
                near[b, found] = met[e]
                found += 1
        near[b, found:] = row


@compiled(fastmath=FAST)
def pulls(first, near, columns, values, ends, rows, listed, width, out):
    """The gradient (b, k) of `neighbours`' loss by the values of the unit codes of rows first, first + 1, ….

    near (b, m): the nearest others of each; columns, values (n, k): unit codes of all; `ends`, `rows` and `listed` the
    same by latent; `width`: of the sigmoid, in cosines.
    """
    n, k = columns.shape
    scores, wrong = np.zeros(n, np.float32), np.zeros(n, np.float32)
    met, cosines = np.empty(n + 1, np.int32), np.empty(n, np.float32)  # written before it is known to be new
    steep = np.float32(1) / width
    for b in range(len(near)):
        row, count = first + b, 0
        for j in range(k):
            for p in range(ends[columns[row, j]], ends[columns[row, j] + 1]):
                other, before = rows[p], scores[rows[p]]
                met[count] = other
                count += before == 0
                scores[other] = before + values[row, j] * listed[p]
        scores[row] = 0
        for e in range(count):
            cosines[e] = scores[met[e]]
        for other in near[b]:
            wrong[other] = -1
        wrong[row] = 0
        wanted = np.float32(0)
        for e in range(count):
            wanted -= wrong[met[e]]
        low, high = np.float32(0), np.float32(1)
        for _ in range(LOOKS):
            middle, found = (low + high) / np.float32(2), np.float32(0)
            for e in range(count):
                found += _sigmoid((cosines[e] - middle) * steep)
            if found > wanted:
                low = middle
            else:
                high = middle
        for e in range(count):
            wrong[met[e]] += _sigmoid((cosines[e] - low) * steep)
        wrong[row] = 0  # a row is among those met, and does not pull itself
        for j in range(k):
            total = np.float32(0)
            for p in range(ends[columns[row, j]], ends[columns[row, j] + 1]):
                total += wrong[rows[p]] * listed[p]
            out[b, j] = total
        for other in near[b]:
            wrong[other] = 0
        for e in range(count):
            scores[met[e]] = 0
            wrong[met[e]] = 0


@inlined(fastmath=FAST)
def _dot(a, b):
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@inlined(fastmath=FAST)
def _sigmoid(u):
    """1 / (1 + e^-u) by (1 - u / 256)^256, which vectorises: within .004 of it."""
    power = max(np.float32(1) - u / np.float32(1 << SQUARINGS), np.float32(0))
    for _ in range(SQUARINGS):
        power *= power
    return np.float32(1) / (np.float32(1) + power)
