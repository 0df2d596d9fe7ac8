"""The running top r of rows seen chunk by chunk; scoring a chunk lives in the backends."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Best(NamedTuple):
    """The best rows so far, best first; ties go to the lower row number."""

    scores: Float[Array, "q r"]
    rows: Int[Array, "q r"]


def nothing(q: int, r: int) -> Best:
    """The best of no rows at all: minus infinity, at row -1."""
    return Best(jnp.full((q, r), -jnp.inf, jnp.float32), jnp.full((q, r), -1, jnp.int32))


@jax.jit
def absorb(best: Best, scores: Float[Array, "q c"], first_row: Int[Array, ""], valid: Int[Array, ""]) -> Best:
    """Merge a chunk whose rows start at `first_row`, above all rows seen; only `valid` of its c rows are real."""
    offset = jnp.arange(scores.shape[1])
    scores = jnp.where(offset < valid, scores, -jnp.inf)
    rows = jnp.broadcast_to(first_row + offset, scores.shape)
    return merge(best, Best(scores, rows.astype(best.rows.dtype)))


@jax.jit
def merge(best: Best, others: Best) -> Best:
    """The best of both, as many as `best` holds; where scores tie, every row of `others` is above those of `best`."""
    # top_k prefers the left of equal scores, and everything on the left has a lower row. It holds +0 above -0.
    scores = jnp.concatenate([best.scores, jnp.where(others.scores == 0, 0, others.scores)], axis=1)
    rows = jnp.concatenate([best.rows, others.rows], axis=1)
    scores, kept = jax.lax.top_k(scores, best.scores.shape[1])
    return Best(scores, jnp.where(jnp.isneginf(scores), -1, jnp.take_along_axis(rows, kept, axis=1)))
