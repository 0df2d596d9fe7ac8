"""A map of rows in two dimensions: near rows lie near each other. It begins with principal components."""

from collections.abc import Callable

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

EPOCHS, PUSHES = 200, 5
EDGE = 0.005  # of the rows on each side, that lie beyond the map's border before they are drawn in


def of(
    start: Float[np.ndarray, "n d"],
    scores: Float[np.ndarray, "n r"],
    rows: Int[np.ndarray, "n r"],
    seed: int = 0,
    epochs: int = EPOCHS,
    done: Callable[[], object] = lambda: None,
) -> Float[np.ndarray, "n 2"]:
    """Places in 0..1 of n rows, by the neighbours that each found (`rows`, -1: none) at `scores`, cosines.

    `start`, vectors of the rows, gives the first places. The same for the same arguments. `done` is called after each
    of the epochs.
    """
    from compressae_jax.exploring import layout_kernels

    at = principal(start)
    graph = pairs(scores, rows)
    if graph.nnz:
        at = np.ascontiguousarray(10 * (at / (at.std(axis=0) + 1e-9)), np.float32)
        every = (graph.data.max() / graph.data).astype(np.float32)
        due, state = every.copy(), np.array([2 * seed + 0x9E3779B97F4A7C15], np.uint64)
        ends = graph.row.astype(np.int64), graph.col.astype(np.int64)
        for number in range(epochs):
            rate = np.float32(1 - number / epochs)
            layout_kernels.epoch(at, *ends, due, every, np.float32(number), rate, PUSHES, state)
            done()
    return _within(at)


def principal(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
    """The first two principal components; signs are those by which the largest weight of each is positive."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0))
    return np.pad(centred @ axes, ((0, 0), (0, 2 - axes.shape[1])))


def pairs(scores: Float[np.ndarray, "n r"], rows: Int[np.ndarray, "n r"]) -> scipy.sparse.coo_matrix:
    """How strongly pairs belong together, 0..1, each pair once: the fuzzy union of what both of its rows say."""
    n = len(rows)
    own = np.arange(n)[:, None]
    there = (rows >= 0) & (rows != own)
    far = np.where(there, 1 - scores, np.inf)
    nearest = far.min(axis=1, initial=np.inf, keepdims=True)
    beyond = np.where(there, far - np.where(np.isfinite(nearest), nearest, 0), 0)
    spread = beyond.sum(axis=1, keepdims=True) / np.maximum(there.sum(axis=1, keepdims=True), 1) + 1e-6
    weights = np.where(there, np.exp(-beyond / spread), 0)
    said = scipy.sparse.coo_matrix((weights[there], (np.broadcast_to(own, rows.shape)[there], rows[there])), (n, n))
    said = said.tocsr()
    return scipy.sparse.triu(said + said.T - said.multiply(said.T), k=1).tocoo()


def _within(at: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """The same places in 0..1, one scale for both directions; few that lie far outside are drawn to the border."""
    low, high = np.quantile(at, [EDGE, 1 - EDGE], axis=0)
    middle, width = (low + high) / 2, 1.06 * max(float((high - low).max()), 1e-9)
    return np.clip((at - middle) / width + 0.5, 0, 1).astype(np.float32)
