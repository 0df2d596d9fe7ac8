"""Rows of a source as evaluation wants them: piece by piece without some, or by number; files live in `data`."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError

PIECE_BYTES = 2**25  # of vectors held at once

RowNumbers = Int[np.ndarray, " rows"]


def pieces(source: Source, left_out: RowNumbers) -> Iterator[tuple[RowNumbers, Float[np.ndarray, "b d"]]]:
    """Row numbers and vectors of all rows but those left out (sorted), in order, a few MiB at a time."""
    for first, vectors in source.batches(_piece(source)):
        rows = np.arange(first, first + len(vectors))
        kept = ~np.isin(rows, left_out, assume_unique=True)
        yield (rows, vectors) if kept.all() else (rows[kept], vectors[kept])


def take(source: Source, rows: RowNumbers) -> Float[np.ndarray, "rows d"]:
    """The rows of these numbers, in any order; one pass over a source that cannot be read by row number.

    Raises:
        InputError: a row number outside 0..n-1.
    """
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(source)):
        raise InputError(f"rows must lie in 0..{len(source) - 1} ({source.name}), not {rows.min()}..{rows.max()}")
    if source.random_access:
        return source.take(rows)
    taken = np.empty((len(rows), source.width), np.float32)
    for first, vectors in source.batches(_piece(source)):
        here = (rows >= first) & (rows < first + len(vectors))
        taken[here] = vectors[rows[here] - first]
    return taken


def _piece(source: Source) -> int:
    return max(1, PIECE_BYTES // (4 * source.width))
