"""The host backend: all CPU cores score rows, each thread with its own running top r; the loops are in `kernels`."""

from collections.abc import Callable, Iterator
from concurrent.futures import wait

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.base.threads import cores, kept
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import PIECE, Packed
from compressae_jax.notation import Expanded, RowScales, check_range
from compressae_jax.retrieval import unpacking

QUERIES = 64  # of a block: u (h, 64) stays in a core's cache
LANES = 16  # queries are padded to a multiple of a vector register
FEW = 4  # queries that are faster one by one than as a padded block
NONZEROS = 2**18  # of a chunk: large beside the cost of dealing it out, small beside a corpus


def search(
    codes: Codes | Packed,
    row_scales: RowScales | None,
    expanded_queries: Expanded,
    top: int,
    *,
    chunk: int | None = None,
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best rows of each query, best first; ties go to the lower row number.

    Values and columns are scored as they are stored, memory maps too; JAX arrays are brought to the host; packed rows
    are unpacked by each thread, a chunk at a time (`row_scales` None: see `unpacking`). `chunk` is the rows that a
    thread takes at a time. Beside codes and results it needs `top` results a query and thread.
    """
    from compressae_jax.retrieval.backends import kernels

    check_range("top", top, 1, len(codes))
    u = np.asarray(expanded_queries, np.float32)
    chunk = chunk or max(1, (PIECE if isinstance(codes, Packed) else NONZEROS) // codes.k)
    starts = iter(range(0, len(codes), chunk))
    blocks = list(_blocks(u))

    def work(scores: np.ndarray, rows: np.ndarray) -> None:
        read = unpacking.reader(codes, row_scales, chunk)
        for start in starts:  # shared by the threads, so each sees rising rows and a slow core takes fewer
            part = *map(stored, read(slice(start, start + chunk))), start
            for queries, block in blocks:
                absorb = kernels.scan_one if block.ndim == 1 else kernels.scan_block
                absorb(*part, block, scores[queries], rows[queries])

    return best_of_threads(work, min(cores(), -(-len(codes) // chunk)), len(u), top)


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


def _blocks(u: Float[np.ndarray, "q h"]) -> Iterator[tuple[slice | int, np.ndarray]]:
    """Queries and their u: a slice and (h, w) with the query axis last and padded, or, of a few, a number and (h,)."""
    for start in range(0, len(u), QUERIES):
        some = u[start : start + QUERIES]
        if len(some) > FEW:
            block = np.pad(some, ((0, -len(some) % LANES), (0, 0))).T
            yield slice(start, start + len(some)), stored(block)
        else:
            yield from ((start + i, stored(one)) for i, one in enumerate(some))


def stored(part: np.ndarray) -> np.ndarray:
    """An array in a form that the kernels take: contiguous float32, uint16 or uint32; float16 as its bits."""
    if part.dtype not in (np.float16, np.float32, np.uint16, np.uint32):
        part = part.astype(np.float32 if np.issubdtype(part.dtype, np.floating) else np.uint32)
    part = np.ascontiguousarray(part)
    part = part.view(np.uint16 if part.dtype == np.float16 else part.dtype)
    part.flags.writeable = False  # as memory maps are: kernels are compiled once for both
    return part
