"""The compiled loops of `codes` that serve every kind of rows, and the vectors that they are made of.

A row's result depends on that row alone: not on the rows beside it, nor on how many come together.
"""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled

LARGE, SMALL = np.float32(2.0**40), np.float32(2.0**-40)  # beyond these a square may leave float32's numbers
DOWN, UP = np.float32(2.0**-80), np.float32(2.0**80)


@compiled
def unit_scales(values, scales):
    """1 / ‖values‖ of every row, 0 of a zero row."""
    for row in range(len(values)):
        total = 0.0
        for i in range(values.shape[1]):
            total += np.float64(values[row, i]) * np.float64(values[row, i])
        scales[row] = 1 / np.sqrt(total) if total > 0 else 0


@compiled(error_model="numpy")
def inverses(norms, scales):
    """1 / norm, 0 of a norm that is 0; half the time of one loop, since only the second one's vectors are whole."""
    for row in range(len(norms)):
        scales[row] = norms[row]
    for row in range(len(norms)):
        scales[row] = np.float32(1) / scales[row] if scales[row] > 0 else np.float32(0)


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


@compiled
def lengths(x, out):
    """‖x‖ of every row, summed in float64."""
    for row in range(len(x)):
        total = 0.0
        for i in range(x.shape[1]):
            total += np.float64(x[row, i]) * np.float64(x[row, i])
        out[row] = np.sqrt(total)


@compiled(fastmath=FAST)
def units(x, out):
    """Each row of x (b, d) divided by its length, as `on_device.unit_rows`; a zero row stays zero."""
    for row in range(len(x)):
        one, into = x[row], out[row]
        largest = np.float32(0)
        for i in range(len(one)):
            largest = max(largest, abs(one[i]))
        scale = DOWN if largest > LARGE else (UP if largest < SMALL else np.float32(1))
        square = np.float32(0)
        for i in range(len(one)):
            into[i] = one[i] * scale
            square += into[i] * into[i]
        inverse = np.float32(1) / np.sqrt(square) if square > 0 else np.float32(0)
        for i in range(len(into)):
            into[i] *= inverse


@compiled(fastmath=FAST)
def reconstruct(values, columns, decoder_w, out):
    """z = s W_d (b, d) of float32 values and columns (b, k)."""
    for row in range(len(values)):
        z = out[row]
        z[:] = 0
        for j in range(values.shape[1]):
            value, atom = values[row, j], decoder_w[columns[row, j]]
            for i in range(len(z)):
                z[i] += value * atom[i]
