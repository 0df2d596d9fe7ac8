"""Compiled loops over rows for a CPU: pursuit, and values on few levels; importing this imports numba.

They work on correlations with all atoms, ⟨w_i, rest⟩ (h,), which one row of the Gram matrix `gram` (h, h) = W_d W_dᵀ
updates when an atom comes or goes: no product of the dictionary a round (Batch-OMP, Rubinstein et al. 2008); several
times the rows a second of `pursuit` on two cores (benchmarks/encoders.py times both). A row's result does not depend on
the others.
"""

import numpy as np

from compressae_jax.base.compiled import compiled, inlined
from compressae_jax.model import vector_kernels as vectors
from compressae_jax.model.vector_kernels import FINITE

NEW_DIRECTION = np.float32(1e-4)  # as in `pursuit`
BLOCK = vectors.DOUBLES  # numbers of a factor that are computed together


@inlined(fastmath=FINITE)
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


@inlined(fastmath=FINITE)
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
    fill(column, chosen)


@inlined
def fill(column, chosen):
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


@inlined(fastmath=FINITE)
def _gather(g, among, some):
    """What an atom's row of the Gram matrix has at the columns of a shortlist."""
    for i in range(len(among)):
        some[i] = g[among[i]]


@inlined(fastmath=FINITE)
def _places(among, columns, places):
    """Where in a row's shortlist its columns stand."""
    for t in range(len(columns)):
        places[t] = 0
        for i in range(len(among)):
            if among[i] == columns[t]:
                places[t] = i


@compiled(fastmath=FINITE)
def refit(correlations, gram, values, columns):
    """Least-squares values of every row on its columns, by Cholesky in float64; as `pursuit.refit`.

    `correlations` (b, k) are those with the atoms of these columns.
    """
    k = columns.shape[1]
    places, room = np.arange(k), room_for_least_squares(k)
    for row in range(len(correlations)):
        _least_squares(correlations[row], places, gram, columns[row], room, values[row])


@inlined
def room_for_least_squares(k):
    """What `least_squares` of up to k columns overwrites: a factor and a solution."""
    return np.zeros((k, (k + BLOCK - 1) // BLOCK * BLOCK), np.float64), np.empty(k, np.float64)


@inlined(fastmath=FINITE)
def least_squares(correlations, gram, columns, room, values):
    """The values on a row's columns that are best for its `correlations` (h,) with all atoms."""
    _least_squares(correlations, columns, gram, columns, room, values)


@inlined(fastmath=FINITE)
def _least_squares(correlations, places, gram, columns, room, values):
    """`least_squares` where the correlations of the columns stand at `places`.

    The factor is L transposed; what is above a row of it is taken off all rows below at once, in whole blocks, so that
    no number waits for the one before it.
    """
    factor, solved = room
    k = len(columns)
    for s in range(k):
        g = gram[columns[s]]
        for t in range(s):
            factor[t, s] = g[columns[t]]
        factor[s, s // BLOCK * BLOCK : s] = 0
        factor[s, s] = np.float64(g[columns[s]]) + 1e-6
        solved[s] = correlations[places[s]]
    for t in range(k):
        above = factor[t]
        inverse = 1 / np.sqrt(max(above[t], 1e-12))
        for i in range(t, k):
            above[i] *= inverse
        solved[t] *= inverse
        for s in range(t + 1, k):
            solved[s] -= above[s] * solved[t]
            vectors.take_off(factor, s, t, above[s], s // BLOCK * BLOCK)
        above[t] = inverse
    for s in range(k - 1, -1, -1):
        solved[s] *= factor[s, s]
        values[s] = solved[s]
        for t in range(s):
            solved[t] -= factor[t, s] * solved[s]


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


@inlined(fastmath=FINITE)
def nearest(value, levels):
    """The signed level next to a value; there is no zero among them."""
    magnitude, best = abs(value), 0
    for i in range(1, len(levels)):
        if magnitude > np.float32(0.5) * (levels[i] + levels[i - 1]):
            best = i
    return levels[best] if value >= 0 else -levels[best]


@compiled(fastmath=FINITE)
def descend(correlations, lengths, gram, values, columns, levels, sweeps, swap, weight):
    """Coordinate descent of every row on ‖ℓx̂ − z‖² + weight·(ℓ − ⟨x̂, z⟩)² with all values on signed levels.

    `correlations` (b, h) are ⟨w_i, x̂⟩, `lengths` (b,) the ℓ. Each sweep takes the atoms by rising magnitude, of equal
    ones the first, gives each the level that is best beside the others, and with `swap` first the place of the best
    atom for it. Rows whose values are all zero stay so. The second term counts an error along x̂, which moves the scores
    of all near queries alike, more than one across it (the anisotropic loss of Guo et al. 2020, arXiv 1908.10396).

    With both terms, atoms have the products m_ij = ⟨w_i, w_j⟩ + weight ⟨w_i, x̂⟩ ⟨w_j, x̂⟩; `ease` is 1 / √m_ii, `left`
    what the row has left of them, times ease, and `atoms` the rows of m of the atoms taken, times ease: the best atom
    is where what is left without another one is largest. At columns that are taken `left` and `atoms` are 0, so that
    none is taken twice, and `own` (k,) and `inner` (k, k) have their numbers.
    """
    room = _room(correlations.shape[1], values.shape[1])
    how = levels, sweeps, swap, weight
    for row in range(len(correlations)):
        _descend(correlations[row], lengths[row], gram, values[row], columns[row], how, room)


@inlined
def _room(h, k):
    """What `_descend` overwrites: `left`, `ease`, the ease of what is free, `atoms`, `own`, `inner`, and peaks."""
    h = vectors.padded(h)
    left, ease, free, atoms = vectors.aligned(h), vectors.aligned(h), vectors.aligned(h), vectors.aligned(k * h)
    own, inner = np.empty(k, np.float32), np.empty((k, k), np.float32)
    peak, peaks = vectors.aligned(h // vectors.GROUP), vectors.aligned(k * h // vectors.GROUP)
    return left, ease, free, atoms.reshape((k, h)), own, inner, peak, peaks.reshape((k, h // vectors.GROUP))


@inlined(fastmath=FINITE)
def _descend(a, length, gram, value, column, how, room):
    """`descend` of one row."""
    levels, sweeps, swap, weight = how
    left, ease, free, atoms, own, inner, peak, peaks = room
    h, k = len(a), len(value)
    if not value.any():
        return
    length = length * (np.float32(1) + weight)
    for i in range(h):
        ease[i] = np.float32(1) / np.sqrt(np.float32(1) + weight * a[i] * a[i])
        left[i], free[i] = length * a[i] * ease[i], ease[i]
    left[h:], free[h:] = 0, 0
    for s in range(k):
        own[s], left[column[s]], free[column[s]] = left[column[s]], 0, 0
    for s in range(k):
        g, pull, following = gram[column[s]], weight * a[column[s]], gram[column[min(s + 1, k - 1)]]
        vectors.take(g, pull, a, free, value[s], left, atoms[s], peak, peaks[s], following)
        _take_own(g, pull, a, ease, value[s], column, own, inner[s])
    changes, seen, order = 0, np.full(k, -1), np.empty(k, np.int64)
    for _ in range(sweeps):
        before = changes
        for s in _rising(value, order):
            if seen[s] == changes:  # nothing has changed since this one was looked at
                continue
            i, old, atom = column[s], value[s], atoms[s]
            force = own[s] + old * inner[s, s]
            other = vectors.stronger(left, peak, old, atom, peaks[s], abs(force)) if swap else -1
            if other >= 0:
                i, force = other, left[other] + old * atom[other]
            new = nearest(force * ease[i], levels)
            if other >= 0:
                vectors.add(left, old, atom, peak)
                _add(own, old, inner[s])
                _exchange(s, column[s], i, left, ease, free, atoms, own, inner, peaks)
                column[s] = i
                vectors.take(gram[i], weight * a[i], a, free, new, left, atom, peak, peaks[s], gram[i])
                _take_own(gram[i], weight * a[i], a, ease, new, column, own, inner[s])
            elif new != old:
                vectors.add(left, old - new, atom, peak)
                _add(own, old - new, inner[s])
            changes += other >= 0 or new != old
            value[s], seen[s] = new, changes
        if changes == before:
            break


@inlined
def _rising(value, order):
    """The places of values by rising magnitude, of equal ones the lower first: levels have many."""
    for t in range(len(value)):
        at = t
        while at > 0 and abs(value[order[at - 1]]) > abs(value[t]):
            order[at] = order[at - 1]
            at -= 1
        order[at] = t
    return order


@inlined(fastmath=FINITE)
def _take_own(g, pull, a, ease, value, column, own, inner):
    """What `vectors.take` does, for the columns that are taken."""
    for t in range(len(column)):
        i = column[t]
        inner[t] = ease[i] * (g[i] + pull * a[i])
        own[t] -= value * inner[t]


@inlined(fastmath=FINITE)
def _exchange(s, j, i, left, ease, free, atoms, own, inner, peaks):
    """Column j, the s-th that was taken, is free, and i is in its place; of the atom s itself nothing is left."""
    left[j], free[j] = own[s], ease[j]
    own[s], left[i], free[i] = left[i], 0, 0
    group = vectors.group_of(j)
    for t in range(len(atoms)):
        if t != s:
            atoms[t, j] = inner[t, s]
            peaks[t, group] = max(peaks[t, group], abs(inner[t, s]))
            inner[t, s], atoms[t, i] = atoms[t, i], 0


@compiled(fastmath=FINITE)
def pursue_on_levels(correlations, gram, values, columns, times, fold, levels, sweeps, swap, weight):
    """`pursue`, values folded and on levels as `pursuit_host.on_levels` has it, then `descend`, row by row.

    A row's atoms are still near from the one when the other reads them. `times` (b,) are multiplied with the values.
    """
    h, k = correlations.shape[1], values.shape[1]
    room, c = _room(h, k), vectors.aligned(h)
    directions = room[3].reshape(-1)  # the room before the descent needs it
    how = levels, sweeps, swap, weight
    for row in range(len(correlations)):
        a, value, column = correlations[row], values[row], columns[row]
        c[:] = a
        _pursue(c, gram, value, column, directions)
        square = np.float32(0)
        for s in range(k):
            square += value[s] * a[column[s]]
        if not value.any():
            continue
        n = np.sqrt(max(square, np.float32(1e-12)))
        scale, along = times[row] * n ** np.float32(-fold), times[row] * n ** np.float32(2 - fold)
        for s in range(k):
            value[s] = nearest(value[s] * scale, levels)
        _descend(a, along, gram, value, column, how, room)


@compiled(fastmath=FINITE)
def descend_among(correlations, lengths, gram, among, values, columns, levels, sweeps, swap, weight):
    """`descend` on the columns `among` (b, c) alone, a row's own among them; `correlations` (b, c) are theirs."""
    c, k = among.shape[1], values.shape[1]
    their_gram, places, room = np.empty((c, c), np.float32), np.empty(k, np.int32), _room(c, k)
    how = levels, sweeps, swap, weight
    for row in range(len(correlations)):
        for i in range(c):
            _gather(gram[among[row, i]], among[row], their_gram[i])
        _places(among[row], columns[row], places)
        _descend(correlations[row], lengths[row], their_gram, values[row], places, how, room)
        for t in range(k):
            columns[row, t] = among[row, places[t]]
