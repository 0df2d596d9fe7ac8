"""The compiled loops of `residual`: coordinates of what a code leaves, on levels that suit the whole row.

Squared errors across x̂ count once and those along it `weight` times, since these move all scores of a row: as with the
nonzeros, a coordinate takes the level beside its nearest one where that serves the row (coordinate descent).
"""

import numpy as np

from compressae_jax.base.compiled import compiled
from compressae_jax.codes.storage.residual_kernels import nearest


@compiled
def code(
    units, given, times, used, deviations, scales, lowest, log_ratio, widths, tables, sweeps, weight, power, values
):
    """Fill values (b, m); `units` and `given` (b, d) are x̂ and the first part's z in an orthonormal basis."""
    d, m = units.shape[1], len(deviations)
    numbers, unit = np.empty(m, np.int64), np.empty(m, np.float32)
    for row in range(len(units)):
        if not used[row]:
            continue
        x, z, length = units[row], given[row], times[row]
        square = np.float64(0)
        for i in range(d):
            left = length * x[i] - z[i]
            square += left * left
        place = np.int64(0)
        if square > 0:
            place = np.int64(np.rint((np.log(np.sqrt(square)) - np.log(lowest)) / log_ratio))
        scale = scales[min(max(place, 0), len(scales) - 1)]
        along, size = np.float64(0), np.float64(0)
        for i in range(d):
            whole = np.float64(z[i])
            if i < m:
                unit[i] = deviations[i] * scale
                numbers[i] = nearest(length * x[i] - z[i], unit[i], widths[i], tables)
                whole += tables[widths[i], numbers[i]] * unit[i]
            along += x[i] * whole
            size += whole * whole
        cosine = along / np.sqrt(size) if size > 0 else 0.0
        wanted = length * max(cosine, 0.0) ** power
        for _ in range(sweeps):
            changed = 0
            for i in range(m):
                here = tables[widths[i], numbers[i]]
                whole = z[i] + here * unit[i]
                best, gain = 0, np.float64(0)
                for move in (-1, 1):
                    if numbers[i] + move < 0 or numbers[i] + move >= 1 << widths[i]:
                        continue
                    moved = (tables[widths[i], numbers[i] + move] - here) * unit[i]
                    other, then = whole + moved, along + moved * x[i]
                    change = (other * other - whole * whole) - (then * then - along * along)
                    change += weight * ((then - wanted) ** 2 - (along - wanted) ** 2)
                    if change < gain:
                        best, gain = move, change
                if best != 0:
                    numbers[i] += best
                    along += (tables[widths[i], numbers[i]] - here) * unit[i] * x[i]
                    changed += 1
            if changed == 0:
                break
        for i in range(m):
            values[row, i] = tables[widths[i], numbers[i]] * unit[i]
