"""The running top r of rows seen chunk by chunk, less those that filters leave out; backends score a chunk."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from compressae_jax.base.arrays import padded
from compressae_jax.retrieval.filters import Without, by_row

WINDOW = 2**12  # pairs that are taken out of a chunk's scores at a time
NO_ROW = np.iinfo(np.int32).max


class Best(NamedTuple):
    """The best rows so far, best first; ties go to the lower row number."""

    scores: Float[Array, "q r"]
    rows: Int[Array, "q r"]


class Pairs(NamedTuple):
    """Queries and rows that they must not get, by rising row; behind them at least `WINDOW` of `NO_ROW`."""

    queries: Int[Array, " p"]
    rows: Int[Array, " p"]


def pairs(without: Without | None) -> Pairs | None:
    """The pairs on the default device, a power of two, so that any number of them costs few compilations."""
    if without is None or not len(without.rows):
        return None
    queries, rows = by_row(without)
    length = 1 << (len(rows) + WINDOW - 1).bit_length()
    behind = np.full(length - len(rows), NO_ROW)
    rows = np.concatenate([rows, behind]).astype(np.int32)
    return Pairs(jnp.asarray(padded(queries.astype(np.int32), length)), jnp.asarray(rows))


def nothing(q: int, r: int) -> Best:
    """The best of no rows at all: minus infinity, at row -1."""
    return Best(jnp.full((q, r), -jnp.inf, jnp.float32), jnp.full((q, r), -1, jnp.int32))


@jax.jit
def absorb(
    best: Best,
    scores: Float[Array, "q c"],
    first_row: Int[Array, ""],
    valid: Int[Array, ""],
    allowed: Bool[Array, " c"] | None = None,
    without: Pairs | None = None,
) -> Best:
    """Merge a chunk whose rows start at `first_row`, above all rows seen; only `valid` of its c rows are real."""
    offset = jnp.arange(scores.shape[1])
    real = offset < valid if allowed is None else (offset < valid) & allowed
    scores = jnp.where(real, scores, -jnp.inf)
    if without is not None:
        scores = _less(scores, first_row, first_row + jnp.minimum(valid, scores.shape[1]), without)
    rows = jnp.broadcast_to(first_row + offset, scores.shape)
    return merge(best, Best(scores, rows.astype(best.rows.dtype)))


def _less(scores: Float[Array, "q c"], first_row: Array, end: Array, without: Pairs) -> Float[Array, "q c"]:
    """The scores of rows from `first_row` to `end`, minus infinity for pairs of them, a window of pairs at a time."""
    start, stop = jnp.searchsorted(without.rows, jnp.stack([first_row, end]).astype(jnp.int32))

    def take_out(i: Array, scores: Array) -> Array:
        queries, rows = (jax.lax.dynamic_slice_in_dim(x, start + i * WINDOW, WINDOW) for x in without)
        # A window may end behind the chunk; there is no place for those.
        return scores.at[queries, rows - first_row].set(-jnp.inf, mode="drop")

    return jax.lax.fori_loop(0, (stop - start + WINDOW - 1) // WINDOW, take_out, scores)


@jax.jit
def merge(best: Best, others: Best) -> Best:
    """The best of both, as many as `best` holds; where scores tie, every row of `others` is above those of `best`."""
    # top_k prefers the left of equal scores, and everything on the left has a lower row. It holds +0 above -0.
    scores = jnp.concatenate([best.scores, jnp.where(others.scores == 0, 0, others.scores)], axis=1)
    rows = jnp.concatenate([best.rows, others.rows], axis=1)
    scores, kept = jax.lax.top_k(scores, best.scores.shape[1])
    return Best(scores, jnp.where(jnp.isneginf(scores), -1, jnp.take_along_axis(rows, kept, axis=1)))
