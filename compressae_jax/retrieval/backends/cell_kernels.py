"""The compiled loops of `cells`, one thread's share each: rows are sorted by cell, scored with all centroids, and with
the queries that probe their cell.

A row is scored by the instructions of `kernels`, so it gets the bits that a scan of all rows gives it.
"""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled, inlined
from compressae_jax.codes.storage import fast_kernels, fast_parts_kernels
from compressae_jax.retrieval.backends import vector_kernels as vectors
from compressae_jax.retrieval.backends.kernels import first_not_below, replace_worst, worse

STRIP = 256  # rows copied from where they lie before they are scored: they stay in a core's first cache
AHEAD = 64  # records that are fetched before they are copied
ROOM = 64  # bytes behind records that vectors are loaded from
SPARE = fast_parts_kernels.COLUMNS  # rows behind those that are taken apart, for the vectors of the last one
unpack = fast_kernels.fastest(roomy=True)


@compiled
def sort_by_cell(cells_of, starts, order):
    """Row numbers by list, rising in each, into `order`: by the first of a row's two cells c into list 2c, by the
    second into 2c + 1, unless it is the same; list l begins at `starts`[l], (2 cells + 1,).
    """
    starts[:] = 0
    for y in range(len(cells_of)):
        first, second = np.int64(cells_of[y, 0]), np.int64(cells_of[y, 1])
        starts[2 * first + 1] += 1
        if first != second:
            starts[2 * second + 2] += 1
    for c in range(len(starts) - 1):
        starts[c + 1] += starts[c]
    at = starts.copy()
    for y in range(len(cells_of)):
        first, second = np.int64(cells_of[y, 0]), np.int64(cells_of[y, 1])
        order[at[2 * first]] = y
        at[2 * first] += 1
        if first != second:
            order[at[2 * second + 1]] = y
            at[2 * second + 1] += 1


@compiled
def count_allowed(nearest, allowed, counts):
    """How many allowed rows each cell is the nearest of, added to zeros."""
    for y in range(len(nearest)):
        counts[np.int64(nearest[y])] += allowed[y]


@compiled(fastmath=FAST)
def nearest(values, columns, u, first_cell, cells, best, cell_of):
    """Move rows to the cells that score higher than their `best` so far: those of u (blocks, h, w), `cells` in all.

    Cells are numbered from `first_cell`; of equal ones the lowest wins. Scores have no scale of the row's.
    """
    k, w = values.shape[1], u.shape[2]
    value, total = np.empty(k, np.float32), np.empty(w, np.float32)
    for block in range(len(u)):
        some = min(w, cells - block * w)
        for y in range(len(values)):
            for j in range(k):
                value[j] = vectors.float32(values[y, j])
            vectors.weighted(value, columns[y], u[block], total)
            greatest = total[0]
            for i in range(1, some):
                greatest = max(greatest, total[i])
            if greatest > best[y]:
                i = 0
                while total[i] < greatest:
                    i += 1
                best[y], cell_of[y] = greatest, first_cell + block * w + i


@compiled(fastmath=FAST)
def spill(values, columns, scales, u, likeness, first_cell, cells, nearest, cosines, aside, best, second):
    """Move rows to the second cell that costs less than their `best` so far: those of u, as in `nearest`.

    Rows have unit length with `scales`, and the cosines that are given with their `nearest` cells; `likeness`
    (count, ≥ cells) are those of all centroids with those of u. A cell costs λ (1 - s - S + G)² / (2 - 2 s) - 2 S, of S
    and s, the row's cosines with it and with its nearest, and G, theirs.
    """
    k, w = values.shape[1], u.shape[2]
    value, total = np.empty(k, np.float32), np.empty(w, np.float32)
    two = np.float32(2)
    for block in range(len(u)):
        some = min(w, cells - block * w)
        for y in range(len(values)):
            for j in range(k):
                value[j] = vectors.float32(values[y, j])
            vectors.weighted(value, columns[y], u[block], total)
            own, scale = np.int64(nearest[y]), scales[y]
            error = np.float32(1) - cosines[y]
            factor = aside / max(two * error, np.float32(1e-6))
            alike = likeness[own, block * w : block * w + w]
            for i in range(w):
                cosine = total[i] * scale
                along = error - cosine + alike[i]
                total[i] = factor * along * along - two * cosine
            place = own - first_cell - block * w
            if 0 <= place < w:
                total[place] = np.float32(np.inf)
            least = total[0]
            for i in range(1, some):
                least = min(least, total[i])
            if least < best[y]:
                i = 0
                while total[i] > least:
                    i += 1
                best[y], second[y] = least, first_cell + block * w + i


@inlined
def _absorb(score, number, indptr, without, i, scores, rows):
    """Put a result in a query's heap if it belongs there; rows come in any order."""
    if worse(scores[i, 0], rows[i, 0], score, number):
        at = first_not_below(without, indptr[i], indptr[i + 1], number)
        if at == indptr[i + 1] or without[at] != number:
            replace_worst(scores[i], rows[i], score, number)


@compiled(fastmath=FAST)
def scan_floats(
    values, columns, row_scales, at, grouped, lists, askers, probed, allowed, u, indptr, without, scores, rows
):
    """Absorb the rows of lists into the heaps (q, r) of the queries u (q, h) that ask for them.

    `grouped`: the rows' order, the cell each is nearest to, the first one's number. `lists` (m, 4): start and end in
    that order, and of those who ask for it among the `askers`; `at` says where the rows of all lists, one after the
    other, lie in the arrays. `probed` (q, cells) is true of a query's cells: spilled rows, whose list has its askers'
    start as its complement, below 0, are left to the cell that they are nearest to.
    """
    order, nearest, first_row = grouped
    p = 0
    for t in range(len(lists)):
        start, stop, first, last = lists[t, 0], lists[t, 1], lists[t, 2], lists[t, 3]
        spilled = first < 0
        if spilled:
            first = ~first
        for a in range(first, last):
            i = askers[a]
            worst = scores[i, 0]
            for place in range(start, stop):
                row = np.int64(order[place])
                number, y = first_row + row, at[p + place - start]
                if len(allowed) and not allowed[number]:
                    continue
                score = vectors.dot(values, columns, y, u[i]) * row_scales[y]
                if score >= worst and not (spilled and probed[i, np.int64(nearest[row])]):
                    _absorb(score, number, indptr, without, i, scores, rows)
                    worst = scores[i, 0]
        p += stop - start


@inlined
def _fetched(records, order, lists, t, p):
    """Where the next record stands to be fetched, after that of place p, of list t, was asked for."""
    if t == len(lists):
        return t, p
    vectors.ahead(records, np.int64(order[p]))
    if p + 1 < lists[t, 1]:
        return t, p + 1
    return t + 1, lists[t + 1, 0] if t + 1 < len(lists) else p


@compiled(fastmath=FAST)
def scan_records(records, how, grouped, lists, askers, probed, allowed, u, indptr, without, scores, rows):
    """The same of records of `fast` rows that are taken apart in registers and have a scale of 1.

    They lie in the order of their numbers and are copied, a strip of a list at a time: copies are under way together,
    where each score would wait for its row. For several askers they are taken apart once. `how`: signed levels, h, low
    bits of a column and k.
    """
    order, nearest, first_row = grouped
    signed, h, low, k = how
    width = records.shape[1]
    copies = np.empty(STRIP * width + ROOM, np.uint8)[: STRIP * width].reshape(STRIP, width)
    numbers, own = np.empty(STRIP, np.int64), np.empty(STRIP, np.int64)
    values, columns = np.empty((STRIP + SPARE, k), np.float32), np.empty((STRIP + SPARE, k), np.uint16)
    soon, coming = 0, lists[0, 0]
    for _ in range(AHEAD):
        soon, coming = _fetched(records, order, lists, soon, coming)
    for t in range(len(lists)):
        first, last = lists[t, 2], lists[t, 3]
        spilled = first < 0
        if spilled:
            first = ~first
        several, one = last - first > 1, askers[first]
        for start in range(lists[t, 0], lists[t, 1], STRIP):
            count = 0
            for p in range(start, min(start + STRIP, lists[t, 1])):
                row = np.int64(order[p])
                soon, coming = _fetched(records, order, lists, soon, coming)
                if len(allowed) and not allowed[first_row + row]:
                    continue
                if spilled:
                    own[count] = nearest[row]
                    if not several and probed[one, own[count]]:
                        continue
                for b in range(width):
                    copies[count, b] = records[row, b]
                numbers[count] = first_row + row
                count += 1
            if not several:
                worst = scores[one, 0]
                for y in range(count):
                    score = vectors.dot(copies, how, y, u[one])
                    if score >= worst:
                        _absorb(score, numbers[y], indptr, without, one, scores, rows)
                        worst = scores[one, 0]
                continue
            unpack(copies, count, h, low, signed, values, columns)
            for a in range(first, last):
                i = askers[a]
                worst = scores[i, 0]
                for y in range(count):
                    score = vectors.dot(values, columns, y, u[i])
                    if score >= worst and not (spilled and probed[i, own[y]]):
                        _absorb(score, numbers[y], indptr, without, i, scores, rows)
                        worst = scores[i, 0]
