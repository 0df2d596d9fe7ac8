"""The compiled loops of `codes` that serve every kind of rows: lengths of rows and their inverses."""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled


@compiled
def unit_scales(values, scales):
    """1 / ‖values‖ of every row, 0 of a zero row."""
    for row in range(len(values)):
        total = 0.0
        for i in range(values.shape[1]):
            total += np.float64(values[row, i]) * np.float64(values[row, i])
        scales[row] = 1 / np.sqrt(total) if total > 0 else 0


@compiled
def inverses(norms, scales):
    """1 / norm, 0 of a norm that is 0."""
    for row in range(len(norms)):
        scales[row] = np.float32(1) / norms[row] if norms[row] > 0 else np.float32(0)


@compiled(fastmath=FAST)
def norms(values, columns, decoder_w, out):
    """(‖s‖, ‖z‖) of every row with z = s W_d, the terms of z added in the order of the nonzeros."""
    k, d = values.shape[1], decoder_w.shape[1]
    z = np.empty(d, np.float32)
    for row in range(len(values)):
        z[:] = 0
        own = np.float32(0)
        for j in range(k):
            value = values[row, j]
            own += value * value
            atom = decoder_w[columns[row, j]]
            for i in range(d):
                z[i] += value * atom[i]
        total = np.float32(0)
        for i in range(d):
            total += z[i] * z[i]
        out[row, 0], out[row, 1] = np.sqrt(own), np.sqrt(total)
