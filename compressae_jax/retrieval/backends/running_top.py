"""The running top r of rows seen chunk by chunk, less those that filters leave out; backends score a chunk."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from compressae_jax.base.arrays import padded
from compressae_jax.model import topk
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
    return add(best, jnp.where(real, scores, -jnp.inf), first_row, without)


def add(
    best: Best, scores: Float[Array, "q c"], first_row: Int[Array, ""], without: Pairs | None = None, block: int = 0
) -> Best:
    """Merge a chunk's scores, which are minus infinity for rows that were seen or are not there.

    With `block`, which divides c, the chunk is selected from by blocks of so many rows, and no score may be -0.
    """
    if without is not None:
        scores = _less(scores, first_row, without)
    if block:
        return _of_blocks(best, scores, first_row, block)
    rows = jnp.broadcast_to(first_row + jnp.arange(scores.shape[1]), scores.shape)
    return merge(best, Best(scores, rows.astype(best.rows.dtype)))


def _of_blocks(best: Best, scores: Float[Array, "q c"], first_row: Int[Array, ""], block: int) -> Best:
    """The same: each of the r best rows is in one of the r best blocks, by their best scores, ties to the lower."""
    q, c = scores.shape
    r = best.scores.shape[1]
    blocks = scores.reshape(q, c // block, block)
    which = topk.greatest(blocks.max(axis=2), min(r, c // block), rising=True)[1]
    some = jnp.take_along_axis(blocks, which[:, :, None], axis=1).reshape(q, -1)
    # What is on the left of equal scores has a lower row: what was best, then blocks as they stand in the chunk.
    kept, places = topk.greatest(jnp.concatenate([best.scores, some], axis=1), r)
    place = jnp.maximum(places - r, 0)
    fresh = first_row + jnp.take_along_axis(which, place // block, axis=1) * block + place % block
    old = jnp.take_along_axis(best.rows, jnp.minimum(places, r - 1), axis=1)
    rows = jnp.where(places < r, old, fresh.astype(old.dtype))
    return Best(kept, jnp.where(jnp.isneginf(kept), -1, rows))


def _less(scores: Float[Array, "q c"], first_row: Array, without: Pairs) -> Float[Array, "q c"]:
    """The scores of rows from `first_row` on, minus infinity for pairs of them, a window of pairs at a time."""
    ends = jnp.stack([first_row, first_row + scores.shape[1]]).astype(jnp.int32)
    start, stop = jnp.searchsorted(without.rows, ends)

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
