"""The compiled loops of `cells`, one thread's share each: rows are sorted by cell, scored with all centroids, and with
the queries that probe their cell.

A row is scored by the instructions of `kernels`, so it gets the bits that a scan of all rows gives it.
"""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled, inlined
from compressae_jax.retrieval.backends import vector_kernels as vectors
from compressae_jax.retrieval.backends.kernels import first_not_below, replace_worst, worse

STRIP = 256  # rows copied from where they lie before they are scored: they stay in a core's first cache
ROOM = 64  # bytes behind records that vectors are loaded from


@compiled
def sort_by_cell(cell_of, starts, order):
    """Row numbers by cell, rising in each, into `order` (n,); those of cell c begin at `starts`[c], (cells + 1,)."""
    starts[:] = 0
    for y in range(len(cell_of)):
        starts[np.int64(cell_of[y]) + 1] += 1
    for c in range(len(starts) - 1):
        starts[c + 1] += starts[c]
    at = starts.copy()
    for y in range(len(cell_of)):
        cell = np.int64(cell_of[y])
        order[at[cell]] = y
        at[cell] += 1


@compiled
def count_allowed(order, starts, allowed, counts):
    """How many rows of each cell are allowed."""
    for c in range(len(counts)):
        counts[c] = 0
        for p in range(starts[c], starts[c + 1]):
            counts[c] += allowed[np.int64(order[p])]


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


@inlined
def _absorb(score, number, indptr, without, i, scores, rows):
    """Put a result in a query's heap if it belongs there; rows come in any order."""
    if worse(scores[i, 0], rows[i, 0], score, number):
        at = first_not_below(without, indptr[i], indptr[i + 1], number)
        if at == indptr[i + 1] or without[at] != number:
            replace_worst(scores[i], rows[i], score, number)


@compiled(fastmath=FAST)
def scan_floats(
    values, columns, row_scales, at, order, first_row, spans, askers, allowed, u, indptr, without, scores, rows
):
    """Absorb the rows of cells into the heaps (q, r) of queries u (q, h): those of cell t for the query askers[t].

    They are `order`[spans[t, 0] : spans[t, 1]], numbered from `first_row`; those of all spans, one after the other, lie
    at `at` in the arrays. Spans come query by query, so that a query's u stays in a core's first cache.
    """
    p = -1
    for t in range(len(spans)):
        i = askers[t]
        worst = scores[i, 0]
        for place in range(spans[t, 0], spans[t, 1]):
            number, p = first_row + np.int64(order[place]), p + 1
            if len(allowed) and not allowed[number]:
                continue
            y = at[p]
            score = vectors.dot(values, columns, y, u[i]) * row_scales[y]
            if score >= worst:
                _absorb(score, number, indptr, without, i, scores, rows)
                worst = scores[i, 0]


@compiled(fastmath=FAST)
def scan_records(records, how, order, first_row, spans, askers, allowed, u, indptr, without, scores, rows):
    """The same of records of `fast` rows that are taken apart in registers and have a scale of 1.

    They lie in the order of their numbers and are copied, a strip of a cell at a time: copies are under way together,
    where each score would wait for its row. `how`: signed levels, h, low bits of a column and k.
    """
    width = records.shape[1]
    copies = np.empty(STRIP * width + ROOM, np.uint8)[: STRIP * width].reshape(STRIP, width)
    numbers = np.empty(STRIP, np.int64)
    for t in range(len(spans)):
        i = askers[t]
        for start in range(spans[t, 0], spans[t, 1], STRIP):
            count = 0
            for p in range(start, min(start + STRIP, spans[t, 1])):
                place = np.int64(order[p])
                if len(allowed) and not allowed[first_row + place]:
                    continue
                for b in range(width):
                    copies[count, b] = records[place, b]
                numbers[count] = first_row + place
                count += 1
            worst = scores[i, 0]
            for y in range(count):
                score = vectors.dot(copies, how, y, u[i])
                if score >= worst:
                    _absorb(score, numbers[y], indptr, without, i, scores, rows)
                    worst = scores[i, 0]
