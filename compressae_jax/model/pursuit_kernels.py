"""Compiled loops over rows for a CPU: pursuit, and values on few levels; importing this imports numba.

They work on correlations with all atoms, ⟨w_i, rest⟩ (h,), which one row of the Gram matrix `gram` (h, h) = W_d W_dᵀ
updates when an atom comes or goes: no product of the dictionary a round (Batch-OMP, Rubinstein et al. 2008); several
times the rows a second of `pursuit` on two cores (benchmarks/encoders.py times both). A row's result does not depend on
the others.
"""

import numpy as np

from compressae_jax.base.compiled import compiled
from compressae_jax.model import pursuit_vectors as vectors
from compressae_jax.model.pursuit_vectors import FINITE

NEW_DIRECTION = np.float32(1e-4)  # as in `pursuit`


@compiled(fastmath=FINITE)
def _add(c, a, g):
    for i in range(len(c)):
        c[i] += a * g[i]


@compiled(fastmath=FINITE)
def pursue(correlations, gram, values, columns):
    """Orthogonal matching pursuit of every row, k = values.shape[1] atoms, in the order of choice.

    `correlations` (b, h) are those of the unit rows, and are overwritten by those of what is left. A row that is
    reached exactly gets zeros for the rest, at the lowest columns that it has not: all k are different.
    """
    h, k = correlations.shape[1], values.shape[1]
    room = vectors.aligned(k * h)
    for row in range(len(correlations)):
        _pursue(correlations[row], gram, values[row], columns[row], room)


@compiled(fastmath=FINITE)
def _pursue(c, gram, value, column, along):
    """`pursue` of one row; `along` (k h,) gets the correlations of the orthonormal directions with all atoms."""
    h, k, chosen = len(c), len(value), 0
    triangle, part, scaled = np.zeros((k, k), np.float32), np.zeros(k, np.float32), np.empty(k, np.float32)
    most = vectors.most(c)
    for t in range(k):
        j = vectors.place_of(c, most)
        square = np.float32(1)
        for s in range(t):
            share = along[vectors.place_along(h, k, s, j)]
            triangle[s, t] = share
            square -= share * share
        if square <= NEW_DIRECTION or most <= NEW_DIRECTION:
            break
        length = np.sqrt(square)
        triangle[t, t], part[t] = length, c[j] / length
        most = vectors.orthogonal(gram[j], along, triangle[:, t], k, t, scaled, part[t], c)
        column[t] = j
        chosen = t + 1
    for t in range(chosen - 1, -1, -1):
        rest = part[t]
        for s in range(t + 1, chosen):
            rest -= triangle[t, s] * value[s]
        value[t] = rest / triangle[t, t]
    value[chosen:] = 0
    _fill(column, chosen)


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
def _without(b, value, atom, out):
    """out = b + value atom: what is left without an atom that has this value."""
    for i in range(len(b)):
        out[i] = b[i] + value * atom[i]


@compiled(fastmath=FINITE)
def descend(correlations, lengths, gram, values, columns, levels, sweeps, swap, weight):
    """Coordinate descent of every row on ‖ℓx̂ − z‖² + weight·(ℓ − ⟨x̂, z⟩)² with all values on signed levels.

    `correlations` (b, h) are ⟨w_i, x̂⟩, `lengths` (b,) the ℓ. Each sweep takes the atoms by rising magnitude, gives
    each the level that is best beside the others, and with `swap` first the place of the best atom for it. Rows whose
    values are all zero stay so. The second term counts an error along x̂, which moves the scores of all near queries
    alike, more than one across it (the anisotropic loss of Guo et al. 2020, arXiv 1908.10396).

    With both terms, atoms have the products m_ij = ⟨w_i, w_j⟩ + weight ⟨w_i, x̂⟩ ⟨w_j, x̂⟩; `ease` is 1 / √m_ii, `left`
    what the row has left of them, times ease, and `atoms` the rows of m of the atoms taken, times ease: the best atom
    is where what is left without another one is largest.
    """
    h, k = correlations.shape[1], values.shape[1]
    room, atoms = vectors.aligned(3 * h).reshape((3, h)), vectors.aligned(k * h).reshape((k, h))
    how = levels, sweeps, swap, weight
    for row in range(len(correlations)):
        _descend(correlations[row], lengths[row], gram, values[row], columns[row], how, room, atoms)


@compiled(fastmath=FINITE)
def _descend(a, length, gram, value, column, how, room, atoms):
    """`descend` of one row; `room` (3, h) and `atoms` (k, h) are overwritten."""
    levels, sweeps, swap, weight = how
    h, k = len(a), len(value)
    left, ease, alone = room[0], room[1], room[2]
    if not value.any():
        return
    length = length * (np.float32(1) + weight)
    for i in range(h):
        ease[i] = np.float32(1) / np.sqrt(np.float32(1) + weight * a[i] * a[i])
        left[i] = length * a[i] * ease[i]
    for s in range(k):
        following = gram[column[min(s + 1, k - 1)]]
        vectors.take(gram[column[s]], weight * a[column[s]], a, ease, value[s], left, atoms[s], following)
    changes, seen = 0, np.full(k, -1)
    for _ in range(sweeps):
        before = changes
        for s in np.argsort(np.abs(value)):
            if seen[s] == changes:  # nothing has changed since this one was looked at
                continue
            j, old, atom = column[s], value[s], atoms[s]
            i, force = j, left[j] + old * atom[j]
            if swap:
                _without(left, old, atom, alone)
                for t in range(k):
                    if t != s:
                        alone[column[t]] = 0  # taken
                i = vectors.largest(alone)
                i = i if alone[i] != 0 else j  # no atom gains anything
                force = alone[i]
            new = nearest(force * ease[i], levels)
            if i != j:
                _add(left, old, atom)
                vectors.take(gram[i], weight * a[i], a, ease, new, left, atom, gram[i])
            elif new != old:
                _add(left, old - new, atom)
            changes += i != j or new != old
            column[s], value[s], seen[s] = i, new, changes
        if changes == before:
            break


@compiled(fastmath=FINITE)
def pursue_on_levels(correlations, gram, values, columns, times, fold, levels, sweeps, swap, weight):
    """`pursue`, values folded and on levels as `pursuit_host.on_levels` has it, then `descend`, row by row.

    A row's atoms are still near from the one when the other reads them. `times` (b,) are multiplied with the values.
    """
    h, k = correlations.shape[1], values.shape[1]
    room, both, c = vectors.aligned(3 * h).reshape((3, h)), vectors.aligned(k * h), vectors.aligned(h)
    atoms = both.reshape((k, h))  # of the descent, when directions are no longer needed
    how = levels, sweeps, swap, weight
    for row in range(len(correlations)):
        a, value, column = correlations[row], values[row], columns[row]
        c[:] = a
        _pursue(c, gram, value, column, both)
        square = np.float32(0)
        for s in range(k):
            square += value[s] * a[column[s]]
        if not value.any():
            continue
        n = np.sqrt(max(square, np.float32(1e-12)))
        scale, along = times[row] * n ** np.float32(-fold), times[row] * n ** np.float32(2 - fold)
        for s in range(k):
            value[s] = nearest(value[s] * scale, levels)
        _descend(a, along, gram, value, column, how, room, atoms)


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
