"""A second look: what codes found, ranked anew by exact similarities with the dense vectors of a source."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from compressae_jax import data
from compressae_jax.codes import on_host
from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError
from compressae_jax.retrieval.found import NOTHING
from compressae_jax.retrieval.segments import Segments

LEAST, TIMES = 200, 4  # candidates of a query: the larger of 200 and four times `top`
NUMBERS = 2**24  # of dense vectors in memory at once


def candidates_for(top: int) -> int:
    """How many rows are looked at again for the best `top`, unless the caller says."""
    return max(LEAST, TIMES * top)


class LookUp:
    """The dense vectors of rows of an index."""

    def __init__(self, source: Source, rows_there: Int[np.ndarray, " n"] | None) -> None:
        self.source, self._rows = source, rows_there

    def __call__(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m d"]:
        """Vectors (m, d), float32.

        Raises:
            InputError: a row whose id the source does not have.
        """
        there = rows if self._rows is None else self._rows[rows]
        if len(there) and there.min() < 0:
            raise InputError(f"rescore: {self.source.name} has no vector of row {rows[there.argmin()]}, by its id")
        return np.ascontiguousarray(self.source.take(there), np.float32)


def opened(given: Any, segments: Segments, d: int) -> LookUp:
    """The vectors of the rows in a path, source or array: by id, where both have ids, else by number.

    Raises:
        InputError: vectors of another width, without random access, or, by number, of another number of rows.
    """
    source = data.open_source(given)
    if source.width != d:
        raise InputError(f"rescore: {source.name} has width {source.width}, the model was trained on {d}")
    if not source.random_access:
        raise InputError(
            f"rescore: {source.name} gives no rows by number; compressae_jax.data.stage() makes an .npy that does"
        )
    if source.ids is not None and segments.named:
        places = np.full(len(segments), NOTHING, np.int64)
        which, rows = segments.find(source.ids, "rescore: ids")
        places[rows] = which
        return LookUp(source, places)
    if len(source) != len(segments):
        raise InputError(
            f"rescore: {source.name} has {len(source):,} rows, the index {len(segments):,}; give the vectors that it "
            "was made of, or ids to both"
        )
    return LookUp(source, None)


def rescored(
    vectors: Float[np.ndarray, "q d"],
    rows: Int[np.ndarray, "q c"],
    look_up: LookUp,
    top: int,
    similarity: str = "cosine",
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best `top` of each query's candidate rows by cos(x_q, x), or ⟨x_q, x⟩ under 'dot', best first.

    Ties go to the lower row number.

    `rows` -1 are none. Vectors are read a portion of the queries at a time, each row once a portion.
    """
    of_kind = on_host.unit_rows if similarity == "cosine" else np.asarray
    asked = of_kind(np.ascontiguousarray(vectors, np.float32))
    scores = np.full((len(rows), top), -np.inf, np.float32)
    best = np.full((len(rows), top), NOTHING, np.int64)
    step = max(1, NUMBERS // max(1, rows.shape[1] * look_up.source.width))
    for start in range(0, len(rows), step):
        here = rows[start : start + step]
        wanted, places = np.unique(here[here >= 0], return_inverse=True)
        if not len(wanted):
            continue
        dense = of_kind(look_up(wanted))
        at = np.zeros(here.shape, np.int64)
        at[here >= 0] = places.reshape(-1)
        for i, numbers in enumerate(here):
            there = numbers >= 0
            found = np.einsum("cd,d->c", dense[at[i][there]], asked[start + i])
            order = np.lexsort((numbers[there], -found))[:top]
            found = found[order]
            scores[start + i, : len(order)] = np.clip(found, -1, 1) if similarity == "cosine" else found
            best[start + i, : len(order)] = numbers[there][order]
    return scores, best
