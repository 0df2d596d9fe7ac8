"""The compiled loops of `bounds`: rows of `residual` storage that cannot be among the best are passed over.

Of each row a bound that its score does not exceed comes from numbers of 8 bits, in registers. Rows whose bound is above
the worst result so far, or no number, are scored as in `kernels.scan_beside`, by the same instructions, so results have
its bits.
"""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled, inlined
from compressae_jax.codes.storage import fast_kernels, fast_parts_kernels, residual_kernels
from compressae_jax.retrieval.backends import bound_vector_kernels as turned
from compressae_jax.retrieval.backends import vector_kernels as vectors
from compressae_jax.retrieval.backends.kernels import first_not_below, replace_worst

ROWS, LINES = turned.ROWS, 16  # of a block, and lines that are turned around together
STRIP = 4 * ROWS  # rows whose bounds are compared before any is scored: what is read of them stays in the first cache
AHEAD = STRIP  # rows that are fetched early
APART = 16  # numbers between the rows of an array that is written across, so that these share no set of the cache
SCORED = 32  # rows that are taken apart together, so that what is scored lies in the first cache
PAIR, MOST = 255, 65535  # of what the halves of a byte look up together, and of a row's sum
ROUNDED = 2.0**-24  # of a float32 beside its number, at most
_unpack, _unpack_coordinates = fast_kernels.fastest(roomy=True), residual_kernels.fastest(roomy=True)


@compiled
def tables_of(u, columns, coordinates, weights, deviations, errors, reach, nonzeros, tables, numbers):
    """Fill tables (q, lines, 32) of the queries u (q, columns + m), and what their sums mean, `numbers` (q, 3).

    A row's score is at most scale · (first · sum + second) + Σ of its nonzeros + third; all infinite where floats might
    overflow. `coordinates` and `weights` (lines,): the first of the eight of a line, and what its bits, as +1 and -1,
    add to their levels; `errors` and `reach` (m,) the most that levels are above that, and their greatest. `nonzeros`:
    their number and their greatest magnitude, and the greatest scale of a row.
    """
    m, few, magnitude, scale = len(deviations), nonzeros[0], nonzeros[1], nonzeros[2]
    w = np.zeros(m + 8, np.float64)
    low, exact = np.empty((len(weights), 2), np.float64), np.empty((len(weights), 2, 16), np.float64)
    for i in range(len(u)):
        greatest, tiny, away, most = np.float64(0), np.float64(0), np.float64(0), np.float64(0)
        for j in range(columns):
            greatest = max(greatest, abs(np.float64(u[i, j])))
        for j in range(m):
            tiny = max(tiny, abs(np.float64(u[i, columns + j])) * (1 + reach[j]))
            w[j] = np.float64(u[i, columns + j]) * deviations[j]
            away += abs(w[j]) * errors[j]
            most += abs(w[j]) * reach[j]
        widest, total, base = np.float64(0), np.float64(0), np.float64(0)
        for line in range(len(weights)):
            both = np.float64(0)
            for half in range(2):
                some, least, greater = exact[line, half], np.float64(0), np.float64(0)
                some[0] = 0
                for bit in range(4):
                    one = weights[line] * w[coordinates[line] + 4 * half + bit]
                    base -= one
                    least, greater = least + min(2 * one, np.float64(0)), greater + max(2 * one, np.float64(0))
                    for number in range(1 << bit):
                        some[number | 1 << bit] = some[number] + 2 * one
                base, low[line, half] = base + least, least
                both += greater - least
            widest, total = max(widest, both), total + both
        step = max(widest / (PAIR - 1), total / (MOST - 2 * len(weights)))
        step = np.float64(np.float32(step))
        if not step > 1e-30:  # of queries of zeros, or nearly: all numbers are 0 then
            step = np.float64(1)
        for line in range(len(weights)):
            for half in range(2):
                above = -np.inf
                for number in range(16):
                    wanted = exact[line, half, number] - low[line, half]
                    taken = np.rint(wanted / step)
                    above = max(above, wanted - step * taken)
                    tables[i, line, 16 * half + number] = np.uint8(taken)
                away += above
        # Of the exact score in float32, of this one, and of what is below the least normal number: of the score itself,
        # and of what the row's scale is multiplied with.
        rounded = (2 * (few + m) + 64) * ROUNDED
        away += rounded * (most + away + abs(base) + 3 * total)
        beside = rounded * few * magnitude * greatest + 2.0**-140 * (few + m) * (1 + greatest + tiny + scale)
        numbers[i, 0] = step
        numbers[i, 1] = base + away
        numbers[i, 2] = beside
        if not max(scale, np.float64(1)) * (abs(base) + total + most + away) + few * magnitude * greatest < 1e37:
            numbers[i, 1] = np.inf


@compiled
def _turn(records, start, at, mixed, tile):
    """Turn a strip around, from byte `at` on: further lines are mixed of these: which one, of which, as its first."""
    for block in range(STRIP // ROWS):
        for line in range(0, records.shape[1] - at, LINES):
            turned.turn(records, start + block * ROWS, at + line, tile, block, line)
        for t in range(len(mixed)):
            line, other = mixed[t, 0], mixed[t, 1]
            if mixed[t, 2]:
                tile[block, line] = tile[block, other]
            else:
                for r in range(ROWS):
                    tile[block, line, r] ^= tile[block, other, r]


@compiled
def _strip(records, start, room):
    """Records that have a whole strip from a row on, and that row: the given ones, or a copy of the last rows."""
    if start + STRIP <= len(records):
        return records, start
    rest = len(records) - start
    room[:rest] = records[start:]
    return room, 0


@compiled
def _room(records):
    """Room for the records of a strip, and for vectors behind them; zeros."""
    width = records.shape[1]
    return np.zeros((STRIP + (fast_parts_kernels.ROOM + width - 1) // width, width), np.uint8)[:STRIP]


@compiled
def _few(some):
    """Room for the nonzeros of a strip."""
    rows = STRIP + fast_parts_kernels.COLUMNS
    return np.empty((rows, some), np.float32), np.empty((rows, some), np.uint16)


@inlined
def _any(allowed):
    """Whether there is one."""
    count = 0
    for one in allowed:
        count += one
    return count > 0


@inlined(fastmath=FAST)
def _above(sums, scales, beside, number, row_scales, worst, flags):
    """Flag the rows of a strip whose bound is above the worst result, or is no number; how many."""
    step, base, more = number[0], number[1], number[2]
    count = 0
    for y in range(STRIP):
        bound = (scales[y] * (step * np.float32(sums[y]) + base) + (beside[y] + more)) * row_scales[y]
        flags[y] = not bound <= worst
        count += flags[y]
    return count


@compiled
def _whole(how):
    """Room for the values and columns of `SCORED` rows, those of coordinates filled in, and for their nonzeros."""
    _, h, _, some, k, _, _, _, _, _ = how
    rows = SCORED + fast_parts_kernels.COLUMNS
    few_values, few_columns = np.empty((rows, some), np.float32), np.empty((rows, some), np.uint16)
    columns = np.empty((SCORED, k), np.uint16)
    for j in range(some, k):
        columns[:, j] = h + j - some
    return few_values, few_columns, residual_kernels.roomy(SCORED, k), columns


@compiled
def _apart(records, numbers, how, whole, copies):
    """Take records of these numbers apart, `SCORED` at most, to values and columns of k."""
    signed, h, low, some, _, before, deviations, scales, widths, tables = how
    few_values, few_columns, values, columns = whole
    n = len(numbers)
    for i in range(n):
        copies[i] = records[numbers[i]]
    given = copies if n else records  # as one that is not written to, as these are: loops are compiled once
    _unpack(given, n, h, low, signed, few_values, few_columns)
    columns[:n, :some] = few_columns[:n]
    _unpack_coordinates(given, n, before, few_values, deviations, scales, widths, tables, values)


@inlined
def _score(values, columns, known, y, u):
    """As `kernels.scan_one` does, of columns that are in order from the last of `known` on."""
    if known < values.shape[1]:
        return vectors.dot(values, (columns, known), y, u)
    return vectors.dot(values, columns, y, u)


@compiled(fastmath=FAST)
def scan(records, how, row_scales, first_row, allowed, asked, indptr, without, scores, rows):
    """Absorb a chunk's rows into the heaps (q, r) of queries, as `kernels.scan_beside` does; how many were absorbed.

    It stops before a strip of which more than one of `often` pairs of a row and a query would have to be scored. `how`:
    that of `kernels.scan_beside`, what lines are mixed of and how many there are, `often`. `asked`: the u (h, w) of
    `kernels.scan_block`; each u by itself (q, h); for one query whose rows have a bitmap of a word, in place of the
    first, u of the nonzeros' columns with NaN behind it, else nothing; tables and numbers of `tables_of`.
    """
    beside_how, mixed, lines, often = how
    signed, h, low, some, _, before, _, scales, _, _ = beside_how
    u, alone, own, tables, number = asked
    (q, w), n, known, few = (len(scores), u.shape[1]), len(records), (some // 16 + 1) * 16, (signed, h, low, some)
    whole, room, copies = _whole(beside_how), _room(records), _room(records)
    values, columns = whole[2:]
    few_values, few_columns = _few(some)
    tile, sums = np.zeros((STRIP // ROWS, lines, ROWS), np.uint8), np.empty((len(tables), STRIP), np.uint16)
    sizes, total, beside = (
        np.empty(STRIP, np.float32),
        np.empty(w, np.float32),
        np.empty((q, STRIP + APART), np.float32),
    )
    ones, flags, counts = np.ones(STRIP, np.float32), np.empty((q, STRIP), np.uint8), np.empty(q, np.int64)
    hits, at = np.empty(STRIP, np.int64), np.empty(q, np.int64)
    for i in range(q):
        at[i] = first_not_below(without, indptr[i], indptr[i + 1], first_row)
    for start in range(0, n, STRIP):
        stop = min(start + STRIP, n)
        if len(allowed) and not _any(allowed[start:stop]):
            continue
        many = 0
        for i in range(q):
            many += scores[i, 0] == -np.inf
        if many * often > q:
            return start
        given, first = _strip(records, start, room)
        _turn(given, first, before + 1, mixed, tile)
        for y in range(STRIP):
            turned.ahead(given, first + y + AHEAD)
            sizes[y] = scales[given[first + y, before]]
        if len(own):
            for y in range(STRIP):
                beside[0, y] = turned.nonzeros(given, first + y, few, own)
        else:
            _unpack(given[first:], STRIP, h, low, signed, few_values, few_columns)
            for y in range(STRIP):
                vectors.weighted(few_values[y], few_columns[y], u, total)
                if few_values[y, 0] == 0:  # of zero rows, whose score is 0 whatever their coordinates say
                    total[:] = np.nan
                for i in range(q):
                    beside[i, y] = total[i]
        for y in range(stop - start):
            ones[y] = row_scales[start + y]
        if q == 1:
            for block in range(0, STRIP // ROWS, 2):
                turned.sums_of_two_blocks(tile, block, tables, 0, sums)
        else:
            for i in range(0, len(tables), turned.TOGETHER):
                for block in range(STRIP // ROWS):
                    turned.sums_of_four_queries(tile, block, tables, i, sums)
        many = 0
        for i in range(q):
            counts[i] = _above(sums[i], sizes, beside[i], number[i], ones, scores[i, 0], flags[i])
            many += counts[i]
        if many * often > q * STRIP:
            return start
        if not many:
            continue
        count = 0
        for y in range(stop - start):
            hits[count] = y
            wanted = False
            for i in range(q):
                wanted |= flags[i, y] != 0
            count += wanted and (len(allowed) == 0 or allowed[start + y])
        for done in range(0, count, SCORED):
            numbers = hits[done : min(done + SCORED, count)]
            _apart(given[first:], numbers, beside_how, whole, copies)
            for i in range(q):
                if counts[i] == 0:
                    continue
                for place in range(len(numbers)):
                    if flags[i, numbers[place]] == 0:
                        continue
                    y = start + numbers[place]
                    score, row = _score(values, columns, known, place, alone[i]) * row_scales[y], first_row + y
                    if score > scores[i, 0]:
                        while at[i] < indptr[i + 1] and without[at[i]] < row:
                            at[i] += 1
                        if at[i] == indptr[i + 1] or without[at[i]] > row:
                            replace_worst(scores[i], rows[i], score, row)
    return n
