"""The compiled loops of `host` and `lists`, one thread's share each; chunks and threads are dealt out there.

Importing this module imports numba, so they do it at their first search. A row is scored by the same instructions
wherever it stands, so identical rows tie exactly.
"""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled, inlined
from compressae_jax.codes.storage import fast_kernels, fast_parts_kernels, residual_kernels
from compressae_jax.retrieval.backends import vector_kernels as vectors

TOGETHER = 2**13  # nonzeros taken apart before they are scored
in_registers, _unpack = fast_kernels.in_registers, fast_kernels.fastest(roomy=True)
_unpack_coordinates = residual_kernels.fastest(roomy=True)
STRIP = 64  # sums that are compared with the worst result before any is looked at by itself
NO_ROW = np.iinfo(np.int64).max


@compiled
def replace_worst(scores, rows, score, row):
    """Put a result in the place of the worst, which stands at 0: a heap, worse parents above better children."""
    place, size = 0, len(scores)
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and worse(scores[child + 1], rows[child + 1], scores[child], rows[child]):
            child += 1
        if not worse(scores[child], rows[child], score, row):
            break
        scores[place], rows[place] = scores[child], rows[child]
        place = child
    scores[place], rows[place] = score, row


@compiled
def worse(score, row, other_score, other_row):
    """Whether a result ranks below another: a lower score, or the same at a higher row."""
    return score < other_score or (score == other_score and row > other_row)


@compiled
def _picked(allowed):
    """The numbers of the allowed rows of a chunk: a branch for each row of a scan would often be mispredicted."""
    picked, count = np.empty(len(allowed), np.uint32), 0
    for y in range(len(allowed)):
        picked[count] = y
        count += allowed[y]
    return picked[:count]


@compiled
def first_not_below(rows, start, stop, row):
    """Where in the rising rows[start:stop] the first one stands that is not below `row`."""
    while start < stop:
        middle = (start + stop) // 2
        if rows[middle] < row:
            start = middle + 1
        else:
            stop = middle
    return start


@compiled(fastmath=FAST)
def scan_one(values, columns, row_scales, first_row, allowed, u, indptr, without, scores, rows):
    """Absorb a chunk's rows into the heap (r,) of one query u (h,); 4 times as fast as `scan_block` for one query.

    `allowed` (c,) is empty where all rows are; `indptr` (2,) says which rows of `without` the query must not get.
    """
    at, end, some = indptr[0], indptr[1], len(allowed) > 0
    if not some and at == end:  # a loop of its own: what the other keeps at hand takes a twentieth of its time
        for y in range(len(values)):
            score = vectors.dot(values, columns, y, u) * row_scales[y]
            if score > scores[0]:
                replace_worst(scores, rows, score, first_row + y)
        return
    at, picked = first_not_below(without, at, end, first_row), _picked(allowed)
    for p in range(len(picked) if some else len(values)):
        y = picked[p] if some else p
        score = vectors.dot(values, columns, y, u) * row_scales[y]
        if score > scores[0]:
            while at < end and without[at] < first_row + y:
                at += 1
            if at == end or without[at] > first_row + y:
                replace_worst(scores, rows, score, first_row + y)


@compiled(fastmath=FAST)
def scan_block(values, columns, row_scales, first_row, allowed, u, indptr, without, scores, rows):
    """Absorb a chunk's rows into the heaps (q, r) of a block of queries u (h, w), w >= q a multiple of 16.

    `allowed` (c,) is empty where all rows are; `indptr` (q + 1,) says which rows of `without` a query must not get.
    """
    k, w, q = values.shape[1], u.shape[1], len(scores)
    value, total = np.empty(k, np.float32), np.empty(w, np.float32)
    worst, at = np.full(w, np.float32(np.inf)), np.empty(q, np.int64)
    worst[:q] = scores[:, 0]
    for i in range(q):
        at[i] = first_not_below(without, indptr[i], indptr[i + 1], first_row)
    some, picked = len(allowed) > 0, _picked(allowed)
    for p in range(len(picked) if some else len(values)):
        y = picked[p] if some else p
        for j in range(k):
            value[j] = vectors.float32(values[y, j])
        vectors.weighted(value, columns[y], u, total)
        _absorb(total, row_scales[y], first_row + y, worst, at, indptr, without, scores, rows)


@inlined(fastmath=FAST)
def _absorb(total, row_scale, row, worst, at, indptr, without, scores, rows):
    """Put the sums (w,) of a row into the heaps of the queries that it is among the best of."""
    hits = 0
    for i in range(len(total)):
        total[i] *= row_scale
        hits += total[i] > worst[i]
    if hits:
        for i in range(len(scores)):
            if total[i] > worst[i]:
                while at[i] < indptr[i + 1] and without[at[i]] < row:
                    at[i] += 1
                if at[i] == indptr[i + 1] or without[at[i]] > row:
                    replace_worst(scores[i], rows[i], total[i], row)
                    worst[i] = scores[i, 0]


@compiled(fastmath=FAST)
def scan_in_order(values, columns, known, row_scales, first_row, u, indptr, without, scores, rows):
    """`scan_block` of rows without a filter whose columns from the last of `known` on are in order, in all alike.

    As many rows are absorbed as are a multiple of `vector_kernels.ROWS`; their number is given.
    """
    w, q = u.shape[1], len(scores)
    totals, done = np.empty((vectors.ROWS, w), np.float32), len(values) // vectors.ROWS * vectors.ROWS
    worst, at = np.full(w, np.float32(np.inf)), np.empty(q, np.int64)
    worst[:q] = scores[:, 0]
    for i in range(q):
        at[i] = first_not_below(without, indptr[i], indptr[i + 1], first_row)
    for start in range(0, done, vectors.ROWS):
        vectors.weighted_in_order(values, columns, known, start, u, totals)
        for y in range(vectors.ROWS):
            row = start + y
            _absorb(totals[y], row_scales[row], first_row + row, worst, at, indptr, without, scores, rows)
    return done


@compiled
def scan_records(records, how, row_scales, first_row, allowed, u, indptr, without, scores, rows):
    """`scan_one` or `scan_block`, by the shape of u, of records of `fast` rows, behind which there is room.

    `how`: signed levels, h, low bits of a column and k. Some rows at a time are taken apart, so that what is
    scored lies in a core's first cache.
    """
    signed, h, low, k = how
    together = max(1, TOGETHER // k)
    room = together + fast_parts_kernels.COLUMNS  # behind the last row, for vectors
    values, columns = np.empty((room, k), np.float32), np.empty((room, k), np.uint16)
    for start in range(0, len(records), together):
        stop = min(start + together, len(records))
        some = allowed[start:stop] if len(allowed) else allowed
        n = stop - start
        _unpack(records[start:], n, h, low, signed, values, columns)
        part = values[:n], columns[:n], row_scales[start:stop], first_row + start, some
        if u.ndim == 1:
            scan_one(*part, u, indptr, without, scores, rows)
        else:
            scan_block(*part, u, indptr, without, scores, rows)


@compiled
def scan_beside(records, how, row_scales, first_row, allowed, u, indptr, without, scores, rows):
    """`scan_records` of `residual` rows; `how` goes on with what `Beside` has.

    Of the columns, coordinates have the same in all rows, in order.
    """
    signed, h, low, some, k, before, deviations, scales, widths, tables = how
    together = max(1, TOGETHER // k)
    room = together + fast_parts_kernels.COLUMNS
    few_values, few_columns = np.empty((room, some), np.float32), np.empty((room, some), np.uint16)
    values, columns = residual_kernels.roomy(together, k), np.empty((together, k), np.uint16)
    for j in range(some, k):
        columns[:, j] = h + j - some
    known = (some // 16 + 1) * 16
    for start in range(0, len(records), together):
        stop = min(start + together, len(records))
        n, here = stop - start, allowed[start:stop] if len(allowed) else allowed
        _unpack(records[start:], n, h, low, signed, few_values, few_columns)
        columns[:n, :some] = few_columns[:n]
        _unpack_coordinates(records[start:], n, before, few_values, deviations, scales, widths, tables, values)
        rest = row_scales[start:stop], first_row + start, here
        if u.ndim == 1 and known < k:
            scan_one(values[:n], (columns[:n], known), *rest, u, indptr, without, scores, rows)
        elif u.ndim == 1:
            scan_one(values[:n], columns[:n], *rest, u, indptr, without, scores, rows)
        else:
            done = 0
            if known < k and len(here) == 0:
                given = values[:n], columns[:n], known, row_scales[start:stop], first_row + start
                done = scan_in_order(*given, u, indptr, without, scores, rows)
            rest = row_scales[start + done : stop], first_row + start + done, here
            scan_block(values[done:n], columns[done:n], *rest, u, indptr, without, scores, rows)


@compiled
def fill_lists(values, columns, starts, list_values, list_rows):
    """Sort a block's nonzeros by column, rows rising in each list; list c begins at `starts`[c], starts (h + 1,)."""
    starts[:] = 0
    for y in range(len(columns)):
        for j in range(columns.shape[1]):
            starts[columns[y, j] + 1] += 1
    for c in range(len(starts) - 1):
        starts[c + 1] += starts[c]
    at = starts.copy()
    for y in range(len(columns)):
        for j in range(columns.shape[1]):
            c = columns[y, j]
            list_values[at[c]], list_rows[at[c]] = values[y, j], y
            at[c] += 1


@compiled(fastmath=FAST)
def scan_lists(
    starts,
    list_values,
    list_rows,
    row_scales,
    first_row,
    allowed,
    latents,
    weights,
    indptr,
    without,
    sums,
    scores,
    rows,
):
    """Absorb a block's rows, those of no list too, into the heap (r,) of one query: `weights` at rising `latents`.

    `allowed`, `indptr` and `without` are those of `scan_one`; `sums` is room for a number a row. Equal rows add up in
    one order, that of the latents, so they tie exactly.
    """
    some, at, end = len(allowed) > 0, first_not_below(without, indptr[0], indptr[1], first_row), indptr[1]
    sums[:] = 0
    for t in range(len(latents)):
        weight = weights[t]
        for place in range(starts[latents[t]], starts[latents[t] + 1]):
            sums[list_rows[place]] += vectors.float32(list_values[place]) * weight
    for start in range(0, len(sums), STRIP):
        stop = min(start + STRIP, len(sums))
        worst, hits = scores[0], 0
        for y in range(start, stop):
            sums[y] *= row_scales[y]
            hits += sums[y] > worst
        if hits:
            for y in range(start, stop):
                if sums[y] > scores[0] and (not some or allowed[y]):
                    while at < end and without[at] < first_row + y:
                        at += 1
                    if at == end or without[at] > first_row + y:
                        replace_worst(scores, rows, sums[y], first_row + y)


@compiled
def merge(scores, rows):
    """Gather the heaps (threads, q, r) of all threads in those of the first, sorted best first; -1 is no row."""
    threads, q, r = scores.shape
    for i in range(q):
        best, at = scores[0, i], rows[0, i]
        for t in range(1, threads):
            for j in range(r):
                if worse(best[0], at[0], scores[t, i, j], rows[t, i, j]):
                    replace_worst(best, at, scores[t, i, j], rows[t, i, j])
        for last in range(r - 1, 0, -1):
            score, row = best[last], at[last]
            best[last], at[last] = best[0], at[0]
            replace_worst(best[:last], at[:last], score, row)
        for last in range(r - 1, -1, -1):
            if at[last] != NO_ROW:
                break
            at[last] = -1
