"""Compiled loops over rows for a CPU: pursuit, and values on few levels; importing this imports numba.

They work on correlations with all atoms, ⟨w_i, rest⟩ (h,), which one row of the Gram matrix `gram` (h, h) = W_d W_dᵀ
updates when an atom comes or goes: no product of the dictionary a round (Batch-OMP, Rubinstein et al. 2008); several
times the rows a second of `pursuit` on two cores (benchmarks/encoders.py times both). A row's result does not depend on
the others.
"""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled

FINITE = FAST | {"nnan", "ninf"}  # all numbers here are finite
LANES = 128  # running maxima side by side, each with its place: what a compiler turns into vector instructions
NEW_DIRECTION = np.float32(1e-4)  # as in `pursuit`


@compiled(fastmath=FINITE)
def _add(c, a, g):
    for i in range(len(c)):
        c[i] += a * g[i]


@compiled(fastmath=FINITE)
def _largest(c, most, place):
    """Where |c| is largest, the lower place of two; `most` and `place` (LANES,) are overwritten."""
    most[:] = -1
    whole = len(c) - len(c) % LANES
    for low in range(0, whole, LANES):
        here = np.int32(low)
        for lane in range(LANES):
            size = abs(c[low + lane])
            more = size > most[lane]
            most[lane] = size if more else most[lane]
            place[lane] = here if more else place[lane]
    at = _first_of_lanes(most, place, whole)
    for i in range(whole, len(c)):
        if at < 0 or abs(c[i]) > abs(c[at]):
            at = i
    return at


@compiled(fastmath=FINITE)
def _first_of_lanes(most, place, whole):
    """The lowest place of the largest of all lanes, -1 if none had any."""
    at, best = -1, np.float32(-1)
    for lane in range(LANES if whole else 0):
        i = place[lane] + lane
        if most[lane] > best or (most[lane] == best and i < at):
            at, best = i, most[lane]
    return at


@compiled(fastmath=FINITE)
def pursue(correlations, gram, values, columns):
    """Orthogonal matching pursuit of every row, k = values.shape[1] atoms, in the order of choice.

    `correlations` (b, h) are those of the unit rows, and are overwritten by those of what is left. A row that is
    reached exactly gets zeros for the rest, at the lowest columns that it has not: all k are different.
    """
    h, k = correlations.shape[1], values.shape[1]
    along = np.empty((k, h), np.float32)  # correlations of the orthonormal directions with all atoms
    triangle, part = np.zeros((k, k), np.float32), np.zeros(k, np.float32)
    most, place = np.empty(LANES, np.float32), np.zeros(LANES, np.int32)
    for row in range(len(correlations)):
        c, chosen = correlations[row], 0
        for t in range(k):
            j = _largest(c, most, place)
            square = np.float32(1)
            for s in range(t):
                triangle[s, t] = along[s, j]
                square -= along[s, j] * along[s, j]
            if square <= NEW_DIRECTION or abs(c[j]) <= NEW_DIRECTION:
                break
            length = np.sqrt(square)
            triangle[t, t], part[t] = length, c[j] / length
            _orthogonal(gram[j], along, triangle[:, t], t, along[t])
            _add(c, -part[t], along[t])
            columns[row, t] = j
            chosen = t + 1
        for t in range(chosen - 1, -1, -1):
            value = part[t]
            for s in range(t + 1, chosen):
                value -= triangle[t, s] * values[row, s]
            values[row, t] = value / triangle[t, t]
        values[row, chosen:] = 0
        _fill(columns[row], chosen)


@compiled
def _fill(column, chosen):
    """The lowest columns that are not among the first `chosen` in the places behind them."""
    free = 0
    for t in range(chosen, len(column)):
        s = 0
        while s < chosen:
            if column[s] == free:
                free, s = free + 1, 0
            else:
                s += 1
        column[t] = free
        free += 1


@compiled(fastmath=FINITE)
def _orthogonal(g, along, shares, t, out):
    """out = (g − Σ_{s<t} shares[s] along[s]) / shares[t], four directions a pass."""
    inverse = np.float32(1) / shares[t]
    for i in range(len(g)):
        out[i] = g[i] * inverse
    whole = t - t % 4
    for s in range(0, whole, 4):
        r0, r1, r2, r3 = shares[s] * inverse, shares[s + 1] * inverse, shares[s + 2] * inverse, shares[s + 3] * inverse
        a0, a1, a2, a3 = along[s], along[s + 1], along[s + 2], along[s + 3]
        for i in range(len(g)):
            out[i] -= r0 * a0[i] + r1 * a1[i] + r2 * a2[i] + r3 * a3[i]
    for s in range(whole, t):
        _add(out, -shares[s] * inverse, along[s])


@compiled(fastmath=FINITE)
def correlate(units, decoder_w, columns, correlations):
    """⟨w_i, x̂⟩ (b, c) of unit rows with the atoms of each row's own columns (b, c)."""
    for row in range(len(units)):
        x = units[row]
        for j in range(columns.shape[1]):
            atom, total = decoder_w[columns[row, j]], np.float32(0)
            for i in range(len(x)):
                total += x[i] * atom[i]
            correlations[row, j] = total


@compiled(fastmath=FINITE)
def _gather(gram, among, their_gram):
    """⟨w_i, w_j⟩ of the columns of a shortlist."""
    for i in range(len(among)):
        for j in range(len(among)):
            their_gram[i, j] = gram[among[i], among[j]]


@compiled(fastmath=FINITE)
def _places(among, columns, places):
    """Where in a row's shortlist its columns stand."""
    for t in range(len(columns)):
        places[t] = 0
        for i in range(len(among)):
            if among[i] == columns[t]:
                places[t] = i


@compiled(fastmath=FINITE)
def pursue_among(correlations, gram, among, values, columns):
    """`pursue` of every row on the columns `among` (b, c) alone; `correlations` (b, c) are overwritten likewise."""
    c, k = among.shape[1], values.shape[1]
    their_gram, places = np.empty((c, c), np.float32), np.empty((1, k), np.int32)
    for row in range(len(correlations)):
        _gather(gram, among[row], their_gram)
        pursue(correlations[row : row + 1], their_gram, values[row : row + 1], places)
        for t in range(k):
            columns[row, t] = among[row, places[0, t]]


@compiled(fastmath=FINITE)
def refit(correlations, gram, values, columns):
    """Least-squares values of every row on its columns, by Cholesky in float64; as `pursuit.refit`.

    `correlations` (b, k) are those with the atoms of these columns.
    """
    k = columns.shape[1]
    factor, solved = np.empty((k, k), np.float64), np.empty(k, np.float64)
    for row in range(len(correlations)):
        column = columns[row]
        for s in range(k):
            for t in range(s + 1):
                total = np.float64(gram[column[s], column[t]]) + (1e-6 if s == t else 0.0)
                for i in range(t):
                    total -= factor[s, i] * factor[t, i]
                factor[s, t] = np.sqrt(max(total, 1e-12)) if s == t else total / factor[t, t]
            solved[s] = correlations[row, s]
            for i in range(s):
                solved[s] -= factor[s, i] * solved[i]
            solved[s] /= factor[s, s]
        for s in range(k - 1, -1, -1):
            for i in range(s + 1, k):
                solved[s] -= factor[i, s] * solved[i]
            solved[s] /= factor[s, s]
            values[row, s] = solved[s]


@compiled(fastmath=FINITE)
def along(correlations, among, values, columns, out):
    """⟨x̂, z⟩ of every row from its correlations (b, c) with the atoms `among` (b, c)."""
    places = np.empty(columns.shape[1], np.int32)
    for row in range(len(values)):
        _places(among[row], columns[row], places)
        total = np.float32(0)
        for t in range(len(places)):
            total += values[row, t] * correlations[row, places[t]]
        out[row] = total


@compiled(fastmath=FINITE)
def nearest(value, levels):
    """The signed level next to a value; there is no zero among them."""
    magnitude, best = abs(value), 0
    for i in range(1, len(levels)):
        if magnitude > np.float32(0.5) * (levels[i] + levels[i - 1]):
            best = i
    return levels[best] if value >= 0 else -levels[best]


@compiled(fastmath=FINITE)
def _best_atom(c, back, g, pull, a, ease, most, place):
    """Where (c + back·g + pull·a)² · ease is largest: the atom that lessens `descend`'s distance most."""
    most[:] = -1
    whole = len(c) - len(c) % LANES
    for low in range(0, whole, LANES):
        here = np.int32(low)
        for lane in range(LANES):
            i = low + lane
            force = c[i] + back * g[i] + pull * a[i]
            gain = force * force * ease[i]
            more = gain > most[lane]
            most[lane] = gain if more else most[lane]
            place[lane] = here if more else place[lane]
    at, best = _first_of_lanes(most, place, whole), most.max() if whole else np.float32(-1)
    for i in range(whole, len(c)):
        force = c[i] + back * g[i] + pull * a[i]
        gain = force * force * ease[i]
        if gain > best:
            at, best = i, gain
    return at


@compiled(fastmath=FINITE)
def descend(correlations, lengths, gram, values, columns, levels, sweeps, swap, weight):
    """Coordinate descent of every row on ‖ℓx̂ − z‖² + weight·(ℓ − ⟨x̂, z⟩)² with all values on signed levels.

    `correlations` (b, h) are ⟨w_i, x̂⟩, `lengths` (b,) the ℓ. Each sweep takes the atoms by rising magnitude, gives
    each the level that is best beside the others, and with `swap` first the place of the best atom for it. Rows whose
    values are all zero stay so. The second term counts an error along x̂, which moves the scores of all near queries
    alike, more than one across it (the anisotropic loss of Guo et al. 2020, arXiv 1908.10396).
    """
    h, k = correlations.shape[1], values.shape[1]
    c, ease, kept = np.empty(h, np.float32), np.empty(h, np.float32), np.empty(k, np.float32)
    most, place = np.empty(LANES, np.float32), np.zeros(LANES, np.int32)
    for row in range(len(correlations)):
        a, value, column = correlations[row], values[row], columns[row]
        if not value.any():
            continue
        along = np.float32(0)
        for i in range(h):
            c[i] = lengths[row] * a[i]
            ease[i] = np.float32(1) / (np.float32(1) + weight * a[i] * a[i])
        for s in range(k):
            _add(c, -value[s], gram[column[s]])
            along += value[s] * a[column[s]]
        for _ in range(sweeps):
            changed = False
            for s in np.argsort(np.abs(value)):
                j, old = column[s], value[s]
                along -= old * a[j]
                i, g, pull = j, gram[j], weight * (lengths[row] - along)
                if swap:
                    for t in range(k):
                        kept[t] = c[column[t]]
                        if t != s:
                            c[column[t]] = -old * g[column[t]] - pull * a[column[t]]  # no gain: taken
                    i = _best_atom(c, old, g, pull, a, ease, most, place)
                    for t in range(k):
                        c[column[t]] = kept[t]
                        if t != s and column[t] == i:  # no atom gains anything
                            i = j
                new = nearest((c[i] + old * g[i] + pull * a[i]) * ease[i], levels)
                along += new * a[i]
                if i != j or new != old:
                    changed = True
                    _add(c, old, g)
                    _add(c, -new, gram[i])
                column[s], value[s] = i, new
            if not changed:
                break


@compiled(fastmath=FINITE)
def descend_among(correlations, lengths, gram, among, values, columns, levels, sweeps, swap, weight):
    """`descend` on the columns `among` (b, c) alone, a row's own among them; `correlations` (b, c) are theirs."""
    c, k = among.shape[1], values.shape[1]
    their_gram, places = np.empty((c, c), np.float32), np.empty((1, k), np.int32)
    for row in range(len(correlations)):
        _gather(gram, among[row], their_gram)
        _places(among[row], columns[row], places[0])
        here = slice(row, row + 1)
        descend(correlations[here], lengths[here], their_gram, values[here], places, levels, sweeps, swap, weight)
        for t in range(k):
            columns[row, t] = among[row, places[0, t]]
