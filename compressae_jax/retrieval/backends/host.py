"""The host backend: all CPU cores score rows, each thread with its own running top r; the loops are in `kernels`."""

from collections.abc import Callable, Iterator
from concurrent.futures import wait

import numpy as np
from jaxtyping import Bool, Float, Int

from compressae_jax.base.arrays import aligned
from compressae_jax.base.threads import cores, kept
from compressae_jax.codes.rows import Beside, Encoded, Rows, Some
from compressae_jax.notation import Expanded, check_range
from compressae_jax.retrieval import filters
from compressae_jax.retrieval.backends import bounds
from compressae_jax.retrieval.backends.bounds import Form
from compressae_jax.retrieval.filters import Without

QUERIES = 64  # of a block: u (h, 64) stays in a core's cache
LANES = 16  # queries are padded to a multiple of a vector register
FEW = 4  # queries that are faster one by one than as a padded block, but of rows that take long to take apart
NONZEROS = 2**18  # of a chunk: large beside the cost of dealing it out, small beside a corpus
BOUNDED = 2**12  # rows of a chunk of which most are passed over
DECODED = 2**16  # of a chunk that is decoded first: it stays in a core's own cache
HEAPS = 2**28  # bytes of the threads' running best, at most, unless one query's take more
MOST = 2**31 - 1  # results a query
EVERYTHING = np.empty(0, bool)  # the mask of no filter
EVERYTHING.flags.writeable = False  # as those of filters

Results = tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]


def search(
    rows: Rows,
    space: str,
    u: Expanded,
    top: int,
    *,
    allowed: Bool[np.ndarray, " n"] | None = None,
    without: Without | None = None,
    chunk: int | None = None,
    bounded: bool = True,
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best rows of each query, best first; ties go to the lower row number.

    Values and columns are scored as they are stored, memory maps too; packed rows are decoded by each thread, a chunk
    at a time. `chunk` is the rows that a thread takes at a time. Of many rows of storage `residual` those whose score
    is bounded too low are passed over, unless not `bounded`. A query's results are the same bits either way, and in
    any company.

    Raises:
        InputError: `top` or `chunk` below 1.
    """
    from compressae_jax.retrieval.backends import kernels

    check_range("top", top, 1, MOST)
    packed = rows.levels is not None
    encoded, beside = rows.encoded(space), rows.beside(space)
    bounded = bounded and len(rows) >= bounds.LEAST_ROWS
    form = bounds.form(beside) if bounded and beside is not None else None
    taken_apart = packed and encoded is None and beside is None
    rows_of_chunk = BOUNDED if form is not None else (DECODED if taken_apart else NONZEROS) // rows.k
    chunk = checked_chunk(chunk) or max(1, rows_of_chunk)
    # Of few rows only those are decoded; of floats the loops pass over the others as fast.
    picked = filters.few(allowed) if packed else None
    if picked is not None:
        allowed, without = None, filters.among(without, picked)
    n = len(rows) if picked is None else len(picked)

    def find(u: np.ndarray, without: Without, threads: int) -> Results:
        starts = iter(range(0, n, chunk))
        blocks: list = list(_blocks(u, without, FEW if beside is None else 1))
        one, several = kernels.scan_one, kernels.scan_block
        if encoded is not None:
            one = kernels.scan_one if kernels.in_registers(encoded.h, encoded.k, encoded.low) else kernels.scan_records
            several = kernels.scan_records
        elif form is not None and beside is not None:
            one = several = bounds.scan
            blocks = [
                (some, bounds.asked_of(form, beside, fixed(u[some]), block), ends) for some, block, ends in blocks
            ]
        elif beside is not None:
            one = several = kernels.scan_beside

        def work(best: np.ndarray, numbers: np.ndarray) -> None:
            read = _reader(rows, space, chunk, encoded, beside, form)
            for start in starts:  # shared by the threads, so each sees rising rows and a slow core takes fewer
                here = slice(start, start + chunk)
                if (mask := mask_of(allowed, here)) is None:
                    continue
                part = read(here if picked is None else picked[here])
                for queries, block, indptr in blocks:
                    absorb = several if isinstance(queries, slice) else one
                    absorb(*part, start, mask, block, indptr, without.rows, best[queries], numbers[queries])

        return best_of_threads(work, threads, len(u), top)

    scores, found = in_groups(find, np.asarray(u, np.float32), without, top, min(cores(), -(-n // chunk)))
    return scores, found if picked is None else filters.numbered(found, picked)


def _reader(
    rows: Rows, space: str, chunk: int, encoded: Encoded | None, beside: Beside | None, form: Form | None
) -> Callable[[Some], tuple]:
    """What the kernels take of a part: values, columns, row scales; or records and how they take them apart."""
    if encoded is not None:
        return _records(encoded, _how(encoded))
    if beside is not None:
        numbers = (beside.deviations, beside.scales, beside.widths, beside.tables)
        how = *_how(beside.first), beside.k, beside.bytes_before, *map(fixed, numbers)
        return _records(beside.first, how if form is None else bounds.made_of(form, how))
    read = rows.reader(space, chunk)
    return lambda here: tuple(map(stored, read(here)))


def _how(encoded: Encoded) -> tuple:
    return fixed(encoded.signed), encoded.h, encoded.low, encoded.k


def _records(encoded: Encoded, how: tuple) -> Callable[[Some], tuple]:
    """Records of a part, how they are taken apart, and row scales."""

    def read(here: Some) -> tuple:
        records, scales = encoded.read(here)
        return fixed(records), how, stored(scales)

    return read


def checked_chunk(chunk: int | None) -> int | None:
    """The rows that a backend takes at a time, None for its own choice; raises InputError for no such number."""
    if chunk is not None:
        check_range("chunk", chunk, 1, 2**31 - 1)
    return chunk


def mask_of(allowed: Bool[np.ndarray, " n"] | None, here: slice) -> Bool[np.ndarray, " c"] | None:
    """Which rows of a chunk are allowed, as kernels take it: empty where there is no filter; None where none is."""
    if allowed is None:
        return EVERYTHING
    return fixed(allowed[here]) if allowed[here].any() else None


def in_groups(
    find: Callable[[np.ndarray, Without, int], Results],
    u: Float[np.ndarray, "q h"],
    without: Without | None,
    top: int,
    threads: int,
) -> Results:
    """What `find` gives for as many queries at a time as their running best leaves memory for."""
    group = HEAPS // (12 * top * max(1, threads))
    group = max(1, group - group % QUERIES if group > QUERIES else group)
    parts = []
    for start in range(0, max(1, len(u)), group):
        some = u[start : start + group]
        end = start + len(some)
        indptr, rows = filters.nothing(len(some)) if without is None else filters.cut(without, start, end)
        parts.append(find(some, Without(indptr, fixed(rows)), max(1, threads)))
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([scores for scores, _ in parts]), np.concatenate([numbers for _, numbers in parts])


def best_of_threads(
    work: Callable[[np.ndarray, np.ndarray], None], threads: int, q: int, top: int
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best rows of all threads, in each of which `work` fills heaps (q, r) of its own: scores and rows."""
    from compressae_jax.retrieval.backends import kernels

    scores = np.full((threads, q, top), -np.inf, np.float32)
    rows = np.full((threads, q, top), kernels.NO_ROW, np.int64)
    others = [kept(threads - 1).submit(work, *heaps) for heaps in zip(scores[1:], rows[1:], strict=True)]
    try:
        work(scores[0], rows[0])  # here: to wake a thread takes a part of what a short search does
    finally:
        wait(others)
    for other in others:
        other.result()  # an error of any is raised here
    kernels.merge(scores, rows)
    return scores[0], rows[0]


def _blocks(
    u: Float[np.ndarray, "q h"], without: Without, few: int
) -> Iterator[tuple[slice | int, np.ndarray, Int[np.ndarray, " w_and_1"]]]:
    """Queries, their u and their `indptr`: a slice and (h, w) with the query axis last and padded, or one and (h,)."""
    for start in range(0, len(u), QUERIES):
        some = u[start : start + QUERIES]
        if len(some) > few:
            block = aligned(np.pad(some, ((0, -len(some) % LANES), (0, 0))).T)
            yield slice(start, start + len(some)), stored(block), fixed(without.indptr[start : start + len(some) + 1])
        else:
            for i, one in enumerate(some, start):
                yield i, stored(one), fixed(without.indptr[i : i + 2])


def stored(part: np.ndarray) -> np.ndarray:
    """An array in a form that the kernels take: contiguous float32, uint16 or uint32; float16 as its bits."""
    if part.dtype not in (np.float16, np.float32, np.uint16, np.uint32):
        part = part.astype(np.float32 if np.issubdtype(part.dtype, np.floating) else np.uint32)
    return fixed(part.view(np.uint16) if part.dtype == np.float16 else part)


def fixed(part: np.ndarray) -> np.ndarray:
    """A contiguous view that is not written to, as memory maps are: kernels are compiled once for both."""
    part = np.ascontiguousarray(part).view()
    part.flags.writeable = False
    return part
