"""The pass of a batch as compiled loops over nonzeros for a CPU; threads and arrays are in `pass_host`.

A row has 4k nonzeros of h, so what follows the selection costs 4k/h of its dense products. Every row, and every latent,
is summed by one thread in a fixed order: the result does not depend on how many threads there are.
"""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled, inlined
from compressae_jax.model.topk_kernels import select


@compiled(fastmath=FAST)
def forward(a, x, w, k, weights, columns, values, slopes, pulls_k, pulls_4k, cosines):
    """Codes, cosines, and the loss's gradient by reconstructions and by nonzeros, for a block of rows.

    a (b, h) pre-activations; x (b, d) unit rows; w (h, d) the decoder; `weights` of the rows' distances in the loss, of
    k and of 4k nonzeros. Written: columns, values and slopes dL/ds (b, 4k), the first k those of s_k; pulls dL/dz
    (b, d) on what the first k and on what the other nonzeros build; cosines (b, 2).
    """
    keep, d = columns.shape[1], x.shape[1]
    z = np.empty(d, np.float32)
    select(a, k, columns)
    for row in range(len(a)):
        column, value, to_k, to_4k = columns[row], values[row], pulls_k[row], pulls_4k[row]
        for j in range(keep):
            value[j] = a[row, column[j]]
        z[:] = 0
        _add_atoms(z, w, column[:k], value[:k])
        cosines[row, 0] = _pull(x[row], z, weights[0], to_k)
        _add_atoms(z, w, column[k:], value[k:])  # z_4k is z_k and what the others add
        cosines[row, 1] = _pull(x[row], z, weights[1], to_4k)
        for i in range(d):
            to_k[i] += to_4k[i]
        for j in range(keep):
            slopes[row, j] = _dot(to_k if j < k else to_4k, w[column[j]])


@compiled(fastmath=FAST)
def by_latent(columns, values, slopes, k, ends, rows, pulls, sorted_values, sorted_slopes, counts):
    """Sort the nonzeros (b, 4k) by latent, rows rising: those of latent i are ends[i]:ends[i + 1] of the flat arrays.

    `pulls` is a nonzero's row among the pulls on the first k (b, d) and then those on the others; `counts` (h,) the
    rows that a latent is nonzero in among the first k.
    """
    b, keep = columns.shape
    ends[:] = 0
    counts[:] = 0
    for row in range(b):
        for j in range(keep):
            ends[columns[row, j] + 1] += 1
        for j in range(k):
            counts[columns[row, j]] += values[row, j] != 0
    for i in range(len(counts)):
        ends[i + 1] += ends[i]
    place = ends[:-1].copy()
    for row in range(b):
        for j in range(keep):
            p = place[columns[row, j]]
            place[columns[row, j]] += 1
            rows[p], pulls[p] = row, row if j < k else b + row
            sorted_values[p], sorted_slopes[p] = values[row, j], slopes[row, j]


@compiled(fastmath=FAST)
def backward(low, high, ends, rows, pulls, values, slopes, x, of_z, decoder_w, encoder_w, encoder_b):
    """The gradient of latents low:high from their nonzeros; of_z (2b, d); `encoder_w` is transposed, (h, d)."""
    d = x.shape[1]
    for i in range(low, high):
        to_w, to_e, p = decoder_w[i], encoder_w[i], ends[i]
        to_w[:], to_e[:], encoder_b[i] = 0, 0, 0
        while p + 4 <= ends[i + 1]:  # four at a time: the sums are read and written a fourth as often
            v0, v1, v2, v3 = values[p], values[p + 1], values[p + 2], values[p + 3]
            s0, s1, s2, s3 = slopes[p], slopes[p + 1], slopes[p + 2], slopes[p + 3]
            z0, z1, z2, z3 = of_z[pulls[p]], of_z[pulls[p + 1]], of_z[pulls[p + 2]], of_z[pulls[p + 3]]
            x0, x1, x2, x3 = x[rows[p]], x[rows[p + 1]], x[rows[p + 2]], x[rows[p + 3]]
            for c in range(d):
                to_w[c] += v0 * z0[c] + v1 * z1[c] + v2 * z2[c] + v3 * z3[c]
            for c in range(d):
                to_e[c] += s0 * x0[c] + s1 * x1[c] + s2 * x2[c] + s3 * x3[c]
            encoder_b[i] += s0 + s1 + s2 + s3
            p += 4
        while p < ends[i + 1]:
            v0, s0, z0, x0 = values[p], slopes[p], of_z[pulls[p]], x[rows[p]]
            for c in range(d):
                to_w[c] += v0 * z0[c]
                to_e[c] += s0 * x0[c]
            encoder_b[i] += s0
            p += 1


@inlined(fastmath=FAST)
def _add_atoms(z, w, columns, values):
    """z += Σ_j values[j] w[columns[j]], four a time."""
    whole = len(columns) - len(columns) % 4
    for j in range(0, whole, 4):
        v0, v1, v2, v3 = values[j], values[j + 1], values[j + 2], values[j + 3]
        w0, w1, w2, w3 = w[columns[j]], w[columns[j + 1]], w[columns[j + 2]], w[columns[j + 3]]
        for i in range(len(z)):
            z[i] += v0 * w0[i] + v1 * w1[i] + v2 * w2[i] + v3 * w3[i]
    for j in range(whole, len(columns)):
        v0, w0 = values[j], w[columns[j]]
        for i in range(len(z)):
            z[i] += v0 * w0[i]


@inlined(fastmath=FAST)
def _pull(x, z, weight, pull):
    """cos(x, z) of a unit x, and into `pull` the gradient of weight · (1 − cos) by z; 0 both where z is zero."""
    square, inner = np.float64(0), np.float64(0)
    for i in range(len(x)):
        square += np.float64(z[i]) * np.float64(z[i])  # of any float32, without over- or underflow
        inner += np.float64(x[i]) * np.float64(z[i])
    if square == 0:
        pull[:] = 0
        return np.float32(0)
    along = inner / square
    scale = np.float64(weight) / np.sqrt(square)
    for i in range(len(x)):
        pull[i] = scale * (along * z[i] - x[i])
    return np.float32(inner / np.sqrt(square))


@inlined(fastmath=FAST)
def _dot(a, b):
    total = np.float32(0)
    for i in range(len(a)):
        total += a[i] * b[i]
    return total
