"""All rows at or above a score, on all CPU cores; `kernels.scan_block` scores the same bits for the best few."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from compressae_jax.base.threads import cores, kept
from compressae_jax.codes.rows import Rows
from compressae_jax.notation import Expanded
from compressae_jax.retrieval.backends.host import LANES, QUERIES, stored

PAIRS = 2**18  # of a chunk: rows times the queries of a block; a thread has room for so many results


class Hits(NamedTuple):
    """Rows of each query, those of query i at `indptr[i]:indptr[i + 1]`, best first, ties by the lower row number."""

    indptr: Int[np.ndarray, " q_and_1"]
    scores: Float[np.ndarray, " m"]
    rows: Int[np.ndarray, " m"]


def search(rows: Rows, space: str, u: Expanded, at_least: float, allowed: Bool[np.ndarray, " n"] | None = None) -> Hits:
    """The rows whose score is at or above `at_least`, for each query; a query u of zeros gets none.

    Memory beside the results: a chunk a thread.
    """
    u = np.asarray(u, np.float32)
    parts = [
        _of_block(rows, space, u[start : start + QUERIES], at_least, allowed) for start in range(0, len(u), QUERIES)
    ]
    sizes = np.concatenate([[0], *(np.diff(part.indptr) for part in parts)])
    empty = Hits(np.zeros(1, np.int64), np.empty(0, np.float32), np.empty(0, np.int64))
    scores, numbers = (np.concatenate([getattr(part, name) for part in (empty, *parts)]) for name in Hits._fields[1:])
    return Hits(np.cumsum(sizes).astype(np.int64), scores, numbers)


def _of_block(rows: Rows, space: str, u: Expanded, at_least: float, allowed: np.ndarray | None) -> Hits:
    from compressae_jax.retrieval.backends import within_kernels

    q, chunk = len(u), max(1, PAIRS // max(LANES, len(u)))
    block = stored(np.pad(u, ((0, -q % LANES), (0, 0))).T)
    least = np.where(u.any(axis=1), np.float32(at_least), np.float32(np.inf)).astype(np.float32)
    starts = iter(range(0, len(rows), chunk))

    def work() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        found, read = [], rows.reader(space, chunk)
        room = np.empty(q * chunk, np.int64), np.empty(q * chunk, np.int64), np.empty(q * chunk, np.float32)
        for start in starts:  # shared by the threads
            some = np.empty(0, bool) if allowed is None else np.ascontiguousarray(allowed[start : start + chunk])
            some.flags.writeable = False
            part = [stored(one) for one in read(slice(start, start + chunk))]
            hits = within_kernels.collect(*part, some, block, least, *room)
            found.append((room[0][:hits].copy(), room[1][:hits] + start, room[2][:hits].copy()))
        return found

    threads = min(cores(), -(-len(rows) // chunk))
    others = [kept(threads - 1).submit(work) for _ in range(threads - 1)]
    lots = work()
    for other in others:
        lots += other.result()
    asked, numbers, scores = map(np.concatenate, zip(*lots, strict=True)) if lots else (np.empty(0, int),) * 3
    order = np.lexsort((numbers, -scores, asked))
    indptr = np.searchsorted(asked[order], np.arange(q + 1))
    return Hits(indptr.astype(np.int64), scores[order].astype(np.float32), numbers[order].astype(np.int64))
